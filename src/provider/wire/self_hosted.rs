//! What providers have in common whose servers people run themselves: judging errors that nobody has documented
//! well, fetching files of the server's own, and patience.

use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use tokio::time::{Instant, sleep};

use super::errors::Signs;
use super::openai_images;
use crate::failure::ErrorClass;
use crate::imaging;

/// By the status, and by words where memory has run out.
pub(in crate::provider) fn judge(signs: &Signs<'_>) -> ErrorClass {
    let json = signs.body.json.as_ref();
    let more = json
        .and_then(|json| json.get("errors")?.as_str())
        .unwrap_or_default();
    let is_out_of_memory = [signs.message, more].into_iter().any(out_of_memory);
    match openai_images::judge(signs) {
        _ if signs.status >= 500 && is_out_of_memory => ErrorClass::Overloaded,
        class => class,
    }
}

/// A picture without what its server has written into it: the prompt, the workflow.
///
/// # Errors
/// What is wrong with the bytes.
pub(in crate::provider) async fn plain_picture(bytes: Bytes) -> Result<Bytes, String> {
    // A large file is copied piece by piece: too long for a thread that other jobs share.
    let plain = tokio::task::spawn_blocking(move || imaging::without_text(bytes)).await;
    match plain {
        Ok(plain) => plain.map_err(|bad| bad.to_string()),
        Err(_) => Err("reading the picture failed".to_owned()),
    }
}

/// Whether a message says that the graphics card has too little memory for what was asked.
///
/// Source: PyTorch documentation, `torch.cuda.OutOfMemoryError`.
pub(in crate::provider) fn out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    ["outofmemory", "out of memory", "not enough memory"]
        .iter()
        .any(|words| message.contains(words))
}

/// Waits for about this long between two tries, not beyond `deadline`.
pub(in crate::provider) async fn pause(about: Duration, deadline: Instant) {
    let pause = rand::rng().random_range(about / 2..=about);
    sleep(pause.min(deadline.saturating_duration_since(Instant::now()))).await;
}
