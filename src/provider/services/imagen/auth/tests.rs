//! Tokens from fakes on loopback: what is sent for them, how long they are kept, and what a fault is called.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use url::Url;

use super::*;
use crate::http_client::install_tls;
use crate::http_client::tests::in_minutes;
use crate::provider::suite::{Fake, Reply};

mod files;

/// Made for these tests; opens nothing.
const PRIVATE_KEY: &str = include_str!("test_key.pem");

fn file_of(content: &Value) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.to_string().as_bytes()).unwrap();
    file
}

/// A service account's file whose tokens come from `<url>token`.
pub(crate) fn service_account(url: &Url) -> NamedTempFile {
    file_of(
        &json!({"type": "service_account", "project_id": "p", "private_key_id": "key-1", "private_key": PRIVATE_KEY,
        "client_email": "worker@p.iam.gserviceaccount.com", "token_uri": url.join("token").unwrap().as_str()}),
    )
}

/// A person's login whose tokens come from `<url>token`, and who has the project `billed` billed.
pub(crate) fn login(url: &Url) -> NamedTempFile {
    file_of(
        &json!({"type": "authorized_user", "client_id": "id-1", "client_secret": "hunter2hunter2",
        "refresh_token": "1//refresh&me", "quota_project_id": "billed", "token_uri": url.join("token").unwrap().as_str()}),
    )
}

/// Without the machine's own credentials, whatever these are.
pub(crate) fn settings(file: Option<&NamedTempFile>, metadata: Option<&Url>) -> GoogleAuthSettings {
    GoogleAuthSettings {
        credentials_file: file.map(|file| file.path().to_owned()),
        well_known_file: None,
        // Never the real one: without a fake there is nothing at this port.
        metadata_host: Some(metadata.map_or("127.0.0.1:9".into(), |url| url.authority().to_owned())),
    }
}

pub(crate) fn token(text: &str, seconds: u64) -> Reply {
    let body = json!({"access_token": text, "expires_in": seconds, "token_type": "Bearer"});
    Reply::json(200, &body).with("metadata-flavor", "Google")
}

/// Gives the tokens `t-1`, `t-2`, …, each for `seconds`.
async fn counting(seconds: u64) -> Fake {
    install_tls();
    let count = AtomicUsize::new(0);
    Fake::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        token(&format!("t-{number}"), seconds)
    })
    .await
}

async fn take(auth: &GoogleAuth) -> String {
    let token = auth.token(in_minutes(5)).await.unwrap();
    token.secret.expose_secret().to_owned()
}

#[tokio::test]
async fn a_service_account_signs_who_it_is() {
    let fake = counting(3600).await;
    let file = service_account(&fake.url);
    let auth = GoogleAuth::new(settings(Some(&file), None));
    assert_eq!(take(&auth).await, "t-1");
    let asked = fake.asked().remove(0);
    assert_eq!((&*asked.method, &*asked.path), ("POST", "/token"));
    assert_eq!(
        asked.header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&asked.body).into_owned().collect();
    assert_eq!(form[0].1, "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(
        (&*form[0].0, &*form[1].0, form.len()),
        ("grant_type", "assertion", 2)
    );

    let parts: Vec<&str> = form[1].1.split('.').collect();
    let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| serde_json::from_slice::<Value>(&bytes(part)).unwrap();
    assert_eq!(
        json(parts[0]),
        json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"})
    );
    let claims = json(parts[1]);
    assert_eq!(claims["iss"], "worker@p.iam.gserviceaccount.com");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-platform");
    assert_eq!(claims["aud"], fake.url.join("token").unwrap().as_str());
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap() - issued, 3600);
    assert!((chrono::Utc::now().timestamp() - issued).abs() < 60);

    let der: String = PRIVATE_KEY
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let pair = RsaKeyPair::from_pkcs8(&BASE64_STANDARD.decode(der).unwrap()).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    let signed = [parts[0], parts[1]].join(".");
    public.verify(signed.as_bytes(), &bytes(parts[2])).unwrap();
}

#[tokio::test]
async fn a_login_is_refreshed_and_names_who_is_billed() {
    let fake = counting(3600).await;
    let file = login(&fake.url);
    let mut well_known = settings(None, None);
    well_known.well_known_file = Some(file.path().to_owned());
    for settings in [settings(Some(&file), None), well_known] {
        let token = GoogleAuth::new(settings).token(in_minutes(5)).await.unwrap();
        assert_eq!(token.quota_project.as_deref(), Some("billed"));
    }
    for asked in fake.asked() {
        assert_eq!(
            asked.text(),
            "grant_type=refresh_token&client_id=id-1&client_secret=hunter2hunter2&refresh_token=1%2F%2Frefresh%26me"
        );
    }
}

#[tokio::test]
async fn the_metadata_server_is_asked_as_it_wants_and_believed_only_when_it_says_who_it_is() {
    let fake = counting(3600).await;
    let auth = GoogleAuth::new(settings(None, Some(&fake.url)));
    assert_eq!(take(&auth).await, "t-1");
    let asked = fake.asked().remove(0);
    assert_eq!(
        (&*asked.method, &*asked.path, asked.header("metadata-flavor")),
        (
            "GET",
            "/computeMetadata/v1/instance/service-accounts/default/token",
            Some("Google")
        )
    );
    let stranger = Fake::start(|_| token("t", 3600).with("metadata-flavor", "Other")).await;
    let auth = GoogleAuth::new(settings(None, Some(&stranger.url)));
    let fault = auth.token(in_minutes(5)).await.unwrap_err();
    assert_eq!(fault.class, ErrorClass::Auth, "{}", fault.why);
}

