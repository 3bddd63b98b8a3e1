//! The provider against fakes on loopback: the request as sent, the picture as received, each error with its class.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use url::Url;

use super::*;
use crate::failure::{ErrorClass, Failure};
use crate::http_client::tests::in_minutes;
use crate::provider::ProviderError;
use crate::provider::suite::{self, Asked, Fake, PROMPT, Reply, Subject, any_post, nowhere};
use crate::provider::wire::google::tests::{candidate, documented, error, without_picture};
use crate::provider::{CheckedSpec, CostBasis, DigitalSource, DrawnImage, ImageProvider, ImageSpec};
use crate::work_package::Prompt;

mod checks;

const KEY: &str = "AIzaTest0123456789abcdef";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";

fn provider(base_url: &Url) -> Arc<dyn ImageProvider> {
    suite::keyed(&ACCESS, base_url, &format!("{KEY}\n"))
}

fn spec(size: &str) -> CheckedSpec {
    CheckedSpec {
        model: "gemini-3.1-flash-image".into(),
        size: Some(size.into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

fn picture() -> Value {
    let part = json!({"inlineData": {"mimeType": "image/png", "data": BASE64_STANDARD.encode(PNG)}});
    let mut body = candidate("STOP", json!([part]));
    body["usageMetadata"] = json!({"promptTokenCount": 12, "candidatesTokenCount": 1290, "totalTokenCount": 1402,
        "thoughtsTokenCount": 100, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]});
    body["responseId"] = "resp_4Hq".into();
    body
}

/// The outcome of a call that is answered so, and what was asked.
async fn drawn(reply: Reply, spec: &CheckedSpec) -> (Result<DrawnImage, ProviderError>, Vec<Asked>) {
    let fake = Fake::start(move |_| reply.clone()).await;
    let prompt = Prompt::new(PROMPT.into());
    let outcome = provider(&fake.url)
        .draw(&Call::unwatched(&prompt, spec, in_minutes(5)))
        .await
        .map_err(suite::ended);
    (outcome, fake.asked())
}

async fn error_of(reply: Reply) -> ProviderError {
    let (outcome, asked) = drawn(reply, &spec("1:1")).await;
    assert_eq!(asked.len(), 1);
    outcome.unwrap_err()
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(provider),
        key: KEY,
        spec: spec("16:9"),
        good: |_| Reply::json(200, &picture()),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[(
            "reference",
            "\"inlineData\":{\"data\":\"cGljdHVyZSAx\",\"mimeType\":\"image/png\"}",
        )],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn a_picture_comes_back_with_its_cost_and_id() {
    let (outcome, asked) = drawn(Reply::json(200, &picture()), &spec("16:9@2K")).await;
    let drawn = outcome.unwrap();
    assert_eq!(
        (&drawn.bytes[..], drawn.source),
        (PNG, DigitalSource::TrainedModel)
    );
    assert_eq!(drawn.request_id.as_deref(), Some("resp_4Hq"));
    assert_eq!(drawn.usage, Some(picture()["usageMetadata"].clone()));
    // 12 in, 1120 of the picture, 170 beside it and 100 thought.
    let cost = drawn.cost.unwrap();
    let expected = (12.0 * 0.5 + 1120.0 * 60.0 + 270.0 * 3.0) / 1e6;
    assert!((cost.usd - expected).abs() < 1e-9, "{cost:?}");
    assert_eq!(cost.basis, CostBasis::Computed);

    let asked = &asked[0];
    assert_eq!(
        (&*asked.method, &*asked.path),
        ("POST", "/v1beta/models/gemini-3.1-flash-image:generateContent")
    );
    assert_eq!(asked.header("x-goog-api-key"), Some(KEY));
    assert_eq!(asked.header("content-type"), Some("application/json"));
    assert_eq!(
        asked.json(),
        json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
            "generationConfig": {"responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}, "seed": 7}})
    );
}

#[tokio::test]
async fn only_what_was_chosen_is_asked_for() {
    for (size, config) in [
        ("auto", json!({})),
        ("3:2", json!({"aspectRatio": "3:2"})),
        ("1:1@512", json!({"aspectRatio": "1:1", "imageSize": "512"})),
    ] {
        let mut spec = spec(size);
        spec.seed = None;
        let (_, asked) = drawn(Reply::json(200, &picture()), &spec).await;
        let found = asked[0].json()["generationConfig"].clone();
        assert_eq!(
            found,
            json!({"responseModalities": ["IMAGE"], "imageConfig": config})
        );
    }
}

#[tokio::test]
async fn a_picture_without_usage_has_the_listed_price() {
    let mut body = picture();
    body["usageMetadata"] = Value::Null;
    let (outcome, _) = drawn(Reply::json(200, &body), &spec("1:1")).await;
    let cost = outcome.unwrap().cost.unwrap();
    assert_eq!((cost.usd, cost.basis), (0.067, CostBasis::Estimated));
}

#[tokio::test]
async fn every_documented_error_has_its_class() {
    for (status, body, class) in documented() {
        let error = error_of(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}");
        let start = "POST /v1beta/models/gemini-3.1-flash-image:generateContent: ";
        assert!(error.details.starts_with(start), "{error}");
    }
}

#[tokio::test]
async fn every_success_without_a_picture_has_its_class() {
    for (body, class) in without_picture() {
        let error = error_of(Reply::json(200, &body)).await;
        assert_eq!(error.class, class, "{body}: {error}");
    }
}

#[tokio::test]
async fn what_the_model_says_in_place_of_a_picture_is_told_without_the_prompt() {
    let said = format!("I cannot draw {PROMPT}, since it is rude.");
    let error = error_of(Reply::json(200, &candidate("STOP", json!([{"text": said}])))).await;
    assert!(
        error
            .details
            .ends_with("200: no picture, finish reason STOP: \"I cannot draw ***, since it is rude.\""),
        "{error}"
    );
    let body =
        json!({"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Try another prompt."}]});
    let error = error_of(Reply::json(200, &body)).await;
    assert!(
        error
            .details
            .ends_with("finish reason IMAGE_SAFETY: \"Try another prompt.\""),
        "{error}"
    );
    assert!(
        Failure::from(error)
            .message
            .starts_with("gemini refused this prompt")
    );
}

#[tokio::test]
async fn the_wait_that_google_asks_for_is_passed_on() {
    let info = json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}]);
    let limited = error(429, "RESOURCE_EXHAUSTED", "x", info.clone());
    let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
    for (reply, wait) in [
        (Reply::json(429, &limited), seconds(34.4)),
        (Reply::json(429, &json!([limited])), seconds(34.4)),
        (Reply::json(429, &limited).with("retry-after", "2"), seconds(2.0)),
        (
            Reply::json(
                429,
                &error(429, "RESOURCE_EXHAUSTED", "Please retry in 12.5s.", json!([])),
            ),
            seconds(12.5),
        ),
        (
            Reply::json(503, &error(503, "UNAVAILABLE", "x", info.clone())),
            seconds(34.4),
        ),
        (
            Reply::json(429, &error(429, "RESOURCE_EXHAUSTED", "x", json!([]))),
            None,
        ),
        (
            Reply::json(403, &error(403, "PERMISSION_DENIED", "x", info)),
            None,
        ),
    ] {
        assert_eq!(error_of(reply.clone()).await.retry_after, wait, "{reply:?}");
    }
}

