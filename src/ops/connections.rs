//! How the ports for operators are served: few connections, short ones, with small requests.
//!
//! Probes of an orchestrator end a replica that does not answer them, so nobody else who reaches such a port may take its
//! descriptors, its memory or its place in the queue. axum's own server sets no limits.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Probes, scrapers and people need a handful.
const MOST: usize = 64;
/// From the connection to the end of the request's header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 16 * 1024;
/// From the connection to the end of the answer, which waits for services at most 2 s.
const TIMEOUT: Duration = Duration::from_secs(30);
/// When the system has no descriptor left, for others of this process.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that has not ended.
struct Open {
    task: AbortHandle,
    /// Whether a whole request has come.
    has_asked: Arc<AtomicBool>,
}

/// Answers until the process ends. Where all places are taken, whoever has waited longest without asking loses his.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut open: VecDeque<Open> = VecDeque::with_capacity(MOST);
    loop {
        let Ok((stream, address)): std::io::Result<(TcpStream, SocketAddr)> = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= MOST {
            let silent = |connection: &Open| !connection.has_asked.load(Ordering::Relaxed);
            let Some(connection) = open.iter().position(silent).and_then(|place| open.remove(place)) else {
                continue;
            };
            connection.task.abort();
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(answer(stream, address, router.clone(), Arc::clone(&has_asked)));
        open.push_back(Open {
            task: task.abort_handle(),
            has_asked,
        });
    }
}

/// Answers one request.
async fn answer(stream: TcpStream, address: SocketAddr, router: Router, has_asked: Arc<AtomicBool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        has_asked.store(true, Ordering::Relaxed);
        hyper::service::Service::call(&router, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How it ends is the client's business.
    let _ = timeout(TIMEOUT, connection).await;
}
