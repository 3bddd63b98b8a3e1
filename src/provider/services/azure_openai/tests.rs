//! The provider against fakes on loopback: both paths as sent, every answer that Azure is known to give.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use std::sync::Arc;

use super::*;
use crate::http_client::Downloads;
use crate::http_client::tests::in_minutes;
use crate::provider::suite::{self, Fake, Reply, Subject, any_post, nowhere};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::keyed::Keyed;
use crate::provider::{DigitalSource, DrawnImage, ImageProvider, ProviderError};
use crate::work_package::{ImageType, Prompt};

mod errors;

const KEY: &str = "azure-0123456789abcdef";
const NAME: &str = "gpt-image-2";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";

fn settings(base_url: &Url, version: &str, deployment: &str) -> Keyed {
    let variables = [(VERSION, version), (DEPLOYMENT, deployment)];
    suite::settings_with(&ACCESS, base_url, KEY, &variables)
}

fn provider(settings: Keyed) -> Arc<dyn ImageProvider> {
    settings.build(&Downloads::new(true).unwrap()).unwrap()
}

fn spec(deployment: &str) -> CheckedSpec {
    CheckedSpec {
        model: deployment.into(),
        size: Some("1536x1024".into()),
        quality: Some("medium".into()),
        seed: None,
        ..CheckedSpec::default()
    }
}

fn picture() -> Value {
    json!({"created": 1_795_300_000, "data": [{"b64_json": BASE64_STANDARD.encode(PNG)}],
        "usage": {"input_tokens": 23, "output_tokens": 1584, "total_tokens": 1607,
            "input_tokens_details": {"text_tokens": 23, "image_tokens": 0}}})
}

async fn draw(provider: &Arc<dyn ImageProvider>, deployment: &str) -> Result<DrawnImage, ProviderError> {
    let prompt = Prompt::new("a paper boat".into());
    let spec = spec(deployment);
    provider
        .draw(&Call::unwatched(&prompt, &spec, in_minutes(5)))
        .await
        .map_err(suite::ended)
}

