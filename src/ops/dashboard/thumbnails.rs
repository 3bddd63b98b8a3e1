//! Small pictures, made from the stored objects: never the full picture, one at a time, and some are kept in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::Site;
use super::forms::{self, filled};
use super::number::Number;
use super::strip::in_time;
use crate::imaging::{self, MAX_PICTURE_BYTES};
use crate::memory::{self, Hold};
use crate::storage::{Contents, ObjectKey};

const SIDE_PX: u32 = 320;
/// What is kept, in bytes: some hundred of them.
const KEPT_BYTES: usize = 8 * 1024 * 1024;

/// The latest that were asked for.
pub(super) struct Thumbnails {
    kept: Mutex<Kept>,
    /// The worker's own pictures come first: one is made at a time.
    turn: Semaphore,
}

#[derive(Default)]
struct Kept {
    all: VecDeque<(String, Bytes)>,
    bytes: usize,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Kept {
    fn find(&self, key: &str) -> Option<Bytes> {
        let (_, bytes) = self.all.iter().find(|(kept, _)| kept == key)?;
        Some(bytes.clone())
    }

    fn keep(&mut self, key: String, bytes: Bytes) {
        self.bytes += bytes.len();
        self.all.push_back((key, bytes));
        while self.bytes > KEPT_BYTES {
            let Some((_, oldest)) = self.all.pop_front() else {
                break;
            };
            self.bytes -= oldest.len();
        }
    }
}

/// Why there is none.
enum Missing {
    Gone,
    Away(String),
}

pub(super) async fn picture(
    State(site): State<Arc<Site>>,
    Number(image_id): Number,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = forms::query(query.as_deref());
    let job_id = filled(&fields, "job").and_then(|job_id| job_id.parse().ok());
    match make(&site, image_id, job_id).await {
        Ok(jpeg) => ([(CONTENT_TYPE, "image/jpeg")], jpeg).into_response(),
        Err(Missing::Gone) => (StatusCode::NOT_FOUND, "there is no such picture\n").into_response(),
        Err(Missing::Away(why)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn make(site: &Site, image_id: i32, job_id: Option<i32>) -> Result<Bytes, Missing> {
    let object = in_time(site.sources.db.object_of_image(image_id, job_id))
        .await
        .map_err(Missing::Away)?;
    let key = object.as_deref().and_then(ObjectKey::read).ok_or(Missing::Gone)?;
    let thumbnails = &site.thumbnails;
    let kept = || {
        thumbnails
            .kept
            .lock()
            .expect("nobody panics while keeping")
            .find(key.as_str())
    };
    if let Some(kept) = kept() {
        return Ok(kept);
    }
    let _turn = thumbnails
        .turn
        .acquire()
        .await
        .expect("the semaphore is never closed");
    // Whoever had the turn before may have made it.
    if let Some(kept) = kept() {
        return Ok(kept);
    }
    let storage = &site.sources.storage;
    let found = in_time(storage.find(&key)).await.map_err(Missing::Away)?;
    let size = found.ok_or(Missing::Gone)?.size_bytes;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_PICTURE_BYTES {
        return Err(Missing::Gone);
    }
    let hold = Hold::of(size).await;
    let read = storage.read(&key, size).await;
    let Contents::Whole(bytes) = read.map_err(|error| Missing::Away(error.to_string()))? else {
        return Err(Missing::Gone);
    };
    let bytes = hold.around(bytes);
    let looked_at = tokio::task::spawn_blocking({
        let bytes = bytes.clone();
        move || imaging::inspect(&bytes)
    });
    let inspected = looked_at.await.ok().and_then(Result::ok).ok_or(Missing::Gone)?;
    let turn = memory::work(inspected.decoded_bytes).await;
    let made = tokio::task::spawn_blocking(move || {
        // Goes on where nobody waits for it any more, and takes memory until it ends.
        let _turn = turn;
        imaging::thumbnail(&bytes, &inspected, SIDE_PX)
    });
    let jpeg = made.await.ok().and_then(Result::ok).ok_or(Missing::Gone)?;
    let jpeg = Bytes::from(jpeg);
    let mut kept = thumbnails.kept.lock().expect("nobody panics while keeping");
    kept.keep(key.as_str().to_owned(), jpeg.clone());
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_where_more_would_be_kept_than_there_may_be() {
        let mut kept = Kept::default();
        for number in 0..10 {
            kept.keep(number.to_string(), Bytes::from(vec![0; KEPT_BYTES / 4]));
        }
        assert_eq!((kept.all.len(), kept.bytes), (4, KEPT_BYTES));
        assert!(kept.find("5").is_none() && kept.find("6").is_some());
    }
}
