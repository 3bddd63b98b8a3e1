//! From what somebody knows of a job to the job.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use maud::{Markup, html};

use super::forms::{self, filled};
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
        p.note { "By job number, image id, user, collection (42 or domain/42) or the request id of a provider. All are always found, but for those of a user: the latest, among the latest 20,000 jobs." }
        @match hits {
            Ok(hits) => (found(&site, &wanted, &hits)),
            Err(why) => (trouble("What was found", &why)),
        }
    };
    framed(&site, &visitor, &strip, "/search", "Search", body)
}

fn found(site: &Site, wanted: &str, hits: &[Hit]) -> Markup {
    html! {
        @if hits.is_empty() && !wanted.is_empty() { p { "Nothing was found for " (foreign(wanted)) "." } }
        @if !hits.is_empty() {
            table {
                caption { "Found for " (foreign(wanted)) }
                thead { tr { th scope="col" { "Job" } th scope="col" { "Found by" } th scope="col" { "State" } th.n scope="col" { "Image" } } }
                tbody {
                    @for hit in hits {
                        tr {
                            th scope="row" { (job_link(site, hit.job_id)) }
                            td { (hit.by) }
                            td { (maybe(hit.state.as_deref().or(Some("not begun")))) }
                            td.n { @match hit.image_id { Some(image_id) => (image_id), None => (maybe(None)) } }
                        }
                    }
                }
            }
        }
    }
}
