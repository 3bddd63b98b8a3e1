//! What is changed with a button: the code of the commands, and a row of who has done it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use serde_json::Value;

use super::forms::{Form, filled};
use super::layout::{not_found, outcome};
use super::number::Number;
use super::{Site, Visitor, job};
use crate::db::DeadFilter;
use crate::ops::acts::{self, Done, Intent, Tally, retry_all};
use crate::ops::words::Life;
use crate::plain_text::{one_line, plain};
use crate::provider::list::PROVIDERS;

/// As much of a reason as the person who waits reads.
const REASON_CHARS: usize = 200;

/// The row of what a visitor is about to do.
fn intent<'a>(site: &'a Site, visitor: &'a Visitor, action: &'a str, subject: String) -> Intent<'a> {
    Intent {
        db: &site.sources.db,
        queue: site.sources.redis.keys().inbox(),
        by: &visitor.who,
        action,
        subject,
    }
}

/// What came of it, as a page.
async fn said(site: &Site, visitor: &Visitor, done: anyhow::Result<Done>, back: &str) -> Response {
    let (status, said) = match done {
        Ok(done) if done.is_done => (StatusCode::OK, done.said),
        Ok(done) => (StatusCode::CONFLICT, done.said),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}")),
    };
    outcome(site, visitor, status, &said, back).await
}

