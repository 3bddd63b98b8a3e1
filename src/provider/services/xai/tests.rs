//! The provider against fakes on loopback.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::failure::ErrorClass::{
    Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};
use crate::provider::suite::{self, Reply, Subject, answers, bought};
use crate::provider::wire::polling::tests::PNG;
use crate::provider::{CheckedSpec, CostBasis};

fn subject() -> Subject {
    let spec = CheckedSpec {
        model: "grok-imagine-image".into(),
        size: Some("16:9@2K".into()),
        ..CheckedSpec::default()
    };
    let good = |_: &_| {
        let picture = BASE64_STANDARD.encode(PNG);
        let answer = json!({"data": [{"b64_json": picture, "mime_type": "image/png", "respect_moderation": true}],
            "usage": {"cost_in_usd_ticks": 200_000_000}});
        Reply::json(200, &answer)
    };
    Subject {
        options: &[(
            "reference",
            "\"image\":{\"type\":\"image_url\",\"url\":\"data:image/png;base64,cGljdHVyZSAx\"}",
        )],
        ..Subject::keyed(&ACCESS, "xai-0123456789abcdef", spec, good)
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject()).await;
}

#[tokio::test]
async fn a_request_says_shape_and_resolution_and_never_a_size() {
    let (path, body, drawn) = bought(subject(), "grok-imagine-image", "16:9@2K").await;
    let expected = json!({"model": "grok-imagine-image", "prompt": suite::PROMPT, "n": 1, "response_format": "b64_json",
        "aspect_ratio": "16:9", "resolution": "2k"});
    assert_eq!((&*path, body), ("/images/generations", expected));
    let cost = drawn.cost.unwrap();
    assert_eq!((cost.usd, cost.basis), (0.02, CostBasis::Estimated));
    let (_, body, _) = bought(subject(), "grok-imagine-image", "auto").await;
    assert_eq!((body.get("aspect_ratio"), body.get("size")), (None, None));
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it() {
    let plain = |code: &str, error: &str| json!({"code": code, "error": error});
    let held_back = json!({"data": [{"b64_json": "", "respect_moderation": false}]});
    let rows = vec![
        (Reply::json(200, &held_back), Moderation),
        (Reply::json(200, &json!({"data": []})), BadOutput),
        (
            Reply::json(
                400,
                &plain(
                    "Client specified an invalid argument",
                    "Incorrect API key provided",
                ),
            ),
            Auth,
        ),
        (
            Reply::json(400, &plain("x", "The image was rejected by content moderation.")),
            Moderation,
        ),
        (
            Reply::json(400, &plain("x", "unknown aspect_ratio")),
            InvalidRequest,
        ),
        (
            Reply::json(403, &plain("x", "Your team has used all available credits")),
            Quota,
        ),
        (Reply::json(403, &plain("x", "no access")), Auth),
        (
            Reply::json(404, &plain("x", "The model grok-7 does not exist")),
            ModelGone,
        ),
        (Reply::json(429, &plain("x", "Too many requests")), RateLimited),
        (
            Reply::json(503, &json!({"error": {"message": "The service is unavailable"}})),
            Overloaded,
        ),
    ];
    answers(&subject(), rows).await;
}

#[tokio::test]
async fn a_picture_is_made_from_one_or_from_several_by_the_path_for_edits() {
    let built = |base_url: &url::Url| suite::keyed(&ACCESS, base_url, "xai-0123456789abcdef");
    let item = |url: &str| json!({"url": url, "type": "image_url"});
    let (one, two) = (
        item("data:image/png;base64,cGljdHVyZSAx"),
        item("data:image/jpeg;base64,cGljdHVyZSAy"),
    );
    for (count, name, expected) in [(1, "image", one.clone()), (2, "images", json!([one, two]))] {
        let asked = suite::bought_from(built, subject().good, "grok-imagine-image", count).await;
        let body = asked.json();
        assert_eq!((&*asked.path, &body[name]), ("/images/edits", &expected));
        assert_eq!((&body["aspect_ratio"], &body["n"]), (&json!("16:9"), &json!(1)));
    }
}
