//! A stand-in for OpenAI's Images API on loopback: answers as it is told, counts and keeps what it is asked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::stack::PATIENCE;

pub(crate) const KEY: &str = "sk-test-4f1c9a7e2b";

/// A picture that costs next to nothing to work on.
pub(crate) fn small_picture() -> Reply {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(32, 32, image::Rgb([200, 80, 40]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    Reply::Picture(png.into_inner().into())
}

/// One answer.
#[derive(Clone)]
pub(crate) enum Reply {
    /// 200 with these bytes as the picture.
    Picture(Bytes),
    /// 200 with any body.
    Body(&'static str, Bytes),
    /// An error status with OpenAI's error object, and headers.
    Error(u16, Value, Vec<(&'static str, &'static str)>),
    /// 200, then this many bytes that never make a JSON.
    Endless(u64),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) authorization: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) body: Value,
}

struct State {
    calls: Vec<Call>,
    bills: usize,
    open: usize,
    most_open: usize,
    next: VecDeque<Reply>,
    otherwise: Reply,
    delay: Duration,
    /// Between two calls that it takes, and when it takes the next one.
    pace: Option<(Duration, Instant)>,
}

/// A running stand-in. Ends when dropped, connections included.
pub(crate) struct OpenAi {
    port: u16,
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

impl OpenAi {
    /// Starts one that answers every call with `otherwise`.
    pub(crate) async fn start(otherwise: Reply) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            calls: Vec::new(),
            bills: 0,
            open: 0,
            most_open: 0,
            next: VecDeque::new(),
            otherwise,
            delay: Duration::ZERO,
            pace: None,
        }));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (seen, passed) = (state.clone(), gate.clone());
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, passed) = (seen.clone(), passed.clone());
                let service = service_fn(move |request| answer(request, seen.clone(), passed.clone()));
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            port,
            state,
            gate,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The variables that lead a replica here.
    pub(crate) fn variables(&self) -> [(String, String); 3] {
        [
            ("IMAGE_PROVIDER".to_owned(), "openai".to_owned()),
            ("OPENAI_API_KEY".to_owned(), KEY.to_owned()),
            (
                "OPENAI_BASE_URL".to_owned(),
                format!("http://127.0.0.1:{}/v1", self.port),
            ),
        ]
    }

    /// Answers the next call with this, before the usual answer comes again.
    pub(crate) fn then(&self, reply: Reply) {
        self.state.lock().unwrap().next.push_back(reply);
    }

    /// Forgets the answers that have not been given yet.
    pub(crate) fn then_as_ever(&self) {
        self.state.lock().unwrap().next.clear();
    }

    /// Answers each call only after this time.
    pub(crate) fn delay(&self, delay: Duration) {
        self.state.lock().unwrap().delay = delay;
    }

    /// Takes one call each `pace` and refuses the others, without a time.
    pub(crate) fn takes_one_each(&self, pace: Duration) {
        self.state.lock().unwrap().pace = Some((pace, Instant::now()));
    }

    /// Answers nobody until [`Self::open`].
    pub(crate) fn close(&self) {
        self.gate.forget_permits(usize::MAX);
    }

    pub(crate) fn open(&self) {
        self.gate.add_permits(100_000);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.lock().unwrap().calls.clone()
    }

    /// Calls that it draws for, and so bills, whether or not anybody is there to take the picture.
    pub(crate) fn bills(&self) -> usize {
        self.state.lock().unwrap().bills
    }

    /// The most calls that were open at once.
    pub(crate) fn most_open(&self) -> usize {
        self.state.lock().unwrap().most_open
    }

    /// Waits until it has been called this often.
    pub(crate) async fn called(&self, times: usize) {
        let waiting = async {
            while self.calls().len() < times {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!(
                "waited in vain for {times} calls; there were {}",
                self.calls().len()
            );
        }
    }
}

impl Drop for OpenAi {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    gate: Arc<Semaphore>,
) -> Result<Response<Body>, hyper::Error> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let (authorization, traceparent) = (header("authorization"), header("traceparent"));
    let body = request.into_body().collect().await?.to_bytes();
    let (reply, delay) = {
        let mut state = state.lock().unwrap();
        state.calls.push(Call {
            authorization: authorization.unwrap_or_default(),
            traceparent,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        });
        let mut reply = state.next.pop_front().unwrap_or_else(|| state.otherwise.clone());
        if let Some((pace, next)) = &mut state.pace {
            if Instant::now() < *next {
                let error = json!({"message": "slow down", "code": "rate_limit_exceeded"});
                reply = Reply::Error(429, error, vec![]);
            } else {
                *next = Instant::now() + *pace;
            }
        }
        state.bills += usize::from(matches!(reply, Reply::Picture(_)));
        state.open += 1;
        state.most_open = state.most_open.max(state.open);
        (reply, state.delay)
    };
    tokio::time::sleep(delay).await;
    let _passed = gate.acquire().await.unwrap();
    state.lock().unwrap().open -= 1;
    Ok(reply.into_response())
}

impl Reply {
    /// A small picture of one colour.
    pub(crate) fn picture() -> Self {
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(64, 64, image::Rgb([12, 120, 200]))
            .write_to(&mut png, image::ImageFormat::Png)
            .unwrap();
        Self::Picture(png.into_inner().into())
    }

    fn into_response(self) -> Response<Body> {
        let response = Response::builder().header("x-request-id", "req_test");
        match self {
            Self::Picture(bytes) => {
                let picture = base64::engine::general_purpose::STANDARD.encode(bytes);
                let usage = json!({"input_tokens": 20, "output_tokens": 1584, "total_tokens": 1604,
                    "input_tokens_details": {"text_tokens": 20, "image_tokens": 0}});
                let body = json!({"created": 1_795_300_000, "data": [{"b64_json": picture}], "usage": usage});
                response
                    .header("content-type", "application/json")
                    .body(whole(body.to_string().into()))
                    .unwrap()
            }
            Self::Body(content_type, bytes) => response
                .header("content-type", content_type)
                .body(whole(bytes))
                .unwrap(),
            Self::Error(status, error, headers) => {
                let mut response = response.status(StatusCode::from_u16(status).unwrap());
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response
                    .body(whole(json!({ "error": error }).to_string().into()))
                    .unwrap()
            }
            Self::Endless(total) => {
                const PIECE: usize = 64 * 1024;
                let pieces = usize::try_from(total).unwrap() / PIECE;
                let piece = Bytes::from(vec![b'A'; PIECE]);
                let start = Bytes::from_static(b"{\"data\":[{\"b64_json\":\"");
                let all = std::iter::once(start).chain(std::iter::repeat_n(piece, pieces));
                let body = futures_util::stream::iter(all.map(|piece| Ok(Frame::data(piece)))).boxed();
                response
                    .header("content-type", "application/json")
                    .body(StreamBody::new(body))
                    .unwrap()
            }
        }
    }
}

fn whole(bytes: Bytes) -> Body {
    StreamBody::new(futures_util::stream::once(async move { Ok(Frame::data(bytes)) }).boxed())
}
