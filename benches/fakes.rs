//! An image service and an object store on loopback, in a process of their own so that their CPU is nobody else's.

use std::net::Ipv4Addr;
use std::process::Command;

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
    let store = |request: Request| async move {
        let is_asked_for = matches!(request.method().as_str(), "GET" | "HEAD");
        let has_left = request.method() == "DELETE";
        drain(request).await;
        let mut response = with_type(Body::empty(), "application/xml");
        response
            .headers_mut()
            .insert(header::ETAG, HeaderValue::from_static("\"bench\""));
        if is_asked_for {
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if has_left {
            *response.status_mut() = StatusCode::NO_CONTENT;
        }
        response
    };
    let app = Router::new()
        .route("/v1/images/generations", post(draw))
        .fallback(any(store));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("READY http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}

async fn drain(request: Request) {
    let mut body = request.into_body().into_data_stream();
    while let Some(Ok(_)) = body.next().await {}
}

fn with_type(body: Body, kind: &'static str) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
