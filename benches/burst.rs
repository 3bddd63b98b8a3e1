//! One run: many packages appear at one moment before a peer that is warm, and the last commit ends it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::machine::Usage;
use crate::peer::{Kind, Peer};
use crate::record::Figures;
use crate::stand::{Order, Stand};

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Burst<'a> {
    pub(crate) order: Order,
    pub(crate) concurrency: usize,
    /// Jobs that are done before anything is measured.
    pub(crate) warm_up: usize,
    pub(crate) jobs: usize,
    /// Packages that wait behind them.
    pub(crate) behind: usize,
    /// Image service and object store, with their pid.
    pub(crate) services: Option<(&'a str, u32)>,
}

impl Burst<'_> {
    /// Runs it with everything empty before, and looks whether each job has exactly one image after.
    pub(crate) async fn run(&self, kind: Kind, worker: &Path, stand: &Stand) -> anyhow::Result<Figures> {
        self.run_with(kind, worker, stand, async || Ok(())).await
    }

    /// The same with something put in place before the peer starts.
    pub(crate) async fn run_with(
        &self,
        kind: Kind,
        worker: &Path,
        stand: &Stand,
        prepare: impl AsyncFn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Figures> {
        let measured = self.warm_up + 1..self.warm_up + self.jobs + 1;
        // Those behind that a peer may come to before it is ended have rows too.
        stand.reset(measured.end + self.behind.min(20_000)).await?;
        prepare().await?;
        let peer = Peer::start(
            kind,
            worker,
            stand,
            self.concurrency,
            self.services.map(|(url, _)| url),
        )?;
        stand.stash(1..measured.start, self.order).await?;
        stand.release_stash().await?;
        stand.recorded(self.warm_up).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;

        // LPUSHed first, taken first.
        stand.stash(measured.clone(), self.order).await?;
        stand
            .stash(measured.end..measured.end + self.behind, self.order)
            .await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
        peer.freeze()?;
        stand.forget_commands().await?;
        stand.release_stash().await?;
        let mut pids = vec![("peer", peer.pid())];
        pids.extend(stand.pids());
        pids.extend(self.services.map(|(_, pid)| ("services", pid)));
        let before = Usage::now(&pids);
        let begun = SystemTime::now();
        peer.thaw()?;
        stand.recorded(self.warm_up + self.jobs).await?;
        if self.behind == 0 {
            // What is told to Redis after the last commit belongs to the jobs as well.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let used = before.until(&Usage::now(&pids));
        let commands: f64 = stand.commands().await?.values().sum();
        // Of those behind, some are done by now.
        let done = stand.count("SELECT count(*) FROM images").await? - self.warm_up;
        let peak_mib = peer.peak_mib();
        drop(peer);
        let ended = stand.verify(measured).await?;

        let jobs = self.jobs as f64;
        let done = done as f64;
        let mut figures = Figures::new(used.others);
        figures.set("jobs/s", jobs / ended.duration_since(begun)?.as_secs_f64());
        figures.set("commands", commands / done);
        figures.set("peak MiB", peak_mib);
        for (name, seconds) in used.seconds {
            figures.set(name, seconds / done * 1e6);
        }
        Ok(figures)
    }
}
