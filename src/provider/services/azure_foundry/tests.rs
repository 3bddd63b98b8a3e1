//! The provider against fakes on loopback.

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;
use crate::failure::ErrorClass::{
    Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, RateLimited,
};
use crate::provider::CheckedSpec;
use crate::provider::suite::{self, Reply, Subject, answers, asking, bought, nowhere};
use crate::provider::wire::polling::tests::PNG;

const KEY: &str = "foundry-0123456789abcdef";

fn subject(model: &str) -> Subject {
    let spec = CheckedSpec {
        model: model.into(),
        size: Some("16:9".into()),
        ..CheckedSpec::default()
    };
    let good = |_: &_| {
        let picture = json!({"created": 1, "data": [{"b64_json": BASE64_STANDARD.encode(PNG)}]});
        Reply::json(200, &picture)
    };
    Subject::keyed(&ACCESS, KEY, spec, good)
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject("MAI-Image-2.6")).await;
    let flux = Subject {
        options: &[
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
        ],
        ..subject("FLUX.2-pro")
    };
    suite::run(&flux).await;
}

#[tokio::test]
async fn each_family_is_asked_at_its_own_address_with_its_own_fields() {
    for (model, size, path, more) in [
        (
            "MAI-Image-2.6",
            "16:9",
            "/mai/v1/images/generations?api-version=preview",
            json!({"width": 1360, "height": 768}),
        ),
        (
            "FLUX.2-pro",
            "16:9@2K",
            "/providers/blackforestlabs/v1/flux-2-pro?api-version=preview",
            json!({"width": 2736, "height": 1536, "n": 1, "output_format": "png"}),
        ),
        (
            "FLUX.2-flex",
            "1:1",
            "/providers/blackforestlabs/v1/flux-2-flex?api-version=preview",
            json!({"width": 1024, "height": 1024, "n": 1, "output_format": "png"}),
        ),
    ] {
        let mut expected = json!({"model": model, "prompt": suite::PROMPT});
        let fields = more.as_object().unwrap().clone();
        expected.as_object_mut().unwrap().extend(fields);
        let (asked, body, _) = bought(subject(model), model, size).await;
        assert_eq!((&*asked, body), (path, expected));
    }
}

#[test]
fn every_size_of_mai_is_within_its_bounds() {
    let provider = suite::keyed(&ACCESS, &nowhere(), KEY);
    for size in [
        "",
        "1:1",
        "16:9",
        "9:16",
        "4:3",
        "3:4",
        "3:2",
        "2:3",
        "4:5",
        "5:4",
        "3840x2160",
    ] {
        let checked = provider.check(&asking("", size, "")).unwrap();
        let (width, height) = pixels_of(&checked.size.unwrap(), "1K", 16).unwrap();
        assert!(
            width.min(height) >= 768 && width * height <= 1_056_768,
            "{size}: {width}x{height}"
        );
    }
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it() {
    let error = |code: &str, message: &str| json!({"error": {"code": code, "message": message}});
    let filtered = json!({"data": [{"content_filter_results": {"violence": {"filtered": true}}}]});
    let rows = vec![
        (Reply::json(200, &filtered), Moderation),
        (Reply::json(200, &json!({"data": []})), BadOutput),
        (Reply::json(400, &error("content_filter", "x")), Moderation),
        (
            Reply::json(
                400,
                &error("BadRequest", "Request Moderated by the content filter"),
            ),
            Moderation,
        ),
        (
            Reply::json(400, &error("BadRequest", "width is too small")),
            InvalidRequest,
        ),
        (
            Reply::json(
                401,
                &error("401", "Access denied due to invalid subscription key"),
            ),
            Auth,
        ),
        (
            Reply::json(403, &error("403", "blocked under the content policy")),
            Auth,
        ),
        (Reply::json(404, &error("DeploymentNotFound", "x")), ModelGone),
        (
            Reply::json(429, &error("429", "Rate limit is exceeded")),
            RateLimited,
        ),
        (Reply::json(500, &error("InternalServerError", "x")), Overloaded),
    ];
    answers(&subject("MAI-Image-2.6"), rows).await;
}
