//! Cloudflare's API as far as the worker asks it, on loopback: keeps what is to be forgotten, and answers as it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

pub(crate) const ZONE: &str = "023e105f4ecef8ad9ca31a8372d0c353";
pub(crate) const KEY: &str = "purge-token-1f9c2b7a";

/// A running API. Ends when it is dropped.
pub(crate) struct Cloudflare {
    server: MockServer,
    status: Arc<AtomicU16>,
}

impl Cloudflare {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        let status = Arc::new(AtomicU16::new(200));
        let given = status.clone();
        let respond = move |_: &Request| {
            let status = given.load(Ordering::Relaxed);
            ResponseTemplate::new(status).set_body_json(json!({"success": status == 200, "errors": []}))
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        Self { server, status }
    }

    /// Answers with this status from now on.
    pub(crate) fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The variables of a worker whose pictures lie behind it.
    pub(crate) fn variables(&self) -> [(String, String); 4] {
        [
            ("PUBLIC_URL_BASE", "https://images.example.org".to_owned()),
            ("CLOUDFLARE_API_URL", format!("{}/client/v4", self.server.uri())),
            ("CLOUDFLARE_ZONE_ID", ZONE.to_owned()),
            ("CLOUDFLARE_API_KEY", KEY.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// The addresses that each request named.
    pub(crate) async fn purged(&self) -> Vec<Vec<String>> {
        let requests = self.server.received_requests().await.unwrap();
        let files = requests.into_iter().map(|request| {
            assert_eq!(request.method.as_str(), "POST");
            assert_eq!(request.url.path(), format!("/client/v4/zones/{ZONE}/purge_cache"));
            assert_eq!(request.headers["authorization"], format!("Bearer {KEY}").as_str());
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            serde_json::from_value(body["files"].clone()).unwrap()
        });
        files.collect()
    }
}
