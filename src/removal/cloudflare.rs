//! Cloudflare in front of the store: it forgets the addresses of pictures that are gone.
//!
//! Source: Cloudflare API reference, "Purge Cached Content" (`POST /zones/{zone_id}/purge_cache`, by single file).

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::failure::{ErrorClass, Failure};
use crate::http_client::{HttpClient, Outgoing, check_base_url, redact};
use crate::settings::values::http_url;

/// So many addresses go into one request: more are refused on some plans.
const MOST_FILES: usize = 30;
/// One request, its answer included.
const PATIENCE: Duration = Duration::from_secs(15);
/// More of an answer is of no use.
const MOST_ANSWER_BYTES: usize = 256 * 1024;

/// How the cache is told; made by `config`.
#[derive(Clone, Debug)]
pub struct CloudflareSettings {
    /// `CLOUDFLARE_API_URL`
    pub api_url: Url,
    /// `CLOUDFLARE_ZONE_ID`
    pub zone_id: String,
    /// `CLOUDFLARE_API_KEY`: a token that may purge the cache of the zone.
    pub api_key: SecretString,
}

/// Tells Cloudflare. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Cloudflare {
    client: HttpClient,
    zone_id: String,
    api_key: SecretString,
}

impl Cloudflare {
    /// [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub(super) fn new(settings: &CloudflareSettings) -> anyhow::Result<Self> {
        Ok(Self {
            client: HttpClient::new(&settings.api_url)?.with_body_cap(MOST_ANSWER_BYTES),
            zone_id: settings.zone_id.clone(),
            api_key: settings.api_key.clone(),
        })
    }

    /// Has these addresses forgotten. Those that no cache can have, as of a disk, are left out.
    ///
    /// # Errors
    /// [`Failure`], retried: asking for the same again does no harm.
    pub(super) async fn purge(&self, urls: &[String]) -> Result<(), Failure> {
        let urls: Vec<&String> = urls.iter().filter(|url| url.starts_with("http")).collect();
        for files in urls.chunks(MOST_FILES) {
            self.ask(&json!({ "files": files })).await.map_err(|why| {
                let message = "The picture is removed from the store, and the cache in front of it (Cloudflare) does not take the order to \
                               forget it. Start the job again in some minutes; if that does not help, tell an operator.";
                Failure::new(ErrorClass::Storage, message).with_details(format!("Cloudflare, purge_cache: {why}"))
            })?;
        }
        Ok(())
    }

    async fn ask(&self, body: &Value) -> Result<(), String> {
        let key = self.api_key.expose_secret();
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header_of(key)?);
        let path = format!("zones/{}/purge_cache", self.zone_id);
        let request = Outgoing::post_json(path, body).headers(headers);
        let answer = self
            .client
            .send(request, Instant::now() + PATIENCE)
            .await
            .map_err(|fault| fault.to_string())?;
        let said = String::from_utf8_lossy(&answer.body);
        let has_refused = serde_json::from_slice::<Value>(&answer.body)
            .is_ok_and(|answer| answer["success"] == Value::Bool(false));
        if answer.status.is_success() && !has_refused {
            return Ok(());
        }
        let cure = match answer.status.as_u16() {
            401 | 403 => {
                "; CLOUDFLARE_API_KEY has to be a token that may purge the cache of the zone CLOUDFLARE_ZONE_ID"
            }
            404 => "; look at CLOUDFLARE_ZONE_ID",
            _ => "",
        };
        let said = redact(&said, &[key]);
        Err(format!("answered {}: {said}{cure}", answer.status.as_u16()))
    }
}

/// The header that carries the key.
fn header_of(key: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| {
        "a value with a line break or another character that no header takes was found".to_owned()
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads a key.
///
/// # Errors
/// What is wrong with it, without repeating it.
pub fn api_key(text: &str) -> Result<SecretString, String> {
    header_of(text).map(|_| text.to_owned().into())
}

/// Reads the address of the API.
///
/// # Errors
/// What was found and what is accepted.
pub fn api_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    check_base_url(&url).map_err(|wrong| format!("{wrong:#}"))?;
    Ok(url)
}

/// Reads the id of a zone, which becomes part of a path.
///
/// # Errors
/// What was found and what is accepted.
pub fn zone_id(text: &str) -> Result<String, String> {
    let is_id = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" was found; the id of a zone such as 023e105f4ecef8ad9ca31a8372d0c353 is accepted (Cloudflare shows it on the \
             overview page of the domain)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{body_json, header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    async fn purge(server: &MockServer, urls: &[String]) -> Result<(), Failure> {
        crate::http_client::install_tls();
        let settings = CloudflareSettings {
            api_url: format!("{}/client/v4", server.uri()).parse().unwrap(),
            zone_id: "023e105f".to_owned(),
            api_key: "hunter2hunter2".to_owned().into(),
        };
        Cloudflare::new(&settings).unwrap().purge(urls).await
    }

    fn urls(count: usize) -> Vec<String> {
        (0..count)
            .map(|number| format!("https://h/{number}.png"))
            .collect()
    }

    #[tokio::test]
    async fn addresses_go_in_requests_of_thirty_with_the_key() {
        let server = MockServer::start().await;
        for files in urls(31).chunks(30) {
            Mock::given(method("POST"))
                .and(path("/client/v4/zones/023e105f/purge_cache"))
                .and(header("authorization", "Bearer hunter2hunter2"))
                .and(body_json(json!({ "files": files })))
                .respond_with(
                    ResponseTemplate::new(200).set_body_json(json!({"success": true, "errors": []})),
                )
                .expect(1)
                .mount(&server)
                .await;
        }
        let mut all = urls(31);
        all.insert(3, "file:///a.png".to_owned());
        assert_eq!(purge(&server, &all).await, Ok(()));
        assert_eq!(purge(&server, &["file:///a.png".to_owned()]).await, Ok(()));
    }

    #[tokio::test]
    async fn what_is_no_success_is_tried_again_and_told_without_the_key() {
        for (status, body, told) in [
            (
                200,
                json!({"success": false, "errors": [{"code": 1012}]}),
                "answered 200: ",
            ),
            (
                403,
                json!({"errors": [{"message": "hunter2hunter2 is no token"}]}),
                "CLOUDFLARE_API_KEY has to be a token",
            ),
            (404, json!({}), "look at CLOUDFLARE_ZONE_ID"),
            (429, json!({}), "answered 429"),
            (502, json!({}), "answered 502"),
        ] {
            let server = MockServer::start().await;
            Mock::given(method("POST"))
                .respond_with(ResponseTemplate::new(status).set_body_json(body))
                .mount(&server)
                .await;
            let failure = purge(&server, &urls(1)).await.unwrap_err();
            let details = failure.details.clone().unwrap();
            assert!(details.contains(told), "{details}");
            assert!(!details.contains("hunter2"), "{details}");
            assert!(failure.is_retried());
        }
    }

    #[test]
    fn an_id_is_part_of_a_path_and_nothing_else() {
        assert!(zone_id("023e105f4ecef8ad9ca31a8372d0c353").is_ok());
        for text in ["", "a/b", "..", "a b", "ä", &"a".repeat(65)] {
            zone_id(text).unwrap_err();
        }
        header_of("a\nb").unwrap_err();
    }
}
