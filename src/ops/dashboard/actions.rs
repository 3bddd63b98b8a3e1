//! Who did what, when, and what came of it: what the command `actions` tells.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use super::layout::{foreign, maybe, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::Action;
use crate::ops::words::{outcome_of, time};

const MOST: i64 = 100;

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let queue = site.sources.redis.keys().inbox();
    let (strip, actions) = tokio::join!(
        site.strips.get(&site.sources),
        in_time(site.sources.db.actions(queue, MOST))
    );
    let body = match actions {
        Ok(actions) => table(&actions),
        Err(why) => trouble("Who did what", &why),
    };
    framed(&site, &visitor, &strip, "/actions", "Who did what", body)
}

fn table(actions: &[Action]) -> Markup {
    html! {
        p.note { "What was changed with commands and on this page, the latest first: at the most " (MOST) "." }
        div.wide { table {
            caption { "Changes" }
            thead { tr {
                th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "About" }
                th.n scope="col" { "How many" } th scope="col" { "What came of it" }
            } }
            tbody {
                @if actions.is_empty() { tr { td colspan="6" { "Nothing has been changed yet." } } }
                @for action in actions {
                    tr {
                        th.t scope="row" { (time(action.begun_at)) }
                        td data-label="Who" { (foreign(&action.who)) }
                        td data-label="What" { (foreign(&action.action)) }
                        td data-label="About" { (foreign(&action.subject)) }
                        td.n data-label="How many" { (maybe(action.count.map(|count| count.to_string()).as_deref())) }
                        td.said data-label="What came of it" { (foreign(outcome_of(action))) }
                    }
                }
            }
        } }
    }
}
