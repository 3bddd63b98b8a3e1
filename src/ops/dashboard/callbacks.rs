//! Ends of jobs that nobody was told of, and packages that nobody reads as they are too large.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::Utc;
use maud::{Markup, html};
use uuid::Uuid;

use super::changes::act;
use super::forms::{Form, filled};
use super::layout::{foreign, job_link, maybe, outcome, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::{CallbackChoice, CallbackRow};
use crate::ops::acts::{drop_callbacks, retry_callbacks};
use crate::ops::words::{end_of, next_try, target, time};
use crate::queue::SetAside;

/// The latest that are shown.
const MOST: usize = 100;
/// Each takes a call to Redis.
const MOST_SET_ASIDE: u64 = 20;

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let (db, redis) = (&site.sources.db, &site.sources.redis);
    let choice = CallbackChoice::default();
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let (strip, rows, set_aside) = tokio::join!(
        site.strips.get(&site.sources),
        in_time(db.callbacks(redis.keys().inbox(), &choice, most + 1)),
        in_time(redis.set_aside(0, MOST_SET_ASIDE + 1))
    );
    let body = html! {
        @match rows {
            Ok(rows) => (callbacks(&site, &visitor, &rows)),
            Err(why) => (trouble("Which callbacks wait", &why)),
        }
        h2 #set-aside { "Packages set aside" }
        @match set_aside {
            Ok(packages) => (aside(&site, &packages)),
            Err(why) => (trouble("What was set aside", &why)),
        }
    };
    framed(&site, &visitor, &strip, "/callbacks", "Callbacks", body)
}

fn callbacks(site: &Site, visitor: &Visitor, rows: &[CallbackRow]) -> Markup {
    let is_given_up = |row: &CallbackRow| row.state == "failed";
    html! {
        p.note { "Ends of jobs that a callbackUrl has not been told of: those that wait for their next try, and those that were given up." }
        @if visitor.is_operator() && rows.iter().any(is_given_up) {
            form.ways method="post" action=(site.path("/callbacks/retry")) {
                button type="submit" name="all" value="1" { "Try all again that were given up" }
            }
        }
        @if rows.len() > MOST { p { "These are the latest " (MOST) ", and there are more: generative-ai-worker callbacks list." } }
        div.wide { table {
            caption { "Not told" }
            thead { tr {
                th scope="col" { "Job" } th scope="col" { "End" } th scope="col" { "Ended" } th scope="col" { "To" }
                th.n scope="col" { "Tries" } th scope="col" { "Next" } th scope="col" { "Last answer" }
                th scope="col" { span.unseen { "Change" } }
            } }
            tbody {
                @if rows.is_empty() { tr { td colspan="8" { "No callback waits, and none was given up." } } }
                @for row in rows.iter().take(MOST) {
                    tr {
                        th scope="row" { @match row.job_id { Some(job_id) => (job_link(site, job_id)), None => "none could be read" } }
                        td data-label="End" { (end_of(&row.outcome)) }
                        td.t data-label="Ended" { (time(row.ended_at)) }
                        td data-label="To" { (foreign(&target(&row.url))) }
                        td.n data-label="Tries" { (row.tries) }
                        td data-label="Next" {
                            @if is_given_up(row) { span.badge.bad { "given up" } }
                            @else { (next_try(row, site.sources.receivers.refuse(&row.url), Utc::now())) }
                        }
                        td.said data-label="Last answer" { (maybe(row.last_error.as_deref())) }
                        td { @if visitor.is_operator() { (ways(site, row)) } }
                    }
                }
            }
        } }
    }
}

/// What can be done about one.
fn ways(site: &Site, row: &CallbackRow) -> Markup {
    html! {
        form.inline method="post" action=(site.path("/callbacks/retry")) {
            button type="submit" name="id" value=(row.id) { "Try again" }
        }
        " "
        details.sure {
            summary.button.danger { "Drop …" }
            form method="post" action=(site.path("/callbacks/drop")) {
                p { "It is forgotten, and nobody is told." }
                button.danger type="submit" name="id" value=(row.id) { "Drop" }
            }
        }
    }
}

/// Which of them are meant, and that in words.
fn choice(fields: &super::forms::Fields) -> Option<(CallbackChoice, String)> {
    if filled(fields, "all").is_some() {
        let all = CallbackChoice {
            failed: true,
            ..CallbackChoice::default()
        };
        return Some((all, "all callbacks that were given up".to_owned()));
    }
    let id = filled(fields, "id")
        .and_then(|id| Uuid::parse_str(id).ok())?
        .to_string();
    let subject = format!("callbacks: {id}");
    let one = CallbackChoice {
        ids: vec![id],
        ..CallbackChoice::default()
    };
    Some((one, subject))
}

async fn none_chosen(site: &Site, visitor: &Visitor) -> Response {
    let why = "No callback was chosen: send id=<its id>, or to retry all that were given up all=1.";
    outcome(site, visitor, StatusCode::BAD_REQUEST, why, "/callbacks").await
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Form(fields): Form,
) -> Response {
    let Some((choice, subject)) = choice(&fields) else {
        return none_chosen(&site, &visitor).await;
    };
    let doing = retry_callbacks(&site.sources.db, site.sources.redis.keys().inbox(), &choice);
    act(&site, &visitor, ("callbacks retry", subject), "/callbacks", doing).await
}

pub(super) async fn forget(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Form(fields): Form,
) -> Response {
    let chosen = choice(&fields).filter(|(choice, _)| !choice.failed);
    let Some((choice, subject)) = chosen else {
        return none_chosen(&site, &visitor).await;
    };
    let doing = drop_callbacks(&site.sources.db, site.sources.redis.keys().inbox(), &choice);
    act(&site, &visitor, ("callbacks drop", subject), "/callbacks", doing).await
}

/// What they say is nobody's business here.
fn aside(site: &Site, packages: &[SetAside]) -> Markup {
    let most = usize::try_from(MOST_SET_ASIDE).unwrap_or(usize::MAX);
    html! {
        p.note {
            "Larger than MAX_PACKAGE_BYTES, and kept unread. generative-ai-worker dead list shows how they begin, and dead export writes them out."
        }
        @if packages.len() > most { p { "These are the first " (most) ", and there are more." } }
        div.wide { table {
            caption { "Set aside" }
            thead { tr { th scope="col" { "Job" } th.n scope="col" { "Bytes" } th scope="col" { "It seems to be" } } }
            tbody {
                @if packages.is_empty() { tr { td colspan="3" { "No package is too large." } } }
                @for package in packages.iter().take(most) {
                    tr {
                        th scope="row" { @match package.job_id { Some(job_id) => (job_link(site, job_id)), None => "none could be read" } }
                        td.n data-label="Bytes" { (package.bytes) }
                        td data-label="It seems to be" { (package.kind()) }
                    }
                }
            }
        } }
    }
}
