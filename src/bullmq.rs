//! Takes over the jobs of a BullMQ queue: what a producer adds there is pushed to the list of its priority, byte for byte, and
//! then completed. So a producer that speaks BullMQ needs no change, and can be given back to the worker that it had.
//!
//! The library `bullmq` takes, completes and looks after stalled jobs with BullMQ's own scripts. What is ours: how many are
//! taken (`intake`), whose they are, and which server is the right one. Nobody reads a BullMQ result, so "kept in Redis, then
//! completed" is all there is to it; a job whose replica dies in between comes back there and is kept twice, which is one picture.

mod counts;
mod intake;
mod link;

use secrecy::SecretString;

use crate::findings::{Checked, Findings};
use crate::redis::{Connector, RedisFailure};

pub use counts::Counts;
pub use intake::Intake;

/// Which BullMQ queue is taken over; made by `config`.
#[derive(Clone, Debug)]
pub struct BullmqSettings {
    /// `BULLMQ_QUEUE`.
    pub queue: String,
    /// `BULLMQ_PREFIX`: what its keys begin with.
    pub prefix: String,
    /// `BULLMQ_JOB_NAMES`: others are left to others.
    pub job_names: Vec<String>,
    /// `BULLMQ_REDIS_URL`, else the worker's.
    pub url: SecretString,
    /// The variable that `url` stands in.
    pub url_variable: &'static str,
}

/// A BullMQ queue. Cloning it is cheap.
#[derive(Clone)]
pub struct BullmqQueue {
    connector: Connector,
    settings: std::sync::Arc<BullmqSettings>,
}

impl BullmqQueue {
    /// Reads the URL, without connecting yet.
    ///
    /// # Errors
    /// When the URL cannot be used; the message never holds its password.
    pub fn new(settings: BullmqSettings) -> anyhow::Result<Self> {
        let base = format!("{}:{}", settings.prefix, settings.queue);
        let connector = Connector::new(&settings.url, hash_tag(&base).unwrap_or(&base))
            .map_err(|error| anyhow::anyhow!("{}: {error}", settings.url_variable))?;
        Ok(Self {
            connector,
            settings: std::sync::Arc::new(settings),
        })
    }

    /// The queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.queue
    }

    fn key(&self, last: &str) -> String {
        format!("{}:{}:{last}", self.settings.prefix, self.settings.queue)
    }

    /// Looks at the queue as a replica uses it. Changes nothing.
    pub async fn check(settings: BullmqSettings) -> Checked<Self> {
        let mut findings = Findings::about("bullmq");
        let variable = settings.url_variable;
        let service = match Self::new(settings) {
            Ok(queue) => {
                match queue.counts().await {
                    Ok(counts) => queue.tell(&counts, &mut findings),
                    Err(failure) if failure.needs_mending() => findings.fail(format!(
                        "{variable}: the BullMQ queue {} cannot be looked at: {}",
                        queue.name(),
                        // Said of the worker's own Redis otherwise.
                        failure.bare().replace(crate::redis::variable(), variable)
                    )),
                    Err(failure) => findings.away(format!(
                        "{variable}: the Redis of the BullMQ queue {} cannot be reached: {failure}",
                        queue.name()
                    )),
                }
                Some(queue)
            }
            Err(error) => {
                findings.fail(format!("{error:#}"));
                None
            }
        };
        Checked { findings, service }
    }

    fn tell(&self, counts: &Counts, findings: &mut Findings) {
        let (name, prefix) = (self.name(), &self.settings.prefix);
        match (&counts.version, counts.is_there) {
            (_, false) => findings.warn(format!(
                "BULLMQ_QUEUE: there is no BullMQ queue {name} under the prefix {prefix} yet; where a producer has added jobs \
                 already, compare its queue's name, its prefix and its Redis with BULLMQ_QUEUE, BULLMQ_PREFIX and BULLMQ_REDIS_URL"
            )),
            (Some(version), true) => findings.ok(format!("{name} was made by {version}; {counts}")),
            (None, true) => findings.ok(format!("{name}: {counts}")),
        }
    }

    /// What stands where in it.
    ///
    /// # Errors
    /// [`RedisFailure`].
    pub async fn counts(&self) -> Result<Counts, RedisFailure> {
        counts::count(self).await
    }
}

/// What stands in braces in a key, which says on which node of a cluster it lives.
pub(crate) fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::hash_tag;

    #[test]
    fn a_hash_tag_stands_in_the_first_braces() {
        let cases = [
            ("{bull}:queue", Some("bull")),
            ("bull:{a}{b}", Some("a")),
            ("bull:queue", None),
            ("bull:{}:queue", None),
        ];
        for (key, tag) in cases {
            assert_eq!(hash_tag(key), tag, "{key}");
        }
    }
}
