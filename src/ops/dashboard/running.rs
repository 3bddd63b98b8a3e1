//! What is being drawn, and what waits for a time or for an operator.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use maud::{Markup, html};

use super::layout::{button, foreign, job_link, maybe, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::UnfinishedJob;
use crate::failure::{ErrorClass, Failure};
use crate::ops::words::age_of_seconds;

const MOST: i64 = 200;

pub(super) async fn page(State(site): State<Arc<Site>>, Extension(visitor): Extension<Visitor>) -> Markup {
    let queue = site.sources.redis.keys().inbox();
    let (strip, jobs) = tokio::join!(
        site.strips.get(&site.sources),
        in_time(site.sources.db.unfinished(queue, MOST))
    );
    let body = match jobs {
        Ok(jobs) => {
            let (begun, waiting): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.state == "begun");
            html! {
                (running(&site, &visitor, &begun))
                @if !waiting.is_empty() { (waits(&site, &visitor, &waiting)) }
            }
        }
        Err(why) => trouble("What runs", &why),
    };
    framed(&site, &visitor, &strip, "/running", "Running", body)
}

/// What a job does, as far as its rows say.
fn stage(job: &UnfinishedJob) -> &'static str {
    match (job.call_state.as_deref(), job.progress) {
        (Some("accepted"), _) => "ordered, being drawn",
        (Some(_), _) => "being drawn",
        (None, Some(progress)) if progress >= 60 => "being stored",
        (None, _) => "begun",
    }
}

fn cancel(site: &Site, visitor: &Visitor, job: &UnfinishedJob) -> Markup {
    html! {
        @if visitor.is_operator() {
            (button(site, visitor, &format!("/jobs/{}/cancel", job.job_id), "Cancel", "danger"))
        }
    }
}

fn running(site: &Site, visitor: &Visitor, jobs: &[UnfinishedJob]) -> Markup {
    html! {
        div.wide { table {
            caption { "Being worked on" }
            thead { tr {
                th scope="col" { "Job" } th scope="col" { "Stage" } th scope="col" { "Progress" } th.n scope="col" { "For" }
                th scope="col" { "Provider" } th scope="col" { "Replica" } th.n scope="col" { "Attempt" } th scope="col" { span.unseen { "Change" } }
            } }
            tbody {
                @if jobs.is_empty() { tr { td colspan="8" { "Nothing is being worked on." } } }
                @for job in jobs {
                    tr {
                        th scope="row" { (job_link(site, job.job_id)) }
                        td { (stage(job)) }
                        td {
                            @let progress = job.progress.unwrap_or_default();
                            progress max="100" value=(progress) aria-label="Progress" {} " " (progress) " %"
                        }
                        td.n { (age_of_seconds(job.for_s)) }
                        td { (maybe(job.provider.as_deref())) @if let Some(model) = &job.model { " " (maybe(Some(model))) } }
                        td { (maybe(job.worker_id.as_deref())) }
                        td.n { (job.attempts + 1) }
                        td { (cancel(site, visitor, job)) }
                    }
                }
            }
        } }
    }
}

/// What was said last. Whoever waits by itself is not to be started by a person.
fn why(job: &UnfinishedJob) -> Option<String> {
    let said = job.error_message.clone()?;
    match job.state.as_str() {
        "retry_wait" if !is_over_budget(job) => {
            Some(Failure::new(ErrorClass::Internal, said).message_while_retried())
        }
        _ => Some(said),
    }
}

fn is_over_budget(job: &UnfinishedJob) -> bool {
    job.error_class.as_deref() == Some(ErrorClass::OverBudget.as_str())
}

fn waits(site: &Site, visitor: &Visitor, jobs: &[UnfinishedJob]) -> Markup {
    html! {
        div.wide { table {
            caption { "Waiting for a time or for you" }
            thead { tr {
                th scope="col" { "Job" } th scope="col" { "Waits" } th.n scope="col" { "Since" } th scope="col" { "Why" }
                th.n scope="col" { "Failed attempts" }
                th scope="col" { span.unseen { "Change" } }
            } }
            tbody {
                @for job in jobs {
                    tr {
                        th scope="row" { (job_link(site, job.job_id)) }
                        td { @match (&*job.state, job.due_in_s) {
                            ("held", _) => "for an operator: see the job",
                            _ if is_over_budget(job) => "for its budget",
                            (_, Some(due)) if due > 0.0 => { "next attempt in " (age_of_seconds(due)) },
                            // Parked under whoever is to draw it, or on its list.
                            _ => "for its provider, or its turn",
                        } }
                        td.n { (age_of_seconds(job.for_s)) }
                        td.said { @if let Some(class) = &job.error_class { span.badge { (foreign(class)) } " " } (maybe(why(job).as_deref())) }
                        td.n { (job.attempts) }
                        td { (cancel(site, visitor, job)) }
                    }
                }
            }
        } }
    }
}
