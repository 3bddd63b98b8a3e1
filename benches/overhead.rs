//! Overhead: jobs without any drawing, so that all the time goes into taking, recording and settling.

use std::path::Path;

use crate::burst::Burst;
use crate::peer::Kind;
use crate::record::Run;
use crate::stand::Order;

pub(crate) const NAME: &str = "overhead";
pub(crate) const KINDS: [Kind; 4] = [Kind::Worker, Kind::Naive, Kind::NaivePop, Kind::Ceiling];

pub(crate) async fn measure(run: &mut Run<'_>, worker: &Path) -> anyhow::Result<()> {
    for concurrency in run.options.concurrency.clone() {
        let jobs = run.options.jobs(match concurrency {
            0..5 => 1_500,
            5..50 => 8_000,
            50..500 => 20_000,
            _ => 30_000,
        });
        run.rounds(
            (NAME, concurrency),
            &KINDS,
            worker,
            async |kind, worker, stand| {
                let is_fast = kind == Kind::Ceiling && concurrency >= 10;
                let burst = Burst {
                    order: Order::Nothing,
                    concurrency,
                    warm_up: 300,
                    jobs: if is_fast { jobs * 3 } else { jobs },
                    behind: 0,
                    services: None,
                };
                burst.run(kind, worker, stand).await
            },
        )
        .await?;
    }
    Ok(())
}