/// Does what must not be done without a row of it, and says what came of it.
pub(super) async fn act(
    site: &Site,
    visitor: &Visitor,
    (action, subject): (&str, String),
    back: &str,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> Response {
    let done = intent(site, visitor, action, subject).run_noted(doing).await;
    said(site, visitor, done, back).await
}

/// The same about a job.
async fn act_on_job(
    site: &Site,
    visitor: &Visitor,
    action: &str,
    job_id: i32,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> Response {
    let subject = (action, format!("job {job_id}"));
    act(site, visitor, subject, &format!("/jobs/{job_id}"), doing).await
}

/// Switches what is in Redis alone, as the commands do: also while Postgres is away, which is said then.
async fn switch(
    site: &Site,
    visitor: &Visitor,
    (action, subject): (&str, &str),
    back: &str,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> Response {
    let mut done = doing.await;
    if let Ok(done) = &mut done {
        let noted = intent(site, visitor, action, subject.to_owned()).note(done).await;
        if let Err(why) = noted {
            done.said.push_str(&format!(
                "; this is not written down in generative_ai.operator_actions: {why}"
            ));
        }
    }
    said(site, visitor, done, back).await
}

pub(super) async fn cancel(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    Form(fields): Form,
) -> Response {
    let reason = filled(&fields, "reason").map(|reason| one_line(reason, REASON_CHARS));
    let message = acts::message_of(&visitor.who, reason.as_deref());
    let doing = acts::cancel(job_id, &message, &site.sources.db, &site.sources.redis);
    act_on_job(&site, &visitor, "cancel", job_id, doing).await
}

pub(super) async fn release(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    Form(_): Form,
) -> Response {
    let sources = &site.sources;
    let doing = async {
        sources.redis.reach().await?;
        let Some(wait) = sources.db.wait_of(job_id).await? else {
            let why = acts::not_in_ledger(job_id, &sources.db, &sources.redis).await?;
            return Ok(Done::nothing(why));
        };
        match acts::why_not(&wait, &sources.redis, sources.lease_ttl).await? {
            Some(why) => Ok(Done::nothing(format!("{why}; nothing was changed"))),
            None => acts::release(&wait, &sources.db, &sources.redis, sources.lease_ttl).await,
        }
    };
    act_on_job(&site, &visitor, "jobs release", job_id, doing).await
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    Form(_): Form,
) -> Response {
    let (db, redis) = (&site.sources.db, &site.sources.redis);
    let doing = async {
        let filter = DeadFilter {
            job_ids: vec![job_id],
            queue: Some(redis.keys().inbox().to_owned()),
            ..DeadFilter::default()
        };
        let mut selection = db.select_dead(filter).await?;
        redis.reach().await?;
        let mut tally = Tally::default();
        let mut done = retry_all(&mut selection, None, db, redis, &mut tally, |_| ()).await?;
        done.is_done = done.count > 0;
        if done.count == 0 && tally.skipped.is_empty() {
            let state = db.states_of(vec![job_id]).await?.remove(&job_id);
            return Ok(Done::nothing(nothing_to_retry(job_id, state.as_deref())));
        }
        for why in tally.skipped.keys() {
            done.said.push_str(&format!("; skipped: {why}"));
        }
        Ok(done)
    };
    act_on_job(&site, &visitor, "dead retry", job_id, doing).await
}

/// Why a job has no package that could be pushed again.
fn nothing_to_retry(job_id: i32, state: Option<&str>) -> String {
    let why = match state {
        None => "the ledger does not know it".to_owned(),
        Some("dead") => "its package was discarded, or pushed again already".to_owned(),
        Some("done") => "it is done".to_owned(),
        Some("begun") => "a replica works on it".to_owned(),
        Some("retry_wait") => "its next attempt comes by itself".to_owned(),
        Some("held") => "it is held, which Release ends".to_owned(),
        Some("waiting") => "it waits for its turn".to_owned(),
        Some(other) => format!("it is {other}"),
    };
    format!("job {job_id} has no package that failed for good, so nothing was changed: {why}")
}

/// Shows the prompt of a job, once it is written down who has asked for it.
pub(super) async fn reveal(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    Form(_): Form,
) -> Response {
    let mut package = None;
    let reading = async {
        package = site.sources.db.package_of(job_id).await?;
        if package.is_none() {
            // Nobody has begun it: its package is in Redis alone.
            package = Life::package_in_queue(job_id, &site.sources.redis).await?;
        }
        Ok(Done {
            count: i64::from(package.is_some()),
            said: if package.is_some() {
                "shown"
            } else {
                "it is not kept any more"
            }
            .to_owned(),
            is_done: true,
        })
    };
    let intent = intent(&site, &visitor, "reveal prompt", format!("job {job_id}"));
    if let Err(error) = intent.run_noted(reading).await {
        return said(&site, &visitor, Err(error), &format!("/jobs/{job_id}")).await;
    }
    job::show(&site, &visitor, job_id, Some(prompt_of(package.as_deref()))).await
}

/// What a package asks for; all of it where that cannot be found.
fn prompt_of(package: Option<&[u8]>) -> Markup {
    let Some(package) = package else {
        return html! { "not kept: a prompt goes when its job ends, and one that was never pushed is nowhere" };
    };
    let read: Option<Value> = serde_json::from_slice(package).ok();
    let prompt = read.as_ref().and_then(|package| package.get("prompt")?.as_str());
    let text = String::from_utf8_lossy(package);
    html! { bdi.prompt dir="auto" { (plain(prompt.unwrap_or(&text))) } }
}

pub(super) async fn resume_provider(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Path(name): Path<String>,
    Form(_): Form,
) -> Response {
    if !PROVIDERS.contains(&&*name) {
        return not_found(&site, &visitor, "There is no such provider.").await;
    }
    let doing = acts::resume_provider(&site.sources.redis, &name);
    switch(&site, &visitor, ("providers resume", &name), "/providers", doing).await
}

pub(super) async fn pause(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Form(_): Form,
) -> Response {
    let queue = site.sources.redis.keys().inbox();
    let doing = acts::pause(&site.sources.redis, &visitor.who);
    switch(&site, &visitor, ("pause", queue), "/", doing).await
}

pub(super) async fn resume(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Form(_): Form,
) -> Response {
    let queue = site.sources.redis.keys().inbox();
    let doing = acts::resume(&site.sources.redis);
    switch(&site, &visitor, ("resume", queue), "/", doing).await
}
