//! A collector of traces, on loopback: takes OTLP over HTTP, and shows what has come.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use prost::Message;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A span as it came; ids as digits.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) trace_id: String,
    pub(crate) id: String,
    /// Empty: it begins a trace.
    pub(crate) parent: String,
    /// 2 where it has failed.
    pub(crate) status: i32,
    attributes: Vec<(String, String)>,
}

impl Span {
    /// An attribute, as a text.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A running collector. Ends when it is dropped.
pub(crate) struct Collector(MockServer);

impl Collector {
    pub(crate) async fn start() -> Self {
        let server = MockServer::start().await;
        Mock::given(method("POST"))
            .and(path("/v1/traces"))
            .respond_with(ResponseTemplate::new(200).insert_header("content-type", "application/x-protobuf"))
            .mount(&server)
            .await;
        Self(server)
    }

    pub(crate) fn url(&self) -> String {
        self.0.uri()
    }

    /// What has come, as it came: headers and bodies.
    pub(crate) async fn requests(&self) -> Vec<wiremock::Request> {
        self.0.received_requests().await.unwrap()
    }

    pub(crate) async fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for request in self.requests().await {
            let batch = ExportTraceServiceRequest::decode(&*request.body).unwrap();
            for resource in batch.resource_spans {
                for scope in resource.scope_spans {
                    spans.extend(scope.spans.into_iter().map(read));
                }
            }
        }
        spans
    }
}

fn read(span: opentelemetry_proto::tonic::trace::v1::Span) -> Span {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let attributes = span.attributes.into_iter().map(|attribute| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(Any::StringValue(text)) => text,
            Some(Any::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    });
    Span {
        name: span.name,
        kind: span.kind,
        trace_id: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        status: span.status.map_or(0, |status| status.code),
        attributes: attributes.collect(),
    }
}
