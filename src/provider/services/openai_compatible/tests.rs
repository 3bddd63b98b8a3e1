//! The provider against fakes on loopback that answer as servers of many makers do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use url::Url;

use super::*;
use crate::http_client::Downloads;
use crate::http_client::tests::in_minutes;
use crate::provider::suite::{self, Fake, Reply, Subject, any_post};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::polling::tests::{draw_by, times};
use crate::provider::{DrawnImage, ImageProvider};
use crate::work_package::Prompt;

mod errors;

const KEY: &str = "key-0123456789abcdef";
/// One pixel.
const PNG: &[u8] = b"\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\x0cIDATx\x9cc8\x11\xa0\x01\x00\x03$\x01A\x1d\x19\x9f\xc4\x00\x00\x00\x00IEND\xaeB`\x82";

fn provider(base_url: &Url, downloads_private: bool) -> Arc<dyn ImageProvider> {
    let base_url = base_url.join("v1").unwrap();
    let settings = suite::settings_with(&ACCESS, &base_url, KEY, &[(MODEL, "sdxl")]);
    settings
        .build(&Downloads::new(downloads_private).unwrap())
        .unwrap()
}

/// As these variables say.
fn configured(variables: &[(&str, &str)]) -> Arc<dyn ImageProvider> {
    let settings = suite::read(&ACCESS, variables).unwrap();
    settings.build(&Downloads::new(false).unwrap()).unwrap()
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "sdxl".into(),
        size: Some("1024x1024".into()),
        quality: None,
        seed: None,
        ..CheckedSpec::default()
    }
}

fn picture() -> Value {
    json!({"created": "1795300000", "data": [{"b64_json": BASE64_STANDARD.encode(PNG), "url": null}]})
}

async fn draw(
    provider: &Arc<dyn ImageProvider>,
    spec: &CheckedSpec,
    prompt: &str,
) -> Result<DrawnImage, ProviderError> {
    let prompt = Prompt::new(prompt.into());
    provider
        .draw(&Call::unwatched(&prompt, spec, in_minutes(5)))
        .await
        .map_err(suite::ended)
}

