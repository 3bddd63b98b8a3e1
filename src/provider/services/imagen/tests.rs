//! The provider against fakes on loopback, token endpoint included.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use super::*;
use crate::http_client::install_tls;
use crate::http_client::tests::in_minutes;
use crate::provider::services::imagen::auth::tests::{
    login, service_account, settings as auth_settings, token,
};
use crate::provider::suite::{self, Asked as Request, Fake, PROMPT, Reply, Subject, any_post};
use crate::provider::wire::google::tests::{candidate, documented, without_picture};
use crate::provider::{CostBasis, DigitalSource};
use crate::work_package::Prompt;

mod models_and_places;
mod predicting;

const TOKEN: &str = "ya29.test-0123456789abcdef";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";
const GEMINI: &str = "gemini-nano-banana-2.1";
const PRIVATE: &str = "imagen-5.0-private";

fn built(settings: ImagenSettings) -> Imagen {
    Imagen::new(settings, &Downloads::new(false).unwrap()).unwrap()
}

fn provider_at(url: &Url, auth: GoogleAuthSettings, location: Option<&str>) -> Imagen {
    install_tls();
    built(ImagenSettings {
        project: Some("my-project".into()),
        location: location.map(str::to_owned),
        base_url: Some(url.clone()),
        auth,
    })
}

/// On a machine of Google Cloud, whose metadata server is the same fake.
fn provider(url: &Url) -> Imagen {
    provider_at(url, auth_settings(None, Some(url)), None)
}

fn spec(model: &str, size: &str) -> CheckedSpec {
    CheckedSpec {
        model: model.into(),
        size: Some(size.into()),
        quality: None,
        seed: None,
        ..CheckedSpec::default()
    }
}

fn is_for_token(asked: &Request) -> bool {
    asked.path.ends_with("/token")
}

fn picture(asked: &Request) -> Value {
    let data = BASE64_STANDARD.encode(PNG);
    match asked.path.ends_with(":predict") {
        true => {
            json!({"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": data}], "deployedModelId": ""})
        }
        false => {
            let mut body = candidate(
                "STOP",
                json!([{"inlineData": {"mimeType": "image/png", "data": data}}]),
            );
            body["usageMetadata"] = json!({"promptTokenCount": 10, "candidatesTokenCount": 1120,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]});
            body["responseId"] = "resp_4Hq".into();
            body
        }
    }
}

fn good(asked: &Request) -> Reply {
    match is_for_token(asked) {
        true => token(TOKEN, 3600),
        false => Reply::json(200, &picture(asked)),
    }
}

async fn draw(provider: &Imagen, spec: &CheckedSpec) -> Result<DrawnImage, ProviderError> {
    let prompt = Prompt::new(PROMPT.into());
    provider
        .draw(&Call::unwatched(&prompt, spec, in_minutes(5)))
        .await
        .map_err(suite::ended)
}

/// The outcome of a call that is answered so, and the requests that are not for tokens.
async fn drawn(reply: Reply, spec: &CheckedSpec) -> (Result<DrawnImage, ProviderError>, Vec<Request>) {
    let fake = Fake::start(move |asked| match is_for_token(asked) {
        true => token(TOKEN, 3600),
        false => reply.clone(),
    })
    .await;
    let outcome = draw(&provider(&fake.url), spec).await;
    let asked = fake.asked().into_iter().filter(|asked| !is_for_token(asked));
    (outcome, asked.collect())
}

async fn error_of(reply: Reply, model: &str) -> ProviderError {
    drawn(reply, &spec(model, "1:1")).await.0.unwrap_err()
}

#[tokio::test]
async fn what_every_provider_has_to_get_right_with_gemini_models() {
    let options = [(
        "reference",
        "\"inlineData\":{\"data\":\"cGljdHVyZSAx\",\"mimeType\":\"image/png\"}",
    )];
    has_everything_right(GEMINI, &[&FORMATS[..], &options].concat()).await;
}

#[tokio::test]
async fn what_every_provider_has_to_get_right_with_imagen_models() {
    has_everything_right(PRIVATE, &FORMATS).await;
}

/// What is sent for a format.
const FORMATS: [(&str, &str); 2] = [
    ("png", "\"mimeType\":\"image/png\""),
    ("jpeg", "\"mimeType\":\"image/jpeg\""),
];

async fn has_everything_right(model: &str, options: &[(&'static str, &'static str)]) {
    let tokens = Fake::start(|_| token(TOKEN, 3600)).await;
    let auth = auth_settings(None, Some(&tokens.url));
    let subject = Subject {
        provider: Box::new(move |url| std::sync::Arc::new(provider_at(url, auth.clone(), Some("us-east1")))),
        key: TOKEN,
        spec: spec(model, "16:9"),
        good,
        buys: any_post,
        can_find_again: false,
        fixed_names: false,
        options: options.to_vec().leak(),
        classes: &[],
    };
    suite::run(&subject).await;
}

#[tokio::test]
async fn a_gemini_model_is_asked_with_the_project_and_a_token() {
    let fake = Fake::start(good).await;
    let provider = provider(&fake.url);
    for _ in 0..2 {
        let drawn = draw(&provider, &spec(GEMINI, "16:9@2K")).await.unwrap();
        assert_eq!(
            (&drawn.bytes[..], drawn.source),
            (PNG, DigitalSource::TrainedModel)
        );
        assert_eq!(drawn.request_id.as_deref(), Some("resp_4Hq"));
        let cost = drawn.cost.unwrap();
        assert!((cost.usd - 0.033_615).abs() < 1e-9, "{cost:?}");
        assert_eq!(cost.basis, CostBasis::Computed);
    }
    let asked = fake.asked();
    assert_eq!(asked.len(), 3, "one token serves both");
    let asked = &asked[2];
    assert_eq!(
        asked.path,
        "/v1/projects/my-project/locations/global/publishers/google/models/gemini-nano-banana-2.1:generateContent"
    );
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {TOKEN}")));
    assert_eq!(asked.header("x-goog-user-project"), None);
    assert_eq!(
        asked.json(),
        json!({"contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
            "generationConfig": {"responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": "16:9", "imageSize": "2K"}}})
    );
}

