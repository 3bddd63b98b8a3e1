//! The provider against fakes on loopback.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::failure::ErrorClass::{
    Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};
use crate::provider::suite::{self, Reply, Subject, answers, asking, bought, nowhere};
use crate::provider::wire::polling::tests::PNG;
use crate::provider::{CheckedSpec, CostBasis};

const LITE: &str = "seedream-5-0-260128";

fn subject() -> Subject {
    let spec = CheckedSpec {
        model: LITE.into(),
        size: Some("16:9".into()),
        ..CheckedSpec::default()
    };
    let good = |_: &_| {
        let answer = json!({"model": LITE, "created": 1, "data": [{"b64_json": BASE64_STANDARD.encode(PNG),
            "size": "2736x1536"}], "usage": {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384}});
        Reply::json(200, &answer)
    };
    Subject {
        options: &[("reference", "\"image\":\"data:image/png;base64,cGljdHVyZSAx\"")],
        ..Subject::keyed(&ACCESS, "ark-0123456789abcdef", spec, good)
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject()).await;
}

#[tokio::test]
async fn a_request_has_pixels_for_a_shape_and_no_watermark() {
    for (size, pixels) in [("16:9", "2736x1536"), ("1:1@4K", "4096x4096")] {
        let (path, body, drawn) = bought(subject(), LITE, size).await;
        let expected = json!({"model": LITE, "prompt": suite::PROMPT, "size": pixels, "response_format": "b64_json",
            "watermark": false});
        assert_eq!((&*path, body), ("/images/generations", expected));
        let cost = drawn.cost.unwrap();
        assert_eq!((cost.usd, cost.basis), (0.035, CostBasis::Estimated));
    }
    let (_, body, drawn) = bought(subject(), "ep-20261130-abcde", "16:9").await;
    assert_eq!((&body["model"], drawn.cost), (&json!("ep-20261130-abcde"), None));
}

#[test]
fn no_size_is_too_small_for_the_models() {
    let provider = suite::keyed(&ACCESS, &nowhere(), "k");
    for size in ["", "16:9", "21:9", "2:3", "512x512", "1024x1024", "4096x2304"] {
        let checked = provider.check(&asking("", size, "")).unwrap();
        let (width, height) = pixels_of(&checked.size.unwrap(), "2K", 16).unwrap();
        assert!(width * height >= 3_686_400, "{size}: {width}x{height}");
    }
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it() {
    let error =
        |code: &str| json!({"error": {"code": code, "message": "x", "param": "", "type": "BadRequest"}});
    let rows = vec![
        (
            Reply::json(400, &error("InputTextSensitiveContentDetected")),
            Moderation,
        ),
        (
            Reply::json(400, &error("OutputImageSensitiveContentDetected.PolicyViolation")),
            Moderation,
        ),
        (Reply::json(400, &error("InvalidParameter")), InvalidRequest),
        (Reply::json(401, &error("AuthenticationError")), Auth),
        (Reply::json(403, &error("AccountOverdueError")), Quota),
        (
            Reply::json(404, &error("InvalidEndpointOrModel.NotFound")),
            ModelGone,
        ),
        (Reply::json(404, &error("ModelNotOpen")), Auth),
        (
            Reply::json(429, &error("RateLimitExceeded.EndpointRPMExceeded")),
            RateLimited,
        ),
        (Reply::json(429, &error("ServerOverloaded")), Overloaded),
        (Reply::json(429, &error("SetLimitExceeded")), Quota),
        (Reply::json(500, &error("InternalServiceError")), Overloaded),
        (
            Reply::json(
                200,
                &json!({"data": [{"error": {"code": "Odd", "message": "x"}}]}),
            ),
            BadOutput,
        ),
        // One of the pictures has failed, and there is only one.
        (
            Reply::json(
                200,
                &json!({"data": [{"error": {"code": "OutputImageSensitiveContentDetected", "message": "x"}}]}),
            ),
            Moderation,
        ),
    ];
    answers(&subject(), rows).await;
}

#[tokio::test]
async fn one_picture_to_make_another_from_is_a_text_and_several_are_a_list() {
    let built = |base_url: &url::Url| suite::keyed(&ACCESS, base_url, "k");
    let (one, two) = (
        "data:image/png;base64,cGljdHVyZSAx",
        "data:image/jpeg;base64,cGljdHVyZSAy",
    );
    for (count, expected) in [(1, json!(one)), (2, json!([one, two]))] {
        let asked = suite::bought_from(built, subject().good, LITE, count).await;
        assert_eq!(
            (&*asked.path, &asked.json()["image"]),
            ("/images/generations", &expected)
        );
    }
}
