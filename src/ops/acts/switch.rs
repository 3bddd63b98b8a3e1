//! What is switched in Redis alone: whether replicas take work, and whether they call a provider. It is done also while Postgres is
//! away, and written down afterwards ([`Intent::note`](super::Intent::note)).

use super::Done;
use crate::ops::words::by_whom;
use crate::queue::Redis;

/// Lets no replica take new work.
///
/// # Errors
/// When Redis does not answer.
pub(crate) async fn pause(redis: &Redis, by: &str) -> anyhow::Result<Done> {
    let queue = redis.keys().inbox();
    if redis.pause(by).await? {
        let said = format!("{queue} is paused: no replica takes new work, what is in hand is finished");
        return Ok(switched(true, said));
    }
    let note = redis.paused_by().await?.unwrap_or_default();
    Ok(switched(
        false,
        format!("{queue} is paused already, {}", by_whom(&note)),
    ))
}

/// Lets replicas take new work again.
///
/// # Errors
/// When Redis does not answer.
pub(crate) async fn resume(redis: &Redis) -> anyhow::Result<Done> {
    let queue = redis.keys().inbox();
    Ok(match redis.resume().await? {
        true => switched(true, format!("{queue} is resumed: replicas take new work")),
        false => switched(false, format!("{queue} is not paused")),
    })
}

/// Has replicas call a provider again.
///
/// # Errors
/// When Redis does not answer.
pub(crate) async fn resume_provider(redis: &Redis, name: &str) -> anyhow::Result<Done> {
    Ok(match redis.resume_provider(name).await? {
        true => switched(
            true,
            format!("{name} is resumed: replicas call it again, and what is parked for it goes on"),
        ),
        false => switched(false, format!("{name} is neither paused nor left alone")),
    })
}

fn switched(is_new: bool, said: String) -> Done {
    Done {
        count: i64::from(is_new),
        said,
        is_done: true,
    }
}
