//! `check-config`: every fault at once, before a worker meets the first one.

use clap::Args;

use super::exit::{ExitStatus, Unfit};
use super::replica::look;
use super::text;
use crate::config::{Config, Environment};
use crate::db::Lacking;
use crate::findings::Findings;
use crate::ops::Port;

#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    /// Look at the values only, without connecting to anything
    #[arg(long)]
    offline: bool,
}

pub(super) async fn run(
    arguments: &CheckConfigArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let config = Config::from_environment(environment)?;
    let mut settings = Findings::about("settings");
    for warning in config.warnings() {
        settings.warn(warning);
    }
    let (findings, said) = if arguments.offline {
        let said = "the configuration is well-formed; no service was asked\n";
        (settings, said)
    } else {
        for door in config.ops.doors() {
            match door.look().await {
                Port::Unusable(why) => settings.fail(why),
                Port::Replica => settings.warn(format!(
                    "{}: a replica of this worker serves this address already; another one beside it needs one of its own",
                    door.variable
                )),
                Port::Free => {}
            }
        }
        let look = look(&config, Lacking::Fault).await?;
        if let Some(storage) = &look.storage.service {
            storage.leave().await;
        }
        let findings = look.join(settings).findings;
        let said = "the configuration is well-formed; Redis, Postgres and the store can be used\n";
        (findings, said)
    };
    let warnings: String = findings
        .warnings()
        .map(|warning| format!("warning: {warning}\n"))
        .collect();
    text::print(&warnings)?;
    if findings.has_failures() {
        return Err(Unfit(findings).into());
    }
    text::print(said)?;
    Ok(ExitStatus::Done)
}