#[tokio::test]
async fn a_service_account_draws_too() {
    let fake = Fake::start(good).await;
    let file = service_account(&fake.url);
    let provider = provider_at(&fake.url, auth_settings(Some(&file), None), Some("europe-west4"));
    draw(&provider, &spec(GEMINI, "1:1")).await.unwrap();
    let asked = fake.asked();
    assert!(asked[0].text().contains("jwt-bearer"));
    assert_eq!(
        asked[1].path,
        "/v1/projects/my-project/locations/europe-west4/publishers/google/models/gemini-nano-banana-2.1:generateContent"
    );
}

#[tokio::test]
async fn a_login_says_which_project_is_billed() {
    let fake = Fake::start(good).await;
    let file = login(&fake.url);
    let provider = provider_at(&fake.url, auth_settings(Some(&file), None), None);
    draw(&provider, &spec(GEMINI, "1:1")).await.unwrap();
    assert_eq!(fake.asked()[1].header("x-goog-user-project"), Some("billed"));
}

#[tokio::test]
async fn a_model_that_is_not_there_may_be_elsewhere() {
    let body =
        json!({"error": {"code": 404, "status": "NOT_FOUND", "message": "Publisher model was not found"}});
    for model in [GEMINI, PRIVATE] {
        let error = error_of(Reply::json(404, &body), model).await;
        assert_eq!(error.class, ErrorClass::ModelGone);
        assert!(
            error.details.ends_with("see GOOGLE_CLOUD_IMAGEN_LOCATION"),
            "{error}"
        );
    }
}

/// Gives the tokens `t-1`, `t-2`, … and answers those up to `dead` with 401.
async fn refusing(dead: usize) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::start(move |asked| {
        if is_for_token(asked) {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            return token(&format!("t-{number}"), 3600);
        }
        let number = asked.header("authorization").unwrap().rsplit('-').next().unwrap();
        match number.parse::<usize>().unwrap() <= dead {
            true => Reply::json(
                401,
                &json!({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "x"}}),
            ),
            false => Reply::json(200, &picture(asked)),
        }
    })
    .await
}

#[tokio::test]
async fn a_token_that_has_ended_early_is_exchanged_once() {
    let fake = refusing(1).await;
    let once = provider(&fake.url);
    draw(&once, &spec(GEMINI, "1:1")).await.unwrap();
    draw(&once, &spec(GEMINI, "1:1")).await.unwrap();
    assert_eq!(fake.asked().len(), 2 + 2 + 1, "the second token is kept");

    let fake = refusing(usize::MAX).await;
    let never = provider(&fake.url);
    let error = draw(&never, &spec(GEMINI, "1:1")).await.unwrap_err();
    assert_eq!(
        (error.class, fake.asked().len()),
        (ErrorClass::Auth, 4),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_for_and_nothing_is_in_doubt() {
    for (reply, class) in [
        (
            Reply::json(400, &json!({"error": "invalid_grant"})),
            ErrorClass::Auth,
        ),
        (Reply::json(503, &json!({})), ErrorClass::Overloaded),
        (Reply::json(429, &json!({})), ErrorClass::RateLimited),
        (Reply::HangUp, ErrorClass::Network),
        (Reply::Silence, ErrorClass::Network),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let file = service_account(&fake.url);
        let provider = provider_at(&fake.url, auth_settings(Some(&file), None), None);
        let error = draw(&provider, &spec(GEMINI, "1:1")).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
        assert!(error.details.contains("not sent: "), "{error}");
        assert!(fake.asked().iter().all(is_for_token));
    }
}

#[tokio::test]
async fn every_documented_error_has_its_class() {
    for (status, body, class) in documented() {
        for model in [GEMINI, PRIVATE] {
            let error = error_of(Reply::json(status, &body), model).await;
            assert_eq!(error.class, class, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn every_success_without_a_picture_has_its_class() {
    for (body, class) in without_picture() {
        let error = error_of(Reply::json(200, &body), GEMINI).await;
        assert_eq!(error.class, class, "{body}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_beside_pictures_is_renewed_for_the_next_call() {
    let fake = Fake::start(|asked| match is_for_token(asked) {
        true => token(TOKEN, 3600),
        false => Reply::json(401, &json!({"error": {"code": 401, "status": "UNAUTHENTICATED"}})),
    })
    .await;
    let (prompt, spec, references) = (
        Prompt::new(PROMPT.into()),
        spec(GEMINI, "1:1"),
        suite::pictures(1),
    );
    let call = Call {
        references: &references,
        ..Call::unwatched(&prompt, &spec, in_minutes(5))
    };
    let error = suite::ended(provider(&fake.url).draw(&call).await.unwrap_err());
    assert_eq!(error.class, ErrorClass::Network, "it is sent again: {error}");
    let tokens = fake.asked().iter().filter(|asked| is_for_token(asked)).count();
    assert_eq!((tokens, fake.asked().len()), (2, 3));
}