/// The outcome of one call that is answered with this.
async fn outcome_of(reply: Reply) -> Result<DrawnImage, ProviderError> {
    let fake = Fake::start(move |_| reply.clone()).await;
    let outcome = draw(&provider(settings(&fake.url, "v1", NAME)), NAME).await;
    assert_eq!(fake.asked().len(), 1);
    outcome
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(|base_url| provider(settings(base_url, "v1", NAME))),
        key: KEY,
        spec: spec(NAME),
        good: |_| Reply::json(200, &picture()),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[
            ("opaque", "\"background\":\"opaque\""),
            ("low", "\"moderation\":\"low\""),
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
            ("reference", "name=\"image[]\"; filename=\"1.png\""),
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn each_path_gets_exactly_the_fields_that_it_takes() {
    let gpt = json!({"prompt": "a paper boat", "n": 1, "size": "1536x1024", "quality": "medium", "output_format": "png"});
    let mut v1 = gpt.clone();
    v1["model"] = "gpt-image-2".into();
    let mut dall_e = gpt.clone();
    dall_e.as_object_mut().unwrap().remove("output_format");
    dall_e["response_format"] = "b64_json".into();
    let dated = "/openai/deployments/gpt-image-2/images/generations?api-version=2025-04-01-preview";
    for (base, version, deployment, path, body) in [
        ("", "v1", NAME, "/openai/v1/images/generations", &v1),
        ("openai", "v1", NAME, "/openai/v1/images/generations", &v1),
        ("openai/v1/", "v1", NAME, "/openai/v1/images/generations", &v1),
        (
            "gateway/openai/",
            "preview",
            NAME,
            "/gateway/openai/v1/images/generations?api-version=preview",
            &v1,
        ),
        ("", "2025-04-01-preview", NAME, dated, &gpt),
        (
            "",
            "2024-10-21",
            "my dalle/3",
            "/openai/deployments/my%20dalle%2F3/images/generations?api-version=2024-10-21",
            &dall_e,
        ),
    ] {
        let fake = Fake::start(|_| Reply::json(200, &picture())).await;
        let base = fake.url.join(base).unwrap();
        let provider = provider(settings(&base, version, deployment));
        draw(&provider, deployment).await.unwrap();
        let asked = fake.asked().remove(0);
        assert_eq!((&*asked.method, &*asked.path), ("POST", path));
        assert_eq!(asked.header("api-key"), Some(KEY));
        assert_eq!(asked.header("authorization"), None);
        assert_eq!(asked.header("content-type"), Some("application/json"));
        assert_eq!(asked.json(), *body);
    }
}

#[tokio::test]
async fn a_picture_comes_back_in_every_shape_with_its_cost_and_request_id() {
    let encoded = BASE64_STANDARD.encode(PNG);
    let safe = json!({"hate": {"filtered": false, "severity": "safe"}, "profanity": {"detected": false, "filtered": false}});
    for body in [
        picture(),
        json!({"data": [{"b64_json": encoded, "content_filter_results": safe, "prompt_filter_results": safe}]}),
        json!({"data": [{"url": format!("data:image/png;base64,{encoded}"), "b64_json": null}]}),
        json!({"data": [{"b64_json": encoded, "url": null}], "error": null, "created": "1"}),
    ] {
        let reply = Reply::json(200, &body).with("apim-request-id", "req-9");
        let drawn = outcome_of(reply).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.request_id.as_deref(), Some("req-9"));
        assert_eq!(drawn.source, DigitalSource::TrainedModel);
        let usd = drawn.cost.map(|cost| cost.usd);
        assert_eq!(usd.is_some(), body["usage"].is_object());
        assert!(usd.is_none_or(|usd| (usd - 0.047_635).abs() < 1e-9));
    }
}

#[tokio::test]
async fn a_picture_behind_a_signed_address_is_fetched_without_the_key() {
    let blob = Fake::start(|asked| {
        // As the store does with a key that it does not know.
        match asked.header("api-key").or(asked.header("authorization")) {
            Some(_) => Reply::of(403, "application/xml", "<Error/>"),
            None => Reply::of(200, "image/png", PNG),
        }
    })
    .await;
    let url = format!("{}a.png?se=2026-11-23&sig=abc", blob.url);
    let answer = json!({"created": 1, "data": [{"url": url, "revised_prompt": "a flat boat"}]});
    let drawn = outcome_of(Reply::json(200, &answer)).await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(blob.asked()[0].path, "/a.png?se=2026-11-23&sig=abc");
    drop(blob);

    let gone = Fake::start(|_| Reply::of(403, "application/xml", "<Error/>")).await;
    let answer = json!({"data": [{"url": format!("{}a.png?sig=hidden", gone.url)}]});
    let fake = Fake::start(move |_| Reply::json(200, &answer)).await;
    let azure = provider(settings(&fake.url, "v1", NAME));
    let (prompt, spec) = (Prompt::new("a boat".into()), spec(NAME));
    let call = Call::unwatched(&prompt, &spec, in_minutes(5));
    let error = suite::goes_on(azure.draw(&call).await.unwrap_err());
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert!(!error.details.contains("hidden"), "{error}");
    // Signed addresses end, and with them what could be known of the picture.
    let handle = format!("{}a.png?sig=hidden", gone.url);
    let error = suite::ended(azure.resume(&handle, &call).await.unwrap_err());
    assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
}

#[test]
fn a_request_is_checked_against_the_deployment() {
    let azure = provider(settings(&nowhere(), "v1", "pictures"));
    let ask = |model: &str, size: &str, quality: &str, image_type| {
        let spec = ImageSpec {
            model: Some(model.into()),
            size: Some(size.into()),
            quality: Some(quality.into()),
            image_type,
            seed: Some(3),
            ..ImageSpec::default()
        };
        azure
            .check(&spec)
            .map(|spec| (spec.model, spec.size.unwrap(), spec.quality.unwrap(), spec.seed))
            .map_err(|refused| refused.message)
    };
    let ok =
        |size: &str, quality: &str| Ok(("pictures".to_owned(), size.to_owned(), quality.to_owned(), None));
    use ImageType::{Collection, Icon};
    assert_eq!(ask("", "", "", Icon), ok("1024x1024", "medium"));
    assert_eq!(ask("pictures", "", "", Collection), ok("1536x1024", "medium"));
    assert_eq!(ask("", "2048x1152", "high", Collection), ok("2048x1152", "high"));
    assert_eq!(
        ask("gpt-image-2", "", "", Icon).unwrap_err(),
        "Unsupported image model for azureOpenai: gpt-image-2; use pictures"
    );
    let refused = ask("", "17x17", "", Icon).unwrap_err();
    assert!(
        refused.starts_with("Unsupported image size for pictures: 17x17; use auto or WIDTHxHEIGHT"),
        "{refused}"
    );
    assert_eq!(
        ask("", "", "hd", Icon).unwrap_err(),
        "Unsupported image quality for pictures: hd; use low, medium or high"
    );

    let old = provider(settings(&nowhere(), "v1", "dall-e-3"));
    let checked = old.check(&ImageSpec::default()).unwrap();
    assert_eq!(
        (checked.size.as_deref(), checked.quality.as_deref()),
        (Some("1792x1024"), Some("standard"))
    );
    let low = ImageSpec {
        quality: Some("low".into()),
        ..ImageSpec::default()
    };
    assert!(
        old.check(&low)
            .unwrap_err()
            .message
            .ends_with("use standard or hd")
    );
}

#[tokio::test]
async fn what_is_not_configured_is_named_and_nothing_is_sent() {
    let whole = settings(&nowhere(), "v1", NAME);
    let without = |change: fn(&mut Keyed)| {
        let mut settings = whole.clone();
        change(&mut settings);
        provider(settings)
    };
    for (azure, sentence) in [
        (
            without(|s| s.base_url = None),
            "azureOpenai is not configured on this service: AZURE_OPENAI_API_BASE is not set. ",
        ),
        (
            without(|s| s.key = None),
            "azureOpenai is not configured on this service: AZURE_OPENAI_API_KEY is not set. ",
        ),
        (
            without(|s| s.key = Some(" \n".into())),
            "azureOpenai is not configured on this service: AZURE_OPENAI_API_KEY is not set. ",
        ),
        (
            provider(suite::settings_with(&ACCESS, &nowhere(), KEY, &[(VERSION, "v1")])),
            "No image model is configured for provider: azureOpenai; AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME is not set",
        ),
    ] {
        let refused = azure.check(&ImageSpec::default()).unwrap_err();
        assert_eq!(refused.class, ErrorClass::Auth);
        assert!(refused.message.starts_with(sentence), "{refused}");
    }
    let error = draw(&without(|s| s.key = None), NAME).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Auth);
    assert!(!format!("{whole:?}").contains("0123456789"));
}

#[tokio::test]
async fn both_paths_take_pictures_to_make_one_from_in_a_form() {
    for (version, path, has_model) in [
        ("v1", "/openai/v1/images/edits", true),
        (
            "2025-04-01-preview",
            "/openai/deployments/gpt-image-2/images/edits?api-version=2025-04-01-preview",
            false,
        ),
    ] {
        let built = |base_url: &Url| provider(settings(base_url, version, NAME));
        let asked = suite::bought_from(built, |_| Reply::json(200, &picture()), NAME, 2).await;
        assert_eq!(asked.path, path);
        let names: Vec<String> = asked.form().into_iter().map(|(about, _)| about).collect();
        let all = [
            "\"model\"",
            "\"n\"",
            "\"output_format\"",
            "\"prompt\"",
            "\"quality\"",
            "\"size\"",
            "\"image[]\"; filename=\"1.png\" Content-Type: image/png",
            "\"image[]\"; filename=\"2.jpg\" Content-Type: image/jpeg",
        ];
        assert_eq!(names, all[usize::from(!has_model)..]);
    }
}
