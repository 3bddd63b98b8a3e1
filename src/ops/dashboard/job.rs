//! The story of one job, as a timeline, and what can be done about it now.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::layout::{button, foreign, maybe, page as framed, trouble};
use super::number::Number;
use super::results::{cost, thumbnail};
use super::strip::in_time;
use super::{Site, Visitor, layout};
use crate::db::{CallRow, DeadFilter, DeadPackage, LedgerRow, Story};
use crate::ops::words::{Life, Owner, time, took};

/// Earlier lives beyond these are not told.
const LIVES: u32 = 50;

/// All that is known of a job.
struct Known {
    story: Story,
    dead: Vec<DeadPackage>,
    owner: Option<Owner>,
}

/// Something that has happened to a job.
struct Step {
    at: DateTime<Utc>,
    class: &'static str,
    title: String,
    lines: Vec<(&'static str, Markup)>,
}

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
) -> Response {
    show(&site, &visitor, job_id, None).await
}

/// The page, with the prompt where somebody has asked for it.
pub(super) async fn show(site: &Site, visitor: &Visitor, job_id: i32, prompt: Option<Markup>) -> Response {
    let (strip, known) = tokio::join!(site.strips.get(&site.sources), in_time(look(site, job_id)));
    let title = format!("Job {job_id}");
    let known = match known {
        Ok(known) => known,
        Err(why) => {
            let page = framed(site, visitor, &strip, "", &title, trouble("The story", &why));
            return (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
        }
    };
    if known.story.shown.is_none() && known.story.ledger.is_none() && known.dead.is_empty() {
        let why =
            format!("There is no job {job_id}: neither ac_background_jobs nor the ledger has a row of it.");
        return layout::not_found(site, visitor, &why).await;
    }
    let body = story(site, visitor, job_id, &known, prompt);
    framed(site, visitor, &strip, "", &title, body).into_response()
}

async fn look(site: &Site, job_id: i32) -> anyhow::Result<Known> {
    let (db, redis) = (&site.sources.db, &site.sources.redis);
    let story = db.story(job_id).await?;
    let filter = DeadFilter {
        job_ids: vec![job_id],
        with_retried: true,
        ..DeadFilter::default()
    };
    let (dead, _) = db.select_dead(filter).await?.newest_first(LIVES, false).await?;
    let owner = match story.ledger.as_ref().filter(|row| row.state == "begun") {
        Some(row) => {
            let worker_id = row.worker_id.clone().unwrap_or_default();
            let is_alive = redis.has_lease(&worker_id).await.ok();
            Some(Owner { worker_id, is_alive })
        }
        None => None,
    };
    Ok(Known { story, dead, owner })
}

fn story(site: &Site, visitor: &Visitor, job_id: i32, known: &Known, prompt: Option<Markup>) -> Markup {
    let life = Life {
        job_id,
        story: &known.story,
        owner: known.owner.as_ref(),
        dead: &known.dead,
    };
    let ledger = known.story.ledger.as_ref();
    let picture = ledger
        .filter(|row| row.object_keys.is_some())
        .and_then(|row| row.image_id);
    html! {
        p.headline { (foreign(&life.headline())) }
        div.story {
            div {
                (ways(site, visitor, job_id, known))
                (facts(&life, prompt.unwrap_or_else(|| masked(site, visitor, job_id))))
                h2 { "What happened" }
                ol.timeline { @for step in steps(known) { (line(&step)) } }
            }
            @if let Some(image_id) = picture {
                figure {
                    (thumbnail(site, image_id, job_id))
                    figcaption { "Image " (image_id)
                        @if let Some(url) = ledger.and_then(|row| row.image_url.as_deref()).filter(|url| url.starts_with("https://") || url.starts_with("http://")) {
                            " · " a href=(url) rel="noreferrer noopener" { "full size" }
                        }
                    }
                }
            }
        }
    }
}

fn masked(site: &Site, visitor: &Visitor, job_id: i32) -> Markup {
    html! {
        span.masked { "•••••" }
        @if visitor.is_operator() { " " (button(site, visitor, &format!("/jobs/{job_id}/prompt"), "Reveal, and write that down", "quiet")) }
    }
}

/// What can be done now.
fn ways(site: &Site, visitor: &Visitor, job_id: i32, known: &Known) -> Markup {
    let state = known.story.ledger.as_ref().map(|row| &*row.state);
    let is_dead = known.dead.iter().any(|package| package.retried_at.is_none());
    let way = |deed: &str, label: &str, class: &str| {
        button(site, visitor, &format!("/jobs/{job_id}/{deed}"), label, class)
    };
    html! {
        @if visitor.is_operator() {
            div.ways {
                @if state == Some("held") { (way("release", "Release: another picture may be bought", "")) }
                @if matches!(state, Some("retry_wait" | "begun")) { (way("release", "End its wait", "")) }
                @if is_dead && matches!(state, None | Some("dead")) { (way("retry", "Retry", "")) }
                @if matches!(state, None | Some("waiting" | "begun" | "retry_wait" | "held")) && !is_dead && known.story.shown.is_some() {
                    (way("cancel", "Cancel", "danger"))
                }
            }
        }
    }
}

fn facts(life: &Life<'_>, prompt: Markup) -> Markup {
    let shown = life.story.shown.as_ref();
    let ledger = life.story.ledger.as_ref();
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        dl.facts {
            (fact("State", maybe(ledger.map(|row| &*row.state).or(Some("not begun")))))
            @if let Some(shown) = shown {
                (fact("Progress", html! { (shown.progress.unwrap_or_default()) " %" }))
                @if let Some(error) = &shown.error { (fact("Told to the person", foreign(error))) }
            }
            @if let Some(row) = ledger {
                @if let Some(provider) = &row.provider {
                    (fact("Drawn by", html! { (foreign(provider)) " " @if let Some(model) = &row.model { (foreign(model)) } }))
                }
                (fact("Failed attempts", html! { (row.attempts) ", deliveries " (row.deliveries) ", crashes " (row.crashes) }))
                @if let Some(details) = &row.error_details { (fact("Details", foreign(details))) }
                @for key in row.object_keys.iter().flatten() { (fact("Object", foreign(key))) }
            }
            @if let Some(owner) = life.owner {
                (fact("Owner", html! { (foreign(&owner.worker_id)) " "
                    @match owner.is_alive { Some(true) => "alive", Some(false) => "without a lease", None => "cannot be told" } }))
            }
            (fact("Cost", foreign(&life.cost_in_words())))
            (fact("Prompt", prompt))
        }
    }
}

