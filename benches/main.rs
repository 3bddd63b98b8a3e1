//! `make bench`: measures the worker beside simpler ways to do the same work, on private servers of its own.
//!
//! Every figure that means something is a ratio of two programs that ran on the same machine within the same minute:
//! see docs/performance.md for what is compared, how, and how to read it. This program is also the other programs:
//! it starts itself as the rivals and as the services that they talk to.
#![allow(
    clippy::unwrap_used,
    reason = "what fails here fails the measurement, as it should"
)]

mod backlog;
mod burst;
mod fakes;
mod icon;
mod idle;
mod latency;
mod machine;
mod options;
mod overhead;
mod parts;
mod peer;
mod photo;
mod pictures;
mod record;
mod report;
mod rival;
mod sharp;
mod stand;
mod step;

use clap::Parser;
use options::{Options, Role};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    generative_ai_worker::http_client::install_tls();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match &options.role {
        None => runtime.block_on(async {
            let mut terminated = signal(SignalKind::terminate())?;
            // Servers, peers and their files end with what is dropped here.
            tokio::select! {
                result = drive(&options) => result,
                _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
                _ = terminated.recv() => anyhow::bail!("terminated"),
            }
        }),
        Some(Role::Rival) => runtime.block_on(rival::run()),
        Some(Role::Fakes) => runtime.block_on(fakes::run()),
        Some(Role::Icon { picture, seconds }) => icon::measure(picture, *seconds),
        Some(Role::Parts { max_seconds }) => {
            parts::measure(*max_seconds);
            Ok(())
        }
    }
}

async fn drive(options: &Options) -> anyhow::Result<()> {
    let worker = options.worker()?;
    let stand = stand::Stand::start(&options.directory(), &options.postgres).await?;
    let mut run = record::Run::new(options, &stand);
    let facts = format!("{}; {}", machine::facts(), stand.facts().await);
    println!("{facts}");
    let is_asked = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    if is_asked("overhead") {
        overhead::measure(&mut run, &worker).await?;
    }
    if is_asked("latency") {
        latency::measure(&mut run, &worker).await?;
    }
    if is_asked("pictures") {
        pictures::measure(&mut run, &worker).await?;
    }
    if is_asked("idle") {
        idle::measure(&mut run, &worker).await?;
    }
    if is_asked("backlog") {
        backlog::measure(&mut run, &worker).await?;
    }
    if is_asked("icon") {
        icon::compare(&mut run).await?;
    }
    if is_asked("parts") {
        run.parts = Some(parts::output(options.is_quick())?);
    }
    let text = report::text(&run, options, &facts);
    println!("\n{text}");
    if options.is_written() {
        report::write(&text)?;
    }
    Ok(())
}
