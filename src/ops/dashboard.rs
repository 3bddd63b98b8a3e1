//! The operators' page: what the queue and its jobs look like, and what can be done about them, at `DASHBOARD_ADDR`.
//!
//! Truth is in Redis and Postgres alone, so that every replica serves the same page. It is made here, whole, and needs no
//! script; what is changed goes through the code of the commands (`super::acts`) and is written down as theirs is.

mod actions;
mod callbacks;
mod changes;
mod events;
mod failures;
mod forms;
mod gate;
mod groups;
pub(in crate::ops) mod headers;
mod job;
mod layout;
mod login;
mod normal;
mod number;
mod origin;
mod overview;
mod providers;
mod results;
mod running;
mod search;
mod settings;
mod strip;
mod thumbnails;
mod tries;
mod warnings;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::health::StoreAnswers;
use super::{Door, connections};
use crate::db::Db;
use crate::notify::Receivers;
use crate::queue::Redis;
use crate::storage::Storage;
use crate::worker::Budgets;
use gate::{Gate, Visitor};
use groups::Groups;
pub use settings::DashboardSettings;
use strip::Strips;
use thumbnails::Thumbnails;

/// What the page is made from.
#[derive(Clone)]
pub struct Sources {
    /// The queue.
    pub redis: Redis,
    /// The ledger.
    pub db: Db,
    /// The pictures.
    pub storage: Storage,
    /// After this long without a renewal a replica counts as dead.
    pub lease_ttl: Duration,
    /// What may be spent.
    pub budgets: Budgets,
    /// To whom ends of jobs may be posted.
    pub receivers: Receivers,
    /// Providers that can be used here.
    pub configured: Vec<&'static str>,
    /// What sessions are derived from besides the tokens: the same for all replicas, and known to nobody else.
    pub namespace: Uuid,
}

/// A page that listens and does not answer yet.
pub struct Dashboard {
    listener: TcpListener,
    settings: DashboardSettings,
}

/// What all answers share.
struct Site {
    /// What stands before each path.
    base: String,
    gate: Gate,
    sources: Sources,
    strips: Strips,
    groups: Groups,
    thumbnails: Thumbnails,
    store: StoreAnswers,
    /// Streams that may be open, so that places are left for pages.
    streams: Arc<Semaphore>,
    /// One group is retried or discarded at a time.
    bulk: Arc<Semaphore>,
}

const MOST_STREAMS: usize = 32;

impl Dashboard {
    /// Listens; port 0 takes any that is free.
    ///
    /// # Errors
    /// When the address is in use, or not this machine's; a sentence that says what to do.
    pub async fn listen(settings: DashboardSettings) -> Result<Self, String> {
        match TcpListener::bind(settings.addr).await {
            Ok(listener) => Ok(Self { listener, settings }),
            Err(error) => Err(Door::of_page(settings.addr, &settings.base_path)
                .why_not(&error)
                .await),
        }
    }

    /// Begins to answer, until the process ends, and returns the page's address. Must be called within a tokio runtime.
    pub fn serve(self, sources: Sources) -> String {
        let base = self.settings.base_path.clone();
        let addr = self.listener.local_addr().unwrap_or(self.settings.addr);
        let url = format!("http://{addr}{base}/");
        tracing::info!(dashboard_addr = %addr, "serving the operators' page at {url}");
        let site = Arc::new(Site {
            gate: Gate::new(&self.settings, sources.namespace),
            strips: Strips::default(),
            groups: Groups::default(),
            thumbnails: Thumbnails::default(),
            store: StoreAnswers::default(),
            streams: Arc::new(Semaphore::new(MOST_STREAMS)),
            bulk: Arc::new(Semaphore::new(1)),
            sources,
            base,
        });
        tokio::spawn(connections::serve(self.listener, router(site)));
        url
    }
}

impl Site {
    /// A path of the page, as browsers ask for it.
    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

fn router(site: Arc<Site>) -> Router {
    let mut router = Router::new();
    let root = if site.base.is_empty() {
        None
    } else {
        Some(site.path(""))
    };
    for path in root.into_iter().chain([site.path("/")]) {
        router = router.route(&path, get(overview::page));
    }
    for (path, methods) in [
        ("/running", get(running::page)),
        ("/results", get(results::page)),
        ("/failures", get(failures::page)),
        ("/failures/{group}", get(failures::group)),
        ("/failures/{group}/retry", post(failures::retry)),
        ("/failures/{group}/discard", post(failures::discard)),
        ("/providers", get(providers::page)),
        ("/providers/{name}/resume", post(changes::resume_provider)),
        ("/callbacks", get(callbacks::page)),
        ("/callbacks/retry", post(callbacks::retry)),
        ("/callbacks/drop", post(callbacks::forget)),
        ("/actions", get(actions::page)),
        ("/jobs/{job_id}", get(job::page)),
        ("/jobs/{job_id}/cancel", post(changes::cancel)),
        ("/jobs/{job_id}/retry", post(changes::retry)),
        ("/jobs/{job_id}/release", post(changes::release)),
        ("/jobs/{job_id}/prompt", post(changes::reveal)),
        ("/pause", post(changes::pause)),
        ("/resume", post(changes::resume)),
        ("/search", get(search::page)),
        ("/thumbnails/{image_id}", get(thumbnails::picture)),
        ("/events", get(events::stream)),
        ("/login", get(login::page).post(login::enter)),
        ("/logout", post(login::leave)),
    ] {
        router = router.route(&site.path(path), methods);
    }
    router
        .fallback(layout::nothing_here)
        .layer(middleware::from_fn_with_state(Arc::clone(&site), gate::admit))
        .with_state(site)
}
