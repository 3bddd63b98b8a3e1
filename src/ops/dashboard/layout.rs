//! What all pages have around them, and how foreign text stands in them.
//!
//! Templates escape; beyond that, whatever a producer or a service has written goes through `plain_text` and stands in a
//! `bdi`, so that it can neither turn the line around nor pass for a part of the page.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::Site;
use super::gate::Visitor;
use super::strip::Strip;
use crate::plain_text::one_line;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// A mark of our own, as nothing is fetched from elsewhere.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' \
    height='16' rx='4' fill='%234353d9'/%3E%3Cpath d='M3 12l3.5-5 2.5 3 1.5-2 2.5 4z' fill='%23fff'/%3E%3Ccircle cx='11' cy='5' \
    r='1.5' fill='%23ffd166'/%3E%3C/svg%3E";

const PAGES: [(&str, &str); 5] = [
    ("/", "Overview"),
    ("/running", "Running"),
    ("/results", "Results"),
    ("/failures", "Failures"),
    ("/providers", "Providers"),
];

/// As much of a foreign text as is shown in a line.
const FOREIGN_CHARS: usize = 300;

/// A text that somebody else has written.
pub(super) fn foreign(text: &str) -> Markup {
    html! { bdi dir="auto" { (one_line(text, FOREIGN_CHARS)) } }
}

/// The same where there may be none.
pub(super) fn maybe(text: Option<&str>) -> Markup {
    match text.filter(|text| !text.is_empty()) {
        Some(text) => foreign(text),
        None => html! { span.none { "–" } },
    }
}

/// `$0.0421`, `$12.30`
pub(super) fn usd(usd: f64) -> String {
    if usd.abs() >= 1.0 || usd == 0.0 {
        format!("${usd:.2}")
    } else {
        format!("${usd:.4}")
    }
}

/// A frame without totals and ways, for who may not see them.
pub(super) fn bare(visitor: &Visitor, title: &str, body: Markup) -> Markup {
    document(visitor, title, None, html! { main.bare { (body) } })
}

fn document(visitor: &Visitor, title: &str, events: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="robots" content="noindex";
                title { (title) " · image worker" }
                link rel="icon" href=(ICON);
                style nonce=(visitor.nonce) { (PreEscaped(STYLE)) }
            }
            body data-events=[events] {
                (body)
                @if events.is_some() { script nonce=(visitor.nonce) { (PreEscaped(SCRIPT)) } }
            }
        }
    }
}

/// A page of the site.
pub(super) fn page(
    site: &Site,
    visitor: &Visitor,
    strip: &Strip,
    here: &str,
    title: &str,
    body: Markup,
) -> Markup {
    let queue = site.sources.redis.keys().inbox();
    let events = site.path("/events");
    let inner = html! {
        a.skip href="#content" { "Skip to the content" }
        header {
            div.bar {
                a.brand href=(site.path("/")) { "Image worker " span.queue { (foreign(queue)) } }
                nav aria-label="Pages" {
                    @for (path, name) in PAGES {
                        a href=(site.path(path)) aria-current=[(path == here).then_some("page")] { (name) }
                    }
                }
                form.search role="search" method="get" action=(site.path("/search")) {
                    input type="search" name="q" aria-label="Job, image, collection, user or request id" placeholder="Job, image, request …";
                    button type="submit" { "Find" }
                }
                div.role {
                    @if visitor.is_operator() { "operator" } @else { "viewer" }
                    @if visitor.has_session { " " (plain_button(site, "/logout", "Log out", "quiet")) }
                }
            }
            (strip.render())
        }
        main #content { h1 { (title) } (body) }
        footer { p {
            a href=(site.path("/callbacks")) { "Callbacks and packages set aside" } " · " a href=(site.path("/actions")) { "Who did what" }
        } }
    };
    document(visitor, title, Some(&events), inner)
}

/// A button, for whoever may change something. A `danger` asks first, and takes a reason for the person who waits.
pub(super) fn button(site: &Site, visitor: &Visitor, path: &str, label: &str, class: &str) -> Markup {
    html! {
        @if visitor.is_operator() {
            @if class == "danger" {
                details.sure {
                    summary.button.danger { (label) " …" }
                    form method="post" action=(site.path(path)) {
                        label { "Why, for who waits (or nothing)" input type="text" name="reason" maxlength="200"; }
                        button.danger type="submit" { (label) }
                    }
                }
            } @else { (plain_button(site, path, label, class)) }
        }
    }
}

/// A form that is one button.
pub(super) fn plain_button(site: &Site, path: &str, label: &str, class: &str) -> Markup {
    html! {
        form.inline method="post" action=(site.path(path)) { button.(class) type="submit" { (label) } }
    }
}

/// A link to the story of a job.
pub(super) fn job_link(site: &Site, job_id: i32) -> Markup {
    html! { a href=(site.path(&format!("/jobs/{job_id}"))) { (job_id) } }
}

/// Why a part of a page is missing.
pub(super) fn trouble(what: &str, why: &str) -> Markup {
    html! { p.wrong role="alert" { (what) " cannot be shown: " (why) } }
}

/// What a change has come to.
pub(super) async fn outcome(
    site: &Site,
    visitor: &Visitor,
    status: StatusCode,
    said: &str,
    back: &str,
) -> Response {
    site.strips.forget().await;
    site.groups.forget().await;
    let strip = site.strips.get(&site.sources).await;
    let title = if status.is_success() {
        "Done"
    } else {
        "Nothing was changed"
    };
    let body = html! {
        p.outcome role="status" { (foreign(said)) }
        p { a href=(site.path(back)) { "Back" } " · " a href=(site.path("/actions")) { "What was done before" } }
    };
    (status, page(site, visitor, &strip, "", title, body)).into_response()
}

/// For paths that lead nowhere.
pub(super) async fn nothing_here(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
) -> Response {
    not_found(&site, &visitor, "There is nothing at this address.").await
}

pub(super) async fn not_found(site: &Site, visitor: &Visitor, why: &str) -> Response {
    let strip = site.strips.get(&site.sources).await;
    let body = html! { p { (foreign(why)) } };
    (
        StatusCode::NOT_FOUND,
        page(site, visitor, &strip, "", "Not found", body),
    )
        .into_response()
}
