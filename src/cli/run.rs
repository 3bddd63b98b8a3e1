//! `run`: the consumer.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{ExitStatus, Unfit};
use super::open_files;
use super::replica::{assemble, look, sources};
use crate::bullmq::Intake;
use crate::config::{Config, Environment};
use crate::db::Lacking;
use crate::findings::{Checked, Findings};
use crate::ops::{Dashboard, Ops, OpsSettings, Watched};

/// A BullMQ job that is in hand is completed, or comes back there.
const INTAKE_PATIENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(environment: &Environment) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    let mut settings = Findings::about("settings");
    for warning in config.warnings() {
        settings.warn(warning);
    }
    if let Some(warning) = open_files::raise(config.worker.concurrency) {
        settings.warn(warning);
    }
    // From the first wait on: process 1 of a container is not stopped by a signal that it does not watch.
    let (stop, hurry) = stop_on_signals()?;
    // Before anything is reached: what cannot be watched is not to begin.
    let ops = listen(&config.ops, &mut settings).await;
    let dashboard = listen_for_people(&config.ops, &mut settings).await;
    let Some(look) = stop.run_until_cancelled(look(&config, Lacking::Applied)).await else {
        tracing::info!("stopped before it began");
        return Ok(ExitStatus::Done);
    };
    let Checked { findings, service } = look?.join(settings);
    for warning in findings.warnings() {
        tracing::warn!("{warning}");
    }
    let Some(services) = service else {
        return Err(Unfit(findings).into());
    };
    let (redis, db, storage) = (
        services.queue.redis().clone(),
        services.db.clone(),
        services.storage.clone(),
    );
    let bullmq = services.bullmq.clone();
    let dashboard = match dashboard {
        Some(dashboard) => Some((dashboard, sources(&config, &services).await?)),
        None => None,
    };
    let worker = assemble(&config, services).await?;
    let intake = bullmq.clone().map(|source| {
        let observer = worker.observer();
        let intake = Intake::new(source, redis.clone(), worker.worker_id(), move || observer.room());
        tokio::spawn(intake.run(stop.clone()))
    });
    if let Some(ops) = ops {
        ops.serve(Watched {
            replica: worker.observer(),
            redis,
            bullmq,
            db,
            storage,
        });
    }
    if let Some((dashboard, sources)) = dashboard {
        dashboard.serve(sources);
    }
    let ended = worker.run(stop.clone(), hurry).await;
    // Also where the replica could not begin.
    stop.cancel();
    if let Some(intake) = intake {
        let _ = tokio::time::timeout(INTAKE_PATIENCE, intake).await;
    }
    let ended = ended?;
    Ok(if ended.is_clean {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

/// `None` where nothing is to be served, or nothing can be, which is a finding.
async fn listen(settings: &OpsSettings, findings: &mut Findings) -> Option<Ops> {
    let addr = settings.http_addr?;
    match Ops::listen(addr).await {
        Ok(ops) => Some(ops),
        Err(why) => {
            findings.fail(why);
            None
        }
    }
}

/// The same for the operators' page.
async fn listen_for_people(settings: &OpsSettings, findings: &mut Findings) -> Option<Dashboard> {
    match Dashboard::listen(settings.dashboard.clone()?).await {
        Ok(dashboard) => Some(dashboard),
        Err(why) => {
            findings.fail(why);
            None
        }
    }
}

/// Two tokens: SIGTERM, SIGINT or SIGHUP (its terminal is gone) cancels the first one, the next of them the second. What
/// whoever has started this process has it ignore (`nohup`) stays ignored.
pub(super) fn stop_on_signals() -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let watch = |kind| signal(kind).context("signals cannot be watched");
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut hangup = if is_ignored(SignalKind::hangup()) {
        None
    } else {
        Some(watch(SignalKind::hangup())?)
    };
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let (first, second) = (stop.clone(), hurry.clone());
    tokio::spawn(async move {
        for token in [first, second] {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = async { hangup.as_mut()?.recv().await }, if hangup.is_some() => {}
            }
            token.cancel();
        }
    });
    Ok((stop, hurry))
}

/// Whether this process was started with a signal ignored. Asked before it is watched, which ends that.
///
/// Source: `proc_pid_status(5)`, "SigIgn", a mask of which bit 0 is signal 1.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (kind.as_raw_value() - 1)) != 0)
}
