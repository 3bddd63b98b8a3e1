//! The services of the demo: one that sells pictures, as OpenAI does, one that has no time, and two receivers of callbacks. All on
//! loopback; the pictures are the built-in artist's. So a page for operators has something to show that costs money and goes wrong.

use std::time::Duration;

use anyhow::{Context, anyhow};
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use base64::Engine;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use uuid::Uuid;

use crate::provider::services::builtin::Builtin;
use crate::provider::{Call, ImageProvider, ImageSpec, References, Unwatched};
use crate::work_package::Prompt;

/// A prompt with this word is refused.
pub(super) const REFUSED: &str = "likeness";
/// One with this gets something that is no picture.
pub(super) const SPOILT: &str = "fog";
/// One with this gets half an answer, so that nobody knows whether it is billed.
pub(super) const CUT_OFF: &str = "storm";
/// One with this takes longer than anybody looks.
pub(super) const SLOW: &str = "glacier";

const VERY_LONG: Duration = Duration::from_secs(20 * 60);
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts them, until the process ends. Returns their origin.
pub(super) async fn start() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.context("no port is free for the demo's services")?;
    let origin = format!("http://{}", listener.local_addr()?);
    let router = Router::new()
        .route("/v1/images/generations", post(sell))
        .route("/busy/{*path}", any(busy))
        .route("/callbacks/taken", post(StatusCode::NO_CONTENT))
        .route("/callbacks/broken", post(StatusCode::SERVICE_UNAVAILABLE));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(origin)
}

async fn busy() -> Response {
    (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, "540")]).into_response()
}

async fn sell(Json(order): Json<Value>) -> Response {
    let text = |name: &str| order.get(name).and_then(Value::as_str).unwrap_or_default();
    // What follows the prompt is meant for a model.
    let prompt = text("prompt").split("\n\n").next().unwrap_or_default();
    if prompt.contains(REFUSED) {
        let error = json!({"message": "Your request was rejected by the safety system.", "code": "moderation_blocked",
            "type": "image_generation_user_error"});
        return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
    }
    if prompt.contains(SPOILT) {
        return ([(CONTENT_TYPE, "text/html")], "<p>One moment, please.</p>").into_response();
    }
    if prompt.contains(CUT_OFF) {
        let half = stream::iter([
            Ok(Bytes::from_static(b"{\"data\": [")),
            Err(anyhow!("the line is dead")),
        ]);
        return ([(CONTENT_TYPE, "application/json")], Body::from_stream(half)).into_response();
    }
    if prompt.contains(SLOW) {
        tokio::time::sleep(VERY_LONG).await;
    }
    match paint(prompt, text("size")).await {
        Ok(picture) => {
            let picture = base64::engine::general_purpose::STANDARD.encode(picture);
            let tokens = 900 + 10 * u64::from(prompt.len() as u8);
            let usage = json!({"input_tokens": 40, "output_tokens": tokens,
                "input_tokens_details": {"text_tokens": 40, "image_tokens": 0}});
            Json(json!({"data": [{"b64_json": picture}], "usage": usage})).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn paint(prompt: &str, size: &str) -> anyhow::Result<Bytes> {
    let wanted = ImageSpec {
        size: Some(size.to_owned()),
        ..ImageSpec::default()
    };
    let spec = Builtin.check(&wanted)?;
    let prompt = Prompt::new(prompt.to_owned());
    let call = Call {
        id: Uuid::nil(),
        prompt: &prompt,
        spec: &spec,
        references: &References::default(),
        deadline: Instant::now() + PATIENCE,
        is_brief: false,
        may_be_forgotten: false,
        watch: &Unwatched,
    };
    let drawn = Builtin.draw(&call).await;
    let drawn = drawn.map_err(|_| anyhow!("the built-in artist has drawn nothing"))?;
    Ok(drawn.bytes)
}
