//! Every row of the tables of errors, and what is refused before anything is spent.

use super::*;
use crate::provider::ProviderError;
use crate::provider::suite::{asking, nowhere};

async fn error_of(reply: Reply) -> ProviderError {
    let fake = Fake::start(move |_| reply.clone()).await;
    let (outcome, watch) = draw(&fake, MINUTE).await;
    assert!(watch.handles.lock().unwrap().is_empty());
    assert_eq!(fake.asked().len(), 1, "the order is sent once");
    ended(outcome)
}

#[tokio::test]
async fn every_answer_to_an_order_has_its_class() {
    use ErrorClass::{
        Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
    };
    let fields =
        json!({"detail": [{"loc": ["body", "width"], "msg": "not a multiple of 16", "type": "value_error"}]});
    for (status, body, class) in [
        (400, json!({"detail": "x"}), InvalidRequest),
        (
            401,
            json!({"detail": "Not authenticated - Invalid Authentication"}),
            Auth,
        ),
        (402, json!({"detail": "Insufficient credits"}), Quota),
        (403, json!({"detail": "Not authenticated"}), Auth),
        (404, json!({"detail": "Not Found"}), ModelGone),
        (408, json!({}), Ambiguous),
        (422, fields, InvalidRequest),
        (429, json!({"detail": "Rate limit exceeded"}), RateLimited),
        (500, json!({"error": "x", "message": "y"}), Overloaded),
        (502, json!({}), Overloaded),
        (503, json!({}), Overloaded),
        (504, json!({}), Ambiguous),
        (524, json!({}), Ambiguous),
        (
            200,
            json!({"status": "Request Moderated", "details": {"Moderation Reasons": ["x"]}}),
            Moderation,
        ),
        (200, json!({"error": "x"}), BadOutput),
        (200, json!({"polling_url": "x"}), Ambiguous),
        (200, json!({"id": "../x"}), Ambiguous),
    ] {
        let error = error_of(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}: {error}");
        assert!(error.details.starts_with("POST /v1/flux-2-pro"), "{error}");
    }
}

#[tokio::test]
async fn the_field_that_is_wrong_is_named() {
    let fields =
        json!({"detail": [{"loc": ["body", "width"], "msg": "not a multiple of 16", "type": "value_error"}]});
    let error = error_of(Reply::json(422, &fields)).await;
    assert_eq!(
        error.to_string(),
        "bfl: POST /v1/flux-2-pro: 422 Unprocessable Entity, type value_error, field body.width: \"not a multiple of 16\""
    );
}

#[tokio::test]
async fn the_wait_that_is_asked_for_is_passed_on() {
    let body = json!({"error": "rate_limit", "message": "too many tasks", "retry_after": 12});
    for (reply, wait) in [
        (Reply::json(429, &body), Some(12_000)),
        (Reply::json(429, &body).with("retry-after", "2"), Some(2000)),
        (Reply::json(503, &json!({"retry_after": "3"})), Some(3000)),
        (Reply::json(429, &json!({})), None),
        (Reply::json(402, &body), None),
    ] {
        let error = error_of(reply).await;
        assert_eq!(error.retry_after, wait.map(Duration::from_millis), "{error}");
    }
}

#[tokio::test]
async fn every_end_of_a_task_has_its_class() {
    use ErrorClass::{Ambiguous, BadOutput, Moderation};
    let reasons = json!({"Moderation Reasons": ["Derivative Works Filter"]});
    for (status, body, class, said) in [
        (
            200,
            json!({"status": "Request Moderated", "details": reasons}),
            Moderation,
            "Derivative Works",
        ),
        (
            200,
            json!({"state": "Content Moderated", "details": reasons}),
            Moderation,
            "content moderated",
        ),
        (
            200,
            json!({"status": "content_moderated"}),
            Moderation,
            "without an explanation",
        ),
        (
            200,
            json!({"status": "Error", "details": {"error": "boom"}}),
            BadOutput,
            "boom",
        ),
        (
            200,
            json!({"status": "Failed", "result": {"error": "boom"}}),
            BadOutput,
            "boom",
        ),
        (
            200,
            json!({"status": "Error"}),
            BadOutput,
            "without an explanation",
        ),
        (
            200,
            json!({"status": "Ready", "result": null}),
            BadOutput,
            "without a picture",
        ),
        (
            200,
            json!({"status": "Ready", "result": {"sample": ""}}),
            BadOutput,
            "without a picture",
        ),
        (
            200,
            json!({"status": "Ready", "result": {"sample": "not a URL"}}),
            BadOutput,
            "not a URL",
        ),
        (
            200,
            json!({"status": "Task not found"}),
            Ambiguous,
            "does not know the task",
        ),
        (404, json!({"detail": "Task not found"}), Ambiguous, "404"),
        // What the service repeats of prompt and key stays here.
        (
            200,
            json!({"status": "Error", "details": format!("{PROMPT} {TEST_KEY}")}),
            BadOutput,
            "***",
        ),
    ] {
        let shown = body.clone();
        let fake = Fake::start(move |asked| match asked.method.as_str() {
            "POST" => accepted(asked),
            _ => Reply::json(status, &body),
        })
        .await;
        let error = ended(draw(&fake, MINUTE).await.0);
        assert_eq!(error.class, class, "{shown}: {error}");
        assert!(error.details.contains(said), "{shown}: {error}");
        assert_eq!(error.request_id.as_deref(), Some(ID));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_verdict_does_not_end_a_task() {
    for status in [400, 401, 402, 403, 422] {
        let look = Reply::json(status, &json!({"detail": "x"}));
        let fake = Fake::start(move |asked| match asked.method.as_str() {
            "POST" => accepted(asked),
            _ => look.clone(),
        })
        .await;
        let error = goes_on(draw(&fake, MINUTE).await.0);
        assert!(error.details.contains(&status.to_string()), "{error}");
        assert_eq!(error.request_id.as_deref(), Some(ID));
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_with_what_would_be_right() {
    let provider = provider(&nowhere());
    let check = |model: &str, size: &str, quality: &str| provider.check(&asking(model, size, quality));
    for (model, size, quality, said) in [
        (
            "flux-9",
            "",
            "",
            "Unsupported image model for bfl: flux-9; use flux-2-pro",
        ),
        ("flux-2-pro", "1000x1000", "", "multiples of 16"),
        ("flux-2-pro", "4096x4096", "", "4194304 pixels in all"),
        ("flux-2-pro", "0x0", "", "Unsupported image size"),
        ("flux-pro-1.1", "1456x1024", "", "at most 1440 pixels long"),
        ("flux-pro-1.1", "21:9", "", "Unsupported image size"),
        ("flux-kontext-pro", "wide", "", "becomes the nearest"),
        ("flux-2-pro", "", "high", "Image quality is not supported for bfl"),
    ] {
        let refused = check(model, size, quality).unwrap_err();
        assert!(refused.message.contains(said), "{refused}");
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
    }
    let checked = check("", "", "").unwrap();
    assert_eq!(
        (checked.model.as_str(), checked.size.as_deref()),
        ("flux-2-pro", Some("1344x768"))
    );
    // Every ratio has its pixels, which the model that is asked takes itself.
    for model in catalog::all(ACCESS.name).filter(|model| model.sizes.free.is_some()) {
        for ratio in &model.sizes.listed {
            let (width, height) = pixels(ratio).unwrap();
            let size = format!("{width}x{height}");
            assert_eq!(model.sizes.accept(&size), Some(size), "{} {ratio}", model.id);
        }
    }
}
