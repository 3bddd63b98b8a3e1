//! The provider against fakes on loopback: the order as sent, every status and result, and what goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::http_client::{Downloads, install_tls};
use crate::provider::suite::{self, Asked, Fake, PROMPT, Reply, Subject, any_post};
use crate::provider::wire::polling::tests::{
    Kept, PNG, QUICK, after, draw_by, ended, goes_on, png, prompt, times,
};
use crate::provider::{CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn};

mod errors;
mod following;

const TEST_KEY: &str = "fal-id-0123456789:abcdef9876543210";
const ID: &str = "764cabcf-b745-4b3e-ae38-1200304cf45b";
const APP: &str = "/fal-ai/flux/requests/764cabcf-b745-4b3e-ae38-1200304cf45b";
const MINUTE: Duration = Duration::from_secs(60);

fn provider_with(base_url: &Url, downloads: Downloads) -> Fal {
    let settings = suite::settings(&ACCESS, &base_url.clone(), TEST_KEY);
    let mut service = settings.service(&downloads).unwrap();
    service.pace = QUICK;
    Fal { service }
}

fn provider(base_url: &Url) -> Fal {
    install_tls();
    provider_with(base_url, Downloads::new(true).unwrap())
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "fal-ai/flux/dev".into(),
        size: Some("landscape_16_9".into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

fn accepted(asked: &Asked) -> Reply {
    let place = |end: &str| format!("{}{APP}{end}", asked.origin);
    let body = json!({"status": "IN_QUEUE", "request_id": ID, "response_url": place(""),
        "status_url": place("/status"), "cancel_url": place("/cancel"), "queue_position": 0});
    Reply::json(200, &body)
}

fn completed(_: &Asked) -> Reply {
    Reply::json(
        200,
        &json!({"status": "COMPLETED", "request_id": ID, "metrics": {"inference_time": 1.9}}),
    )
}

fn picture(asked: &Asked) -> Value {
    json!({"images": [{"url": format!("{}/files/x.png", asked.origin), "width": 1024, "height": 576,
        "content_type": "image/png"}], "seed": 7, "has_nsfw_concepts": [false], "prompt": PROMPT})
}

fn good(asked: &Asked) -> Reply {
    match asked.path.as_str() {
        _ if asked.method == "POST" => accepted(asked),
        path if path.starts_with("/files/") => png(),
        path if path.starts_with(&format!("{APP}/status")) => completed(asked),
        _ => Reply::json(200, &picture(asked)).with("x-fal-billable-units", "0.59"),
    }
}

/// A service that answers each look at the status with the next of `looks`, and the result so.
async fn service(looks: Vec<fn(&Asked) -> Reply>, result: fn(&Asked) -> Reply) -> Fake {
    let looked = AtomicUsize::new(0);
    Fake::start(move |asked| {
        if asked.path.starts_with(&format!("{APP}/status")) {
            let at = looked.fetch_add(1, Ordering::Relaxed).min(looks.len() - 1);
            looks[at](asked)
        } else if asked.path == APP {
            result(asked)
        } else if asked.method == "PUT" {
            Reply::json(202, &json!({"status": "CANCELLATION_REQUESTED"}))
        } else {
            good(asked)
        }
    })
    .await
}

async fn draw_with(provider: Fal, wait: Duration) -> (Result<DrawnImage, NotDrawn>, Kept) {
    draw_by(&provider, &spec(), TEST_KEY, wait).await
}

async fn draw(fake: &Fake, wait: Duration) -> (Result<DrawnImage, NotDrawn>, Kept) {
    draw_with(provider(&fake.url), wait).await
}

fn handle(fake: &Fake) -> String {
    let url = |path: &str| fake.url.join(path).unwrap();
    let request = Request {
        id: ID.into(),
        status: url(&format!("{APP}/status")),
        response: url(APP),
        cancel: url(&format!("{APP}/cancel")),
    };
    request.saved()
}

async fn resume(fake: &Fake, handle: &str, wait: Duration) -> Result<DrawnImage, NotDrawn> {
    let (prompt, spec) = (prompt(), spec());
    let outcome = provider(&fake.url)
        .resume(handle, &Call::unwatched(&prompt, &spec, after(wait)))
        .await;
    assert_eq!(times(fake, "POST", "/"), 0, "nothing is bought");
    outcome
}

fn in_queue(_: &Asked) -> Reply {
    Reply::json(202, &json!({"status": "IN_QUEUE", "queue_position": 3}))
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
        ],
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn an_order_holds_exactly_what_the_model_takes() {
    for (model, size, name, value, has_seed) in [
        (
            "fal-ai/flux/dev",
            "square_hd",
            "image_size",
            json!("square_hd"),
            true,
        ),
        (
            "fal-ai/flux/dev",
            "16:9",
            "image_size",
            json!("landscape_16_9"),
            true,
        ),
        (
            "fal-ai/flux/schnell",
            "9:16",
            "image_size",
            json!("portrait_16_9"),
            true,
        ),
        (
            "fal-ai/flux/dev",
            "1280x720",
            "image_size",
            json!({"width": 1280, "height": 720}),
            true,
        ),
        (
            "fal-ai/flux-pro/v1.1-ultra",
            "21:9",
            "aspect_ratio",
            json!("21:9"),
            true,
        ),
        (
            "fal-ai/nano-banana-2",
            "1024x1024",
            "aspect_ratio",
            json!("1:1"),
            false,
        ),
    ] {
        let fake = Fake::start(good).await;
        let wanted = ImageSpec {
            model: Some(model.into()),
            size: Some(size.into()),
            seed: Some(7),
            ..ImageSpec::default()
        };
        let provider = provider(&fake.url);
        let (prompt, spec) = (prompt(), provider.check(&wanted).unwrap());
        let drawn = provider
            .draw(&Call::unwatched(&prompt, &spec, after(MINUTE)))
            .await
            .unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.request_id.as_deref(), Some(ID));
        assert_eq!(drawn.usage, Some(json!({"billable_units": 0.59})));
        assert!(drawn.cost.is_some());
        let mut body = json!({"prompt": PROMPT, "num_images": 1, "output_format": "png"});
        body[name] = value;
        if has_seed {
            body["seed"] = 7.into();
        }
        let asked = fake.asked();
        assert_eq!(
            (asked[0].path.as_str(), asked[0].json()),
            (format!("/{model}").as_str(), body)
        );
        let key = format!("Key {TEST_KEY}");
        assert_eq!(asked[0].header("authorization"), Some(key.as_str()));
        assert_eq!(
            asked[1].path,
            format!("{APP}/status?logs=1"),
            "the address that was given"
        );
        assert_eq!(asked[2].path, APP);
        assert_eq!(asked[2].header("authorization"), Some(key.as_str()));
        assert_eq!(
            asked[3].header("authorization"),
            None,
            "pictures are fetched without the key"
        );
    }
}

#[test]
fn a_quality_goes_along_where_the_model_has_one() {
    let provider = provider(&suite::nowhere());
    for (model, quality) in [
        ("openai/gpt-image-2.5/flare/text-to-image", json!("medium")),
        ("google/nano-banana-2.1", Value::Null),
    ] {
        let checked = provider.check(&suite::asking(model, "1:1", "")).unwrap();
        let prompt = prompt();
        let call = Call::unwatched(&prompt, &checked, after(MINUTE));
        assert_eq!(input(&call)["quality"], quality, "{model}");
    }
}

#[tokio::test]
async fn every_shape_of_a_result_becomes_a_picture() {
    let shapes: [fn(&Asked) -> Reply; 4] = [
        |asked| Reply::json(200, &picture(asked)),
        |asked| {
            Reply::json(
                200,
                &json!({"image": {"url": format!("{}/files/x", asked.origin)}}),
            )
        },
        |_| {
            let uri = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4EaABAAMkAUEdGZ/EAAAAAElFTkSuQmCC";
            Reply::json(200, &json!({"images": [{"url": uri}]}))
        },
        |asked| Reply::json(200, &json!({"images": [format!("{}/files/x", asked.origin)]})),
    ];
    for shape in shapes {
        let fake = service(vec![completed], shape).await;
        let drawn = draw(&fake, MINUTE).await.0.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
    }
}

#[tokio::test]
async fn addresses_of_another_origin_are_not_used() {
    let other = Fake::start(good).await;
    let there = other.url.clone();
    let fake = Fake::start(move |asked| match asked.method.as_str() {
        "POST" => {
            let place = |end: &str| format!("{there}elsewhere{end}");
            let body = json!({"request_id": ID, "response_url": place(""), "status_url": place("/status"),
                "cancel_url": "not a URL"});
            Reply::json(200, &body)
        }
        _ => good(asked),
    })
    .await;
    let (drawn, watch) = draw(&fake, MINUTE).await;
    assert!(drawn.is_ok(), "{drawn:?}");
    assert_eq!(watch.handle(), handle(&fake), "the documented addresses");
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn a_picture_at_a_private_address_is_refused() {
    let fake = service(vec![completed], |_| {
        Reply::json(200, &json!({"images": [{"url": "https://localhost:9/x?sig=1"}]}))
    })
    .await;
    install_tls();
    let guarded = provider_with(&fake.url, Downloads::new(false).unwrap());
    let error = goes_on(draw_with(guarded, MINUTE).await.0);
    assert_eq!(error.class, ErrorClass::BadOutput);
    assert!(error.details.contains("a name of this machine"), "{error}");
}

#[tokio::test]
async fn pictures_to_make_one_from_go_to_the_model_that_edits() {
    let built = |base_url: &Url| -> Arc<dyn ImageProvider> { Arc::new(provider(base_url)) };
    let uris = json!([
        "data:image/png;base64,cGljdHVyZSAx",
        "data:image/jpeg;base64,cGljdHVyZSAy"
    ]);
    for (model, path) in [
        ("fal-ai/nano-banana-pro", "/fal-ai/nano-banana-pro/edit"),
        (
            "openai/gpt-image-2.5/flare/text-to-image",
            "/openai/gpt-image-2.5/flare/edit",
        ),
    ] {
        let asked = suite::bought_from(built, good, model, 2).await;
        assert_eq!((&*asked.path, &asked.json()["image_urls"]), (path, &uris));
    }
}
