//! Backlog: whether a job costs more when a million packages wait.

use std::path::Path;

use crate::burst::Burst;
use crate::peer::Kind;
use crate::record::Run;
use crate::stand::{Order, QUEUE, Stand};

pub(crate) const NAME: &str = "backlog";
pub(crate) const FEW: usize = 100;
pub(crate) const MANY: usize = 1_000_000;
const DELAYED: usize = 100_000;

pub(crate) async fn measure(run: &mut Run<'_>, worker: &Path) -> anyhow::Result<()> {
    let jobs = run.options.jobs(20_000);
    let rounds = run.options.rounds();
    for round in 0..rounds {
        // Side by side, so that both cases of a round see the same machine.
        let mut cases = [FEW, MANY];
        cases.rotate_left(round % 2);
        for behind in cases {
            run.once(
                (NAME, behind),
                Kind::Worker,
                worker,
                async |kind, worker, stand| {
                    let burst = Burst {
                        order: Order::Nothing,
                        concurrency: 100,
                        warm_up: 300,
                        jobs,
                        behind,
                        services: None,
                    };
                    burst
                        .run_with(kind, worker, stand, async || {
                            if behind == MANY {
                                delay(stand).await
                            } else {
                                Ok(())
                            }
                        })
                        .await
                },
            )
            .await?;
        }
    }
    Ok(())
}

/// Packages that wait for tomorrow.
async fn delay(stand: &Stand) -> anyhow::Result<()> {
    let mut redis = stand.redis.clone();
    let tomorrow = chrono::Utc::now().timestamp_millis() + 24 * 60 * 60 * 1000;
    let numbers: Vec<usize> = (0..DELAYED).collect();
    for chunk in numbers.chunks(1000) {
        let mut add = redis::cmd("ZADD");
        add.arg(format!("{{{QUEUE}}}:delayed"));
        for number in chunk {
            let due = tomorrow + i64::try_from(*number)?;
            add.arg(due).arg(format!(
                "bench-0/{number}.normal:{}",
                Order::Nothing.package(2_000_000 + number)
            ));
        }
        add.query_async::<()>(&mut redis).await?;
    }
    Ok(())
}
