//! Telling those who wait for jobs whose packages are too large to be read, which is all that can be done for them.
//!
//! It can be done again: a job that has been told, or begun by another package, is left as it is. So a replica looks when it starts, at
//! what one that died has set aside, and whenever it has set something aside itself.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::claims::pause;
use super::upkeep::Upkeep;
use crate::failure::ErrorClass;
use crate::queue::{Event, SetAside};

/// Looked at before the next ones.
const CHUNK: u64 = 100;
/// Before what could not be told is told again.
const AGAIN: Duration = Duration::from_secs(10);

impl Upkeep {
    /// Tells of what is set aside until `stop`.
    pub(super) async fn tell_of_set_aside(&self, stop: &CancellationToken) {
        let mut looked_at = 0;
        while !stop.is_cancelled() {
            match self.tell_from(&mut looked_at).await {
                Ok(()) => _ = stop.run_until_cancelled(self.wake.set_aside.notified()).await,
                Err(error) => {
                    tracing::debug!(
                        "who waits for a package that was set aside cannot be told yet: {error:#}"
                    );
                    pause(stop, AGAIN).await;
                }
            }
        }
    }

    /// Tells of those that were not looked at before, or of all where some are gone since.
    async fn tell_from(&self, looked_at: &mut u64) -> anyhow::Result<()> {
        let redis = self.queue.redis();
        if *looked_at > 0 && redis.set_aside(*looked_at - 1, 1).await?.is_empty() {
            *looked_at = 0;
        }
        loop {
            let packages = redis.set_aside(*looked_at, CHUNK).await?;
            if packages.is_empty() {
                return Ok(());
            }
            for package in packages {
                self.tell_unread(&package).await?;
                *looked_at = package.place + 1;
            }
        }
    }

    async fn tell_unread(&self, package: &SetAside) -> anyhow::Result<()> {
        let Some(job_id) = package.job_id else {
            return Ok(());
        };
        let message = format!(
            "The package has {} bytes, more than this service reads (MAX_PACKAGE_BYTES). Start the job again with a smaller one.",
            package.bytes
        );
        if self.statements.db.tell_unread(job_id, &message).await? {
            self.queue
                .publish(Event::failed(Some(job_id), ErrorClass::InvalidPackage, message));
        }
        Ok(())
    }
}
