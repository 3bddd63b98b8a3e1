//! The provider against fakes on loopback.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::failure::ErrorClass::{
    Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};
use crate::provider::suite::{self, Reply, Subject, answers, asking, bought, nowhere};
use crate::provider::wire::polling::tests::PNG;
use crate::provider::{CheckedSpec, CostBasis};

const KEY: &str = "sk-or-v1-0123456789abcdef";

fn subject() -> Subject {
    let spec = CheckedSpec {
        model: "openai/gpt-image-2".into(),
        size: Some("16:9@2K".into()),
        quality: Some("medium".into()),
        ..CheckedSpec::default()
    };
    let good = |_: &_| {
        let picture = json!({"created": 1, "data": [{"b64_json": BASE64_STANDARD.encode(PNG), "media_type": "image/png"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 1584, "cost": 0.041}});
        Reply::json(200, &picture)
    };
    Subject {
        options: &[
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
            ("webp", "\"output_format\":\"webp\""),
            (
                "reference",
                "\"input_references\":[{\"image_url\":{\"url\":\"data:image/png;base64,cGljdHVyZSAx\"},\"type\":\"image_url\"}]",
            ),
        ],
        ..Subject::keyed(&ACCESS, KEY, spec, good)
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject()).await;
}

#[tokio::test]
async fn a_request_says_shape_and_resolution_and_the_cost_is_what_is_reported() {
    let (path, body, drawn) = bought(subject(), "openai/gpt-image-2", "16:9@2K").await;
    let expected = json!({"model": "openai/gpt-image-2", "prompt": suite::PROMPT, "n": 1, "aspect_ratio": "16:9",
        "resolution": "2K", "quality": "medium"});
    assert_eq!((&*path, body), ("/images", expected));
    let cost = drawn.cost.unwrap();
    assert_eq!((cost.usd, cost.basis), (0.041, CostBasis::Reported));
    assert_eq!(&drawn.bytes[..], PNG);
}

#[test]
fn any_model_of_a_maker_can_be_asked_for() {
    let provider = suite::keyed(&ACCESS, &nowhere(), KEY);
    for (model, size, expected) in [
        ("", "", Ok("16:9")),
        ("maker/model-7:free", "1792x1024", Ok("16:9@2K")),
        ("maker/model-7", "1:1@4K", Ok("1:1@4K")),
        (
            "no-maker",
            "",
            Err("Unsupported image model for openrouter: no-maker; use "),
        ),
        (
            "a/../b c",
            "",
            Err("Unsupported image model for openrouter: a/../b c; use "),
        ),
    ] {
        match (provider.check(&asking(model, size, "")), expected) {
            (Ok(checked), Ok(expected)) => assert_eq!(checked.size.as_deref(), Some(expected), "{model}"),
            (Err(refused), Err(expected)) => assert!(refused.message.starts_with(expected), "{refused}"),
            (found, expected) => panic!("{model}: {found:?}; {expected:?} was expected"),
        }
    }
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it() {
    let error = |code: u16, message: &str| json!({"error": {"code": code, "message": message}});
    let flagged = json!({"error": {"code": 403, "message": "x", "metadata": {"reasons": ["violence"]}}});
    let rows = vec![
        (Reply::json(400, &error(400, "bad size")), InvalidRequest),
        (Reply::json(401, &error(401, "No auth credentials found")), Auth),
        (Reply::json(402, &error(402, "Insufficient credits")), Quota),
        (Reply::json(403, &error(403, "Key limit exceeded")), Auth),
        (Reply::json(403, &error(403, "Input was flagged")), Moderation),
        (Reply::json(403, &flagged), Moderation),
        (Reply::json(404, &error(404, "No endpoints found")), ModelGone),
        (Reply::json(413, &error(413, "too large")), InvalidRequest),
        (Reply::json(429, &error(429, "Rate limited")), RateLimited),
        (Reply::json(502, &error(502, "the maker is down")), Overloaded),
        (Reply::json(529, &error(529, "Provider overloaded")), Overloaded),
        // The maker may go on drawing.
        (Reply::json(524, &error(524, "timed out")), Ambiguous),
        (Reply::json(200, &error(429, "Rate limited")), RateLimited),
        (Reply::json(200, &error(402, "Insufficient credits")), Quota),
        (Reply::json(200, &json!({"created": 1, "data": []})), BadOutput),
    ];
    answers(&subject(), rows).await;
}

#[tokio::test]
async fn pictures_to_make_one_from_are_listed_for_models_that_are_known_to_take_them() {
    let built = |base_url: &url::Url| suite::keyed(&ACCESS, base_url, KEY);
    let asked = suite::bought_from(built, subject().good, "bytedance-seed/seedream-4.5", 2).await;
    let item = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
    let expected = json!([
        item("data:image/png;base64,cGljdHVyZSAx"),
        item("data:image/jpeg;base64,cGljdHVyZSAy")
    ]);
    assert_eq!(
        (&*asked.path, &asked.json()["input_references"]),
        ("/images", &expected)
    );
    let unknown = crate::provider::ImageSpec {
        reference_count: 1,
        ..asking("maker/model-7", "", "")
    };
    let refused = built(&nowhere()).check(&unknown).unwrap_err();
    assert!(refused.message.ends_with("leave them out"), "{refused}");
}
