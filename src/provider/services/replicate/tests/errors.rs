//! Every row of the tables of errors.

use super::*;
use crate::provider::ProviderError;

/// The outcome where the order is answered so.
async fn error_of(reply: Reply) -> ProviderError {
    let fake = service(reply, vec![|_| Reply::HangUp]).await;
    let (outcome, watch) = draw(&fake, MINUTE).await;
    assert!(watch.handles.lock().unwrap().is_empty());
    assert_eq!(fake.asked().len(), 1, "the order is sent once");
    ended(outcome)
}

#[tokio::test]
async fn every_answer_to_an_order_has_its_class() {
    use ErrorClass::{Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Overloaded, Quota, RateLimited};
    let problem = json!({"type": "https://replicate.com/errors/x", "title": "Input validation failed", "status": 422,
        "detail": "- input.aspect_ratio: aspect_ratio must be one of ...", "instance": "/x",
        "invalid_fields": [{"type": "enum", "field": "input.aspect_ratio", "description": "x"}]});
    for (status, body, class) in [
        (400, json!({"detail": "malformed"}), InvalidRequest),
        (
            401,
            json!({"title": "Unauthenticated", "detail": "You did not pass a valid token", "status": 401}),
            Auth,
        ),
        (
            402,
            json!({"title": "Insufficient credit", "detail": "x", "status": 402}),
            Quota,
        ),
        (403, json!({"detail": "no"}), Auth),
        (
            404,
            json!({"detail": "The requested resource could not be found."}),
            ModelGone,
        ),
        (408, json!({}), Ambiguous),
        (409, json!({}), Overloaded),
        (410, json!({}), ModelGone),
        (413, json!({}), InvalidRequest),
        (422, problem, InvalidRequest),
        (
            429,
            json!({"detail": "Request was throttled. Your rate limit resets in ~30s."}),
            RateLimited,
        ),
        (499, json!({}), Ambiguous),
        // It may have been created all the same.
        (500, json!({"detail": "internal"}), Ambiguous),
        (502, json!({}), Ambiguous),
        (503, json!({}), Ambiguous),
        (504, json!({}), Ambiguous),
        (524, json!({}), Ambiguous),
        (529, json!({}), Ambiguous),
        (200, json!({"error": "something"}), BadOutput),
        (201, json!({"detail": "no prediction"}), BadOutput),
        (201, json!({"status": "starting"}), Ambiguous),
        (201, json!({"id": "../x", "status": "starting"}), Ambiguous),
        (201, json!({"id": 7}), Ambiguous),
        (204, Value::Null, Ambiguous),
    ] {
        let error = error_of(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}: {error}");
        assert!(
            error
                .details
                .starts_with("POST /v1/models/black-forest-labs/flux-1.1-pro/predictions")
        );
    }
}

#[tokio::test]
async fn the_field_that_is_wrong_is_named() {
    let problem = json!({"title": "Input validation failed", "detail": "bad ratio", "status": 422,
        "invalid_fields": [{"type": "enum", "field": "input.aspect_ratio", "description": "x"}]});
    let error = error_of(Reply::json(422, &problem).with("x-request-id", "req-1")).await;
    assert_eq!(
        error.to_string(),
        "flux: POST /v1/models/black-forest-labs/flux-1.1-pro/predictions: 422 Unprocessable Entity, \
         field input.aspect_ratio, request req-1: \"bad ratio\""
    );
    assert_eq!(error.request_id.as_deref(), Some("req-1"));
}

#[tokio::test]
async fn the_wait_that_replicate_asks_for_is_passed_on() {
    let throttled = json!({"detail": "Request was throttled. Your rate limit resets in ~30s."});
    for (reply, wait) in [
        (Reply::json(429, &throttled), Some(30_000)),
        (Reply::json(429, &throttled).with("retry-after", "4"), Some(4000)),
        (Reply::json(429, &json!({})).with("retry-after", "2"), Some(2000)),
        (Reply::json(429, &json!({})), None),
        (Reply::json(402, &json!({})).with("retry-after", "2"), None),
    ] {
        let error = error_of(reply).await;
        assert_eq!(error.retry_after, wait.map(Duration::from_millis), "{error}");
    }
}

