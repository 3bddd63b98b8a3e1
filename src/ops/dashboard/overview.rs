//! The first page: the lists, the replicas, and what an operator should know before anything else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use super::layout::{button, foreign, job_link, maybe, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::{CallbackCounts, Stuck};
use crate::findings::{Findings, Grade};
use crate::ops::words::{age, age_of_seconds, near_budgets, now_of, stuck};
use crate::queue::{Gone, Keys, Overview, Replica};

/// Replicas that are gone for longer are not shown.
const GONE_MS: i64 = 24 * 60 * 60 * 1_000;
const GONE_MOST: usize = 10;
/// Budgets that are shown with what waits for them.
const BUDGETS_MOST: usize = 10;

/// Something that an operator should know.
struct Warning {
    text: String,
    /// What ends it: a path and the words on its button.
    cure: Option<(String, &'static str)>,
    /// The page that says more: its path and its name.
    more: Option<(&'static str, &'static str)>,
}

impl Warning {
    fn of(text: String) -> Self {
        Self {
            text,
            cure: None,
            more: None,
        }
    }

    fn see(self, path: &'static str, name: &'static str) -> Self {
        Self {
            more: Some((path, name)),
            ..self
        }
    }
}

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let strip = site.strips.get(&site.sources).await;
    let redis = Arc::clone(&strip.redis);
    let body = match redis.as_ref() {
        Ok(overview) => of(&site, &visitor, overview).await,
        Err(why) => trouble("The queue", why),
    };
    framed(&site, &visitor, &strip, "/", "Overview", body)
}

async fn of(site: &Site, visitor: &Visitor, overview: &Overview) -> Markup {
    let db = &site.sources.db;
    let queue = site.sources.redis.keys().inbox();
    let live: Vec<String> = overview
        .replicas
        .iter()
        .filter(|replica| replica.has_lease)
        .map(|replica| replica.worker_id.clone())
        .collect();
    let next: Vec<i32> = overview
        .depths
        .waiting
        .iter()
        .filter_map(|list| list.next_job_id)
        .collect();
    let budgets = &site.sources.budgets;
    let asked = budgets.asked();
    let (found, ages, uses, callbacks) = tokio::join!(
        in_time(db.stuck(queue, &live)),
        in_time(db.ages_of(next)),
        in_time(db.budget_uses(&asked)),
        in_time(db.callback_counts(queue))
    );
    let keys = site.sources.redis.keys();
    let mut warnings = warnings(
        overview,
        keys,
        found.unwrap_or_default(),
        callbacks.unwrap_or_default(),
    );
    let near = near_budgets(budgets, &uses.unwrap_or_default(), &overview.budgets);
    warnings.extend(
        near.into_iter()
            .map(|text| Warning::of(text).see("/providers", "Providers")),
    );
    html! {
        @if warnings.is_empty() { p.well { "Nothing needs you: no pause, no provider that is shut, nothing held or stuck." } }
        @else {
            ul.warnings {
                @for warning in &warnings {
                    li {
                        span {
                            (foreign(&warning.text))
                            @if let Some((path, name)) = warning.more { " " a href=(site.path(path)) { (name) } }
                        }
                        @if let Some((path, label)) = warning.cure.as_ref().filter(|_| visitor.is_operator()) {
                            (button(site, visitor, path, label, ""))
                        }
                    }
                }
            }
        }
        div.columns {
            (lists(site, overview, &ages.unwrap_or_default()))
            (replicas(&overview.replicas))
        }
        (gone(site, &overview.gone))
        @if visitor.is_operator() && overview.paused.is_none() {
            details.change {
                summary { "Pause the queue" }
                p { "No replica takes new work until somebody resumes it. What is in hand is finished." }
                (button(site, visitor, "/pause", "Pause", "danger"))
            }
        }
    }
}

/// A finding as it stands alone.
fn sentence(finding: &str) -> String {
    let mut chars = finding.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

fn warnings(overview: &Overview, keys: &Keys, found: Stuck, counts: CallbackCounts) -> Vec<Warning> {
    let paused = overview.paused.as_ref().map(|note| Warning {
        cure: Some(("/resume".to_owned(), "Resume")),
        ..Warning::of(sentence(&stuck::paused(note)))
    });
    let mut queue = Findings::default();
    stuck::taking(&mut queue, overview);
    stuck::packages(&mut queue, overview, keys);
    stuck::callbacks(&mut queue, counts);
    let mut jobs = Findings::default();
    stuck::jobs(&mut jobs, found);
    let shut = overview.providers.iter().filter_map(|room| {
        let state = room.state.as_ref().filter(|state| state.is_shut())?;
        let warning = Warning::of(format!("{}: {}.", room.provider, now_of(state)));
        Some(Warning {
            cure: Some((format!("/providers/{}/resume", room.provider), "Resume")),
            ..warning.see("/providers", "Providers")
        })
    });
    let bad = |findings: &Findings| -> Vec<Warning> {
        let bad = findings.iter().filter(|(grade, ..)| *grade != Grade::Ok);
        bad.map(|(_, _, text)| Warning::of(sentence(text))).collect()
    };
    let jobs = bad(&jobs)
        .into_iter()
        .map(|warning| warning.see("/running", "Running"));
    paused
        .into_iter()
        .chain(bad(&queue))
        .chain(jobs)
        .chain(shut)
        .collect()
}

pub(super) fn age_of_ms(ms: i64) -> String {
    age(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

fn lists(site: &Site, overview: &Overview, ages: &HashMap<i32, f64>) -> Markup {
    html! {
        section {
            table {
                caption { "Lists" }
                thead { tr { th scope="col" { "List" } th.n scope="col" { "Packages" } th scope="col" { "Next job" } th.n scope="col" { "Age" } } }
                tbody {
                    @for list in &overview.depths.waiting {
                        tr {
                            th scope="row" { (list.priority) }
                            td.n { (list.count) }
                            td { @match list.next_job_id { Some(job_id) => (job_link(site, job_id)), None => (maybe(None)) } }
                            td.n { @match list.next_job_id.and_then(|job_id| ages.get(&job_id)) {
                                Some(age) => (age_of_seconds(*age)),
                                None => (maybe(None)),
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
    html! { tr { th scope="row" { (foreign(name)) } td.n { (count) } td {} td.n { (maybe(age.as_deref())) } } }
}

fn replicas(replicas: &[Replica]) -> Markup {
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
                            (true, None) => "not able",
                            (true, Some(ping)) => &*ping.state,
                        };
                        tr {
                            th scope="row" { (foreign(&replica.worker_id)) }
                            td { span.badge.(if state == "running" { "good" } else { "bad" }) { (foreign(state)) } }
                            td.n { (replica.landing + replica.processing) @if let Some(ping) = ping { "/" (ping.concurrency) } }
                            td.n { @match ping { Some(ping) => (ping.completed), None => (maybe(None)) } }
                            td.n { @match ping { Some(ping) => (ping.failed), None => (maybe(None)) } }
                            td { (maybe(ping.map(|ping| &*ping.version))) }
                            td.n { @match replica.ping_age_ms { Some(ms) => (age_of_ms(ms)), None => (maybe(None)) } }
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
                                td.n { (age_of_ms(gone.silent_for_ms)) }
                                td.n { (gone.packages) }
                                td.jobs { @for job_id in gone.job_ids.iter().take(GONE_MOST) { (job_link(site, *job_id)) " " } }
                            }
                        }
                    }
                }
            }
        }
    }
}