#[tokio::test]
async fn a_machine_without_any_credentials_is_told_so_and_not_tried_again() {
    install_tls();
    let fault = GoogleAuth::new(settings(None, None))
        .token(in_minutes(5))
        .await
        .unwrap_err();
    assert_eq!(fault.class, ErrorClass::Auth);
    assert!(
        fault.why.contains("GOOGLE_APPLICATION_CREDENTIALS is not set"),
        "{}",
        fault.why
    );
}

#[tokio::test]
async fn an_outage_of_a_metadata_server_that_was_there_is_an_outage() {
    let fake = counting(1).await;
    let auth = GoogleAuth::new(settings(None, Some(&fake.url)));
    take(&auth).await;
    let refused = auth.token(in_minutes(5)).await.unwrap();
    drop(fake);
    let fault = auth.token_after(&refused, in_minutes(5)).await.unwrap_err();
    assert_eq!(fault.class, ErrorClass::Network, "{}", fault.why);
}

#[tokio::test]
async fn one_token_serves_all_until_it_is_nearly_over() {
    let fake = counting(3600).await;
    let file = service_account(&fake.url);
    let auth = GoogleAuth::new(settings(Some(&file), None));
    let all = futures_util::future::join_all((0..20).map(|_| take(&auth))).await;
    assert!(all.iter().all(|token| token == "t-1"), "{all:?}");
    assert_eq!(fake.asked().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(3600 - 241)).await;
    tokio::time::resume();
    assert_eq!(take(&auth).await, "t-1");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    assert_eq!(take(&auth).await, "t-2");
}

#[tokio::test]
async fn a_refused_token_is_exchanged_once_for_all_that_were_refused() {
    let fake = counting(3600).await;
    let file = service_account(&fake.url);
    let auth = GoogleAuth::new(settings(Some(&file), None));
    let refused = auth.token(in_minutes(5)).await.unwrap();
    let again = || async {
        let token = auth.token_after(&refused, in_minutes(5)).await.unwrap();
        token.secret.expose_secret().to_owned()
    };
    let all = futures_util::future::join_all((0..5).map(|_| again())).await;
    assert!(all.iter().all(|token| token == "t-2"), "{all:?}");
    assert_eq!(fake.asked().len(), 2);
}

#[tokio::test]
async fn a_token_that_still_lives_is_used_when_its_renewal_fails() {
    install_tls();
    let count = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => token("t-1", 200),
        _ => Reply::json(503, &json!({})),
    })
    .await;
    let file = service_account(&fake.url);
    let auth = GoogleAuth::new(settings(Some(&file), None));
    assert_eq!(
        (take(&auth).await, take(&auth).await),
        ("t-1".into(), "t-1".into())
    );
    assert_eq!(fake.asked().len(), 2);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(201)).await;
    tokio::time::resume();
    let fault = auth.token(in_minutes(5)).await.unwrap_err();
    assert_eq!(fault.class, ErrorClass::Overloaded, "{}", fault.why);
}

#[tokio::test]
async fn every_fault_has_a_class_that_leaves_nothing_in_doubt_and_shows_no_secret() {
    install_tls();
    let echo = "Bad hunter2hunter2 and 1//refresh&me";
    for (reply, class, said) in [
        (
            Reply::json(
                400,
                &json!({"error": "invalid_grant", "error_description": format!("Invalid JWT: {echo}")}),
            ),
            ErrorClass::Auth,
            "400: invalid_grant: Invalid JWT: Bad",
        ),
        (
            Reply::json(401, &json!({"error": "invalid_client"})),
            ErrorClass::Auth,
            "invalid_client",
        ),
        (Reply::of(403, "text/plain", echo), ErrorClass::Auth, "403"),
        (Reply::json(429, &json!({})), ErrorClass::RateLimited, "429"),
        (
            Reply::of(500, "text/html", "<html>"),
            ErrorClass::Overloaded,
            "500",
        ),
        (
            Reply::of(200, "text/html", "<html>"),
            ErrorClass::Overloaded,
            "holds no token",
        ),
        (
            Reply::json(200, &json!({"access_token": "a\nb"})),
            ErrorClass::Overloaded,
            "holds no token",
        ),
        (
            Reply::json(302, &json!({})).with("location", "http://127.0.0.1:9/"),
            ErrorClass::Network,
            "redirect",
        ),
        (Reply::HangUp, ErrorClass::Network, "no answer"),
        (Reply::Silence, ErrorClass::Network, "no answer"),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let file = login(&fake.url);
        let auth = GoogleAuth::new(settings(Some(&file), None));
        let fault = auth.token(in_minutes(5)).await.unwrap_err();
        assert_eq!(fault.class, class, "{}", fault.why);
        assert!(fault.why.contains(said), "{}", fault.why);
        for secret in ["hunter2", "refresh&me"] {
            assert!(!fault.why.contains(secret), "{}", fault.why);
        }
    }
    let limited = Fake::start(|_| Reply::json(429, &json!({})).with("retry-after", "7")).await;
    let file = login(&limited.url);
    let fault = GoogleAuth::new(settings(Some(&file), None))
        .token(in_minutes(5))
        .await;
    assert_eq!(fault.unwrap_err().retry_after, Some(Duration::from_secs(7)));
}
