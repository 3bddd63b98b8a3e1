//! Failures by cause: what has failed alike stands in one row, and is retried or discarded together.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::forms::{self, Form, filled};
use super::groups::{Group, Grouped, MOST};
use super::layout::{foreign, job_link, maybe, not_found, outcome, page as framed, trouble};
use super::{Site, Visitor};
use crate::ops::acts::{Intent, Rate, Tally, packages, purge_all, retry_all};
use crate::ops::words::{counted, time};

/// Members that are shown.
const SHOWN: usize = 100;
/// So fast packages are pushed again where nobody says otherwise.
const RATE: &str = "10/s";

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let (strip, grouped) = tokio::join!(site.strips.get(&site.sources), site.groups.get(&site.sources));
    let body = match grouped.as_ref() {
        Ok(grouped) => table(&site, grouped),
        Err(why) => trouble("Failures", why),
    };
    framed(&site, &visitor, &strip, "/failures", "Failures", body)
}

fn table(site: &Site, grouped: &Grouped) -> Markup {
    html! {
        p.note { "Packages that failed for good and that nobody has dealt with. Where sentences differ in numbers, ids, addresses or what packages asked for, these are taken out." }
        @if grouped.has_more { p.wrong { "Only the latest " (MOST) " are shown; dead list knows all." } }
        div.wide { table {
            caption { "Causes" }
            thead { tr {
                th.n scope="col" { "Packages" } th scope="col" { "Class" } th scope="col" { "Provider" } th scope="col" { "What was said" }
                th scope="col" { "First" } th scope="col" { "Last" }
            } }
            tbody {
                @if grouped.groups.is_empty() { tr { td colspan="6" { "Nothing has failed." } } }
                @for group in &grouped.groups {
                    tr data-group=(group.id) {
                        td.n data-label="Packages" { (group.members.len()) }
                        td data-label="Class" { span.badge.bad { (foreign(&group.class)) } }
                        td data-label="Provider" { (maybe(group.provider.as_deref())) }
                        td.said data-label="What was said" { a href=(site.path(&format!("/failures/{}", group.id))) { (foreign(&group.message)) } }
                        td.t data-label="First" { (time(group.first_at)) }
                        td.t data-label="Last" { (time(group.last_at)) }
                    }
                }
            }
        } }
    }
}

/// The jobs of a group; with `confirm=retry` or `confirm=discard`, what that would come to.
pub(super) async fn group(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = forms::query(query.as_deref());
    let grouped = site.groups.get(&site.sources).await;
    let group = match grouped.as_ref() {
        Ok(grouped) => grouped.groups.iter().find(|group| group.id == id),
        Err(why) => {
            let strip = site.strips.get(&site.sources).await;
            let body = trouble("The group", why);
            return framed(&site, &visitor, &strip, "/failures", "Failures", body).into_response();
        }
    };
    let Some(group) = group else {
        let why = "No package has failed like that, or all of them were dealt with.";
        return not_found(&site, &visitor, why).await;
    };
    let strip = site.strips.get(&site.sources).await;
    let body = html! {
        p.said { span.badge.bad { (foreign(&group.class)) } " " (maybe(group.provider.as_deref())) ": " (foreign(&group.message)) }
        @if visitor.is_operator() { (ways(&site, group, filled(&fields, "confirm"))) }
        div.wide { table {
            caption { (packages(count(group))) @if group.members.len() > SHOWN { ", the latest " (SHOWN) } }
            thead { tr {
                th scope="col" { "Job" } th.n scope="col" { "Failed attempts" } th scope="col" { "When" } th scope="col" { "What was said" }
            } }
            tbody {
                @for member in group.members.iter().take(SHOWN) {
                    tr {
                        th scope="row" { @match member.job_id { Some(job_id) => (job_link(&site, job_id)), None => "none could be read" } }
                        td.n data-label="Failed attempts" { (member.attempts) }
                        td.t data-label="When" { (time(member.dead_at)) }
                        td.said data-label="What was said" { (foreign(&member.reason)) }
                    }
                }
            }
        } }
    };
    framed(&site, &visitor, &strip, "/failures", "Failed alike", body).into_response()
}

fn count(group: &Group) -> i64 {
    i64::try_from(group.members.len()).unwrap_or(i64::MAX)
}

