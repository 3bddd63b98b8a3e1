//! The provider against servers on loopback: the request as sent, the picture as received.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;
use url::Url;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::failure::{ErrorClass, Failure};
use crate::http_client::tests::in_minutes;
use crate::http_client::{Downloads, install_tls};
use crate::provider::suite::{self, Reply, Subject, any_post};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::{
    CheckedSpec, CostBasis, DigitalSource, DrawnImage, ImageProvider, ImageSpec, ProviderError,
};
use crate::work_package::{ImageType, Prompt};

mod errors;
mod faults;

const KEY: &str = "sk-test-0123456789abcdef";
const PROMPT: &str = "A secret dragon over the harbour, \"quoted\"\nand on two lines";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";

fn provider(base_url: Url) -> Arc<dyn ImageProvider> {
    let mut settings = suite::settings(&ACCESS, &base_url, KEY);
    settings.more = vec![Some("org-1".into()), Some("proj-1".into())];
    settings.build(&Downloads::new(true).unwrap()).unwrap()
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "gpt-image-2".into(),
        size: Some("2048x1152".into()),
        quality: Some("medium".into()),
        seed: None,
        ..CheckedSpec::default()
    }
}

fn prompt() -> Prompt {
    Prompt::new(PROMPT.into())
}

fn picture() -> Value {
    json!({"created": 1_795_300_000, "output_format": "png", "size": "2048x1152", "quality": "medium",
        "data": [{"b64_json": BASE64_STANDARD.encode(PNG)}],
        "usage": {"input_tokens": 23, "output_tokens": 1584, "total_tokens": 1607,
            "input_tokens_details": {"text_tokens": 23, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": 1584}}})
}

fn error(kind: &str, code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The outcome of one call to a server that always answers `answer`, and how often it was asked.
async fn outcome_of(answer: ResponseTemplate) -> Result<DrawnImage, ProviderError> {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    let base = Url::parse(&format!("{}/v1", server.uri())).unwrap();
    let outcome = provider(base)
        .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended);
    server.verify().await;
    outcome
}

async fn error_of(answer: ResponseTemplate) -> ProviderError {
    let error = outcome_of(answer).await.unwrap_err();
    keeps_secrets(&error);
    error
}

/// Neither the key nor the prompt reach the log, the job row or the dead letter.
#[track_caller]
fn keeps_secrets(error: &ProviderError) {
    let failure = Failure::from(error.clone());
    for text in [
        &error.details,
        &format!("{error:?}"),
        &failure.message,
        &format!("{failure:?}"),
    ] {
        for secret in ["0123456789abcdef", "dragon", "harbour", "two lines"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(|base_url| provider(base_url.join("v1").unwrap())),
        key: KEY,
        spec: spec(),
        good: |_| Reply::json(200, &picture()),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[
            ("opaque", "\"background\":\"opaque\""),
            ("low", "\"moderation\":\"low\""),
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
            ("webp", "\"output_format\":\"webp\""),
            ("reference", "name=\"image[]\"; filename=\"1.png\""),
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn a_picture_comes_back_with_its_cost_and_request_id() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/images/generations"))
        .and(header("authorization", format!("Bearer {KEY}").as_str()))
        .and(header("openai-organization", "org-1"))
        .and(header("openai-project", "proj-1"))
        .and(header("content-type", "application/json"))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("x-request-id", "req_4Hq")
                .set_body_json(picture()),
        )
        .expect(2)
        .mount(&server)
        .await;
    for base in [format!("{}/v1", server.uri()), format!("{}/v1/", server.uri())] {
        let provider = provider(Url::parse(&base).unwrap());
        let drawn = provider
            .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
            .await
            .unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.source, DigitalSource::TrainedModel);
        assert_eq!(drawn.request_id.as_deref(), Some("req_4Hq"));
        assert_eq!(drawn.usage, Some(picture()["usage"].clone()));
        let cost = drawn.cost.unwrap();
        assert!((cost.usd - 0.047_635).abs() < 1e-9);
        assert_eq!(cost.basis, CostBasis::Computed);
    }
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        requests[0].body_json::<Value>().unwrap(),
        json!({"model": "gpt-image-2", "prompt": PROMPT, "n": 1, "size": "2048x1152", "quality": "medium",
            "output_format": "png", "moderation": "auto"})
    );
}

#[tokio::test]
async fn a_picture_without_usage_has_no_cost() {
    let mut body = picture();
    body["usage"] = Value::Null;
    let drawn = outcome_of(ResponseTemplate::new(200).set_body_json(body))
        .await
        .unwrap();
    assert_eq!((drawn.cost, drawn.usage, drawn.request_id), (None, None, None));
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_not_sent() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_json(picture()))
        .expect(1)
        .mount(&server)
        .await;
    let provider = provider(Url::parse(&server.uri()).unwrap());
    let prompt = |length| Prompt::new("é".repeat(length));
    provider
        .draw(&Call::unwatched(&prompt(32_000), &spec(), in_minutes(5)))
        .await
        .unwrap();
    let error = provider
        .draw(&Call::unwatched(&prompt(32_001), &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest);
    assert!(
        error
            .details
            .contains("32001 characters, gpt-image-2 takes at most 32000"),
        "{error}"
    );
    server.verify().await;
}

#[test]
fn a_request_is_checked_against_the_table_before_the_key() {
    install_tls();
    let base = Url::parse("http://127.0.0.1:9/v1").unwrap();
    let checked = provider(base.clone()).check(&ImageSpec {
        image_type: ImageType::Icon,
        ..ImageSpec::default()
    });
    assert_eq!(checked.unwrap().size.as_deref(), Some("1024x1024"));
    let ended = ImageSpec {
        model: Some("gpt-image-1".into()),
        ..ImageSpec::default()
    };
    assert_eq!(
        provider(base).check(&ended).unwrap_err().class,
        ErrorClass::ModelGone
    );
}

#[tokio::test]
async fn a_picture_that_is_made_from_others_is_asked_for_in_a_form_with_what_edits_take() {
    let good = |_: &_| Reply::json(200, &picture());
    let keyed = |base_url: &Url| provider(base_url.join("v1").unwrap());
    let asked = suite::bought_from(keyed, good, "gpt-image-2", 2).await;
    assert_eq!(asked.path, "/v1/images/edits");
    let form = asked.form();
    let expected = [
        ("\"model\"", "gpt-image-2"),
        ("\"n\"", "1"),
        ("\"output_format\"", "png"),
        ("\"prompt\"", suite::PROMPT),
        ("\"quality\"", "medium"),
        ("\"size\"", "2048x1152"),
        (
            "\"image[]\"; filename=\"1.png\" Content-Type: image/png",
            "picture 1",
        ),
        (
            "\"image[]\"; filename=\"2.jpg\" Content-Type: image/jpeg",
            "picture 2",
        ),
    ];
    assert_eq!(
        form,
        expected.map(|(about, value)| (about.to_owned(), value.to_owned()))
    );
}
