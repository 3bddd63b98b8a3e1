//! One package, from taken to settled: counted once, by its outcome, when whoever works on it has let go of it.

use std::cell::Cell;

use tokio::time::Instant;

use super::{PACKAGES, PROCESS_DURATION};
use crate::failure::ErrorClass;

/// What became of a package in one replica's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its job has a picture.
    Completed,
    /// Its job has failed for good.
    Failed,
    /// Its attempt has failed, and another follows.
    Retried,
    /// It cannot become a job.
    Rejected,
    /// An operator decides.
    Held,
    /// Somebody has cancelled its job.
    Cancelled,
    /// Its job had ended before.
    Repeated,
    /// It waits: for its time, for room or a pause at a provider, for another replica.
    Postponed,
    /// The replica stopped before it had ended.
    GivenBack,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Completed,
        Self::Failed,
        Self::Retried,
        Self::Rejected,
        Self::Held,
        Self::Cancelled,
        Self::Repeated,
        Self::Postponed,
        Self::GivenBack,
    ];

    /// Whether it has the class of an error, the same one or none always.
    fn classes(self) -> Vec<Option<ErrorClass>> {
        match self {
            Self::Completed | Self::Repeated | Self::Postponed | Self::GivenBack => vec![None],
            Self::Rejected => vec![Some(ErrorClass::InvalidPackage)],
            Self::Cancelled => vec![Some(ErrorClass::Cancelled)],
            Self::Failed | Self::Retried | Self::Held => {
                let all = ErrorClass::ALL.into_iter();
                let is_its = |class: &ErrorClass| match self {
                    Self::Retried => class.is_retried(),
                    Self::Held => *class == ErrorClass::UnknownOutcome,
                    _ => true,
                };
                all.filter(is_its).map(Some).collect()
            }
        }
    }

    /// The word in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Retried => "retried",
            Self::Rejected => "rejected",
            Self::Held => "held",
            Self::Cancelled => "cancelled",
            Self::Repeated => "repeated",
            Self::Postponed => "postponed",
            Self::GivenBack => "given_back",
        }
    }
}

tokio::task_local! {
    static ENDING: Cell<(Outcome, Option<ErrorClass>)>;
}

/// Sees one package through and counts it under the outcome that was given to [`ended`] on the way; without one it
/// has been postponed.
pub async fn process(work: impl Future<Output = ()>) {
    let begun = Instant::now();
    let counted = async {
        work.await;
        ENDING.with(Cell::get)
    };
    let (outcome, class) = ENDING.scope(Cell::new((Outcome::Postponed, None)), counted).await;
    let labels = labels(outcome, class);
    PACKAGES.count(1, &labels);
    PROCESS_DURATION.observe(begun.elapsed().as_secs_f64(), &labels[..1]);
}

/// Begins every count at 0: from nothing to 1 is no increase to Prometheus.
pub(super) fn begin_counts() {
    for outcome in Outcome::ALL {
        for class in outcome.classes() {
            PACKAGES.count(0, &labels(outcome, class));
        }
    }
}

fn labels(outcome: Outcome, class: Option<ErrorClass>) -> [(&'static str, &'static str); 2] {
    [
        ("outcome", outcome.as_str()),
        ("error_type", class.map_or("", ErrorClass::as_str)),
    ]
}

/// Notes what became of the package that this task sees through. The last word counts.
pub fn ended(outcome: Outcome, class: Option<ErrorClass>) {
    // Elsewhere there is no package to speak of.
    let _ = ENDING.try_with(|ending| ending.set((outcome, class)));
}

/// Notes that the package goes back because the replica stops; what had become of it before that stays true.
pub fn given_back() {
    let _ = ENDING.try_with(|ending| {
        if ending.get().0 == Outcome::Postponed {
            ending.set((Outcome::GivenBack, None));
        }
    });
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_package_is_counted_once_under_its_last_outcome() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                ended(Outcome::Completed, None);
                process(async {}).await;
                process(async {
                    ended(Outcome::Retried, Some(ErrorClass::Network));
                    tokio::task::yield_now().await;
                    ended(Outcome::Failed, Some(ErrorClass::Internal));
                })
                .await;
                process(async { given_back() }).await;
                process(async {
                    ended(Outcome::Completed, None);
                    given_back();
                })
                .await;
            });
        });
        let text = recorder.handle().render();
        let mut counts: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("generative_ai_packages_total"))
            .collect();
        counts.sort_unstable();
        assert_eq!(
            counts,
            [
                r#"generative_ai_packages_total{outcome="completed",error_type=""} 1"#,
                r#"generative_ai_packages_total{outcome="failed",error_type="internal"} 1"#,
                r#"generative_ai_packages_total{outcome="given_back",error_type=""} 1"#,
                r#"generative_ai_packages_total{outcome="postponed",error_type=""} 1"#,
            ]
        );
    }
}