fn line(step: &Step) -> Markup {
    html! {
        li class=(step.class) {
            p { time datetime=(step.at.to_rfc3339()) { (time(step.at)) } " " strong { (foreign(&step.title)) } }
            @if !step.lines.is_empty() {
                dl { @for (name, value) in &step.lines { div { dt { (name) } dd { (value) } } } }
            }
        }
    }
}

/// In the order in which it happened.
fn steps(known: &Known) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut happened = |at, class, title: &str, lines| {
        let title = title.to_owned();
        steps.push(Step {
            at,
            class,
            title,
            lines,
        });
    };
    if let Some(at) = known.story.shown.as_ref().and_then(|row| row.created_at) {
        happened(at, "", "The application made the job", Vec::new());
    }
    if let Some(row) = &known.story.ledger {
        let by = row.worker_id.iter().map(|worker_id| ("By", foreign(worker_id)));
        happened(row.begun_at, "", "Begun, the last time", by.collect());
        if let Some(at) = row.finished_at {
            let (class, title) = end_of(row);
            happened(at, class, title, Vec::new());
        }
        if let Some(at) = row.next_attempt_at.filter(|_| row.state == "retry_wait") {
            happened(at, "soon", "Next attempt", Vec::new());
        }
    }
    for call in &known.story.calls {
        steps.push(of_call(call));
    }
    for package in &known.dead {
        steps.push(Step {
            at: package.dead_at,
            class: "bad",
            title: format!("Failed for good: {}", package.error_class),
            lines: vec![
                ("Reason", foreign(&package.reason)),
                ("Details", maybe(package.details.as_deref())),
                ("By", foreign(&package.worker_id)),
            ],
        });
        if let Some(at) = package.retried_at {
            steps.push(Step {
                at,
                class: "",
                title: "Pushed again by an operator".to_owned(),
                lines: Vec::new(),
            });
        }
    }
    steps.sort_by_key(|step| step.at);
    steps
}

fn end_of(row: &LedgerRow) -> (&'static str, &'static str) {
    match row.state.as_str() {
        "done" => ("good", "Done"),
        "cancelled" => ("", "Cancelled"),
        "dead" => ("bad", "Ended without a picture"),
        _ => ("", "Ended"),
    }
}

fn of_call(call: &CallRow) -> Step {
    let lasted = took(Duration::try_from_secs_f64(call.took_s).unwrap_or_default());
    let (class, outcome) = match call.state.as_str() {
        "succeeded" => ("good", format!("succeeded after {lasted}")),
        "failed" => ("bad", format!("failed after {lasted}")),
        "unknown" => ("bad", format!("nobody knows what it brought, after {lasted}")),
        _ => ("soon", format!("open for {lasted}")),
    };
    let mut lines = Vec::new();
    for (name, text) in [
        ("Request", &call.provider_request_id),
        ("Handle", &call.handle),
        ("Class", &call.error_class),
        ("Details", &call.error_details),
    ] {
        if let Some(text) = text {
            lines.push((name, foreign(text)));
        }
    }
    if call.cost_usd.is_some() {
        lines.push(("Cost", cost(call.cost_usd, call.cost_basis.as_deref())));
    }
    Step {
        at: call.sent_at,
        class,
        title: format!(
            "Call {} to {} {}: {outcome}",
            call.call_no, call.provider, call.model
        ),
        lines,
    }
}
