//! The totals as they change, for the script of the page: at most one update a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::Site;

const EVERY: Duration = Duration::from_secs(1);
/// A stream ends in order before its connection is ended, and the browser asks again.
const LASTS: Duration = Duration::from_secs(25);
const ASK_AGAIN: Duration = Duration::from_secs(1);

struct Stream {
    site: Arc<Site>,
    begun_at: Instant,
    last: String,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn stream(State(site): State<Arc<Site>>) -> Response {
    let Ok(place) = Arc::clone(&site.streams).try_acquire_owned() else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "too many pages listen; load this one again\n",
        )
            .into_response();
    };
    let stream = Stream {
        site,
        begun_at: Instant::now(),
        last: String::new(),
        _place: place,
    };
    Sse::new(stream::unfold(stream, Stream::next)).into_response()
}

impl Stream {
    /// Waits for totals that differ from the last ones, or for the end.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let is_first = self.last.is_empty();
        if !is_first {
            sleep(EVERY).await;
        }
        if self.begun_at.elapsed() > LASTS {
            return None;
        }
        let strip = self.site.strips.get(&self.site.sources).await;
        // The time alone is a change: it says that the totals are fresh.
        self.last = strip.render().into_string();
        let event = Event::default().event("strip").retry(ASK_AGAIN).data(&self.last);
        Some((Ok(event), self))
    }
}
