//! What is asked for in a try, with texts as long as they usually are.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::super::PictureNames;
use super::super::begin::BeginRequest;
use super::super::budgets::{Charge, Reservation};
use super::super::calls::{IntendRequest, WithinBudgets};
use super::super::fail::{BuryRequest, RetryRequest, Sequel};
use super::super::look::LookRequest;
use super::super::record::PictureRecord;
use super::super::reject::RejectRequest;
use crate::failure::{ErrorClass, Failure};

/// As long as sentences usually are.
pub(super) const REASON: &str = "This is a try that is rolled back, with a sentence as long as those that people get of a job that \
                                 has failed: what was found, what to do, and which request it is about (request req_0123456789ab).";

/// One request of each kind, for the same job.
pub(super) struct Requests {
    pub(super) look: [LookRequest; 1],
    pub(super) begin: [Arc<BeginRequest>; 1],
    pub(super) progress: [(i32, i32); 1],
    pub(super) intend: [IntendRequest; 1],
    pub(super) within: [WithinBudgets; 1],
    pub(super) record: [Arc<PictureRecord>; 1],
    pub(super) retry: [RetryRequest; 1],
    pub(super) bury: [BuryRequest; 2],
    pub(super) reject: [RejectRequest; 2],
    /// Receivers of ends of jobs, and how many more posts each takes.
    pub(super) room: [(String, i32); 1],
}

impl Requests {
    /// With texts as long as they usually are.
    pub(super) fn of(job_id: i32, user_id: Option<i32>, names: &PictureNames) -> Self {
        // The row that these are for has been begun once.
        let fence = 1;
        let name = |text: &str| format!("rehearsal-{text}-{}", Uuid::new_v4().simple());
        let failure = || Failure::new(ErrorClass::Internal, REASON).with_details(REASON);
        let payload = format!("{{\"type\":\"collection-image\",\"prompt\":\"{REASON}\"}}");
        let bury = |is_shown| BuryRequest {
            job_id,
            fence,
            payload: payload.clone().into_bytes(),
            failure: failure(),
            worker_id: name("worker"),
            is_shown,
        };
        let reject = |is_shown| RejectRequest {
            id: Uuid::new_v4(),
            job_id: Some(job_id),
            is_shown,
            payload: payload.clone().into_bytes(),
            failure: failure(),
            worker_id: name("worker"),
            queue: name("queue"),
            callback_url: None,
        };
        let intend = IntendRequest {
            job_id,
            fence,
            worker_id: name("worker"),
            provider: name("provider"),
            model: name("model"),
            patience: Duration::ZERO,
            reservation: None,
        };
        // Of somebody who is nobody, and a moment that is over.
        let charge = Charge {
            scope: "total",
            whose: name("whose"),
            period: "day",
            limit_usd: 1.0,
            turns: vec![DateTime::UNIX_EPOCH, Utc::now() + TimeDelta::days(1)],
        };
        let reservation = Some(Reservation {
            usd: 0.01,
            charges: vec![charge],
        });
        let within = IntendRequest {
            reservation,
            ..intend.clone()
        };
        Self {
            look: [LookRequest { job_id }],
            begin: [Arc::new(BeginRequest {
                job_id,
                worker_id: name("worker"),
                queue: name("queue"),
                package: payload.clone(),
                replaces_fence: 0,
                only_looks: false,
            })],
            progress: [(job_id, 5)],
            intend: [intend],
            within: [WithinBudgets(within)],
            record: [Arc::new(PictureRecord {
                job_id,
                reuses: 0,
                user_id,
                urls: vec![names.url.clone()],
                object_keys: vec![names.url.clone()],
                bucket: names.bucket.clone(),
                provenance_mark: Some("declared"),
                provider: name("provider"),
                model: name("model"),
                provider_request_id: Some(name("request")),
                usage: Some(serde_json::json!({"output_tokens": 1584})),
                cost: Some((0.04, "estimated")),
                call_no: Some(1),
            })],
            retry: [RetryRequest {
                job_id,
                fence,
                sequel: Sequel::Retry,
                delay: Duration::ZERO,
                failure: failure(),
            }],
            bury: [bury(true), bury(false)],
            reject: [reject(true), reject(false)],
            room: [(name("receiver"), 1)],
        }
    }
}