#[tokio::test]
async fn a_failed_prediction_is_judged_by_its_text() {
    use ErrorClass::{BadOutput, Moderation, Overloaded};
    for (text, class) in [
        (json!("NSFW content detected"), Moderation),
        (
            json!("The input or output was flagged as sensitive. (E005)"),
            Moderation,
        ),
        (json!("flagged: (E005)"), Moderation),
        (json!("against our content policy"), Moderation),
        (json!("Moderation refused it"), Moderation),
        (json!("the safety checker"), Moderation),
        (
            json!("Prediction interrupted; please retry (code: PA)"),
            Overloaded,
        ),
        (json!("CUDA out of memory"), Overloaded),
        (json!("GPU out of memory"), Overloaded),
        (json!("Director: unexpected error (E6716)"), Overloaded),
        (json!("failed (E8765)"), Overloaded),
        (json!("the model timed out"), Overloaded),
        (json!("upstream timeout"), Overloaded),
        (json!("list index out of range"), BadOutput),
        (json!(""), BadOutput),
        (json!({"code": 7}), BadOutput),
        (Value::Null, BadOutput),
        // What the prompt says does not count, nor does the key come out.
        (json!(format!("cannot draw {PROMPT} with {KEY}")), BadOutput),
    ] {
        let mut failed = prediction("failed", Value::Null);
        failed["error"] = text.clone();
        let fake = service(Reply::json(201, &failed), vec![|_| Reply::HangUp]).await;
        let (outcome, watch) = draw(&fake, MINUTE).await;
        let error = ended(outcome);
        assert_eq!(error.class, class, "{text}: {error}");
        assert_eq!(watch.handle(), ID);
        assert_eq!(error.request_id.as_deref(), Some(ID));
    }
}

#[tokio::test]
async fn a_prediction_that_ends_without_a_picture_has_its_class() {
    use ErrorClass::{Ambiguous, BadOutput, Overloaded};
    let mut removed = prediction("succeeded", Value::Null);
    removed["data_removed"] = true.into();
    for (end, class) in [
        (prediction("succeeded", Value::Null), BadOutput),
        (prediction("succeeded", json!("")), BadOutput),
        (prediction("succeeded", json!([])), BadOutput),
        (prediction("succeeded", json!([null])), BadOutput),
        (prediction("succeeded", json!({})), BadOutput),
        (prediction("succeeded", json!("a caption")), BadOutput),
        (
            prediction("succeeded", json!("data:image/png;base64,?")),
            BadOutput,
        ),
        (prediction("succeeded", json!("ftp://localhost/x")), BadOutput),
        (removed, Ambiguous),
        (prediction("canceled", Value::Null), BadOutput),
        (prediction("aborted", Value::Null), Overloaded),
    ] {
        let fake = service(Reply::json(201, &end), vec![|_| Reply::HangUp]).await;
        let error = ended(draw(&fake, MINUTE).await.0);
        assert_eq!(error.class, class, "{end}: {error}");
    }
}

#[tokio::test]
async fn of_all_answers_while_looking_one_without_the_prediction_alone_ends_the_call() {
    for (status, class) in [
        (400, ErrorClass::InvalidRequest),
        (401, ErrorClass::Auth),
        (402, ErrorClass::Quota),
        (403, ErrorClass::Auth),
        (404, ErrorClass::Ambiguous),
        (410, ErrorClass::Ambiguous),
    ] {
        let echo = json!({"detail": format!("{KEY} {PROMPT}")});
        let fake = Fake::start(move |asked| match is_order(asked) {
            true => created(),
            false => Reply::json(status, &echo),
        })
        .await;
        let outcome = draw(&fake, MINUTE).await.0;
        let error = match status {
            404 | 410 => ended(outcome),
            _ => goes_on(outcome),
        };
        assert_eq!(error.class, class, "{error}");
        assert_eq!(error.request_id.as_deref(), Some(ID));
    }
}
