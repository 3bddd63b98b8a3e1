//! What an operator should know before anything else: the cause first, and nothing that rests on what could not be asked.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::layout::{foreign, job_link, plain_button};
use super::strip::{Strip, in_time};
use super::{Site, Visitor};
use crate::findings::{Findings, Grade};
use crate::ops::words::{near_budgets, now_of, stuck, time};
use crate::queue::Overview;

/// Its own wait is shorter than that of a picture which was paid for.
const NO_STORE: &str = "The store of pictures does not answer: bring it back. Pictures that were paid for are kept for ten minutes and stored by \
    themselves then; jobs that fail of it meanwhile have the class storage, and are retried under Failures.";

/// Something that an operator should know.
pub(super) struct Warning {
    text: String,
    /// Whether all else waits for it.
    is_cause: bool,
    /// The numbers of jobs in it, as they stand there.
    jobs: Option<String>,
    /// What ends it: a path and the words on its button.
    cure: Option<(String, &'static str)>,
    /// The page that says more: its path and its name.
    more: Option<(&'static str, &'static str)>,
}

impl Warning {
    fn of(text: String) -> Self {
        Self {
            text,
            is_cause: false,
            jobs: None,
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

    /// A server that does not answer.
    fn away(server: &str, since: Option<DateTime<Utc>>) -> Self {
        let since = time(since.unwrap_or_else(Utc::now));
        Self {
            is_cause: true,
            ..Self::of(format!(
                "{server} does not answer since {since}, or longer: bring it back. Replicas go on by themselves then, and nothing else \
                 is to be done."
            ))
        }
    }
}

/// A finding as it stands alone.
fn sentence(finding: &str) -> String {
    let mut chars = finding.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

/// What of it is bad.
fn bad(look: impl FnOnce(&mut Findings)) -> Vec<Warning> {
    let mut findings = Findings::default();
    look(&mut findings);
    let bad = findings.iter().filter(|(grade, ..)| *grade != Grade::Ok);
    bad.map(|(_, _, text)| Warning::of(sentence(text))).collect()
}

/// What was seen.
pub(super) struct Seen {
    pub(super) warnings: Vec<Warning>,
    pub(super) is_postgres_away: bool,
    /// Of the job that comes next on each list that has one: how long ago its row was made, in seconds. `None`: Postgres does not say.
    pub(super) ages_s: Option<Vec<Option<f64>>>,
}

/// Asks what the strip does not know, and says what is bad and what is not known.
pub(super) async fn look(site: &Site, strip: &Strip) -> Seen {
    let overview = strip.redis.as_ref().as_ref().ok();
    let db = &site.sources.db;
    let queue = site.sources.redis.keys().inbox();
    let live: Vec<String> = overview
        .into_iter()
        .flat_map(|overview| &overview.replicas)
        .filter(|replica| replica.has_lease)
        .map(|replica| replica.worker_id.clone())
        .collect();
    let lists = overview.into_iter().flat_map(|overview| &overview.depths.waiting);
    let next_jobs: Vec<i32> = lists.filter_map(|list| list.next_job_id).collect();
    let budgets = &site.sources.budgets;
    let asked = budgets.asked();
    let store = site.store.get(&site.sources.storage);
    let ask = async {
        match &strip.totals {
            Ok(_) => tokio::join!(
                in_time(db.stuck(queue, &live, &next_jobs)),
                in_time(db.budget_uses(&asked))
            ),
            // It has just not answered, and is not waited for again.
            Err(why) => (Err(why.clone()), Err(why.clone())),
        }
    };
    let ((found, uses), store_answers) = tokio::join!(ask, store);
    let is_postgres_away = found.is_err();
    let ages_s = found.as_ref().ok().map(|found| found.ages_s.clone());
    let mut all = Vec::new();
    let mut unknown = Vec::new();
    if overview.is_none() {
        all.push(Warning::away("Redis", strip.redis_since));
        unknown.push("what waits, which replicas run, which providers are left alone");
    }
    if is_postgres_away {
        all.push(Warning::away("Postgres", strip.postgres_since));
    }
    if !store_answers {
        all.push(Warning {
            is_cause: true,
            ..Warning::of(NO_STORE.to_owned())
        });
    }
    if found.is_err() {
        unknown.push("which jobs are held or left by their replicas");
        unknown.push("which callbacks wait");
    }
    if uses.is_err() && !asked.is_empty() {
        unknown.push("what is used of budgets");
    }
    if !unknown.is_empty() {
        all.push(Warning::of(format!(
            "Not known meanwhile: {}.",
            unknown.join("; ")
        )));
    }
    if let Some(overview) = overview {
        all.extend(of_queue(site, overview, is_postgres_away));
    }
    if let Ok(found) = &found {
        let given_up = bad(|findings| stuck::callbacks(findings, found.callbacks));
        all.extend(
            given_up
                .into_iter()
                .map(|warning| warning.see("/callbacks", "Callbacks")),
        );
    }
    if let Ok(mut found) = found {
        if overview.is_none() {
            // Who holds a lease is not known.
            found.ownerless = 0;
        }
        let jobs = found.held_jobs.clone();
        all.extend(
            bad(|findings| stuck::jobs(findings, &found))
                .into_iter()
                .map(|warning| {
                    let jobs = jobs
                        .clone()
                        .filter(|jobs| warning.text.contains(&format!("({jobs})")));
                    Warning { jobs, ..warning }.see("/running", "Running")
                }),
        );
    }
    all.extend(overview.into_iter().flat_map(shut));
    let parks = overview.map_or(&[][..], |overview| &overview.budgets);
    let near = near_budgets(budgets, &uses.unwrap_or_default(), parks);
    all.extend(
        near.into_iter()
            .map(|text| Warning::of(text).see("/providers", "Providers")),
    );
    Seen {
        warnings: all,
        is_postgres_away,
        ages_s,
    }
}

/// What Redis says of the queue. Without Postgres no replica works, which is no fault of theirs.
fn of_queue(site: &Site, overview: &Overview, is_postgres_away: bool) -> Vec<Warning> {
    let keys = site.sources.redis.keys();
    let paused = overview.paused.as_ref().map(|note| Warning {
        cure: Some(("/resume".to_owned(), "Resume")),
        ..Warning::of(sentence(&stuck::paused(note)))
    });
    let mut all: Vec<Warning> = paused.into_iter().collect();
    if !is_postgres_away {
        all.extend(bad(|findings| {
            stuck::taking(findings, overview);
            stuck::left(findings, overview);
        }));
    }
    all.extend(bad(|findings| stuck::strays(findings, overview, keys)));
    let set_aside = bad(|findings| stuck::set_aside(findings, overview));
    all.extend(
        set_aside
            .into_iter()
            .map(|warning| warning.see("/callbacks", "Set aside")),
    );
    all
}

/// Providers that are not called.
fn shut(overview: &Overview) -> impl Iterator<Item = Warning> {
    overview.providers.iter().filter_map(|room| {
        let state = room.state.as_ref().filter(|state| state.is_shut())?;
        let warning = Warning::of(format!("{}: {}.", room.provider, now_of(state)));
        Some(Warning {
            cure: Some((format!("/providers/{}/resume", room.provider), "Resume")),
            ..warning.see("/providers", "Providers")
        })
    })
}

/// All of them, or that there are none.
pub(super) fn list(site: &Site, visitor: &Visitor, warnings: &[Warning]) -> Markup {
    html! {
        @if warnings.is_empty() { p.well { "Nothing needs you: no pause, no provider that is shut, nothing held or stuck." } }
        @else {
            ul.warnings {
                @for warning in warnings {
                    li.cause[warning.is_cause] {
                        span {
                            (text(site, warning))
                            @if let Some((path, name)) = warning.more { " " a href=(site.path(path)) { (name) } }
                        }
                        @if let Some((path, label)) = warning.cure.as_ref().filter(|_| visitor.is_operator()) {
                            (plain_button(site, path, label, ""))
                        }
                    }
                }
            }
        }
    }
}

/// The numbers of jobs, which stand in brackets, lead to their pages.
fn text(site: &Site, warning: &Warning) -> Markup {
    let parts = warning.jobs.as_ref().and_then(|jobs| {
        let (before, after) = warning.text.split_once(&format!("({jobs})"))?;
        Some((before, jobs.split(", "), after))
    });
    html! {
        @match parts {
            None => (foreign(&warning.text)),
            Some((before, jobs, after)) => {
                (before) "("
                @for (place, job) in jobs.enumerate() {
                    @if place > 0 { ", " }
                    @match job.parse() { Ok(job_id) => (job_link(site, job_id)), Err(_) => (job) }
                }
                ")" (after)
            }
        }
    }
}
