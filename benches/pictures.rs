//! Pictures: the whole way of an icon, from a 1.5 MB picture in an answer of an image service that takes no time.

use std::path::Path;

use crate::burst::Burst;
use crate::fakes;
use crate::peer::Kind;
use crate::record::Run;
use crate::stand::Order;

pub(crate) const NAME: &str = "pictures";
pub(crate) const KINDS: [Kind; 2] = [Kind::Worker, Kind::Plain];

pub(crate) async fn measure(run: &mut Run<'_>, worker: &Path) -> anyhow::Result<()> {
    let (services, url) = fakes::start(run.stand)?;
    for (concurrency, jobs) in [(1, 60), (10, 200), (50, 240)] {
        run.rounds(
            (NAME, concurrency),
            &KINDS,
            worker,
            async |kind, worker, stand| {
                let burst = Burst {
                    order: Order::Icon,
                    concurrency,
                    warm_up: 20,
                    jobs,
                    behind: 0,
                    services: Some((&url, services.pid())),
                };
                burst.run(kind, worker, stand).await
            },
        )
        .await?;
    }
    Ok(())
}
