//! The provider against fakes on loopback: the request as sent, progress, stopping, every answer.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::*;
use crate::http_client::Downloads;
use crate::http_client::tests::in_minutes;
use crate::imaging;
use crate::provider::suite::{self, Asked, Fake, Reply, Subject};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::keyed::Keyed;

mod aside;

const KEY: &str = "worker:0123456789abcdef";

fn settings(base_url: &Url) -> Keyed {
    suite::settings(&ACCESS, base_url, KEY)
}

fn provider(base_url: &Url) -> Automatic1111 {
    let service = settings(base_url).service(&Downloads::new(false).unwrap());
    Automatic1111::new(service.unwrap(), Map::new())
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: LOADED.into(),
        size: Some("1344x768".into()),
        quality: None,
        seed: None,
        ..CheckedSpec::default()
    }
}

/// A picture as the server makes it, with the prompt beside the pixels.
fn png() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(8, 8, image::Rgb([1, 2, 3]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    let mut png = png.into_inner();
    let text = b"tEXtparameters\0a paper boat, Steps: 25";
    let length = u32::try_from(text.len() - 4).unwrap().to_be_bytes();
    let chunk = [&length[..], text, &crc32fast::hash(text).to_be_bytes()].concat();
    let after_header = 33;
    png.splice(after_header..after_header, chunk);
    png
}

fn good() -> Value {
    json!({"images": [BASE64_STANDARD.encode(png())], "parameters": {"prompt": "a paper boat"},
        "info": "{\"seed\":123,\"all_seeds\":[123],\"infotexts\":[\"a paper boat\"]}"})
}

fn is_draw(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path == "/sdapi/v1/txt2img"
}

async fn draw(
    provider: &dyn ImageProvider,
    spec: &CheckedSpec,
    prompt: &str,
) -> Result<DrawnImage, ProviderError> {
    let prompt = Prompt::new(prompt.into());
    provider
        .draw(&Call::unwatched(&prompt, spec, in_minutes(5)))
        .await
        .map_err(suite::ended)
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(|base_url| Arc::new(provider(base_url))),
        key: KEY,
        spec: spec(),
        good: |asked| match is_draw(asked) {
            true => Reply::json(200, &good()),
            false => Reply::json(200, &json!({"progress": 0.1})),
        },
        buys: is_draw,
        can_find_again: false,
        fixed_names: true,
        options: &[
            ("low", ""),
            ("negative prompt", "\"negative_prompt\":\"blurry unicorns\""),
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn the_request_says_all_that_the_server_needs_and_the_picture_keeps_no_prompt() {
    let fake = Fake::start(|_| Reply::json(200, &good())).await;
    let drawn = draw(
        &provider(&fake.url),
        &spec(),
        "a (paper:1.3) boat BREAK <lora:x:1>",
    )
    .await
    .unwrap();
    assert!(imaging::inspect(&drawn.bytes).is_ok());
    assert!(String::from_utf8_lossy(&png()).contains("paper boat"));
    assert!(!String::from_utf8_lossy(&drawn.bytes).contains("paper boat"));
    let asked = fake.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/sdapi/v1/txt2img"));
    let basic = format!("Basic {}", BASE64_STANDARD.encode(KEY));
    assert_eq!(asked.header("authorization"), Some(&*basic));
    assert_eq!(
        asked.json(),
        json!({"prompt": "a  paper:1.3  boat break  ", "negative_prompt": "", "seed": -1, "steps": 25, "width": 1344,
            "height": 768, "batch_size": 1, "n_iter": 1, "send_images": true, "save_images": false,
            "force_task_id": Uuid::nil().to_string()})
    );
}

#[tokio::test]
async fn checkpoint_seed_and_the_operators_options_are_sent() {
    let fake = Fake::start(|_| Reply::json(200, &good())).await;
    let options = r#"{"steps":4,"cfg_scale":1,"negative_prompt":"blur","override_settings":{"CLIP_stop_at_last_layers":2}}"#;
    let variables = [("AUTOMATIC1111_BASE_URL", fake.url.as_str()), (OPTIONS, options)];
    let settings = suite::read(&ACCESS, &variables).unwrap();
    let provider = settings.build(&Downloads::new(false).unwrap()).unwrap();
    let spec = CheckedSpec {
        model: "flux.safetensors".into(),
        seed: Some(7),
        ..spec()
    };
    draw(&*provider, &spec, "a boat").await.unwrap();
    let asked = fake.asked().remove(0);
    assert_eq!(asked.header("authorization"), None);
    let body = asked.json();
    assert_eq!(
        (
            &body["steps"],
            &body["cfg_scale"],
            &body["negative_prompt"],
            &body["seed"]
        ),
        (&json!(4), &json!(1), &json!("blur"), &json!(7))
    );
    assert_eq!(
        body["override_settings"],
        json!({"CLIP_stop_at_last_layers": 2, "sd_model_checkpoint": "flux.safetensors"})
    );
}

#[tokio::test]
async fn every_known_error_has_its_class() {
    use ErrorClass::*;
    for (status, body, class, said) in [
        (
            401,
            json!({"detail": "Incorrect username or password"}),
            Auth,
            "Incorrect",
        ),
        (
            404,
            json!({"detail": "Sampler not found"}),
            InvalidRequest,
            "Sampler not found",
        ),
        (404, json!({"detail": "Not Found"}), InvalidRequest, "--api"),
        (
            422,
            json!({"detail": [{"loc": ["body", "width"], "msg": "bad width", "type": "x"}]}),
            InvalidRequest,
            "bad width",
        ),
        (
            500,
            json!({"error": "OutOfMemoryError", "detail": "", "body": "", "errors": "CUDA out of memory. Tried to allocate"}),
            Overloaded,
            "CUDA out of memory",
        ),
        (
            500,
            json!({"error": "RuntimeError", "errors": "mat1 and mat2"}),
            Overloaded,
            "RuntimeError",
        ),
        (503, json!({}), Overloaded, "503"),
        (504, json!({}), Ambiguous, "504"),
        (200, json!({"images": []}), BadOutput, "no picture"),
        (200, json!({"images": ["?"]}), BadOutput, "not base64"),
        (200, json!({"detail": "x"}), BadOutput, "200 OK: \"x\""),
    ] {
        let fake = Fake::start(move |_| Reply::json(status, &body)).await;
        let error = draw(&provider(&fake.url), &spec(), "a boat").await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert!(error.details.contains(said), "{error}");
    }
    let busy = Reply::json(429, &json!({})).with("retry-after", "7");
    let fake = Fake::start(move |_| busy.clone()).await;
    let error = draw(&provider(&fake.url), &spec(), "a boat").await.unwrap_err();
    assert_eq!(
        (error.class, error.retry_after),
        (RateLimited, Some(Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn one_picture_is_asked_for_at_a_time() {
    let fake = Fake::start(|_| Reply::Silence).await;
    let provider = Arc::new(provider(&fake.url));
    let _turn = provider.turn.clone().lock_owned().await;
    let (prompt, spec) = (Prompt::new("a boat".into()), spec());
    let soon = Instant::now() + Duration::from_millis(50);
    let error = provider
        .draw(&Call::unwatched(&prompt, &spec, soon))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!((error.class, fake.asked().len()), (ErrorClass::TimedOut, 0));
}

#[test]
fn a_request_is_checked_before_it_is_sent() {
    let base = suite::nowhere();
    let check = |change: fn(&mut ImageSpec)| {
        let mut spec = ImageSpec::default();
        change(&mut spec);
        provider(&base).check(&spec)
    };
    let checked = check(|_| {}).unwrap();
    assert_eq!(
        (&*checked.model, checked.size.as_deref()),
        (LOADED, Some("1344x768"))
    );
    let icon = check(|spec| spec.image_type = crate::work_package::ImageType::Icon).unwrap();
    assert_eq!(icon.size.as_deref(), Some("1024x1024"));
    assert_eq!(
        check(|spec| spec.model = Some("x.safetensors [abc]".into()))
            .unwrap()
            .model,
        "x.safetensors [abc]"
    );
    assert_eq!(check(|spec| spec.seed = Some(7)).unwrap().seed, Some(7));
    for refused in [
        check(|spec| spec.model = Some("a\nb".into())),
        check(|spec| spec.size = Some("1001x1000".into())),
        check(|spec| spec.quality = Some("high".into())),
        check(|spec| spec.seed = Some(-1)),
        check(|spec| spec.seed = Some(1 << 32)),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
        assert!(
            refused.message.contains("; use ") || refused.message.contains("; leave "),
            "{refused}"
        );
    }
    let unset = suite::read(&ACCESS, &[("AUTOMATIC1111_API_KEY", KEY)]).unwrap();
    let provider = unset.build(&Downloads::new(false).unwrap()).unwrap();
    let refused = provider.check(&ImageSpec::default()).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Auth);
    assert!(
        refused.message.contains("AUTOMATIC1111_BASE_URL is not set"),
        "{refused}"
    );
    let service = settings(&base).service(&Downloads::new(false).unwrap()).unwrap();
    assert!(!format!("{service:?}").contains("0123456789"), "{service:?}");
}

#[test]
fn options_that_cannot_be_used_are_named() {
    for (options, fault) in [
        ("steps=3", "AUTOMATIC1111_OPTIONS: is not a JSON object"),
        ("[]", "AUTOMATIC1111_OPTIONS: is not a JSON object"),
        (
            "{\"seed\":1}",
            "AUTOMATIC1111_OPTIONS: seed is set by each package",
        ),
        (
            "{\"override_settings\":3}",
            "AUTOMATIC1111_OPTIONS: override_settings is not",
        ),
    ] {
        let faults = suite::read(&ACCESS, &[(OPTIONS, options)]).unwrap_err();
        assert!(faults.len() == 1 && faults[0].starts_with(fault), "{faults:?}");
    }
}
