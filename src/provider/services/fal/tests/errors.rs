//! Every row of the table of errors, wherever it shows, and what is refused before anything is spent.

use super::*;
use crate::provider::ProviderError;
use crate::provider::suite::{asking, nowhere};

use crate::failure::ErrorClass::{
    Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};

fn of_model(kind: &str) -> Value {
    json!({"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": kind, "url": "https://docs.fal.ai/x",
        "ctx": {}, "input": PROMPT}]})
}

fn of_platform(kind: &str) -> Value {
    json!({"detail": "no", "error_type": kind})
}

/// Errors that have the same class whether they answer the order or are the result.
fn table() -> Vec<(u16, Value, ErrorClass)> {
    let mut table = vec![
        (422, of_model("content_policy_violation"), Moderation),
        (422, of_model("no_media_generated"), BadOutput),
        (422, of_model("image_too_small"), InvalidRequest),
        (422, of_model("image_too_large"), InvalidRequest),
        (422, of_model("feature_not_supported"), InvalidRequest),
        (422, of_model("file_download_error"), InvalidRequest),
        (422, of_model("value_error.missing"), InvalidRequest),
        (400, of_platform("bad_request"), InvalidRequest),
        (401, of_platform("auth_error"), Auth),
        (403, of_platform("auth_error"), Auth),
        (
            403,
            json!({"detail": "User is locked. Reason: Exhausted balance. Top up your balance."}),
            Quota,
        ),
        (
            403,
            json!({"detail": "Exhausted balance", "error_type": "auth_error"}),
            Quota,
        ),
        (400, of_platform("downstream_service_error"), Overloaded),
    ];
    for kind in ["client_cancelled", "client_disconnected"] {
        table.push((499, of_platform(kind), BadOutput));
    }
    for kind in ["request_timeout", "startup_timeout", "generation_timeout"] {
        table.push((504, of_platform(kind), Overloaded));
    }
    for kind in [
        "runner_scheduling_failure",
        "runner_connection_timeout",
        "runner_disconnected",
        "runner_connection_refused",
        "runner_connection_error",
        "runner_incomplete_response",
    ] {
        table.push((503, of_platform(kind), Overloaded));
    }
    for kind in [
        "runner_server_error",
        "internal_error",
        "internal_server_error",
        "downstream_service_unavailable",
    ] {
        table.push((500, of_platform(kind), Overloaded));
    }
    table
}

async fn order_error(reply: Reply) -> ProviderError {
    let fake = Fake::start(move |_| reply.clone()).await;
    let (outcome, watch) = draw(&fake, MINUTE).await;
    assert!(watch.handles.lock().unwrap().is_empty());
    assert_eq!(fake.asked().len(), 1, "the order is sent once");
    ended(outcome)
}

async fn result_outcome(status: Reply, result: Reply) -> Result<DrawnImage, NotDrawn> {
    let fake = Fake::start(move |asked| match asked.path.as_str() {
        path if path.ends_with("/status?logs=1") => status.clone(),
        APP => result.clone(),
        _ => good(asked),
    })
    .await;
    let outcome = draw(&fake, MINUTE).await.0;
    let id = outcome.as_ref().unwrap_err().error().request_id.as_deref();
    assert_eq!(id, Some(ID));
    assert_eq!(times(&fake, "POST", "/"), 1);
    outcome
}

async fn result_error(status: Reply, result: Reply) -> ProviderError {
    ended(result_outcome(status, result).await)
}

fn done() -> Reply {
    Reply::json(200, &json!({"status": "COMPLETED"}))
}