/// First how many there are, then the button that does it.
fn ways(site: &Site, group: &Group, confirm: Option<&str>) -> Markup {
    let here = site.path(&format!("/failures/{}", group.id));
    let count = count(group);
    html! {
        @match confirm {
            Some("retry") => {
                form.confirm method="post" action=(format!("{here}/retry")) {
                    p { strong { "Retry " (packages(count)) "?" } " Their jobs get a clean count and lose their errors; each may cost a picture." }
                    label { "No faster than " input name="rate" value=(RATE) size="8"; }
                    button type="submit" { "Retry " (packages(count)) }
                    a href=(here) { "Leave it" }
                }
            }
            Some("discard") => {
                form.confirm method="post" action=(format!("{here}/discard")) {
                    p { strong { "Discard " (packages(count)) "?" } " They are forgotten, prompts included. Their jobs stay failed." }
                    button.danger type="submit" { "Discard " (packages(count)) }
                    a href=(here) { "Leave it" }
                }
            }
            _ => {
                p.ways {
                    a.button href=(format!("{here}?confirm=retry")) { "Retry …" } " "
                    a.button.danger href=(format!("{here}?confirm=discard")) { "Discard …" }
                }
            }
        }
    }
}

/// What is done to a group.
#[derive(Clone, Copy)]
enum Deed {
    Retry(Rate),
    Discard,
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(fields): Form,
) -> Response {
    match Rate::parse(filled(&fields, "rate").unwrap_or(RATE)) {
        Ok(rate) => begin(&site, &visitor, &id, Deed::Retry(rate)).await,
        Err(why) => {
            let back = format!("/failures/{id}?confirm=retry");
            outcome(&site, &visitor, StatusCode::BAD_REQUEST, &why, &back).await
        }
    }
}

pub(super) async fn discard(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Form(_): Form,
) -> Response {
    begin(&site, &visitor, &id, Deed::Discard).await
}

/// Begins it, and does not keep anybody waiting: at a rate it may take for minutes.
async fn begin(site: &Arc<Site>, visitor: &Visitor, id: &str, deed: Deed) -> Response {
    let grouped = site.groups.get(&site.sources).await;
    let group = match grouped.as_ref() {
        Ok(grouped) => grouped.groups.iter().find(|group| group.id == id).cloned(),
        Err(why) => return outcome(site, visitor, StatusCode::SERVICE_UNAVAILABLE, why, "/failures").await,
    };
    let Some(group) = group else {
        let why = "No package has failed like that, or all of them were dealt with.";
        return not_found(site, visitor, why).await;
    };
    let Ok(place) = Arc::clone(&site.bulk).try_acquire_owned() else {
        let why = "Another group is being dealt with; wait until it is done.";
        return outcome(site, visitor, StatusCode::CONFLICT, why, "/failures").await;
    };
    let count = count(&group);
    let doing = tokio::spawn({
        let (site, who) = (Arc::clone(site), visitor.who.clone());
        async move {
            let _place = place;
            act(&site, &who, &group, deed).await
        }
    });
    // Small groups have ended when the answer is read.
    match tokio::time::timeout(std::time::Duration::from_secs(2), doing).await {
        Ok(Ok(Ok(said))) => outcome(site, visitor, StatusCode::OK, &said, "/failures").await,
        Ok(Ok(Err(error))) => {
            let why = format!("{error:#}");
            outcome(site, visitor, StatusCode::SERVICE_UNAVAILABLE, &why, "/failures").await
        }
        Ok(Err(_)) => {
            let why = "It has stopped halfway; do it again.";
            outcome(site, visitor, StatusCode::INTERNAL_SERVER_ERROR, why, "/failures").await
        }
        Err(_) => {
            let said = format!(
                "{}. What comes of it is written down: see Who did what.",
                counted(
                    count,
                    "package is being dealt with",
                    "packages are being dealt with"
                )
            );
            outcome(site, visitor, StatusCode::ACCEPTED, &said, "/failures").await
        }
    }
}

async fn act(site: &Site, who: &str, group: &Group, deed: Deed) -> anyhow::Result<String> {
    let (db, redis) = (&site.sources.db, &site.sources.redis);
    // The oldest first, as commands do.
    let ids = group.members.iter().rev().map(|member| member.id).collect();
    let mut selection = db.select_named_dead(ids).await?;
    redis.reach().await?;
    let provider = group
        .provider
        .as_deref()
        .map(|provider| format!(", {provider}"))
        .unwrap_or_default();
    let intent = Intent {
        db,
        queue: redis.keys().inbox(),
        by: who,
        action: match deed {
            Deed::Retry(_) => "dead retry",
            Deed::Discard => "dead purge",
        },
        subject: format!(
            "{}: {}{provider}: {}",
            packages(count(group)),
            group.class,
            group.message
        ),
    };
    let mut tally = Tally::default();
    let done = match deed {
        Deed::Retry(rate) => {
            let retrying = retry_all(&mut selection, Some(rate), db, redis, &mut tally, |_| ());
            intent.run_noted(retrying).await
        }
        Deed::Discard => intent.run_noted(purge_all(&mut selection, db, redis)).await,
    };
    let mut said = done?.said;
    for (why, count) in tally.skipped {
        said.push_str(&format!("; skipped {}: {why}", packages(count)));
    }
    Ok(said)
}
