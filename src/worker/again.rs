//! A package of a job that has failed for good. The rule: one that asks for something else than those that failed starts the job
//! again; the same one gets the same answer. So what is delivered twice is never bought twice, and a producer that has
//! corrected its package needs no operator.

use super::attempt::Attempts;
use super::ending::{Ending, Report};
use super::failing::refused_ending;
use crate::failure::Failure;
use crate::queue::{Delivery, Event};
use crate::work_package::WorkPackage;

impl Attempts {
    /// Answers as before, or starts the job again. `None`: it waits to be begun.
    ///
    /// A crash after the start leaves a job that waits, and the package is in the queue.
    pub(super) async fn repeat_failed(&self, delivery: &Delivery, package: &WorkPackage) -> Option<Ending> {
        match self.starts_again(delivery, package).await {
            Ok(true) => None,
            Ok(false) => Some(self.answer_again(delivery, package).await),
            Err(refused) => Some(refused_ending(delivery, refused)),
        }
    }

    async fn starts_again(&self, delivery: &Delivery, package: &WorkPackage) -> Result<bool, Failure> {
        let job_id = package.job_id;
        let db = &self.statements.db;
        let failed = self.statements.run(|| db.failed_packages(job_id)).await?;
        let may_help = |class: crate::failure::ErrorClass| class.rules().another_package_may_help;
        if failed.is_empty() || !failed.iter().all(|(class, _)| may_help(*class)) {
            return Ok(false);
        }
        let is_known = failed.iter().any(|(_, payload)| {
            let parsed = WorkPackage::parse(payload, &self.settings.packages);
            parsed.is_ok_and(|earlier| earlier.asks_for_the_same_as(package))
        });
        if is_known {
            return Ok(false);
        }
        let kept = String::from_utf8_lossy(&delivery.payload);
        let started = self.run_on_row(delivery, || db.start_again(job_id, &kept)).await;
        let Ok(Some(mirrors)) = started else {
            // Its row takes nothing, or somebody else was first.
            return Ok(started.is_ok());
        };
        tracing::info!("job {job_id} had failed and starts again, as another package has come for it");
        let mirrors: Vec<_> = mirrors
            .into_iter()
            .map(|(id, dead_at)| (id, dead_at.timestamp_millis()))
            .collect();
        if let Err(error) = self.queue.redis().forget_dead(&mirrors).await {
            // They are mirrors: the truth is in Postgres.
            self.statements.health.redis_failed(&error);
        }
        Ok(true)
    }

    async fn answer_again(&self, delivery: &Delivery, package: &WorkPackage) -> Ending {
        let job_id = package.job_id;
        let db = &self.statements.db;
        if let Err(refused) = self.want_callback(package, true).await {
            return refused_ending(delivery, refused);
        }
        let reply_to = package.reply_to.clone();
        let command = match self.statements.run(|| db.buried(job_id)).await {
            Ok(Some((buried, class, reason, worker_id, payload))) => {
                let event = Event::failed(Some(job_id), class, reason.clone());
                let letter = self.letter(&payload, Some(job_id), class, reason, &buried, worker_id);
                delivery.bury(letter, event, reply_to)
            }
            // What was kept of it has been purged; the ledger still says why it has failed.
            Ok(None) => match self.statements.run(|| db.failure_of(job_id)).await {
                Ok(failure) => {
                    let event = failure.map(|(class, reason)| Event::failed(Some(job_id), class, reason));
                    delivery.settle(event, reply_to)
                }
                Err(refused) => return refused_ending(delivery, refused),
            },
            Err(refused) => return refused_ending(delivery, refused),
        };
        Ending {
            command: Some(command),
            report: Report::Repeated,
        }
    }
}
