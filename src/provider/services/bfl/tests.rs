//! The provider against fakes on loopback: the order as sent, every state of a task, and what goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::http_client::{Downloads, install_tls};
use crate::provider::suite::{self, Asked, Fake, PROMPT, Reply, Subject, any_post};
use crate::provider::wire::polling::tests::{
    Kept, PNG, QUICK, after, draw_by, ended, goes_on, png, prompt, times,
};
use crate::provider::{CheckedSpec, CostBasis, DrawnImage, ImageProvider, ImageSpec, NotDrawn};

mod errors;
mod following;

const TEST_KEY: &str = "bfl-test-0123456789abcdef";
const ID: &str = "5f1c0f3e-2f0a-4d57-9a4e-0f6b1f2a9c11";
const MINUTE: Duration = Duration::from_secs(60);

fn provider_with(base_url: &Url, downloads: Downloads) -> Bfl {
    let settings = suite::settings(&ACCESS, &base_url.join("v1").unwrap(), TEST_KEY);
    let mut service = settings.service(&downloads).unwrap();
    service.pace = QUICK;
    Bfl { service }
}

fn provider(base_url: &Url) -> Bfl {
    install_tls();
    provider_with(base_url, Downloads::new(true).unwrap())
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "flux-2-pro".into(),
        size: Some("1344x768".into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

fn accepted(asked: &Asked) -> Reply {
    let polling_url = format!("{}/v1/get_result?id={ID}&region=eu1", asked.origin);
    Reply::json(
        200,
        &json!({"id": ID, "polling_url": polling_url, "cost": 3.0, "output_mp": 1.03}),
    )
}

fn task(status: &str) -> Value {
    json!({"id": ID, "status": status, "progress": null, "result": null, "details": null})
}

fn finished(asked: &Asked) -> Reply {
    let mut task = task("Ready");
    task["progress"] = json!(1.0);
    task["result"] =
        json!({"sample": format!("{}/delivery/x?sig=1", asked.origin), "prompt": PROMPT, "seed": 7});
    Reply::json(200, &task)
}

fn good(asked: &Asked) -> Reply {
    match asked.path.as_str() {
        _ if asked.method == "POST" => accepted(asked),
        path if path.starts_with("/delivery/") => png(),
        _ => finished(asked),
    }
}

/// A service that answers each look with the next of `looks`, the last for ever.
async fn service(looks: Vec<fn(&Asked) -> Reply>) -> Fake {
    let looked = AtomicUsize::new(0);
    Fake::start(move |asked| {
        if asked.path.starts_with("/v1/get_result") {
            let at = looked.fetch_add(1, Ordering::Relaxed).min(looks.len() - 1);
            return looks[at](asked);
        }
        good(asked)
    })
    .await
}

async fn draw_with(provider: Bfl, wait: Duration) -> (Result<DrawnImage, NotDrawn>, Kept) {
    draw_by(&provider, &spec(), TEST_KEY, wait).await
}

async fn draw(fake: &Fake, wait: Duration) -> (Result<DrawnImage, NotDrawn>, Kept) {
    draw_with(provider(&fake.url), wait).await
}

async fn resume(fake: &Fake, handle: &str, wait: Duration) -> Result<DrawnImage, NotDrawn> {
    let (prompt, spec) = (prompt(), spec());
    let outcome = provider(&fake.url)
        .resume(handle, &Call::unwatched(&prompt, &spec, after(wait)))
        .await;
    assert_eq!(times(fake, "POST", "/"), 0, "nothing is bought");
    outcome
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    let subject = Subject {
        provider: Box::new(|base_url| Arc::new(provider(base_url))),
        key: TEST_KEY,
        spec: spec(),
        good,
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: &[
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpeg\""),
            ("webp", "\"output_format\":\"webp\""),
            ("reference", "\"input_image\":\"cGljdHVyZSAx\""),
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn an_order_holds_exactly_what_the_model_takes() {
    let order = |size: Value| {
        let mut order = json!({"prompt": PROMPT, "seed": 7, "output_format": "png"});
        order
            .as_object_mut()
            .unwrap()
            .extend(size.as_object().unwrap().clone());
        order
    };
    for (model, size, body) in [
        (
            "flux-2-pro",
            "1344x768",
            order(json!({"width": 1344, "height": 768})),
        ),
        (
            "flux-2-klein-4b",
            "16:9",
            order(json!({"width": 1344, "height": 768})),
        ),
        (
            "flux-pro-1.1",
            "1:1",
            order(json!({"width": 1024, "height": 1024})),
        ),
        (
            "flux-pro-1.1-ultra",
            "21:9",
            order(json!({"aspect_ratio": "21:9"})),
        ),
        ("flux-kontext-max", "9:16", order(json!({"aspect_ratio": "9:16"}))),
        // It takes neither a seed nor a format, and would look things up at a price.
        (
            "flux-3-image",
            "2560x1440",
            json!({"prompt": PROMPT, "aspect_ratio": "16:9", "resolution": "2k", "grounding": false}),
        ),
        (
            "flux-3-image",
            "1:1@768sq",
            json!({"prompt": PROMPT, "aspect_ratio": "1:1", "resolution": "768sq", "grounding": false}),
        ),
    ] {
        let fake = Fake::start(good).await;
        let checked = ImageSpec {
            model: Some(model.into()),
            size: Some(size.into()),
            seed: Some(7),
            ..ImageSpec::default()
        };
        let provider = provider(&fake.url);
        let (prompt, spec) = (prompt(), provider.check(&checked).unwrap());
        let drawn = provider
            .draw(&Call::unwatched(&prompt, &spec, after(MINUTE)))
            .await
            .unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.request_id.as_deref(), Some(ID));
        let asked = fake.asked();
        assert_eq!(
            (asked[0].path.as_str(), asked[0].json()),
            (format!("/v1/{model}").as_str(), body)
        );
        assert_eq!(asked[0].header("x-key"), Some(TEST_KEY));
        assert_eq!(
            asked[1].path,
            format!("/v1/get_result?id={ID}&region=eu1"),
            "as it was given"
        );
        assert_eq!(asked[1].header("x-key"), Some(TEST_KEY));
        assert_eq!(
            asked[2].header("x-key"),
            None,
            "pictures are fetched without the key"
        );
    }
}

#[tokio::test]
async fn credits_become_dollars_and_without_them_there_is_an_estimate() {
    for (cost, usd, basis) in [
        (json!(3.0), 0.03, CostBasis::Reported),
        (json!(0), 0.0, CostBasis::Reported),
        (Value::Null, 0.03, CostBasis::Estimated),
        (json!("free"), 0.03, CostBasis::Estimated),
        (json!(-1), 0.03, CostBasis::Estimated),
    ] {
        let fake = Fake::start(move |asked| match asked.method.as_str() {
            "POST" => Reply::json(200, &json!({"id": ID, "cost": cost})),
            _ => good(asked),
        })
        .await;
        let drawn = draw(&fake, MINUTE).await.0.unwrap();
        let found = drawn.cost.unwrap();
        assert!(
            (found.usd - usd).abs() < 1e-9 && found.basis == basis,
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn the_key_goes_to_no_host_but_the_service_s_own() {
    let provider = provider(&suite::nowhere());
    let goes = |url: &str| provider.may_have_key(&Url::parse(url).unwrap());
    for url in [
        "https://api.bfl.ai/v1/get_result?id=1",
        "https://api.eu1.bfl.ai/v1/get_result?id=1",
        "https://bfl.ai/x",
        "http://127.0.0.1:9/elsewhere",
    ] {
        assert!(goes(url), "{url}");
    }
    for url in [
        "http://api.bfl.ai/x",
        "https://api.bfl.ai:8443/x",
        "https://me:pw@api.bfl.ai/x",
        "https://notbfl.ai/x",
        "https://bfl.ai.evil.invalid/x",
        "https://evil.invalid/bfl.ai",
        "http://127.0.0.1:10/x",
        "https://127.0.0.1:9/x",
        "data:text/plain,bfl.ai",
    ] {
        assert!(!goes(url), "{url}");
    }
    // A polling address elsewhere is not used: the configured host is asked.
    let other = Fake::start(good).await;
    let named = format!("{}v1/get_result?id={ID}", other.url);
    let fake = Fake::start(move |asked| match asked.method.as_str() {
        "POST" => Reply::json(200, &json!({"id": ID, "polling_url": named})),
        _ => good(asked),
    })
    .await;
    let (drawn, watch) = draw(&fake, MINUTE).await;
    assert!(drawn.is_ok());
    assert_eq!(watch.handle(), format!("{}v1/get_result?id={ID}", fake.url));
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn a_sample_that_is_gone_is_asked_for_again_and_one_at_a_private_address_is_no_picture() {
    let fake = Fake::start(|asked| match asked.path.starts_with("/delivery/") {
        true => Reply::json(403, &json!({"error": "expired"})),
        false => good(asked),
    })
    .await;
    let error = goes_on(draw(&fake, MINUTE).await.0);
    assert!(
        error.details.contains("the picture's address answers 403"),
        "{error}"
    );

    let sample = "https://localhost:9/x?sig=1";
    let fake = Fake::start(move |asked| match asked.method.as_str() {
        "POST" => accepted(asked),
        _ => Reply::json(200, &json!({"status": "Ready", "result": {"sample": sample}})),
    })
    .await;
    install_tls();
    let guarded = provider_with(&fake.url, Downloads::new(false).unwrap());
    let error = goes_on(draw_with(guarded, MINUTE).await.0);
    assert_eq!(error.class, ErrorClass::BadOutput);
    assert!(error.details.contains("a name of this machine"), "{error}");
    assert!(!error.details.contains("sig"), "{error}");
}

#[tokio::test]
async fn pictures_to_make_one_from_stand_where_each_model_takes_them() {
    let built = |base_url: &Url| -> Arc<dyn ImageProvider> { Arc::new(provider(base_url)) };
    let (one, two, three) = ("cGljdHVyZSAx", "cGljdHVyZSAy", "cGljdHVyZSAz");
    for (model, count, expected) in [
        (
            "flux-2-pro",
            3,
            json!({"input_image": one, "input_image_2": two, "input_image_3": three}),
        ),
        (
            "flux-kontext-pro",
            2,
            json!({"input_image": one, "input_image_2": two}),
        ),
        ("flux-pro-1.1-ultra", 1, json!({"image_prompt": one})),
        ("flux-3-image", 2, json!({"images": [one, two]})),
    ] {
        let asked = suite::bought_from(built, good, model, count).await;
        assert_eq!(asked.path, format!("/v1/{model}"));
        let body = asked.json();
        let sent = body.as_object().unwrap().iter();
        let sent: Value = sent
            .filter(|(name, _)| name.contains("image"))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        assert_eq!(sent, expected, "{model}");
    }
}
