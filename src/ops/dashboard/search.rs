//! From what somebody knows of a job to the job.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use maud::{Markup, html};

use super::forms::{self, encoded, filled};
use super::layout::{foreign, job_link, maybe, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::Hit;
use crate::plain_text::one_line;

/// Longer than any id.
const MOST_CHARS: usize = 200;

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Markup {
    let fields = forms::query(query.as_deref());
    let wanted = one_line(filled(&fields, "q").unwrap_or_default(), MOST_CHARS);
    let find = async {
        match wanted.is_empty() {
            true => Ok(Vec::new()),
            false => in_time(site.sources.db.search(&wanted)).await,
        }
    };
    let (strip, hits) = tokio::join!(site.strips.get(&site.sources), find);
    let body = html! {
        p.note {
            "By job number, image id, user, collection (42 or domain/42), the request id of a provider, the id of a dead package or of a "
            "callback, or how it begins; job 42, image 42 or user 42 means that alone. All are always found, but for those of a user: the "
            "latest, among the latest 20,000 jobs."
        }
        @match hits {
            Ok(hits) => (found(&site, &wanted, &hits)),
            Err(why) => (trouble("What was found", &why)),
        }
    };
    framed(&site, &visitor, &strip, "/search", "Search", body)
}

fn found(site: &Site, written: &str, hits: &[Hit]) -> Markup {
    let wanted = Hit::wanted(written);
    html! {
        @if hits.is_empty() && !written.is_empty() {
            p { "Nothing was found for " (foreign(written)) "." }
            (only_pictures(site))
        }
        @if !hits.is_empty() {
            @for (by, more) in more(hits) {
                p {
                    "Of " (by) " " (foreign(wanted)) " these are the latest " (Hit::MOST) ", and there are more"
                    @if more { ": " a href=(site.path(&format!("/results?{by}={}", encoded(wanted)))) { "all pictures of " (by) " " (foreign(wanted)) } }
                    "."
                }
            }
            div.wide { table {
                caption { "Found for " (foreign(written)) }
                thead { tr { th scope="col" { "Job" } th scope="col" { "Found by" } th scope="col" { "State" } th.n scope="col" { "Image" } } }
                tbody {
                    @for hit in shown(hits) {
                        tr {
                            th scope="row" { @match hit.job_id {
                                Some(job_id) => (job_link(site, job_id)),
                                None => { "none could be read: see " a href=(site.path("/failures")) { "Failures" } },
                            } }
                            td data-label="Found by" { (hit.by) }
                            td data-label="State" { (maybe(hit.state.as_deref().or(hit.job_id.map(|_| "not begun")))) }
                            td.n data-label="Image" { @match hit.image_id { Some(image_id) => (image_id), None => (maybe(None)) } }
                        }
                    }
                }
            } }
        }
    }
}

/// Where to look for jobs that have no picture.
pub(super) fn only_pictures(site: &Site) -> Markup {
    html! {
        p.note {
            "Users and collections are found by their pictures. Jobs that failed are under " a href=(site.path("/failures")) { "Failures" }
            ", those that wait under " a href=(site.path("/running")) { "Running" } "."
        }
    }
}

/// No more by one thing than are shown.
fn shown(hits: &[Hit]) -> impl Iterator<Item = &Hit> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    hits.iter().filter(move |hit| {
        let count = counts.entry(&hit.by).or_default();
        *count += 1;
        *count <= Hit::MOST
    })
}

/// By what there are more, and whether results can be filtered by it.
fn more(hits: &[Hit]) -> Vec<(&str, bool)> {
    let is_more = |by: &&str| hits.iter().filter(|hit| hit.by == **by).count() > Hit::MOST;
    let all = [
        "image",
        "user",
        "collection",
        "request",
        "dead package",
        "callback",
    ]
    .into_iter()
    .filter(is_more);
    all.map(|by| (by, matches!(by, "user" | "collection"))).collect()
}
