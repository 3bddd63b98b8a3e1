//! The provider against fakes on loopback: the form as sent, the picture as received, each error with its class.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use url::Url;

use super::*;
use crate::http_client::tests::in_minutes;
use crate::provider::ProviderError;
use crate::provider::suite::{self, Asked, Fake, PROMPT, Reply, Subject, any_post, nowhere};
use crate::provider::{CheckedSpec, CostBasis, DigitalSource, DrawnImage, ImageProvider, ImageSpec};
use crate::work_package::Prompt;

const KEY: &str = "sk-stability-0123456789abcdef";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";

fn provider(base_url: &Url) -> Arc<dyn ImageProvider> {
    suite::keyed(&ACCESS, base_url, KEY)
}

fn spec(model: &str) -> CheckedSpec {
    CheckedSpec {
        model: model.into(),
        size: Some("16:9".into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

fn picture() -> Value {
    json!({"image": BASE64_STANDARD.encode(PNG), "finish_reason": "SUCCESS", "seed": 343_940_597})
}

/// As the service does, refuses what is no form.
fn answer(asked: &Asked, reply: Reply) -> Reply {
    let kind = asked.header("content-type").unwrap_or_default();
    match kind.starts_with("multipart/form-data; boundary=") {
        true => reply,
        false => Reply::json(400, &json!({"name": "bad_request", "errors": ["content-type"]})),
    }
}

/// The outcome of a call that is answered so, and what was asked.
async fn drawn(reply: Reply, spec: &CheckedSpec) -> (Result<DrawnImage, ProviderError>, Vec<Asked>) {
    let fake = Fake::start(move |asked| answer(asked, reply.clone())).await;
    let prompt = Prompt::new(PROMPT.into());
    let outcome = provider(&fake.url)
        .draw(&Call::unwatched(&prompt, spec, in_minutes(5)))
        .await
        .map_err(suite::ended);
    (outcome, fake.asked())
}

async fn error_of(reply: Reply) -> ProviderError {
    let (outcome, asked) = drawn(reply, &spec("core")).await;
    assert_eq!(asked.len(), 1);
    outcome.unwrap_err()
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(provider),
        key: KEY,
        spec: spec("sd3.5-large"),
        good: |asked| answer(asked, Reply::json(200, &picture())),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[
            ("png", "name=\"output_format\"\r\n\r\npng\r\n"),
            ("jpeg", "name=\"output_format\"\r\n\r\njpeg\r\n"),
            ("webp", "name=\"output_format\"\r\n\r\nwebp\r\n"),
            (
                "negative prompt",
                "name=\"negative_prompt\"\r\n\r\nblurry unicorns\r\n",
            ),
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

/// Names and values of a form, as a server reads them.
fn fields(asked: &Asked) -> Vec<(String, String)> {
    let kind = asked.header("content-type").unwrap();
    let boundary = format!("--{}", kind.split_once("boundary=").unwrap().1);
    let body = asked.text();
    let body = body.strip_suffix(&format!("\r\n{boundary}--\r\n")).unwrap();
    let body = body.strip_prefix(&format!("{boundary}\r\n")).unwrap();
    let between = format!("\r\n{boundary}\r\n");
    body.split(&between)
        .map(|part| {
            let (head, value) = part.split_once("\r\n\r\n").unwrap();
            let name = head
                .strip_prefix("Content-Disposition: form-data; name=\"")
                .unwrap();
            (name.strip_suffix('"').unwrap().to_owned(), value.to_owned())
        })
        .collect()
}

#[tokio::test]
async fn each_model_is_asked_at_its_address_with_a_form() {
    for (model, endpoint, own) in [
        ("core", "core", None),
        ("stable-image-core", "core", None),
        ("ultra", "ultra", None),
        ("stable-image-ultra", "ultra", None),
        ("sd3.5-large", "sd3", Some("sd3.5-large")),
        ("sd3.5-large-turbo", "sd3", Some("sd3.5-large-turbo")),
        ("sd3.5-medium", "sd3", Some("sd3.5-medium")),
    ] {
        let (outcome, asked) = drawn(Reply::json(200, &picture()), &spec(model)).await;
        outcome.unwrap();
        let asked = &asked[0];
        assert_eq!(
            (&*asked.method, &*asked.path),
            ("POST", &*format!("/v2beta/stable-image/generate/{endpoint}"))
        );
        assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {KEY}")));
        assert_eq!(asked.header("accept"), Some("application/json"));
        let mut expected = vec![("aspect_ratio", "16:9")];
        expected.extend(own.map(|own| ("model", own)));
        expected.extend([("output_format", "png"), ("prompt", PROMPT), ("seed", "7")]);
        let found = fields(asked);
        let found: Vec<(&str, &str)> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, expected);
    }
}

#[tokio::test]
async fn a_picture_comes_back_with_its_seed_and_its_listed_price() {
    for (model, usd) in [
        ("core", 0.03),
        ("ultra", 0.08),
        ("sd3.5-large", 0.065),
        ("sd3.5-large-turbo", 0.04),
        ("sd3.5-medium", 0.035),
    ] {
        let (outcome, _) = drawn(Reply::json(200, &picture()), &spec(model)).await;
        let drawn = outcome.unwrap();
        assert_eq!(
            (&drawn.bytes[..], drawn.source),
            (PNG, DigitalSource::TrainedModel)
        );
        assert_eq!(drawn.usage, Some(json!({"seed": 343_940_597})));
        let cost = drawn.cost.unwrap();
        assert_eq!((cost.usd, cost.basis), (usd, CostBasis::Estimated));
    }
    let bare = json!({"image": BASE64_STANDARD.encode(PNG)});
    let (outcome, _) = drawn(Reply::json(200, &bare), &spec("core")).await;
    assert_eq!(outcome.unwrap().usage, None);
}

#[tokio::test]
async fn every_documented_error_has_its_class() {
    use ErrorClass::*;
    let named = |name: &str| json!({"id": "4212a4b6", "name": name, "errors": ["some-field: is required"]});
    let mut filtered = picture();
    filtered["finish_reason"] = "CONTENT_FILTERED".into();
    for (status, body, class) in [
        (200, filtered, Moderation),
        (
            200,
            json!({"image": "", "finish_reason": "CONTENT_FILTERED", "seed": 1}),
            Moderation,
        ),
        (200, json!({"image": "aGVs", "finish_reason": "ERROR"}), BadOutput),
        (200, json!({"image": "", "finish_reason": "SUCCESS"}), BadOutput),
        (
            200,
            json!({"image": "?rubbish?", "finish_reason": "SUCCESS"}),
            BadOutput,
        ),
        (200, json!({"finish_reason": "SUCCESS"}), BadOutput),
        (200, json!({"image": 3}), BadOutput),
        (200, named("content_moderation"), Moderation),
        (202, json!({"id": "later"}), BadOutput),
        (400, named("bad_request"), InvalidRequest),
        (400, json!({"message": "x"}), InvalidRequest),
        (401, named("unauthorized"), Auth),
        (401, json!({}), Auth),
        (402, named("payment_required"), Quota),
        (402, json!({}), Quota),
        (403, named("content_moderation"), Moderation),
        (403, named("permission_denied"), Auth),
        (403, json!({"errors": ["see our content policy"]}), Auth),
        (404, named("not_found"), InvalidRequest),
        (410, json!({}), ModelGone),
        (413, named("payload_too_large"), InvalidRequest),
        (422, named("unprocessable_entity"), InvalidRequest),
        (429, named("rate_limit_exceeded"), RateLimited),
        (429, json!({}), RateLimited),
        (500, named("internal_error"), Overloaded),
        (503, named("internal_error"), Overloaded),
        (529, json!({}), Overloaded),
        (408, json!({}), Ambiguous),
        (504, json!({}), Ambiguous),
        (524, json!({}), Ambiguous),
    ] {
        let error = error_of(Reply::json(status, &body)).await;
        assert_eq!(error.class, class, "{status} {body}");
        let start = "POST /v2beta/stable-image/generate/core: ";
        assert!(error.details.starts_with(start), "{error}");
    }
}

#[tokio::test]
async fn an_error_names_status_name_and_id() {
    let body = json!({"id": "4212a4b66fbe1cedca4bf2133d35dca5", "name": "bad_request",
        "errors": ["aspect_ratio: is wrong", "seed: too large"]});
    let error = error_of(Reply::json(400, &body)).await;
    assert_eq!(
        error.request_id.as_deref(),
        Some("4212a4b66fbe1cedca4bf2133d35dca5")
    );
    assert_eq!(
        error.to_string(),
        "stability: POST /v2beta/stable-image/generate/core: 400 Bad Request, name bad_request, request \
         4212a4b66fbe1cedca4bf2133d35dca5: \"aspect_ratio: is wrong; seed: too large\""
    );
}

#[tokio::test]
async fn a_limited_service_is_left_alone_for_a_minute_unless_it_says_otherwise() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    for (reply, wait) in [
        (
            Reply::json(429, &json!({"name": "rate_limit_exceeded"})),
            seconds(60),
        ),
        (Reply::json(429, &json!({})).with("retry-after", "9"), seconds(9)),
        (Reply::json(503, &json!({})).with("retry-after", "9"), seconds(9)),
        (Reply::json(503, &json!({})), None),
        (Reply::json(401, &json!({})).with("retry-after", "9"), None),
    ] {
        assert_eq!(error_of(reply.clone()).await.retry_after, wait, "{reply:?}");
    }
}

#[tokio::test]
async fn a_prompt_cannot_add_fields_to_the_form() {
    let prompt = Prompt::new("x\r\n--b\r\nContent-Disposition: form-data; name=\"seed\"\r\n\r\n3".into());
    let fake = Fake::start(|_| Reply::json(200, &picture())).await;
    let spec = spec("core");
    let call = Call::unwatched(&prompt, &spec, in_minutes(5));
    provider(&fake.url).draw(&call).await.unwrap();
    let names: Vec<String> = fields(&fake.asked()[0])
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["aspect_ratio", "output_format", "prompt", "seed"]);
}

#[test]
fn what_the_models_cannot_do_is_refused_with_what_would_be_right() {
    let check = |model: &str, size: &str, quality: &str, seed: i64| {
        provider(&nowhere()).check(&ImageSpec {
            seed: Some(seed),
            ..suite::asking(model, size, quality)
        })
    };
    let fine = check("", "", "", 4_294_967_294).unwrap();
    assert_eq!(
        (&*fine.model, fine.size.as_deref(), fine.seed),
        ("core", Some("16:9"), Some(4_294_967_294))
    );
    assert_eq!(
        check("ultra", "1792x1024", "", 0).unwrap().size.as_deref(),
        Some("16:9")
    );
    for (refused, message) in [
        (
            check("sd2", "", "", 0),
            "Unsupported image model for stability: sd2; use core, ultra, sd3.5-large, sd3.5-large-turbo or sd3.5-medium",
        ),
        (
            check("core", "4:3", "", 0),
            "Unsupported image size for core: 4:3; use 1:1, 16:9, 21:9, 2:3, 3:2, 4:5, 5:4, 9:16 or 9:21, or WIDTHxHEIGHT",
        ),
        (
            check("core", "", "hd", 0),
            "Image quality is not supported for stability; leave it out",
        ),
        (
            check("core", "", "", 4_294_967_295),
            "Unsupported seed for core: 4294967295; use a number from 0 to 4294967294",
        ),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
        assert!(refused.message.starts_with(message), "{refused}");
    }
}

#[tokio::test]
async fn a_prompt_goes_as_it_is_and_not_when_it_is_too_long() {
    let prompt = Prompt::new(PROMPT.into());
    let sent = provider(&nowhere()).prompt_for(&prompt, "Draw well.");
    assert_eq!(sent.expose(), PROMPT);
    let prompt = Prompt::new("é".repeat(10_001));
    let error = provider(&nowhere())
        .draw(&Call::unwatched(&prompt, &spec("core"), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest, "{error}");
}
