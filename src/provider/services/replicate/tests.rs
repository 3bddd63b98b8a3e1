//! The provider against fakes on loopback: the order as sent, every shape of a prediction, and what goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::http_client::{Downloads, install_tls};
use crate::provider::suite::{self, Asked, Fake, PROMPT, Reply, Subject};
use crate::provider::wire::polling::tests::{
    Kept, PNG, QUICK, after, draw_by, ended, goes_on, png, prompt, times,
};
use crate::provider::{Cost, CostBasis, DrawnImage, ImageProvider, NotDrawn};

mod errors;
mod finding;
mod following;
mod options;

const KEY: &str = "r8_test0123456789abcdefXYZ";
const ID: &str = "gm3qorzdhgbfurvjtvhg6dckhu";
const OFFICIAL: &str = "black-forest-labs/flux-1.1-pro";

fn provider_with(base_url: &Url, key: &str, model: Option<&str>, downloads: &Downloads) -> Replicate {
    let settings = suite::settings(&ACCESS, &base_url.join("v1").unwrap(), key);
    Replicate {
        service: settings.service(downloads).unwrap(),
        model: model.map(|model| named(model).unwrap()),
    }
}

fn provider_of(base_url: &Url, model: &str) -> Replicate {
    let mut provider = provider_with(base_url, KEY, Some(model), &Downloads::new(true).unwrap());
    provider.service.pace = QUICK;
    provider
}

fn provider(base_url: &Url) -> Replicate {
    provider_of(base_url, OFFICIAL)
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: OFFICIAL.into(),
        size: Some("16:9".into()),
        quality: None,
        seed: Some(7),
        ..CheckedSpec::default()
    }
}

fn prediction(status: &str, output: Value) -> Value {
    json!({"id": ID, "model": OFFICIAL, "version": "hidden", "input": {"prompt": PROMPT, "aspect_ratio": "16:9"},
        "output": output, "error": null, "status": status, "logs": "", "data_removed": false,
        "urls": {"get": format!("https://api.replicate.com/v1/predictions/{ID}")}})
}

fn created() -> Reply {
    Reply::json(201, &prediction("starting", Value::Null))
}

fn is_order(asked: &Asked) -> bool {
    asked.method == "POST" && asked.path.ends_with("/predictions")
}

fn is_file(asked: &Asked) -> bool {
    asked.path.starts_with("/files/")
}

fn file_of(asked: &Asked) -> String {
    format!("{}/files/x.webp?sig=1", asked.origin)
}

/// A service that works on everything at once.
fn good(asked: &Asked) -> Reply {
    match asked.path.as_str() {
        _ if is_order(asked) => created(),
        _ if is_file(asked) => png(),
        _ => Reply::json(200, &prediction("succeeded", file_of(asked).into())),
    }
}

/// A service that answers the order with `created`, and each look with the next of `looks`, the last for ever.
async fn service(created: Reply, looks: Vec<fn(&Asked) -> Reply>) -> Fake {
    let looked = AtomicUsize::new(0);
    Fake::start(move |asked| {
        if is_order(asked) {
            return created.clone();
        }
        if is_file(asked) {
            return png();
        }
        if asked.path.ends_with("/cancel") {
            return Reply::json(200, &prediction("canceled", Value::Null));
        }
        let at = looked.fetch_add(1, Ordering::Relaxed).min(looks.len() - 1);
        looks[at](asked)
    })
    .await
}

async fn draw(fake: &Fake, wait: Duration) -> (Result<DrawnImage, NotDrawn>, Kept) {
    draw_by(&provider(&fake.url), &spec(), KEY, wait).await
}

