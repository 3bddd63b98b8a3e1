//! The command line: a file per command.

mod actions;
mod allocator;
mod bar;
mod callbacks;
mod cancel;
mod check_config;
mod cost;
mod dead;
mod demo;
mod doctor;
mod enqueue;
mod exit;
mod healthcheck;
mod jobs;
mod migrate;
mod open_files;
mod pause;
mod providers;
mod replica;
mod reseed;
mod run;
mod schema;
mod status;
mod text;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, Environment, LogSettings};
use crate::otlp::{Export, OtlpSettings};
use crate::{http_client, telemetry};

use exit::ExitStatus;

#[derive(Debug, Parser)]
#[command(
    name = "generative-ai-worker",
    version,
    about = "Takes image work packages from a Redis list, has them drawn, stores the pictures and records the result in Postgres.",
    after_help = "Everything is configured by environment variables: see .env.example and docs/reference/variables.md.\n\
                  Exit status: 0 done, 1 failed, 64 wrong usage, 69 a service cannot be reached, 78 bad configuration."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take packages and see them through, until SIGTERM or SIGINT (the default)
    Run,
    /// Show the whole service at work: private Redis and Postgres, five packages, no key needed
    Demo(demo::DemoArguments),
    /// Make a job row and push a package for it
    Enqueue(enqueue::EnqueueArguments),
    /// Bring the database up to date
    Migrate(migrate::MigrateArguments),
    /// List the image providers: which are configured, whether they are called now, what their models can do and cost, and when
    /// they end; or let one be called again
    Providers(providers::ProvidersArguments),
    /// Let no replica take new work; what is in hand is finished
    Pause(pause::PauseArguments),
    /// Let replicas take new work again
    Resume(pause::ResumeArguments),
    /// End a job, whether it waits or is being worked on
    Cancel(cancel::CancelArguments),
    /// After a loss of data in Redis, put the packages of unfinished jobs back
    Reseed(reseed::ReseedArguments),
    /// Tell the whole story of one job, end its wait, or erase it
    Jobs(jobs::JobsArguments),
    /// Show who changed what with these commands, and when
    Actions(actions::ActionsArguments),
    /// What was spent, how it is known, and what may be billed beyond
    Cost(cost::CostArguments),
    /// Show how the queue, its replicas and its jobs stand
    Status(status::StatusArguments),
    /// List, show, retry, purge and export packages that have failed for good
    Dead(dead::DeadArguments),
    /// List, retry and drop ends of jobs that a callbackUrl was not told of
    Callbacks(callbacks::CallbacksArguments),
    /// Exit 0 when the service's ping key is there, 1 when it is not
    Healthcheck(healthcheck::HealthcheckArguments),
    /// Look at everything that a healthy service rests on, and say what to do
    Doctor(doctor::DoctorArguments),
    /// Report every fault of the configuration, and whether every service can be reached
    CheckConfig(check_config::CheckConfigArguments),
    /// Remove what has ended longer ago than it is to be kept, and say what; replicas do so every hour
    Tidy(tidy::TidyArguments),
    /// Print the contract for tools of producers: JSON Schema, AsyncAPI or types for TypeScript
    Schema(schema::SchemaArguments),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                ExitStatus::Usage.into()
            } else {
                ExitStatus::Done.into()
            };
        }
    };
    let environment = Environment::of_process();
    let command = arguments.command.unwrap_or(Command::Run);
    if matches!(command, Command::Run) {
        allocator::prepare(&environment);
    }
    let is_replica = matches!(command, Command::Run);
    let observed = LogSettings::from_environment(&environment).and_then(|log| {
        let otlp = is_replica
            .then(|| OtlpSettings::from_environment(&environment))
            .transpose()?;
        Ok((log, otlp.flatten()))
    });
    let (log, otlp) = match observed {
        Ok(observed) => observed,
        Err(faults) => {
            let all = match command {
                Command::Run | Command::CheckConfig(_) | Command::Doctor(_) => {
                    Config::from_environment(&environment).err()
                }
                _ => None,
            };
            return exit::report(&all.unwrap_or(faults).into()).into();
        }
    };
    // Commands that people run answer on standard output; only the worker's own log is worth reading.
    // What a command waits for that others have locked is worth knowing while it waits.
    let filter = match command {
        Command::Run => "info",
        Command::Migrate(_)
        | Command::CheckConfig(_)
        | Command::Doctor(_)
        | Command::Cancel(_)
        | Command::Dead(_) => "warn",
        _ => "error",
    };
    http_client::install_tls();
    let export = match otlp.map(|settings| Export::start(&settings)).transpose() {
        Ok(export) => export,
        Err(error) => return exit::report(&error).into(),
    };
    let tracer = export.as_ref().map(Export::tracer);
    telemetry::start(log.format, log.filter.as_deref().unwrap_or(filter), tracer);
    // One thread serves all waiting, and pixels have others: a second one here costs a job half as much again, as the two wake each
    // other at every step.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into()).into(),
    };
    // On its own thread: this one would be woken, and would wake that one, at every turn of the worker's loop.
    let running = runtime.spawn(async move { dispatch(command, &environment).await });
    let result = runtime
        .block_on(running)
        .unwrap_or_else(|error| Err(error.into()));
    // What still runs is a blocking read that nobody waits for any more.
    runtime.shutdown_background();
    if let Some(export) = export {
        export.end();
    }
    telemetry::end();
    match result {
        Ok(status) => status.into(),
        Err(error) => exit::report(&error).into(),
    }
}

async fn dispatch(command: Command, environment: &Environment) -> anyhow::Result<ExitStatus> {
    match command {
        Command::Run => run::run(environment).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Enqueue(arguments) => enqueue::run(arguments, environment).await,
        Command::Migrate(arguments) => migrate::run(&arguments, environment).await,
        Command::Providers(arguments) => providers::run(&arguments, environment).await,
        Command::Pause(arguments) => pause::pause(&arguments, environment).await,
        Command::Resume(arguments) => pause::resume(&arguments, environment).await,
        Command::Cancel(arguments) => cancel::run(arguments, environment).await,
        Command::Reseed(arguments) => reseed::run(&arguments, environment).await,
        Command::Jobs(arguments) => jobs::run(arguments, environment).await,
        Command::Actions(arguments) => actions::run(&arguments, environment).await,
        Command::Cost(arguments) => cost::run(&arguments, environment).await,
        Command::Status(arguments) => status::run(&arguments, environment).await,
        Command::Dead(arguments) => dead::run(arguments, environment).await,
        Command::Callbacks(arguments) => callbacks::run(arguments, environment).await,
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, environment).await,
        Command::Doctor(arguments) => doctor::run(&arguments, environment).await,
        Command::CheckConfig(arguments) => check_config::run(&arguments, environment).await,
        Command::Tidy(arguments) => tidy::run(&arguments, environment).await,
        Command::Schema(arguments) => schema::run(&arguments, environment),
    }
}
