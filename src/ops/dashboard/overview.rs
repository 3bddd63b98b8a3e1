//! The first page: the lists, the replicas, and what an operator should know before anything else.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use super::layout::{foreign, job_link, maybe, page as framed, plain_button, trouble};
use super::warnings::{self, Seen};
use super::{Site, Visitor};
use crate::ops::words::{age, age_of_seconds};
use crate::queue::{Gone, Overview, Replica};

/// Replicas that are gone for longer are not shown.
const GONE_MS: i64 = 24 * 60 * 60 * 1_000;
const GONE_MOST: usize = 10;
/// Budgets that are shown with what waits for them.
const BUDGETS_MOST: usize = 10;

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let strip = site.strips.get(&site.sources).await;
    let redis = Arc::clone(&strip.redis);
    let seen = warnings::look(&site, &strip).await;
    let body = html! {
        (warnings::list(&site, &visitor, &seen.warnings))
        @match redis.as_ref() {
            Ok(overview) => (of(&site, &visitor, overview, &seen)),
            Err(why) => (trouble("The queue", why)),
        }
    };
    framed(&site, &visitor, &strip, "/", "Overview", body)
}

fn of(site: &Site, visitor: &Visitor, overview: &Overview, seen: &Seen) -> Markup {
    html! {
        div.columns {
            (lists(site, overview, seen.ages_s.as_deref()))
            (replicas(&overview.replicas, seen.is_postgres_away))
        }
        (gone(site, &overview.gone))
        @if visitor.is_operator() && overview.paused.is_none() {
            details.change {
                summary { "Pause the queue" }
                p { "No replica takes new work until somebody resumes it. What is in hand is finished." }
                (plain_button(site, "/pause", "Pause", "danger"))
            }
        }
    }
}

pub(super) fn age_of_ms(ms: i64) -> String {
    age(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

/// `ages_s`: of the jobs that come next; `None`: they are not known.
fn lists(site: &Site, overview: &Overview, ages_s: Option<&[Option<f64>]>) -> Markup {
    let mut ages = ages_s.map(|ages| ages.iter());
    html! {
        section {
            table {
                caption { "Lists" }
                thead { tr { th scope="col" { "List" } th.n scope="col" { "Packages" } th scope="col" { "Next job" } th.n scope="col" { "Age" } } }
                tbody {
                    @for list in &overview.depths.waiting {
                        tr {
                            th scope="row" { (list.priority) }
                            td.n data-label="Packages" { (list.count) }
                            td data-label="Next job" { @match list.next_job_id { Some(job_id) => (job_link(site, job_id)), None => (maybe(None)) } }
                            td.n data-label="Age" { @match (list.next_job_id, &mut ages) {
                                (Some(_), None) => "?",
                                (Some(_), Some(ages)) => (maybe(ages.next().copied().flatten().map(age_of_seconds).as_deref())),
                                (None, _) => (maybe(None)),
                            } }
                        }
                    }
                    (row("delayed", overview.depths.delayed, overview.next_due_in_ms.map(|ms| match ms {
                        0.. => format!("next in {}", age_of_ms(ms)),
                        _ => format!("due for {}", age_of_ms(-ms)),
                    })))
                    @for room in overview.providers.iter().filter(|room| room.parked > 0) {
                        (row(&format!("parked: {}", room.provider), room.parked, None))
                    }
                    @for park in overview.budgets.iter().take(BUDGETS_MOST) {
                        (row(&format!("parked: budget {}", park.budget), park.parked, None))
                    }
                    (row("in flight", overview.depths.in_flight, overview.oldest_in_flight.as_ref().map(|oldest| age_of_ms(oldest.for_ms))))
                    (row("set aside", overview.depths.set_aside, None))
                }
            }
        }
    }
}

fn row(name: &str, count: u64, age: Option<String>) -> Markup {
    html! {
        tr {
            th scope="row" { (foreign(name)) } td.n data-label="Packages" { (count) } td {}
            td.n data-label="Age" { (maybe(age.as_deref())) }
        }
    }
}

fn replicas(replicas: &[Replica], is_postgres_away: bool) -> Markup {
    html! {
        section {
            table {
                caption { "Replicas" }
                thead { tr {
                    th scope="col" { "Replica" } th scope="col" { "State" } th.n scope="col" { "In hand" }
                    th.n scope="col" { "Done" } th.n scope="col" { "Failed" } th scope="col" { "Version" } th.n scope="col" { "Ping" }
                } }
                tbody {
                    @if replicas.is_empty() { tr { td colspan="7" { "None is running." } } }
                    @for replica in replicas {
                        @let ping = replica.ping.as_ref();
                        @let state = match (replica.has_lease, ping) {
                            (false, _) => "gone",
                            (true, None) if is_postgres_away => "waits for Postgres",
                            (true, None) => "not able",
                            (true, Some(ping)) => &*ping.state,
                        };
                        tr {
                            th scope="row" { (foreign(&replica.worker_id)) }
                            td data-label="State" { span.badge.(if state == "running" { "good" } else { "bad" }) { (foreign(state)) } }
                            td.n data-label="In hand" { (replica.landing + replica.processing) @if let Some(ping) = ping { "/" (ping.concurrency) } }
                            td.n data-label="Done" { @match ping { Some(ping) => (ping.completed), None => (maybe(None)) } }
                            td.n data-label="Failed" { @match ping { Some(ping) => (ping.failed), None => (maybe(None)) } }
                            td data-label="Version" { (maybe(ping.map(|ping| &*ping.version))) }
                            td.n data-label="Ping" { @match replica.ping_age_ms { Some(ms) => (age_of_ms(ms)), None => (maybe(None)) } }
                        }
                    }
                }
            }
        }
    }
}

fn gone(site: &Site, gone: &[Gone]) -> Markup {
    let recent: Vec<&Gone> = gone
        .iter()
        .filter(|gone| gone.recovered_for_ms < GONE_MS)
        .take(GONE_MOST)
        .collect();
    html! {
        @if !recent.is_empty() {
            section {
                table {
                    caption { "Replicas that died within a day" }
                    thead { tr {
                        th scope="col" { "Replica" } th.n scope="col" { "Silent for" } th.n scope="col" { "Packages" } th scope="col" { "Jobs" }
                    } }
                    tbody {
                        @for gone in recent {
                            tr {
                                th scope="row" { (foreign(&gone.worker_id)) }
                                td.n data-label="Silent for" { (age_of_ms(gone.silent_for_ms)) }
                                td.n data-label="Packages" { (gone.packages) }
                                td.jobs data-label="Jobs" { @for job_id in gone.job_ids.iter().take(GONE_MOST) { (job_link(site, *job_id)) " " } }
                            }
                        }
                    }
                }
            }
        }
    }
}