async fn resume(fake: &Fake, handle: &str, wait: Duration) -> Result<DrawnImage, NotDrawn> {
    let (prompt, spec) = (prompt(), spec());
    let call = Call::unwatched(&prompt, &spec, after(wait));
    let outcome = provider(&fake.url).resume(handle, &call).await;
    assert_eq!(times(fake, "POST", "/v1/models"), 0, "nothing is bought");
    outcome
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    use ErrorClass::Ambiguous;
    let subject = Subject {
        provider: Box::new(|base_url| Arc::new(provider(base_url))),
        key: KEY,
        spec: spec(),
        good,
        buys: is_order,
        can_find_again: false,
        fixed_names: false,
        options: &[
            ("png", "\"output_format\":\"png\""),
            ("jpeg", "\"output_format\":\"jpg\""),
            ("webp", "\"output_format\":\"webp\""),
            (
                "reference",
                "\"image_prompt\":\"data:image/png;base64,cGljdHVyZSAx\"",
            ),
        ],
        // A prediction that was not confirmed may exist.
        classes: &[(500, Ambiguous), (502, Ambiguous), (503, Ambiguous)],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn an_order_holds_exactly_what_the_model_takes() {
    let version = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa";
    let named_version = format!("{OFFICIAL}:{version}");
    let input = json!({"prompt": PROMPT, "aspect_ratio": "16:9", "seed": 7, "output_format": "png"});
    for (model, path, body) in [
        (
            OFFICIAL,
            "/v1/models/black-forest-labs/flux-1.1-pro/predictions",
            json!({"input": input}),
        ),
        (
            "deployments/acme/our-flux",
            "/v1/deployments/acme/our-flux/predictions",
            json!({"input": input}),
        ),
        (
            version,
            "/v1/predictions",
            json!({"version": version, "input": input}),
        ),
        (
            named_version.as_str(),
            "/v1/predictions",
            json!({"version": named_version, "input": input}),
        ),
    ] {
        let fake = Fake::start(good).await;
        let (prompt, spec) = (prompt(), spec());
        let call = Call::unwatched(&prompt, &spec, after(Duration::from_secs(300)));
        let drawn = provider_of(&fake.url, model).draw(&call).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.request_id.as_deref(), Some(ID));
        let asked = fake.asked();
        let order = &asked[0];
        assert_eq!((order.path.as_str(), order.json()), (path, body));
        assert_eq!(
            order.header("authorization"),
            Some(format!("Bearer {KEY}").as_str())
        );
        assert_eq!(order.header("prefer"), Some("wait=2"));
        assert_eq!(
            order.header("cancel-after"),
            None,
            "a later attempt may ask for it"
        );
        let look = &asked[1];
        assert_eq!(look.path, format!("/v1/predictions/{ID}"));
        assert_eq!(look.header("authorization"), order.header("authorization"));
        let file = asked.iter().find(|asked| is_file(asked)).unwrap();
        assert_eq!(
            file.header("authorization"),
            None,
            "files are fetched without the token"
        );
    }
}

#[tokio::test]
async fn every_shape_of_an_output_becomes_a_picture() {
    let shapes: [fn(&Asked) -> Value; 8] = [
        |asked| file_of(asked).into(),
        |asked| json!([file_of(asked)]),
        |asked| json!([file_of(asked), "https://localhost:9/second"]),
        |_| {
            "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4EaABAAMkAUEdGZ/EAAAAAElFTkSuQmCC".into()
        },
        |_| {
            json!([
                "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4EaABAAMkAUEdGZ/EAAAAAElFTkSuQmCC"
            ])
        },
        |asked| json!({"image": file_of(asked)}),
        |asked| json!({"seed": 7, "caption": "none", "images": [{"url": file_of(asked)}]}),
        |asked| json!({"other": {"deep": [file_of(asked)]}}),
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        let fake = Fake::start(move |asked| {
            if is_order(asked) {
                // Finished within the time that the first answer is held back.
                Reply::json(201, &prediction("succeeded", shape(asked)))
            } else {
                png()
            }
        })
        .await;
        let (drawn, watch) = draw(&fake, MINUTE).await;
        assert_eq!(&drawn.unwrap().bytes[..], PNG, "shape {number}");
        assert_eq!(watch.handle(), ID, "saved although the picture was there at once");
        assert_eq!(times(&fake, "GET", "/v1/"), 0);
    }
}

#[tokio::test]
async fn the_token_goes_with_a_file_only_to_the_api_itself() {
    let guarded = |asked: &Asked| match asked.header("authorization") {
        Some(_) => png(),
        None => Reply::json(401, &json!({})),
    };
    // The API's own origin may ask for it.
    let broken = AtomicUsize::new(2);
    let fake = Fake::start(move |asked| {
        if is_file(asked) {
            let has_token = asked.header("authorization").is_some();
            match has_token
                && broken
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
            {
                true => Reply::HangUp,
                false => guarded(asked),
            }
        } else {
            good(asked)
        }
    })
    .await;
    let (drawn, _) = draw(&fake, MINUTE).await;
    assert_eq!(&drawn.unwrap().bytes[..], PNG);
    let files: Vec<bool> = fake
        .asked()
        .iter()
        .filter(|asked| is_file(asked))
        .map(|asked| asked.header("authorization").is_some())
        .collect();
    assert_eq!(files, [false, true, true, true]);

    // Any other host asks in vain.
    let other = Fake::start(guarded).await;
    let url = format!("{}files/x", other.url);
    let fake = Fake::start(move |asked| {
        if is_order(asked) {
            created()
        } else {
            Reply::json(200, &prediction("succeeded", url.as_str().into()))
        }
    })
    .await;
    let error = goes_on(draw(&fake, MINUTE).await.0);
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert!(
        other
            .asked()
            .iter()
            .all(|asked| asked.header("authorization").is_none())
    );
}

#[tokio::test]
async fn a_file_is_fetched_again_rather_than_bought_again() {
    let fetched = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| {
        if !is_file(asked) {
            return good(asked);
        }
        match fetched.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::json(404, &json!({})),
            1 => Reply::json(503, &json!({})),
            2 => Reply::HangUp,
            _ => png(),
        }
    })
    .await;
    let (drawn, _) = draw(&fake, MINUTE).await;
    assert_eq!(&drawn.unwrap().bytes[..], PNG);
    assert_eq!(times(&fake, "POST", "/"), 1);
    assert_eq!(times(&fake, "GET", "/files/"), 4);
}

