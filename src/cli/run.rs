//! `run`: the consumer.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::ExitStatus;
use super::replica::{Lacking, assemble, reach};
use crate::config::{Config, Environment};

pub(super) async fn run(environment: &Environment) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    let worker = assemble(&config, reach(&config, Lacking::Applied).await?).await?;
    let (stop, hurry) = stop_on_signals()?;
    let ended = worker.run(stop, hurry).await?;
    Ok(if ended.is_clean {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

/// Two tokens: SIGTERM or SIGINT cancels the first one, the next of them the second.
pub(super) fn stop_on_signals() -> anyhow::Result<(CancellationToken, CancellationToken)> {
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be watched")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals cannot be watched")?;
    let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
    let (first, second) = (stop.clone(), hurry.clone());
    tokio::spawn(async move {
        for token in [first, second] {
            next(&mut terminate, &mut interrupt).await;
            token.cancel();
        }
    });
    Ok((stop, hurry))
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