async fn outcome_of(reply: Reply) -> Result<DrawnImage, ProviderError> {
    let fake = Fake::start(move |_| reply.clone()).await;
    draw(&provider(&fake.url, true), &spec(), "a paper boat").await
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(|base_url| provider(base_url, true)),
        key: KEY,
        spec: spec(),
        good: |_| Reply::json(200, &picture()),
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn only_fields_are_sent_that_every_server_knows() {
    let fake = Fake::start(|_| Reply::json(200, &picture())).await;
    let drawn = draw(&provider(&fake.url, false), &spec(), "a boat|ugly <lora:x:1>")
        .await
        .unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!((drawn.usage, drawn.cost), (None, None));
    let asked = fake.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/v1/images/generations"));
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(
        asked.json(),
        json!({"model": "sdxl", "prompt": "a boat ugly  ", "n": 1, "size": "1024x1024", "response_format": "b64_json"})
    );

    // No key, and whatever the package chose.
    let open = configured(&[
        ("OPENAI_COMPATIBLE_BASE_URL", fake.url.as_str()),
        (IS_FREE, "true"),
    ]);
    let spec = CheckedSpec {
        model: "flux".into(),
        size: None,
        quality: Some("high".into()),
        seed: Some(7),
        ..CheckedSpec::default()
    };
    draw(&open, &spec, "a boat").await.unwrap();
    let asked = fake.asked().remove(1);
    assert_eq!(
        (asked.header("authorization"), &*asked.path),
        (None, "/images/generations")
    );
    assert_eq!(
        asked.json(),
        json!({"model": "flux", "prompt": "a boat", "n": 1, "quality": "high", "seed": 7, "response_format": "b64_json"})
    );
}

#[tokio::test]
async fn a_field_that_a_server_refuses_is_left_out_the_second_time() {
    let says = |field: &str| {
        [
            json!({"error": {"message": format!("Unknown parameter: '{field}'."), "param": field, "code": "unknown_parameter",
                "type": "invalid_request_error"}}),
            json!({"error": {"message": format!("litellm.BadRequestError: OpenAIException - Unknown parameter: '{field}'."),
                "type": null, "param": null, "code": "400"}}),
            json!({"detail": [{"loc": ["body", field], "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}]}),
            json!({"detail": format!("{field} is not supported")}),
        ]
    };
    for status in [400, 422] {
        for (of_format, of_seed) in says("response_format").into_iter().zip(says("seed")) {
            let fake = Fake::start(move |asked| {
                let body = asked.json();
                if body.get("response_format").is_some() {
                    Reply::json(status, &of_format)
                } else if body.get("seed").is_some() {
                    Reply::json(status, &of_seed)
                } else {
                    Reply::json(200, &picture())
                }
            })
            .await;
            let spec = CheckedSpec {
                seed: Some(7),
                ..spec()
            };
            draw(&provider(&fake.url, false), &spec, "a boat").await.unwrap();
            assert_eq!(fake.asked().len(), 3);
        }
    }
    // Once, and only where that field is the cause.
    for (body, times) in [
        (
            json!({"error": {"message": "no", "param": "response_format", "code": "unknown_parameter"}}),
            2,
        ),
        (
            json!({"error": {"message": "size is wrong", "param": "size", "code": "invalid_value"}}),
            1,
        ),
        (
            json!({"error": {"message": "response_format: content policy", "code": "content_policy_violation"}}),
            1,
        ),
    ] {
        let fake = Fake::start(move |_| Reply::json(400, &body)).await;
        draw(&provider(&fake.url, false), &spec(), "a boat")
            .await
            .unwrap_err();
        assert_eq!(fake.asked().len(), times);
    }
}

#[tokio::test]
async fn a_picture_is_found_in_every_shape() {
    let encoded = BASE64_STANDARD.encode(PNG);
    for entry in [
        json!({"b64_json": encoded}),
        json!({"b64_json": encoded, "url": "https://nowhere.invalid/a.png"}),
        json!({"b64_json": null, "url": format!("data:image/png;base64,{encoded}")}),
        json!({"url": "ORIGIN/generated-images/b64.png?x=1"}),
        json!({"url": "/generated-images/b64.png?x=1", "b64_json": ""}),
        json!({"url": "../generated-images/b64.png?x=1"}),
    ] {
        let answer = entry.to_string();
        let fake = Fake::start(move |asked| match &*asked.method {
            "POST" => {
                let entry: Value = serde_json::from_str(&answer.replace("ORIGIN", &asked.origin)).unwrap();
                Reply::json(
                    200,
                    &json!({"created": "now", "id": "x", "data": [entry], "usage": null}),
                )
            }
            _ => Reply::of(200, "text/plain", PNG),
        })
        .await;
        let drawn = draw(&provider(&fake.url, false), &spec(), "a boat")
            .await
            .unwrap();
        assert_eq!(&drawn.bytes[..], PNG, "{entry}");
        if let Some(fetched) = fake.asked().get(1) {
            assert_eq!(fetched.path, "/generated-images/b64.png?x=1");
            assert_eq!(fetched.header("authorization"), Some(&*format!("Bearer {KEY}")));
        }
    }
}

#[tokio::test]
async fn a_picture_elsewhere_is_fetched_without_the_key_and_only_where_that_is_allowed() {
    let other = Fake::start(|_| Reply::of(200, "image/png", PNG)).await;
    let url = format!("{}a.png", other.url);
    let answer = json!({"data": [{"url": url}]});
    let fake = Fake::start(move |_| Reply::json(200, &answer)).await;
    let drawn = draw(&provider(&fake.url, true), &spec(), "a boat").await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(other.asked()[0].header("authorization"), None);

    let guarded = provider(&fake.url, false);
    let (drawn, watch) = draw_by(&*guarded, &spec(), KEY, Duration::from_secs(60)).await;
    let error = suite::goes_on(drawn.unwrap_err());
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert_eq!(other.asked().len(), 1);
    assert_eq!(watch.handle(), format!("{}a.png", other.url));
}

#[tokio::test]
async fn a_picture_that_was_made_is_fetched_later_and_not_bought_again() {
    let answers = Mutex::new(vec![
        Reply::of(200, "image/png", PNG),
        Reply::of(403, "text/plain", "not you"),
    ]);
    let fake = Fake::start(move |asked| match &*asked.method {
        "POST" => Reply::json(200, &json!({"data": [{"url": "/a.png"}]})),
        _ => answers.lock().unwrap().pop().unwrap(),
    })
    .await;
    let provider = provider(&fake.url, false);
    let (drawn, watch) = draw_by(&*provider, &spec(), KEY, Duration::from_secs(60)).await;
    suite::goes_on(drawn.unwrap_err());
    let (prompt, spec) = (Prompt::new("a boat".into()), spec());
    let call = Call::unwatched(&prompt, &spec, in_minutes(5));
    let drawn = provider.resume(&watch.handle(), &call).await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(times(&fake, "POST", "/"), 1);
    suite::ended(provider.resume("no address", &call).await.unwrap_err());
}

#[tokio::test]
async fn a_file_of_the_servers_own_is_asked_for_again_where_that_may_help() {
    let answers = Mutex::new(vec![
        Reply::of(200, "image/png", PNG),
        Reply::HangUp,
        Reply::of(404, "text/plain", "not yet"),
        Reply::of(503, "text/plain", "busy"),
    ]);
    let fake = Fake::start(move |asked| match &*asked.method {
        "POST" => Reply::json(200, &json!({"data": [{"url": "/a.png"}]})),
        _ => answers.lock().unwrap().pop().unwrap(),
    })
    .await;
    let drawn = draw(&provider(&fake.url, false), &spec(), "a boat")
        .await
        .unwrap();
    assert_eq!(&drawn.bytes[..], PNG);

    let seconds = Duration::from_secs;
    for (reply, class, wait) in [
        (
            Reply::of(403, "text/plain", "no"),
            ErrorClass::BadOutput,
            seconds(60),
        ),
        (Reply::of(200, "image/png", ""), ErrorClass::TimedOut, seconds(1)),
        (Reply::Silence, ErrorClass::TimedOut, seconds(60)),
    ] {
        let fake = Fake::start(move |asked| match &*asked.method {
            "POST" => Reply::json(200, &json!({"data": [{"url": "/a.png"}]})),
            _ => reply.clone(),
        })
        .await;
        let (drawn, _) = draw_by(&*provider(&fake.url, false), &spec(), KEY, wait).await;
        let error = suite::goes_on(drawn.unwrap_err());
        assert_eq!(error.class, class, "{error}");
    }
}

#[tokio::test]
async fn a_prompt_of_which_nothing_is_left_is_not_sent() {
    let fake = Fake::start(|_| Reply::json(200, &picture())).await;
    let prompt = "<sd_cpp_extra_args>{\"steps\":1000}</sd_cpp_extra_args>";
    let error = draw(&provider(&fake.url, false), &spec(), prompt)
        .await
        .unwrap_err();
    assert_eq!((error.class, fake.asked().len()), (ErrorClass::InvalidRequest, 0));
}

#[test]
fn a_request_is_checked_as_far_as_it_can_be() {
    let base = suite::nowhere();
    let compatible = provider(&base, false);
    let ask = |model: &str, size: &str, quality: &str| {
        compatible
            .check(&ImageSpec {
                model: Some(model.into()),
                size: Some(size.into()),
                quality: Some(quality.into()),
                seed: Some(1),
                image_type: crate::work_package::ImageType::Icon,
                ..ImageSpec::default()
            })
            .map_err(|refused| (refused.class, refused.message))
    };
    let checked = |model: &str, size: Option<&str>, quality: Option<&str>| {
        Ok(CheckedSpec {
            model: model.into(),
            size: size.map(str::to_owned),
            quality: quality.map(str::to_owned),
            seed: Some(1),
            ..CheckedSpec::default()
        })
    };
    assert_eq!(ask("", "", ""), checked("sdxl", Some("1024x1024"), None));
    assert_eq!(ask("x/y:z", "auto", "hd"), checked("x/y:z", None, Some("hd")));
    assert_eq!(ask("", "0512x768", ""), checked("sdxl", Some("512x768"), None));
    for (model, size, quality) in [
        ("two\nlines", "", ""),
        ("", "16:9", ""),
        ("", "8x8", ""),
        ("", "5000x64", ""),
        ("", "", "a\u{0}b"),
    ] {
        let (class, message) = ask(model, size, quality).unwrap_err();
        assert!(
            class == ErrorClass::InvalidRequest && message.contains("; use "),
            "{message}"
        );
    }
}

#[test]
fn what_is_not_configured_is_named() {
    let refused = configured(&[(MODEL, "m")])
        .check(&ImageSpec::default())
        .unwrap_err();
    assert_eq!(refused.class, ErrorClass::Auth);
    assert!(
        refused.message.contains("OPENAI_COMPATIBLE_BASE_URL is not set"),
        "{refused}"
    );
    let refused = configured(&[("OPENAI_COMPATIBLE_BASE_URL", "http://127.0.0.1:9/")])
        .check(&ImageSpec::default())
        .unwrap_err();
    assert!(
        refused
            .message
            .starts_with("No image model is configured for provider: openaiCompatible; "),
        "{refused}"
    );
    for (variables, is_free) in [(&[(IS_FREE, "true")][..], true), (&[], false)] {
        assert_eq!(configured(variables).is_free(), is_free);
    }
}
