//! The classes of errors and the ways of answering 200, as both providers that speak to Google meet them.

use bytes::Bytes;
use serde_json::{Value, json};

use super::DIALECT;
use super::errors::{Signs, judge};
use crate::failure::ErrorClass::{self, *};
use crate::provider::wire::picture::Picture;
use crate::provider::wire::reading::outcome;

/// An error of a Google API.
pub(in crate::provider) fn error(code: u16, status: &str, message: &str, details: Value) -> Value {
    json!({"error": {"code": code, "message": message, "status": status, "details": details}})
}

fn info(reason: &str) -> Value {
    json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}])
}

fn quota(id: &str) -> Value {
    json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}])
}

/// Every documented error: status, body, class.
pub(in crate::provider) fn documented() -> Vec<(u16, Value, ErrorClass)> {
    let field = json!([{"@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": "safety_settings[0]", "description": "blocked"}]}]);
    let bare = |code, status, message| error(code, status, message, json!([]));
    vec![
        (
            400,
            bare(400, "INVALID_ARGUMENT", "aspectRatio is wrong"),
            InvalidRequest,
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "blocked", field),
            InvalidRequest,
        ),
        (
            400,
            bare(
                400,
                "INVALID_ARGUMENT",
                "Image generation failed with the following error: The response is blocked, Error Code: 58061214",
            ),
            Moderation,
        ),
        (
            400,
            bare(
                400,
                "INVALID_ARGUMENT",
                "violates Google's Responsible AI practices",
            ),
            Moderation,
        ),
        (
            400,
            bare(
                400,
                "INVALID_ARGUMENT",
                "API key not valid. Please pass a valid API key.",
            ),
            Auth,
        ),
        (
            400,
            error(400, "INVALID_ARGUMENT", "x", info("API_KEY_INVALID")),
            Auth,
        ),
        (
            400,
            bare(
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
            ),
            Auth,
        ),
        (
            400,
            bare(400, "FAILED_PRECONDITION", "Please enable billing on project p"),
            Auth,
        ),
        (400, bare(400, "FAILED_PRECONDITION", "x"), InvalidRequest),
        (401, bare(401, "UNAUTHENTICATED", "x"), Auth),
        (402, json!({"error": {"code": 402, "message": "balance"}}), Quota),
        (
            403,
            bare(403, "PERMISSION_DENIED", "requests are blocked by safety"),
            Auth,
        ),
        (
            403,
            error(403, "PERMISSION_DENIED", "x", info("SERVICE_DISABLED")),
            Auth,
        ),
        (
            403,
            error(403, "PERMISSION_DENIED", "x", info("BILLING_DISABLED")),
            Auth,
        ),
        (
            404,
            bare(404, "NOT_FOUND", "Publisher model `x` was not found"),
            ModelGone,
        ),
        (404, json!({"detail": "Not Found"}), InvalidRequest),
        (408, json!({}), Ambiguous),
        (410, json!({}), ModelGone),
        (413, json!({}), InvalidRequest),
        (429, bare(429, "RESOURCE_EXHAUSTED", "x"), RateLimited),
        (
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "x",
                quota("GenerateRequestsPerMinutePerProject"),
            ),
            RateLimited,
        ),
        (
            429,
            error(
                429,
                "RESOURCE_EXHAUSTED",
                "x",
                quota("GenerateRequestsPerDayPerProject"),
            ),
            Quota,
        ),
        (
            429,
            bare(429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: x"),
            Quota,
        ),
        (
            429,
            error(429, "RESOURCE_EXHAUSTED", "x", info("MODEL_CAPACITY_EXHAUSTED")),
            Overloaded,
        ),
        (
            503,
            error(503, "UNAVAILABLE", "x", info("MODEL_CAPACITY_EXHAUSTED")),
            Overloaded,
        ),
        (429, json!([bare(429, "RESOURCE_EXHAUSTED", "x")]), RateLimited),
        (499, bare(499, "CANCELLED", "x"), Overloaded),
        (499, json!({}), Ambiguous),
        (500, bare(500, "INTERNAL", "x"), Overloaded),
        (
            503,
            bare(503, "UNAVAILABLE", "The model is overloaded."),
            Overloaded,
        ),
        (504, bare(504, "DEADLINE_EXCEEDED", "x"), Overloaded),
        (504, json!({}), Ambiguous),
        (529, json!({}), Overloaded),
        (200, bare(429, "RESOURCE_EXHAUSTED", "x"), RateLimited),
        (200, json!({"error": {"code": 503, "message": "x"}}), Overloaded),
        (200, json!({"error": {"message": "x"}}), BadOutput),
    ]
}

#[test]
fn a_limit_of_nothing_is_a_matter_of_money() {
    let judged = |message| {
        judge(&Signs {
            status: 429,
            message,
            ..Signs::default()
        })
    };
    for message in ["metric: x, limit: 0, model: y", "Limit: 0", "limit: 0 * other"] {
        assert_eq!(judged(message), Quota, "{message}");
    }
    for message in ["limit: 05", "limit: 0.5", "limit: 10", "x"] {
        assert_eq!(judged(message), RateLimited, "{message}");
    }
}

