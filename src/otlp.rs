//! Sends spans to a collector, by OTLP over HTTP (protobuf), where `OTEL_EXPORTER_OTLP_ENDPOINT` says so.
//!
//! A thread of its own sends them: a collector that is down or slow costs no job anything. No more than 2,048 spans wait for it
//! (`OTEL_BSP_MAX_QUEUE_SIZE`), what comes beyond that is dropped, and a process that stops waits for two seconds at the most.
//!
//! Source: OpenTelemetry specification, "OTLP Exporter Configuration" and "Batching processor".

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::HttpError;
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use crate::http_client::{Answer, HttpClient, HttpFault, check_base_url};
use crate::settings::values::http_url;

/// More of an answer is of no use.
const MOST_ANSWER_BYTES: usize = 64 * 1024;
/// For so long a process that stops waits for its last spans to be taken.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Where spans go; made by `config`.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `/v1/traces` below `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: Url,
    /// `OTEL_EXPORTER_OTLP_HEADERS`
    pub headers: Vec<(String, SecretString)>,
    /// `OTEL_EXPORTER_OTLP_TIMEOUT`
    pub timeout: Duration,
    /// `OTEL_SERVICE_NAME`
    pub service_name: String,
}

/// Reads an address.
///
/// # Errors
/// What was found and what is accepted.
pub fn endpoint(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    check_base_url(&url).map_err(|wrong| format!("{wrong:#}"))?;
    Ok(url)
}

/// Reads headers such as `api-key=secret,tenant=acme`, with values as in URLs.
///
/// # Errors
/// What is wrong, without any value.
pub fn headers(text: &str) -> Result<Vec<(String, SecretString)>, String> {
    let accepted = "a list such as api-key=secret,tenant=acme is accepted";
    let mut headers = Vec::new();
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let Some((name, value)) = entry.split_once('=') else {
            return Err(format!("an entry without = was found; {accepted}"));
        };
        let value = percent_encoding::percent_decode_str(value.trim())
            .decode_utf8()
            .map_err(|_| format!("a value that is no text was found; {accepted}"))?;
        let is_one =
            http::HeaderName::try_from(name.trim()).is_ok() && http::HeaderValue::try_from(&*value).is_ok();
        if !is_one {
            return Err(format!("an entry that no header can be was found; {accepted}"));
        }
        headers.push((name.trim().to_owned(), value.into_owned().into()));
    }
    Ok(headers)
}

/// Reads a time in milliseconds.
///
/// # Errors
/// What was found and what is accepted.
pub fn timeout(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(ms @ 1..=600_000) => Ok(Duration::from_millis(ms)),
        _ => Err(format!(
            "\"{text}\" was found; milliseconds from 1 to 600000 are accepted"
        )),
    }
}

/// Reads the way in which spans are written.
///
/// # Errors
/// What was found and what is accepted.
pub fn protocol(text: &str) -> Result<(), String> {
    match text {
        "http/protobuf" => Ok(()),
        _ => Err(format!(
            "\"{text}\" was found; http/protobuf is accepted, which collectors take at port 4318"
        )),
    }
}

/// Spans on their way to a collector.
pub struct Export(SdkTracerProvider);

impl Export {
    /// Begins. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When the address cannot be used.
    pub fn start(settings: &OtlpSettings) -> anyhow::Result<Self> {
        let headers = settings.headers.iter();
        let headers: HashMap<String, String> = headers
            .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
            .collect();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(settings)?)
            .with_endpoint(settings.endpoint.as_str())
            .with_timeout(settings.timeout)
            .with_headers(headers)
            .build()
            .context("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let resource = Resource::builder()
            .with_service_name(settings.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    /// What makes spans of it.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        self.0.tracer("generative-ai-worker")
    }

    /// Sends what still waits, for two seconds at the most.
    pub fn end(&self) {
        // A collector that takes nothing has been told of already.
        let _ = self.0.shutdown_with_timeout(LAST_WORDS);
    }
}

/// The collector, as the thread that sends reaches it: on a small runtime of its own, so that nothing waits for it.
struct Collector {
    client: HttpClient,
    timeout: Duration,
    runtime: Mutex<tokio::runtime::Runtime>,
    is_away: AtomicBool,
}

impl Collector {
    fn new(settings: &OtlpSettings) -> anyhow::Result<Self> {
        let mut base = settings.endpoint.clone();
        base.set_path("/");
        base.set_query(None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            client: HttpClient::new(&base)?.with_body_cap(MOST_ANSWER_BYTES),
            timeout: settings.timeout,
            runtime: Mutex::new(runtime),
            is_away: AtomicBool::new(false),
        })
    }

    /// Sends spans, and once more where the connection breaks: between two batches a collector may close it, which is found out by using
    /// it. A span that has come twice is one to it, by its id.
    async fn send(&self, request: reqwest::Request) -> Result<Answer, HttpFault> {
        let deadline = Instant::now() + self.timeout;
        if let Some(first) = request.try_clone() {
            match self.client.exchange(first, deadline).await {
                Err(HttpFault::NoAnswer(_)) if Instant::now() < deadline => {}
                sent => return sent,
            }
        }
        self.client.exchange(request, deadline).await
    }

    /// One line at the beginning of an outage, and one at its end.
    fn note(&self, trouble: Option<&str>) {
        let was_away = self.is_away.swap(trouble.is_some(), Ordering::Relaxed);
        match (was_away, trouble) {
            (false, Some(trouble)) => tracing::warn!(
                "the collector of traces (OTEL_EXPORTER_OTLP_ENDPOINT) takes no spans: {trouble}. Jobs go on without"
            ),
            (true, None) => tracing::info!("the collector of traces takes spans again"),
            _ => {}
        }
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

#[async_trait]
impl opentelemetry_http::HttpClient for Collector {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let sent = {
            let runtime = self
                .runtime
                .lock()
                .expect("nothing panics while it holds this lock");
            runtime.block_on(self.send(request))
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(fault) => {
                self.note(Some(&fault.to_string()));
                return Err(fault.into());
            }
        };
        let status = answer.status;
        let trouble = (!status.is_success()).then(|| format!("answered {}", status.as_u16()));
        self.note(trouble.as_deref());
        Ok(http::Response::builder().status(status).body(answer.body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_specification_writes_them() {
        let read = headers("api-key=a%20b, Tenant = acme ,").unwrap();
        let read: Vec<(&str, &str)> = read
            .iter()
            .map(|(name, value)| (&**name, value.expose_secret()))
            .collect();
        assert_eq!(read, [("api-key", "a b"), ("Tenant", "acme")]);
        for wrong in ["hunter2", "a b=hunter2", "a=hunter2%0ax: y", "a=%ffhunter2"] {
            assert!(!headers(wrong).unwrap_err().contains("hunter2"), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        assert_eq!(protocol("http/protobuf"), Ok(()));
        assert!(
            protocol("grpc")
                .unwrap_err()
                .contains("http/protobuf is accepted")
        );
        assert_eq!(timeout("250"), Ok(Duration::from_millis(250)));
        for wrong in ["0", "10s", "-1", "600001"] {
            timeout(wrong).unwrap_err();
        }
        for wrong in [
            "collector:4318",
            "http://me:hunter2@collector:4318",
            "http://collector:4318/?a=b",
        ] {
            assert!(!endpoint(wrong).unwrap_err().contains("hunter2"), "{wrong}");
        }
    }
}
