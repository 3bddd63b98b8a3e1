//! An image service and an object store on loopback, in a process of their own so that their CPU is nobody else's.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, post};
use base64::Engine;
use bytes::Bytes;
use futures_util::StreamExt;

use crate::peer::Peer;
use crate::photo;
use crate::stand::Stand;

const SMALL_BYTES: usize = 4_096;

/// Starts them. Returns also their address.
pub(crate) fn start(stand: &Stand) -> anyhow::Result<(Peer, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("fakes");
    Peer::start_own(command, stand, "")
}

pub(crate) async fn run() -> anyhow::Result<()> {
    let text = base64::engine::general_purpose::STANDARD.encode(photo::png()?);
    let answer = Bytes::from(format!(
        "{{\"created\":1764000000,\"data\":[{{\"b64_json\":\"{text}\"}}],\
         \"usage\":{{\"input_tokens\":40,\"output_tokens\":1056,\"total_tokens\":1096}}}}"
    ));
    let draw = move |request: Request| async move {
        drain(request).await;
        with_type(answer.into(), "application/json")
    };
    // What a worker looks at before it starts is small. Pictures are asked for by nobody, so they are not kept.
    let kept: Arc<Mutex<HashMap<String, Bytes>>> = Arc::default();
    let store = move |request: Request| keep(request, kept.clone());
    let app = Router::new()
        .route("/v1/images/generations", post(draw))
        .fallback(any(store));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("READY http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn keep(request: Request, kept: Arc<Mutex<HashMap<String, Bytes>>>) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let body = drain(request).await;
    let mut kept = kept.lock().expect("nothing panics while it holds this lock");
    let (status, body) = match method.as_str() {
        "GET" | "HEAD" => match kept.get(&path) {
            Some(body) => (StatusCode::OK, body.clone()),
            None => (StatusCode::NOT_FOUND, Bytes::new()),
        },
        "DELETE" => {
            kept.remove(&path);
            (StatusCode::NO_CONTENT, Bytes::new())
        }
        _ => {
            if let Some(body) = body {
                kept.insert(path, body);
            }
            (StatusCode::OK, Bytes::new())
        }
    };
    let mut response = with_type(body.into(), "application/xml");
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static("\"bench\""));
    let at = HeaderValue::from_static("Mon, 30 Nov 2026 00:00:00 GMT");
    headers.insert(header::LAST_MODIFIED, at);
    response
}

/// Reads a body to its end, and returns a small one.
async fn drain(request: Request) -> Option<Bytes> {
    let mut body = request.into_body().into_data_stream();
    let mut small = Vec::new();
    while let Some(Ok(chunk)) = body.next().await {
        if small.len() <= SMALL_BYTES {
            small.extend_from_slice(&chunk);
        }
    }
    (small.len() <= SMALL_BYTES).then(|| small.into())
}

fn with_type(body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
