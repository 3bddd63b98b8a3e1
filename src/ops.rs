//! HTTP for operators: `/healthz` and `/readyz` for orchestrators, `/metrics` for Prometheus, and on a port of its own the page
//! for people (`dashboard`), with what it does to jobs as commands do (`acts`).
//!
//! The first three only look. They are served from before the first package is taken until the process ends, also while the replica
//! drains, and no answer of them holds a secret or anything of a package.

pub(crate) mod acts;
mod cached;
mod connections;
mod dashboard;
mod health;
mod metrics;
mod port;
pub(crate) mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::bullmq::BullmqQueue;
use crate::db::Db;
use crate::queue::Redis;
use crate::storage::Storage;
use crate::worker::Observer;
pub use dashboard::{Dashboard, DashboardSettings, Sources};
use health::Readiness;
use metrics::{Metrics, Recording};

pub use port::{Door, Port};

/// What is served where; made by `config`.
#[derive(Clone, Debug)]
pub struct OpsSettings {
    /// `HTTP_ADDR`; `None` = nothing is served.
    pub http_addr: Option<SocketAddr>,
    /// The operators' page; `None` = it is not served.
    pub dashboard: Option<DashboardSettings>,
}

impl OpsSettings {
    /// The addresses that are to be served and are not just any.
    #[must_use]
    pub fn doors(&self) -> Vec<Door> {
        let probes = self.http_addr.map(Door::of_probes);
        let page = self.dashboard.as_ref();
        let page = page.map(|page| Door::of_page(page.addr, &page.base_path));
        let all = probes.into_iter().chain(page);
        all.filter(|door| !door.is_any()).collect()
    }
}

/// What is looked at.
#[derive(Clone)]
pub struct Watched {
    /// The replica.
    pub replica: Observer,
    /// Its Redis.
    pub redis: Redis,
    /// The BullMQ queue that it takes over; `None`: none.
    pub bullmq: Option<BullmqQueue>,
    /// Its Postgres.
    pub db: Db,
    /// Its store.
    pub storage: Storage,
}

/// A server that listens and does not answer yet. From now on metrics are kept.
pub struct Ops {
    listener: TcpListener,
    recording: Recording,
}

struct Service {
    watched: Watched,
    readiness: Readiness,
    metrics: Metrics,
}

/// Of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Ops {
    /// Listens; port 0 takes any that is free. Once per process.
    ///
    /// # Errors
    /// When the address is in use, or not this machine's; a sentence that says what to do.
    pub async fn listen(addr: SocketAddr) -> Result<Self, String> {
        let listening = async {
            let listener = TcpListener::bind(addr).await?;
            let recording = Recording::start().map_err(io::Error::other)?;
            io::Result::Ok(Self { listener, recording })
        };
        match listening.await {
            Ok(ops) => Ok(ops),
            Err(error) => Err(Door::of_probes(addr).why_not(&error).await),
        }
    }

    /// Begins to answer, until the process ends. Must be called within a tokio runtime.
    pub fn serve(self, watched: Watched) {
        if let Ok(addr) = self.listener.local_addr() {
            tracing::info!(
                http_addr = %addr,
                "serving /healthz, /readyz and /metrics at http://{addr}"
            );
        }
        let service = Service {
            readiness: Readiness::default(),
            metrics: Metrics::new(self.recording, &watched.replica),
            watched,
        };
        let router = Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(text_of_metrics))
            .with_state(Arc::new(service));
        let listener = self.listener;
        tokio::spawn(connections::serve(listener, router));
    }
}

async fn healthz(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let report = health::live(service.watched.replica.status());
    (status(report.is_well()), Json(report))
}

async fn readyz(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let report = service.readiness.ask(&service.watched).await;
    (status(report.is_ready()), Json(report))
}

async fn text_of_metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let text = service.metrics.render(&service.watched).await;
    ([(CONTENT_TYPE, METRICS_TYPE)], text)
}

fn status(is_well: bool) -> StatusCode {
    if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
