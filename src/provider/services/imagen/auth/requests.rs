//! The requests that are answered with a token.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use chrono::Utc;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Request};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::Url;
use url::form_urlencoded::Serializer;

use super::SCOPE;
use super::credentials::Credentials;

/// How long a signed claim is good for; Google takes an hour at most.
const CLAIM_SECONDS: i64 = 3600;

/// A request and what must not be repeated when it fails.
pub(super) struct Asked {
    pub(super) request: Request,
    /// Host and path, for descriptions.
    pub(super) target: String,
    pub(super) secrets: Vec<SecretString>,
}

pub(super) fn for_token(credentials: &Credentials) -> Result<Asked, String> {
    let mut form = Serializer::new(String::new());
    let (token_uri, secrets) = match credentials {
        Credentials::ServiceAccount {
            email,
            key_id,
            private_key,
            token_uri,
        } => {
            let assertion = signed_claim(email, key_id.as_deref(), private_key, token_uri)?;
            form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
            form.append_pair("assertion", &assertion);
            (token_uri, vec![SecretString::from(assertion)])
        }
        Credentials::User {
            client_id,
            client_secret,
            refresh_token,
            token_uri,
            ..
        } => {
            form.append_pair("grant_type", "refresh_token");
            form.append_pair("client_id", client_id);
            form.append_pair("client_secret", client_secret.expose_secret());
            form.append_pair("refresh_token", refresh_token.expose_secret());
            (token_uri, vec![client_secret.clone(), refresh_token.clone()])
        }
    };
    let mut request = Request::new(Method::POST, token_uri.clone());
    request.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    *request.body_mut() = Some(form.finish().into());
    Ok(Asked {
        request,
        target: format!("{}{}", token_uri.host_str().unwrap_or_default(), token_uri.path()),
        secrets,
    })
}

pub(super) fn for_metadata(host: &str) -> Result<Request, String> {
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let url = Url::parse(&url)
        .map_err(|error| format!("GCE_METADATA_HOST is not a host with or without a port ({error})"))?;
    let mut request = Request::new(Method::GET, url);
    request
        .headers_mut()
        .insert("metadata-flavor", HeaderValue::from_static("Google"));
    Ok(request)
}

/// A JSON web token, signed with RS256, by which a service account shows who it is.
///
/// Source: Google, "Using OAuth 2.0 for server to server applications", "Addendum: service account authorization
/// without OAuth".
fn signed_claim(
    email: &str,
    key_id: Option<&str>,
    private_key: &SecretString,
    token_uri: &Url,
) -> Result<String, String> {
    let key = key_pair(private_key.expose_secret())?;
    let mut header = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let now = Utc::now().timestamp();
    let claims = json!({"iss": email, "scope": SCOPE, "aud": token_uri.as_str(), "iat": now,
        "exp": now + CLAIM_SECONDS});
    let part = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        signed.as_bytes(),
        &mut signature,
    )
    .map_err(|_| "signing with its private_key failed".to_owned())?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

fn key_pair(pem: &str) -> Result<RsaKeyPair, String> {
    let text: String = pem
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let der = BASE64_STANDARD
        .decode(text)
        .map_err(|_| "its private_key is not PEM".to_owned())?;
    RsaKeyPair::from_pkcs8(&der).map_err(|error| format!("its private_key is no RSA key in PKCS#8 ({error})"))
}