#[tokio::test]
async fn an_error_names_status_reason_quota_and_request() {
    let details = json!([
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"},
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "PerMinute"}]},
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req-9"}]);
    let error = error_of(Reply::json(
        429,
        &error(429, "RESOURCE_EXHAUSTED", "Slow down.", details),
    ))
    .await;
    assert_eq!(error.request_id.as_deref(), Some("req-9"));
    assert_eq!(
        error.to_string(),
        "gemini: POST /v1beta/models/gemini-3.1-flash-image:generateContent: 429 Too Many Requests, status \
         RESOURCE_EXHAUSTED, reason RATE_LIMIT_EXCEEDED, quota PerMinute, request req-9: \"Slow down.\""
    );
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_not_sent() {
    let prompt = Prompt::new("é".repeat(32_001));
    let error = provider(&nowhere())
        .draw(&Call::unwatched(&prompt, &spec("1:1"), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest, "{error}");
}

#[tokio::test]
async fn pictures_to_make_one_from_follow_the_prompt() {
    let asked = suite::bought_from(
        provider,
        |_| Reply::json(200, &picture()),
        "gemini-3-pro-image",
        2,
    )
    .await;
    let parts = &asked.json()["contents"][0]["parts"];
    let picture = |kind: &str, data: &str| json!({"inlineData": {"mimeType": kind, "data": data}});
    let expected = json!([{"text": PROMPT}, picture("image/png", "cGljdHVyZSAx"), picture("image/jpeg", "cGljdHVyZSAy")]);
    assert_eq!(*parts, expected);
}
