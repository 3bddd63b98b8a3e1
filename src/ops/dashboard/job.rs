//! The story of one job, as a timeline, and what can be done about it now.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::layout::{button, foreign, page as framed, trouble};
use super::number::Number;
use super::results::thumbnail;
use super::strip::in_time;
use super::{Site, Visitor, layout};
use crate::db::LedgerRow;
use crate::ops::words::{Facts, Life, Tone, time};

/// Something that has happened to a job.
struct Step {
    at: DateTime<Utc>,
    class: &'static str,
    title: String,
    facts: Facts,
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
    let (db, redis) = (&site.sources.db, &site.sources.redis);
    let found = in_time(Life::find(job_id, db, redis));
    let (strip, found) = tokio::join!(site.strips.get(&site.sources), found);
    let title = format!("Job {job_id}");
    let life = match found {
        Ok(Some(life)) => life,
        Ok(None) => {
            let why = format!(
                "There is no job {job_id}: neither ac_background_jobs nor the ledger has a row of it."
            );
            return layout::not_found(site, visitor, &why).await;
        }
        Err(why) => {
            let page = framed(site, visitor, &strip, "", &title, trouble("The story", &why));
            return (StatusCode::SERVICE_UNAVAILABLE, page).into_response();
        }
    };
    let body = story(site, visitor, &life, prompt);
    framed(site, visitor, &strip, "", &title, body).into_response()
}

fn story(site: &Site, visitor: &Visitor, life: &Life, prompt: Option<Markup>) -> Markup {
    let job_id = life.job_id;
    let ledger = life.story.ledger.as_ref();
    let is_deletion = ledger.is_some_and(|row| row.state == "done" && row.object_keys.is_none());
    let is_gone = life.story.image.as_ref().is_some_and(|image| image.deleted);
    let picture = ledger
        .filter(|row| row.object_keys.is_some() && !is_gone)
        .and_then(|row| row.image_id);
    html! {
        p.headline { (foreign(&life.headline())) }
        div.story {
            div {
                (ways(site, visitor, life))
                dl.facts {
                    (named(&life.facts()))
                    @if !is_deletion { div { dt { "prompt" } dd { (prompt.unwrap_or_else(|| masked(site, visitor, job_id))) } } }
                }
                h2 { "What happened" }
                ol.timeline { @for step in steps(life) { (line(&step)) } }
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
fn ways(site: &Site, visitor: &Visitor, life: &Life) -> Markup {
    let (job_id, story) = (life.job_id, &life.story);
    let state = story.ledger.as_ref().map(|row| &*row.state);
    // Refused before it was begun: it has nothing to be cancelled.
    let has_failed = state.is_none() && story.shown.as_ref().is_some_and(|row| row.error.is_some());
    let is_dead = story.dead.iter().any(|package| package.retried_at.is_none());
    let is_open = |call: &crate::db::CallRow| matches!(&*call.state, "intended" | "accepted");
    let waits_with_others = life
        .waits
        .as_ref()
        .is_some_and(|waits| waits.shared_end().is_some());
    let is_drawn = life
        .owner
        .as_ref()
        .is_some_and(|owner| matches!(owner.is_alive, Ok(true)));
    let has_own_wait = match state {
        Some("retry_wait") => !waits_with_others || story.calls.iter().any(is_open),
        Some("begun") => !is_drawn,
        _ => false,
    };
    let way = |deed: &str, label: &str, class: &str| {
        button(site, visitor, &format!("/jobs/{job_id}/{deed}"), label, class)
    };
    html! {
        @if visitor.is_operator() {
            div.ways {
                @if state == Some("held") { (way("release", "Release: another picture may be bought", "")) }
                @if has_own_wait {
                    (way("release", "End its wait", ""))
                    p.note { "This can take as long as half of LEASE_TTL: a replica that may have the picture has to be gone for certain." }
                }
                @if story.callbacks.iter().any(|callback| callback.state == "failed") {
                    a.button href=(site.path("/callbacks")) { "Callbacks that were given up" }
                }
                @if is_dead && matches!(state, None | Some("dead")) { (way("retry", "Retry", "")) }
                @if matches!(state, None | Some("waiting" | "begun" | "retry_wait" | "held")) && !is_dead && !has_failed && story.shown.is_some() {
                    (way("cancel", "Cancel", "danger"))
                }
            }
        }
    }
}

fn named(facts: &Facts) -> Markup {
    html! { @for (name, value) in facts { div { dt { (name) } dd { (foreign(value)) } } } }
}

fn line(step: &Step) -> Markup {
    html! {
        li class=(step.class) {
            p { time datetime=(step.at.to_rfc3339()) { (time(step.at)) } " " strong { (foreign(&step.title)) } }
            @if !step.facts.is_empty() { dl { (named(&step.facts)) } }
        }
    }
}

/// In the order in which it happened.
fn steps(life: &Life) -> Vec<Step> {
    let step = |at, class, title: &str| Step {
        at,
        class,
        title: title.to_owned(),
        facts: Facts::new(),
    };
    let story = &life.story;
    let made = story.shown.as_ref().and_then(|row| row.created_at);
    let mut steps: Vec<Step> = made
        .map(|at| step(at, "", "the application made the job"))
        .into_iter()
        .collect();
    if let Some(row) = &story.ledger {
        // One that was cancelled before any replica had it was never begun.
        let begun = (row.deliveries > 0).then(|| step(row.begun_at, "", "begun, the last time"));
        steps.extend(begun);
        // What is due and not worked on waits for something else than its time.
        let is_ahead = row.state == "retry_wait" && row.due_in_s.is_some_and(|due_in| due_in > 0.0);
        let next = row.next_attempt_at.filter(|_| is_ahead);
        steps.extend(next.map(|at| step(at, "soon", "next attempt")));
        let (class, title) = end_of(row);
        steps.extend(row.finished_at.map(|at| step(at, class, title)));
    }
    let retried = story.dead.iter().filter_map(|package| package.retried_at);
    steps.extend(retried.map(|at| step(at, "", "pushed again by an operator")));
    steps.extend(life.chapters().into_iter().map(|chapter| Step {
        at: chapter.at,
        class: match chapter.tone {
            Tone::Neither => "",
            Tone::Good => "good",
            Tone::Bad => "bad",
            Tone::Open => "soon",
        },
        title: chapter.title,
        facts: chapter.facts,
    }));
    steps.sort_by_key(|step| step.at);
    steps
}

fn end_of(row: &LedgerRow) -> (&'static str, &'static str) {
    match row.state.as_str() {
        "done" => ("good", "done"),
        "cancelled" => ("", "cancelled"),
        "dead" => ("bad", "ended without a picture"),
        _ => ("", "ended"),
    }
}
