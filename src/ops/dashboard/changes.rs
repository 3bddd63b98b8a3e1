//! What is changed with a button: the code of the commands, and a row of who has done it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::Value;

use super::forms::{self, Fields, filled};
use super::layout::{not_found, outcome};
use super::number::Number;
use super::{Site, Visitor, job};
use crate::db::DeadFilter;
use crate::ops::acts::{self, Done, Intent, Tally, retry_all};
use crate::ops::words::Life;
use crate::plain_text::plain;
use crate::provider::list::PROVIDERS;

/// The fields of a form, if it is one of this page.
pub(super) async fn fields_of(
    site: &Site,
    visitor: &Visitor,
    request: Request,
) -> Result<Fields, Box<Response>> {
    let fields = forms::form(request.into_body()).await;
    let word = filled(&fields, "word").unwrap_or_default();
    if visitor.owes_word && !site.gate.is_form_word(visitor.role, word) {
        let why = "this change does not come from a form of this page\n";
        return Err(Box::new((StatusCode::FORBIDDEN, why).into_response()));
    }
    Ok(fields)
}

/// Does it, if it comes from a form of this page, writes it down, and says what came of it.
async fn act(
    site: &Site,
    visitor: &Visitor,
    request: Request,
    (action, subject): (&str, String),
    back: &str,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> Response {
    if let Err(refusal) = fields_of(site, visitor, request).await {
        return *refusal;
    }
    let intent = Intent {
        db: &site.sources.db,
        queue: site.sources.redis.keys().inbox(),
        by: &visitor.who,
        action,
        subject,
    };
    match intent.run_noted(doing).await {
        Ok(done) => {
            let status = if done.is_done {
                StatusCode::OK
            } else {
                StatusCode::CONFLICT
            };
            outcome(site, visitor, status, &done.said, back).await
        }
        Err(error) => {
            let why = format!("{error:#}");
            outcome(site, visitor, StatusCode::SERVICE_UNAVAILABLE, &why, back).await
        }
    }
}

/// The same about a job.
async fn act_on_job(
    site: &Site,
    visitor: &Visitor,
    request: Request,
    action: &str,
    job_id: i32,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> Response {
    let subject = (action, format!("job {job_id}"));
    act(site, visitor, request, subject, &format!("/jobs/{job_id}"), doing).await
}

pub(super) async fn cancel(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    request: Request,
) -> Response {
    let message = acts::message_of(&visitor.who, None);
    let doing = acts::cancel(job_id, &message, &site.sources.db, &site.sources.redis);
    act_on_job(&site, &visitor, request, "cancel", job_id, doing).await
}

pub(super) async fn release(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    request: Request,
) -> Response {
    let sources = &site.sources;
    let doing = async {
        sources.redis.reach().await?;
        let Some(wait) = sources.db.wait_of(job_id).await? else {
            return Ok(Done::nothing(format!(
                "the ledger has no job {job_id}: no replica has begun it, so it waits for nothing but its turn"
            )));
        };
        match acts::why_not(&wait, &sources.redis, sources.lease_ttl).await? {
            Some(why) => Ok(Done::nothing(format!("{why}; nothing was changed"))),
            None => acts::release(&wait, &sources.db, &sources.redis, sources.lease_ttl).await,
        }
    };
    act_on_job(&site, &visitor, request, "jobs release", job_id, doing).await
}

pub(super) async fn retry(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    request: Request,
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
        for why in tally.skipped.keys() {
            done.said.push_str(&format!("; skipped: {why}"));
        }
        Ok(done)
    };
    act_on_job(&site, &visitor, request, "dead retry", job_id, doing).await
}

/// Shows the prompt of a job, once it is written down who has asked for it.
pub(super) async fn reveal(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    Number(job_id): Number,
    request: Request,
) -> Response {
    if let Err(refusal) = fields_of(&site, &visitor, request).await {
        return *refusal;
    }
    let intent = Intent {
        db: &site.sources.db,
        queue: site.sources.redis.keys().inbox(),
        by: &visitor.who,
        action: "reveal prompt",
        subject: format!("job {job_id}"),
    };
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
    let back = format!("/jobs/{job_id}");
    if let Err(error) = intent.run_noted(reading).await {
        let why = format!("{error:#}");
        return outcome(&site, &visitor, StatusCode::SERVICE_UNAVAILABLE, &why, &back).await;
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
    request: Request,
) -> Response {
    if !PROVIDERS.contains(&&*name) {
        return not_found(&site, &visitor, "There is no such provider.").await;
    }
    let doing = async {
        let was_shut = site.sources.redis.resume_provider(&name).await?;
        let said = match was_shut {
            true => format!("{name} is resumed: replicas call it again, and what is parked for it goes on"),
            false => format!("{name} is neither paused nor left alone"),
        };
        Ok(Done {
            count: i64::from(was_shut),
            said,
            is_done: true,
        })
    };
    let subject = ("providers resume", name.clone());
    act(&site, &visitor, request, subject, "/providers", doing).await
}

pub(super) async fn pause(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let queue = site.sources.redis.keys().inbox();
    let doing = async {
        let is_new = site.sources.redis.pause(&visitor.who).await?;
        let said = match is_new {
            true => format!("{queue} is paused: no replica takes new work, what is in hand is finished"),
            false => format!("{queue} is paused already"),
        };
        Ok(Done {
            count: i64::from(is_new),
            said,
            is_done: true,
        })
    };
    act(&site, &visitor, request, ("pause", queue.to_owned()), "/", doing).await
}

pub(super) async fn resume(
    State(site): State<Arc<Site>>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let queue = site.sources.redis.keys().inbox();
    let doing = async {
        let was_paused = site.sources.redis.resume().await?;
        let said = match was_paused {
            true => format!("{queue} is resumed: replicas take new work"),
            false => format!("{queue} is not paused"),
        };
        Ok(Done {
            count: i64::from(was_paused),
            said,
            is_done: true,
        })
    };
    act(&site, &visitor, request, ("resume", queue.to_owned()), "/", doing).await
}
