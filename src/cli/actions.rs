//! `actions`: who did what with commands, when, and to how many. And how the other commands leave a row of it.

use std::fmt::Write;

use clap::Args;

use super::exit::ExitStatus;
use super::replica::reach_migrated;
use super::text as words;
use crate::config::{Environment, operator};
use crate::db::{Action, Db, DbSettings};
use crate::ops::acts::{Done, Intent, MOST_CHARS};
use crate::ops::words::outcome_of;
use crate::plain_text::{one_line, plain};
use crate::queue::QueueSettings;

/// Who runs a command.
#[derive(Debug, Args)]
pub(super) struct By {
    /// Who does it, for whoever looks later. Default: the user and the host
    #[arg(long, value_name = "WHO")]
    by: Option<String>,
}

impl By {
    pub(super) fn name(&self, environment: &Environment) -> String {
        let by = one_line(self.by.as_deref().unwrap_or_default(), MOST_CHARS);
        match by.trim() {
            "" => one_line(&operator(environment), MOST_CHARS),
            by => by.to_owned(),
        }
    }
}

/// Does it, says what came of it, and leaves a row of it: begun before anything is changed, so that what is cut off is seen as
/// well. What is asked for at night is done all the same where Postgres does not take the row, which is said then.
///
/// # Errors
/// Those of what is done.
pub(super) async fn run_said(
    intent: &Intent<'_>,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> anyhow::Result<ExitStatus> {
    let id = intent
        .begin()
        .await
        .map_err(|error| warn(&error.to_string()))
        .ok();
    let done = doing.await;
    if let Some(id) = id
        && let Err(error) = intent.end(id, &done).await
    {
        warn(&error.to_string());
    }
    say(&done?)
}

/// The same for what must not be done without a row of it.
///
/// # Errors
/// Those of what is done; and where Postgres does not take the row, when nothing is done.
pub(super) async fn run_noted(
    intent: &Intent<'_>,
    doing: impl Future<Output = anyhow::Result<Done>>,
) -> anyhow::Result<ExitStatus> {
    say(&intent.run_noted(doing).await?)
}

fn say(done: &Done) -> anyhow::Result<ExitStatus> {
    words::say(&done.said)?;
    Ok(if done.is_done {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

fn warn(why: &str) {
    eprintln!(
        "generative-ai-worker: what this command does is not written down in generative_ai.operator_actions: {}",
        plain(why)
    );
}

/// Leaves a row of what was done in Redis already, if it changed anything: a queue is paused also while Postgres is away, or where
/// nobody says where it is, which is said then.
pub(super) async fn note(
    environment: &Environment,
    queue: &str,
    by: &str,
    (action, subject): (&str, &str),
    done: &Done,
) {
    let noting = async {
        let db = Db::new(&DbSettings::from_environment(environment)?)?;
        let intent = Intent {
            db: &db,
            queue,
            by,
            action,
            subject: subject.to_owned(),
        };
        intent.note(done).await.map_err(anyhow::Error::msg)
    };
    if done.count > 0
        && let Err(error) = noting.await
    {
        warn(&format!("{error:#}"));
    }
}

#[derive(Debug, Args)]
pub(super) struct ActionsArguments {
    /// So many at the most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(
    arguments: &ActionsArguments,
    environment: &Environment,
) -> anyhow::Result<ExitStatus> {
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    let queue = QueueSettings::from_environment(environment)?.name;
    let actions = db.actions(&queue, i64::from(arguments.limit)).await?;
    if arguments.json {
        words::print(&format!("{}\n", serde_json::to_string_pretty(&actions)?))?;
    } else if actions.is_empty() {
        words::say("no command has changed anything yet")?;
    } else {
        words::print(&tell(&actions))?;
    }
    Ok(ExitStatus::Done)
}

fn tell(actions: &[Action]) -> String {
    let mut text = String::new();
    for action in actions {
        let _ = writeln!(
            text,
            "{}  {}  {} {}: {}",
            words::time(action.begun_at),
            plain(&action.who),
            plain(&action.action),
            plain(&action.subject),
            plain(outcome_of(action)),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_no_name() {
        let environment = Environment::from_iter([("USER", "ada")]);
        let name = |by: Option<&str>| {
            let by = By {
                by: by.map(str::to_owned),
            };
            by.name(&environment)
        };
        assert_eq!(name(Some(" grace ")), "grace");
        for by in [None, Some(""), Some(" \n")] {
            assert!(name(by).starts_with("ada@"), "{by:?}");
        }
    }
}
