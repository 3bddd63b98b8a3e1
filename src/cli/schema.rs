//! `schema`: prints the contract for the tools of producers.

use clap::{Args, ValueEnum};

use super::exit::ExitStatus;
use super::text;
use crate::config::{Environment, queue_name};
use crate::contract::Form;
use crate::work_package::PackageLimits;

#[derive(Debug, Args)]
pub(super) struct SchemaArguments {
    /// What of it
    #[arg(value_enum, default_value = "package")]
    form: Named,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Named {
    /// JSON Schema of work packages
    Package,
    /// JSON Schema of events
    Event,
    /// AsyncAPI 3 of both, with their channels
    Asyncapi,
    /// Types of both for TypeScript
    Typescript,
}

pub(super) fn run(arguments: &SchemaArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let limits = PackageLimits::from_environment(environment)?;
    let queue = queue_name(environment)?;
    let form = match arguments.form {
        Named::Package => Form::Package,
        Named::Event => Form::Event,
        Named::Asyncapi => Form::AsyncApi,
        Named::Typescript => Form::TypeScript,
    };
    text::print(&form.print(&queue, &limits))?;
    Ok(ExitStatus::Done)
}
