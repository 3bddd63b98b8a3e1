//! A stand-in for the services that are polled, on loopback: takes orders of Replicate, Black Forest Labs and fal,
//! works on them until it is told to finish, and hands out the pictures.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use super::openai::OpenAi;
use super::replica::Replica;
use super::stack::{PATIENCE, Stack};

/// The names of the providers that it stands in for.
pub(crate) const NAMES: [&str; 3] = ["flux", "bfl", "fal"];
pub(crate) const KEY: &str = "test-key-4f1c9a7e2b";

#[derive(Default)]
struct State {
    orders: usize,
    /// Questions about an order, however they were answered.
    polls: usize,
    cancels: usize,
    is_finished: bool,
    refuses_keys: bool,
    refuses_polls: bool,
    /// Polls are answered with 503.
    fails: bool,
    /// Orders are answered with 429, and this many seconds to wait.
    pause_s: Option<u32>,
    /// Polls are answered with 429, and this many seconds to wait.
    poll_wait_s: Option<u32>,
    /// Polls are answered with 404.
    forgets: bool,
    damages_file: bool,
    /// What every order ends in, if it is not a small picture.
    file: Option<Bytes>,
    order_delay: Duration,
    /// What Replicate lists: its orders, the newest first.
    listed: Vec<Value>,
    /// The verdict on every order is that it has failed.
    has_failed: bool,
    /// Requests for files that carried a key.
    leaks: usize,
}