#[tokio::test]
async fn a_file_at_a_private_address_is_refused() {
    let fake = Fake::start(|asked| match is_order(asked) {
        true => Reply::json(201, &prediction("succeeded", "https://localhost:9/x.png".into())),
        false => Reply::HangUp,
    })
    .await;
    install_tls();
    let provider = provider_with(&fake.url, KEY, Some(OFFICIAL), &Downloads::new(false).unwrap());
    let (prompt, spec) = (prompt(), spec());
    let call = Call::unwatched(&prompt, &spec, after(MINUTE));
    let error = goes_on(provider.draw(&call).await);
    assert_eq!(error.class, ErrorClass::BadOutput);
    assert!(
        error.details.contains("its host has a name of this machine"),
        "{error}"
    );
}

#[tokio::test]
async fn pictures_to_make_one_from_stand_where_each_model_takes_them() {
    let (one, two) = (
        "data:image/png;base64,cGljdHVyZSAx",
        "data:image/jpeg;base64,cGljdHVyZSAy",
    );
    for (model, count, name, expected) in [
        (OFFICIAL, 1, "image_prompt", json!(one)),
        ("black-forest-labs/flux-kontext-pro", 1, "input_image", json!(one)),
        (
            "black-forest-labs/flux-2-pro",
            2,
            "input_images",
            json!([one, two]),
        ),
    ] {
        let built = |base_url: &Url| -> Arc<dyn ImageProvider> { Arc::new(provider_of(base_url, model)) };
        let asked = suite::bought_from(built, good, model, count).await;
        assert_eq!(asked.path, format!("/v1/models/{model}/predictions"));
        assert_eq!(asked.json()["input"][name], expected);
    }
}
