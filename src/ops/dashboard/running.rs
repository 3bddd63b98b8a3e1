//! What is being drawn, and what waits for a time or for an operator.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use maud::{Markup, html};

use super::forms::{self, filled};
use super::layout::{button, foreign, job_link, maybe, page as framed, trouble};
use super::strip::in_time;
use super::{Site, Visitor};
use crate::db::{DbError, UnfinishedJob};
use crate::failure::{ErrorClass, Failure, without_advice};
use crate::ops::words::{age_of_seconds, counted};
use crate::plain_text::one_line;

/// On one page, so that a phone gets it in a moment.
const A_PAGE: i64 = 50;
/// As much of what was said as says what it is; the page of the job has all of it.
const SAID_CHARS: usize = 160;

pub(super) async fn page(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
) -> Markup {
    let queue = site.sources.redis.keys().inbox();
    let fields = forms::query(query.as_deref());
    let after = filled(&fields, "after").and_then(|after| after.parse().ok());
    let after = after.unwrap_or(0_i64).max(0);
    let find = async {
        let found = site.sources.db.unfinished(queue, after, A_PAGE).await?;
        match found {
            // Beyond the end, which may have come nearer since: what is last is shown.
            (jobs, count) if jobs.is_empty() && after > 0 => {
                let last = (count - 1).max(0) / A_PAGE * A_PAGE;
                let (jobs, count) = site.sources.db.unfinished(queue, last, A_PAGE).await?;
                Ok::<_, DbError>((last, jobs, count))
            }
            (jobs, count) => Ok((after, jobs, count)),
        }
    };
    let (strip, jobs) = tokio::join!(site.strips.get(&site.sources), in_time(find));
    let body = match jobs {
        Ok((after, jobs, count)) => {
            let part = part(&site, after, jobs.len(), count);
            let (begun, waiting): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.state == "begun");
            html! {
                (part)
                @if after == 0 || !begun.is_empty() { (running(&site, &visitor, &begun)) }
                @if !waiting.is_empty() { (waits(&site, &visitor, &waiting)) }
                (part)
            }
        }
        Err(why) => trouble("What runs", &why),
    };
    framed(&site, &visitor, &strip, "/running", "Running", body)
}

/// Which of all jobs these are, and the way to the others.
fn part(site: &Site, after: i64, shown: usize, count: i64) -> Markup {
    let shown = i64::try_from(shown).unwrap_or(A_PAGE);
    let to = |after: i64| site.path(&format!("/running?after={after}"));
    html! {
        @if after > 0 || shown < count {
            p.more {
                @if after > 0 { a rel="prev" href=(to((after - A_PAGE).max(0))) { "Those before" } " · " }
                @if after == 0 { (shown) } @else { (after + 1) " to " (after + shown) }
                " of " (counted(count, "job", "jobs"))
                @if after + shown < count { " · " a rel="next" href=(to(after + A_PAGE)) { "The next " ((count - after - shown).min(A_PAGE)) } }
            }
        }
    }
}

/// What a job does, as far as its rows say.
fn stage(call_state: Option<&str>, progress: Option<i32>) -> &'static str {
    match (call_state, progress) {
        // Its call ends in the books with its picture.
        (_, Some(progress)) if progress >= 80 => "being stored",
        (Some("accepted"), _) => "ordered, being drawn",
        (Some(_), _) => "being drawn",
        (None, Some(progress)) if progress >= 60 => "being stored",
        (None, _) => "begun",
    }
}

fn cancel(site: &Site, visitor: &Visitor, job: &UnfinishedJob) -> Markup {
    button(
        site,
        visitor,
        &format!("/jobs/{}/cancel", job.job_id),
        "Cancel",
        "danger",
    )
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
                        td data-label="Stage" { (stage(job.call_state.as_deref(), job.progress)) }
                        td data-label="Progress" {
                            @let progress = job.progress.unwrap_or_default();
                            progress max="100" value=(progress) aria-label="Progress" {} " " (progress) " %"
                        }
                        td.n data-label="For" { (age_of_seconds(job.for_s)) }
                        td data-label="Provider" { (maybe(job.provider.as_deref())) @if let Some(model) = &job.model { " " (maybe(Some(model))) } }
                        td data-label="Replica" { (maybe(job.worker_id.as_deref())) }
                        td.n data-label="Attempt" { (job.attempts + 1) }
                        td { (cancel(site, visitor, job)) }
                    }
                }
            }
        } }
    }
}

/// What was said last. Whoever waits by itself is not to be started by a person, and of what waits for a replica nothing holds any more.
fn why(job: &UnfinishedJob) -> Option<String> {
    let said = job.error_message.clone().filter(|_| job.state != "waiting")?;
    match job.state.as_str() {
        "retry_wait" if !is_over_budget(job) => {
            Some(Failure::new(ErrorClass::Internal, said).message_while_retried())
        }
        "held" => Some(without_advice(&said).to_owned()),
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
                        td data-label="Waits" { @match (&*job.state, job.due_in_s) {
                            ("held", _) => "for an operator: see the job",
                            ("waiting", _) => "for a replica",
                            _ if is_over_budget(job) => "for its budget",
                            (_, Some(due)) if due > 0.0 => { "next attempt in " (age_of_seconds(due)) },
                            // Parked under whoever is to draw it, or on its list.
                            _ => "for its provider, or its turn",
                        } }
                        td.n data-label="Since" { (age_of_seconds(job.for_s)) }
                        td.said data-label="Why" { @if let Some(class) = job.error_class.as_ref().filter(|_| job.state != "waiting") { span.badge { (foreign(class)) } " " } (maybe(why(job).map(|why| one_line(&why, SAID_CHARS)).as_deref())) }
                        td.n data-label="Failed attempts" { (job.attempts) }
                        td { (cancel(site, visitor, job)) }
                    }
                }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_there_is_being_stored_whatever_its_call_is() {
        for (call_state, progress, expected) in [
            (None, Some(5), "begun"),
            (None, None, "begun"),
            (Some("intended"), Some(40), "being drawn"),
            (Some("accepted"), Some(40), "ordered, being drawn"),
            (None, Some(60), "being stored"),
            (Some("intended"), Some(80), "being stored"),
            (Some("accepted"), Some(99), "being stored"),
        ] {
            assert_eq!(
                stage(call_state, progress),
                expected,
                "{call_state:?} {progress:?}"
            );
        }
    }
}
