//! Idle: what a worker costs that has nothing to do, and how soon it is there.

use std::path::Path;
use std::time::Duration;

use crate::machine::{self, Usage};
use crate::peer::{Kind, Peer};
use crate::record::{Figures, Run};

pub(crate) const NAME: &str = "idle";

pub(crate) async fn measure(run: &mut Run<'_>, worker: &Path) -> anyhow::Result<()> {
    let watched = Duration::from_secs(if run.options.is_quick() { 20 } else { 60 });
    let kinds = [Kind::Worker, Kind::Naive];
    run.rounds((NAME, 10), &kinds, worker, async |kind, worker, stand| {
        stand.reset(1).await?;
        let peer = Peer::start(kind, worker, stand, 10, None)?;
        let start_ms = peer.start_time.as_secs_f64() * 1e3;
        // What a start leaves to be done a little later (housekeeping, the first look at the ledger) is no part of being
        // idle.
        tokio::time::sleep(Duration::from_secs(15)).await;
        stand.forget_commands().await?;
        let mut pids = vec![("peer", peer.pid())];
        pids.extend(stand.pids());
        let before = Usage::now(&pids);
        tokio::time::sleep(watched).await;
        let used = before.until(&Usage::now(&pids));
        let commands: f64 = stand.commands().await?.values().sum();
        let mut figures = Figures::new(used.others);
        figures.set("ready ms", start_ms);
        figures.set("MiB", machine::memory_mib(peer.pid(), "VmRSS"));
        figures.set("commands", commands * 60.0 / watched.as_secs_f64());
        figures.set("CPU", used.seconds["peer"] / watched.as_secs_f64() * 1e3);
        Ok(figures)
    })
    .await
}