#[test]
fn a_phrase_never_overrules_a_status_or_a_reason() {
    let judged = |status, word, reasons: &[&'static str]| {
        judge(&Signs {
            status,
            word,
            reasons: reasons.to_vec(),
            message: "blocked by the safety filter, limit: 0, billing, api key not valid",
            ..Signs::default()
        })
    };
    assert_eq!(judged(500, None, &[]), Overloaded);
    assert_eq!(judged(403, None, &[]), Auth);
    assert_eq!(judged(404, Some("NOT_FOUND"), &[]), ModelGone);
    assert_eq!(judged(429, None, &["MODEL_CAPACITY_EXHAUSTED"]), Overloaded);
    assert_eq!(judged(200, None, &[]), BadOutput);
}

/// An answer with one candidate.
pub(in crate::provider) fn candidate(reason: &str, parts: Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": reason, "index": 0}]})
}

fn picture(data: &str) -> Value {
    json!({"inlineData": {"mimeType": "image/png", "data": data}})
}

#[test]
fn the_picture_is_found_among_thoughts_and_texts() {
    let draft = json!({"thought": true, "inlineData": {"mimeType": "image/png", "data": "ZHJhZnQ="}});
    let thought = json!({"thought": true, "text": "hm"});
    let sound = json!({"inlineData": {"mimeType": "audio/wav", "data": "ZHJhZnQ="}});
    let empty = json!({});
    for body in [
        candidate("STOP", json!([picture("aGVsbG8h")])),
        candidate(
            "STOP",
            json!([draft, thought, {"text": "here"}, picture("aGVsbG8h")]),
        ),
        candidate("STOP", json!([picture("aGVsbG8h"), picture("b3RoZXI=")])),
        candidate(
            "STOP",
            json!([{"thought": false, "thoughtSignature": "x", "inlineData": {"data": "aGVsbG8h"}}]),
        ),
        candidate("STOP", json!([sound, empty, picture(" aGVs\nbG8h")])),
        // A picture counts, whatever else is said.
        candidate("MAX_TOKENS", json!([picture("aGVsbG8h")])),
        json!({"promptFeedback": {"blockReason": "OTHER"},
            "candidates": [{"content": {"parts": [picture("aGVsbG8h")]}}]}),
        json!({"candidates": [{"finishReason": "OTHER"}, {"content": {"parts": [picture("aGVsbG8h")]}}]}),
    ] {
        let found = outcome(&body.to_string(), DIALECT);
        assert_eq!(found, Ok(Picture::Bytes(Bytes::from_static(b"hello!"))), "{body}");
    }
}

/// Every way of answering 200 without a picture.
pub(in crate::provider) fn without_picture() -> Vec<(Value, ErrorClass)> {
    let mut all = vec![
        (
            candidate("STOP", json!([{"text": "I would rather not."}])),
            BadOutput,
        ),
        (
            candidate("STOP", json!([{"thought": true, "inlineData": {"data": "aGVs"}}])),
            BadOutput,
        ),
        (candidate("STOP", json!([picture("?rubbish?")])), BadOutput),
        (candidate("STOP", json!([picture("")])), BadOutput),
        (json!({"candidates": []}), BadOutput),
        (json!({"candidates": [{}]}), BadOutput),
        (json!({}), BadOutput),
        (json!([]), BadOutput),
        (json!({"candidates": 3}), BadOutput),
    ];
    for reason in [
        "SAFETY",
        "RECITATION",
        "PROHIBITED_CONTENT",
        "BLOCKLIST",
        "SPII",
        "IMAGE_SAFETY",
    ] {
        all.push((candidate(reason, json!(null)), Moderation));
    }
    for reason in ["IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"] {
        let body = json!({"candidates": [{"finishReason": reason, "finishMessage": "Unable to show it."}]});
        all.push((body, Moderation));
    }
    for reason in [
        "NO_IMAGE",
        "IMAGE_OTHER",
        "OTHER",
        "MAX_TOKENS",
        "MALFORMED_RESPONSE",
    ] {
        all.push((candidate(reason, json!([])), BadOutput));
    }
    for reason in [
        "SAFETY",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "JAILBREAK",
    ] {
        all.push((json!({"promptFeedback": {"blockReason": reason}}), Moderation));
    }
    all
}

#[test]
fn an_answer_that_breaks_off_is_ambiguous_wherever_it_does() {
    let whole = candidate("STOP", json!([picture("aGVsbG8h")])).to_string();
    for end in 1..whole.len() {
        assert_eq!(
            outcome(&whole[..end], DIALECT),
            Err(Ambiguous),
            "{}",
            &whole[..end]
        );
    }
}

proptest::proptest! {
    #[test]
    fn no_body_makes_reading_panic(body in ".{0,60}", reason in ".{0,50}") {
        let _ = outcome(&body, DIALECT);
        let _ = outcome(&candidate(&reason, json!([{"text": body}])).to_string(), DIALECT);
    }
}