/// A running stand-in. Ends when dropped, connections included.
pub(crate) struct Polled {
    port: u16,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Polled {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let seen = state.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let seen = seen.clone();
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let request = Request::from_parts(head, body);
                        let (response, delay) = {
                            let mut state = seen.lock().unwrap();
                            let delay = state.order_delay;
                            (state.answer(&request, port), delay)
                        };
                        if request.method() == Method::POST {
                            tokio::time::sleep(delay).await;
                        }
                        Ok::<_, Infallible>(response)
                    }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            port,
            state,
            accepting,
        }
    }

    /// Starts a worker process that has its pictures drawn here.
    pub(crate) async fn replica(&self, stack: &Stack, own: &[(&str, &str)]) -> Replica {
        let variables = self.variables();
        let variables = variables.iter().map(|(name, value)| (*name, value.as_str()));
        stack
            .replica(&variables.chain(own.iter().copied()).collect::<Vec<_>>())
            .await
    }

    /// The same, with `openai` for packages that name no provider.
    pub(crate) async fn replica_beside(
        &self,
        stack: &Stack,
        openai: &OpenAi,
        own: &[(&str, &str)],
    ) -> Replica {
        let variables = openai.variables();
        let variables = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        self.replica(stack, &variables.chain(own.iter().copied()).collect::<Vec<_>>())
            .await
    }

    /// The variables that lead a replica here.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let at = |path: &str| format!("http://127.0.0.1:{}/{path}", self.port);
        vec![
            ("REPLICATE_API_TOKEN", KEY.to_owned()),
            ("REPLICATE_BASE_URL", at("v1")),
            ("FLUX_PRO_MODEL_NAME", "black-forest-labs/flux-1.1-pro".to_owned()),
            ("BFL_API_KEY", KEY.to_owned()),
            ("BFL_BASE_URL", at("bfl")),
            ("FAL_KEY", KEY.to_owned()),
            ("FAL_BASE_URL", at("fal")),
            ("ALLOW_PRIVATE_RESULT_URLS", "true".to_owned()),
        ]
    }

    /// Everything that has been ordered, and will be, is finished from now on.
    pub(crate) fn finish(&self) {
        self.state.lock().unwrap().is_finished = true;
    }

    /// Whether orders and polls are answered with 401.
    pub(crate) fn refuse_keys(&self, refuses: bool) {
        self.state.lock().unwrap().refuses_keys = refuses;
    }

    /// Whether polls are answered with 401; orders are taken.
    pub(crate) fn refuse_polls(&self, refuses: bool) {
        self.state.lock().unwrap().refuses_polls = refuses;
    }

    /// Whether polls are answered with 503; orders are taken.
    pub(crate) fn break_polls(&self, fails: bool) {
        self.state.lock().unwrap().fails = fails;
    }

    /// Orders are answered with 429, which asks for a pause of so many seconds.
    pub(crate) fn refuse_orders(&self, pause_s: u32) {
        self.state.lock().unwrap().pause_s = Some(pause_s);
    }

    /// Polls are answered with 429, which asks for a wait of so many seconds.
    pub(crate) fn busy_polls(&self, wait_s: Option<u32>) {
        self.state.lock().unwrap().poll_wait_s = wait_s;
    }

    /// Whether polls are answered with 404.
    pub(crate) fn forget(&self, forgets: bool) {
        self.state.lock().unwrap().forgets = forgets;
    }

    /// Every order ends in this picture.
    pub(crate) fn hand_out(&self, file: Bytes) {
        self.state.lock().unwrap().file = Some(file);
    }

    /// The next file that is fetched is cut off, with all signs of being whole.
    pub(crate) fn damage_next_file(&self) {
        self.state.lock().unwrap().damages_file = true;
    }

    /// Orders are taken at once and answered after this time.
    pub(crate) fn hold_orders(&self, time: Duration) {
        self.state.lock().unwrap().order_delay = time;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Every order has failed, by the service's own verdict.
    pub(crate) fn fail_orders(&self) {
        self.state.lock().unwrap().has_failed = true;
    }

    /// How often it was asked about an order, however it answered.
    pub(crate) fn polls(&self) -> usize {
        self.state.lock().unwrap().polls
    }

    pub(crate) fn orders(&self) -> usize {
        self.state.lock().unwrap().orders
    }

    pub(crate) fn cancels(&self) -> usize {
        self.state.lock().unwrap().cancels
    }

    pub(crate) fn leaks(&self) -> usize {
        self.state.lock().unwrap().leaks
    }

    /// Waits until so many orders have come.
    pub(crate) async fn ordered(&self, orders: usize) {
        let waiting = async {
            while self.orders() < orders {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("they are ordered");
    }

    /// Waits until it has been asked for a picture.
    pub(crate) async fn looked_at(&self) {
        self.polled(1).await;
    }

    /// Waits until it has been asked so many times about an order.
    pub(crate) async fn polled(&self, polls: usize) {
        let waiting = async {
            while self.polls() < polls {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .expect("it is asked for the picture");
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    fn answer(&mut self, request: &Request<Bytes>, port: u16) -> Response<Full<Bytes>> {
        let header = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap());
        let keys = [header("authorization"), header("x-key")];
        let has_key = keys.into_iter().flatten().any(|key| key.ends_with(KEY));
        let path = request.uri().path();
        if path.starts_with("/files/") {
            self.leaks += usize::from(has_key);
            let whole = self.file.clone().unwrap_or_else(png);
            let sent = if std::mem::take(&mut self.damages_file) {
                whole.slice(..whole.len() / 2)
            } else {
                whole
            };
            return Response::new(Full::new(sent));
        }
        let refused = |status: u16| {
            let refused = Response::builder().status(status);
            refused.body(Full::new(Bytes::from_static(b"{}"))).unwrap()
        };
        let is_cancel = path.ends_with("/cancel");
        let is_poll = !is_cancel && request.method() == Method::GET;
        self.polls += usize::from(is_poll);
        if !has_key || self.refuses_keys || (is_poll && self.refuses_polls) {
            return refused(401);
        }
        if is_poll && self.fails {
            return refused(503);
        }
        if is_poll && self.forgets {
            return refused(404);
        }
        if let Some(wait_s) = self.poll_wait_s.filter(|_| is_poll) {
            let busy = Response::builder().status(429).header("retry-after", wait_s);
            return busy.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        }
        let at = |path: &str| format!("http://127.0.0.1:{port}/{path}");
        if is_cancel {
            self.cancels += 1;
            return json_response(&json!({"status": "canceled"}));
        }
        if let Some(pause_s) = self.pause_s.filter(|_| !is_poll) {
            let busy = Response::builder().status(429).header("retry-after", pause_s);
            return busy.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        }
        let body = if path == "/v1/predictions" && is_poll {
            json!({"results": self.listed, "next": null})
        } else if !is_poll {
            self.orders += 1;
            let id = format!("order-{}", self.orders);
            if path.starts_with("/v1/") {
                let order: Value = serde_json::from_slice(request.body()).unwrap();
                self.listed.insert(
                    0,
                    json!({"id": id, "model": "black-forest-labs/flux-1.1-pro", "input": order["input"],
                        "status": "processing", "created_at": chrono::Utc::now().to_rfc3339()}),
                );
            }
            let of_fal = at(&format!("fal/fal-ai/flux/requests/{id}"));
            // Each provider finds what its own service would say.
            json!({"id": id, "request_id": id, "status": "starting", "output": null,
                "polling_url": at(&format!("bfl/get_result?id={id}")), "cost": 4.0, "response_url": of_fal,
                "status_url": format!("{of_fal}/status"), "cancel_url": format!("{of_fal}/cancel")})
        } else if self.has_failed {
            let status = match path {
                _ if path.starts_with("/v1/") => "failed",
                _ if path.starts_with("/bfl/") => "Error",
                _ => "COMPLETED",
            };
            json!({"status": status, "error": "no picture", "error_type": "no_media_generated"})
        } else if self.is_finished {
            let file = at("files/x?sig=1");
            let status = match path {
                _ if path.starts_with("/v1/") => "succeeded",
                _ if path.starts_with("/bfl/") => "Ready",
                _ => "COMPLETED",
            };
            json!({"status": status, "output": file, "result": {"sample": file}, "images": [{"url": file}]})
        } else {
            json!({"status": "IN_PROGRESS"})
        };
        json_response(&body)
    }
}

fn json_response(body: &Value) -> Response<Full<Bytes>> {
    let response = Response::builder().header("content-type", "application/json");
    response.body(Full::new(body.to_string().into())).unwrap()
}

fn png() -> Bytes {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(48, 32, image::Rgb([20, 160, 90]))
        .write_to(&mut png, image::ImageFormat::Png)
        .unwrap();
    png.into_inner().into()
}