#[tokio::test]
async fn every_error_has_its_class_as_an_answer_to_the_order_and_as_a_result() {
    for (status, body, class) in table() {
        let error = order_error(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}: {error}");
        let outcome = result_outcome(done(), Reply::json(status, &body)).await;
        // What is about the account is not about the request, which has been completed.
        let error = match class {
            Auth | Quota => goes_on(outcome),
            _ => ended(outcome),
        };
        assert_eq!(error.class, class, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn an_answer_to_the_order_without_a_type_is_judged_by_its_status() {
    for (status, body, class) in [
        (400, json!({"detail": "x"}), InvalidRequest),
        (402, json!({}), Quota),
        (404, json!({"detail": "Application not found"}), ModelGone),
        (408, json!({}), Ambiguous),
        (429, json!({"detail": "x"}), RateLimited),
        (499, json!({}), Ambiguous),
        (504, json!({}), Ambiguous),
        (200, json!({"detail": "x"}), BadOutput),
        (200, json!({"status": "IN_QUEUE"}), Ambiguous),
        (200, json!({"request_id": "../x"}), Ambiguous),
    ] {
        let error = order_error(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}: {error}");
    }
}

#[tokio::test]
async fn the_service_says_itself_whether_a_repeat_makes_sense() {
    let broken = of_platform("internal_server_error");
    for (retryable, class) in [
        ("true", Overloaded),
        ("false", InvalidRequest),
        ("maybe", Overloaded),
    ] {
        let reply = Reply::json(500, &broken).with("x-fal-retryable", retryable);
        assert_eq!(result_error(done(), reply).await.class, class, "{retryable}");
    }
    let refused = Reply::json(422, &of_model("content_policy_violation")).with("x-fal-retryable", "true");
    assert_eq!(result_error(done(), refused).await.class, Moderation);
    let named = Reply::json(500, &json!({})).with("x-fal-error-type", "runner_server_error");
    assert_eq!(result_error(done(), named).await.class, Overloaded);
}

#[tokio::test]
async fn a_completed_request_may_hold_an_error() {
    let status = |error: &str, kind: Value| {
        Reply::json(
            200,
            &json!({"status": "COMPLETED", "error": error, "error_type": kind}),
        )
    };
    let no_result = Reply::json(422, &of_model("value_error"));
    for (reply, class, said) in [
        (
            status("startup took long", json!("startup_timeout")),
            Overloaded,
            "startup took long",
        ),
        (
            status("no", json!("content_policy_violation")),
            Moderation,
            "type content_policy_violation",
        ),
        (
            status("no", json!("client_cancelled")),
            BadOutput,
            "client_cancelled",
        ),
        // Explained by the result.
        (
            status("no", json!("a_type_of_the_future")),
            InvalidRequest,
            "field body.prompt",
        ),
        (status("no", Value::Null), InvalidRequest, "422"),
    ] {
        let error = result_error(reply, no_result.clone()).await;
        assert_eq!(error.class, class, "{error}");
        assert!(error.details.contains(said), "{error}");
    }
    let echo = status(&format!("{PROMPT} {TEST_KEY}"), json!("internal_error"));
    assert_eq!(result_error(echo, no_result).await.class, Overloaded);
}

#[tokio::test]
async fn a_result_without_a_picture_has_its_class() {
    for (body, class) in [
        (
            json!({"images": [{"url": "https://localhost/x"}], "has_nsfw_concepts": [true]}),
            Moderation,
        ),
        (json!({"images": []}), BadOutput),
        (json!({"images": [{"url": ""}]}), BadOutput),
        (json!({"images": null}), BadOutput),
        (json!({}), BadOutput),
        (json!([]), BadOutput),
        (json!({"image": {"url": 7}}), BadOutput),
        (json!({"images": [{"url": "not a URL"}]}), BadOutput),
        (json!({"error": "x"}), BadOutput),
        (of_model("content_policy_violation"), Moderation),
    ] {
        let error = result_error(done(), Reply::json(200, &body)).await;
        assert_eq!(error.class, class, "{body}: {error}");
    }
}

#[tokio::test]
async fn an_answer_while_looking_that_is_no_verdict_does_not_end_the_call() {
    for (status, class) in [(400, InvalidRequest), (401, Auth), (402, Quota), (403, Auth)] {
        let look = Reply::json(status, &json!({"detail": "x"}));
        let error = goes_on(result_outcome(look, Reply::HangUp).await);
        assert_eq!(error.class, class, "{status}");
    }
    for status in [404, 410] {
        let look = Reply::json(status, &json!({"detail": "x"}));
        assert_eq!(
            result_error(look, Reply::HangUp).await.class,
            Ambiguous,
            "{status}"
        );
    }
}

#[tokio::test]
async fn an_error_names_type_field_and_request() {
    let reply = Reply::json(422, &of_model("content_policy_violation")).with("x-fal-request-id", "req-1");
    let error = order_error(reply).await;
    assert_eq!(
        error.to_string(),
        "fal: POST /fal-ai/flux/dev: 422 Unprocessable Entity, type content_policy_violation, field body.prompt, \
         request req-1: \"no\""
    );
    assert_eq!(error.request_id.as_deref(), Some("req-1"));
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_passed_on() {
    for (reply, wait) in [
        (Reply::json(429, &json!({})).with("retry-after", "2"), Some(2000)),
        (
            Reply::json(503, &json!({"detail": "try again in 3s"})),
            Some(3000),
        ),
        (Reply::json(429, &json!({})), None),
        (Reply::json(422, &of_model("x")).with("retry-after", "2"), None),
    ] {
        let error = order_error(reply).await;
        assert_eq!(error.retry_after, wait.map(Duration::from_millis), "{error}");
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_with_what_would_be_right() {
    let provider = provider(&nowhere());
    let check = |model: &str, size: &str, quality: &str| provider.check(&asking(model, size, quality));
    for (model, size, quality, said) in [
        (
            "fal-ai/flux",
            "",
            "",
            "Unsupported image model for fal: fal-ai/flux; use fal-ai/flux/dev",
        ),
        ("fal-ai/flux/dev", "2000x1001", "", "multiples of 16"),
        ("fal-ai/flux/dev", "21:9", "", "square_hd"),
        ("fal-ai/nano-banana", "9:21", "", "becomes the nearest"),
        ("fal-ai/nano-banana", "0x0", "", "Unsupported image size"),
        ("", "", "high", "Image quality is not supported for fal"),
    ] {
        let refused = check(model, size, quality).unwrap_err();
        assert!(refused.message.contains(said), "{refused}");
        assert_eq!(refused.class, InvalidRequest);
    }
    let checked = check("", "", "").unwrap();
    assert_eq!(
        (checked.model.as_str(), checked.size.as_deref()),
        ("fal-ai/flux/dev", Some("landscape_16_9"))
    );
}
