//! `demo`: the whole service at work on a machine where nothing is set up, with nothing simulated but the
//! artist, who is the built-in one.

mod artist;
mod crowd;
mod story;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::bar::Bar;
use super::exit::{ExitStatus, Unfit};
use super::replica::{assemble, look, sources};
use super::run::stop_on_signals;
use crate::config::{Config, Environment, demo_directory};
use crate::db::{self, Db, Lacking};
use crate::findings::{Checked, Findings};
use crate::ops::Dashboard;
use crate::private_servers::{PostgresOptions, PostgresServer, RedisOptions, RedisServer};
use crate::queue::Redis;
use story::{Act, Story};

/// A laptop under load needs some seconds; longer than this, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of nobody: the receivers are the demo's own.
const CALLBACK_SECRET: &str = "whsec_ZGVtby1kZW1vLWRlbW8tZGVtby1kZW1v";

#[derive(Debug, Args)]
pub(super) struct DemoArguments {
    /// Go on with some thirty jobs of every kind, leave everything running until Ctrl-C, and print the address of the operators' page
    #[arg(long)]
    keep: bool,
    /// Where the pictures stay to be looked at
    #[arg(long, default_value_os_t = demo_directory())]
    directory: PathBuf,
}

/// Private servers, which end with this value.
struct Servers {
    redis: RedisServer,
    postgres: PostgresServer,
    /// Their data. After the servers, since fields are dropped in their order.
    _directory: TempDir,
}

pub(super) async fn run(arguments: DemoArguments) -> anyhow::Result<ExitStatus> {
    let (stop, hurry) = stop_on_signals()?;
    println!("Starting a private Redis and a private Postgres on this machine ...");
    let bar = Bar::endless("starting");
    let servers = tokio::task::spawn_blocking(start_servers)
        .await
        .context("the servers could not be started")??;
    drop(bar);
    // Who only wants to see five packages needs no more than a Redis and a Postgres.
    let origin = match arguments.keep {
        true => Some(artist::start().await?),
        false => None,
    };
    let config = config(&servers, &arguments.directory, origin.as_deref())?;
    let applied = db::migrate(&config.db).await?;
    println!("Migrated an empty database: {} migrations.", applied.len());

    let Checked { findings, service } = look(&config, Lacking::Fault).await?.join(Findings::default());
    let services = service.ok_or(Unfit(findings))?;
    let page = match (&config.ops.dashboard, arguments.keep) {
        (Some(settings), true) => {
            let dashboard = Dashboard::listen(settings.clone()).await;
            let dashboard = dashboard.map_err(anyhow::Error::msg)?;
            Some(dashboard.serve(sources(&config, &services).await?))
        }
        _ => None,
    };
    let worker = assemble(&config, services).await?;
    let worker = tokio::spawn(worker.run(stop.clone(), hurry));
    println!(
        "The worker runs. Pushing five packages to the Redis list \"{}\":\n",
        config.queue.name
    );
    let db = Db::new(&config.db)?;
    let redis = Redis::new(&config.queue)?;
    let told = tell(&db, &redis, &stop).await;
    if arguments.keep && told.is_ok() && !stop.is_cancelled() {
        println!("\nPushing some thirty more, of every kind ...");
        let bar = Bar::endless("waiting until each has come to its end, or to what it waits for");
        crowd::play(&db, &redis, origin.as_deref().unwrap_or_default()).await?;
        drop(bar);
        invite(&config, &db, page.as_deref().unwrap_or_default()).await?;
        stop.cancelled().await;
    }
    stop.cancel();
    let ended = worker.await.context("the worker stumbled")??;
    tokio::task::spawn_blocking(move || drop(servers))
        .await
        .context("the servers could not be ended")?;
    told?;
    println!(
        "\nEverything that was started has ended. The pictures are in {}",
        arguments.directory.display()
    );
    Ok(if ended.is_clean {
        ExitStatus::Done
    } else {
        ExitStatus::Failed
    })
}

fn start_servers() -> anyhow::Result<Servers> {
    let directory = tempfile::Builder::new()
        .prefix("generative-ai-worker-demo-")
        .tempdir()
        .context("no temporary directory can be made")?;
    let redis = RedisServer::start(&directory.path().join("redis"), RedisOptions::default())?;
    let postgres = PostgresServer::start(&directory.path().join("postgres"), PostgresOptions::default())?;
    Ok(Servers {
        redis,
        postgres,
        _directory: directory,
    })
}

/// The configuration that a person would write for these servers. The process environment plays no part in it.
///
/// `origin`: of the services that sell pictures.
fn config(servers: &Servers, directory: &Path, origin: Option<&str>) -> anyhow::Result<Config> {
    let directory = std::path::absolute(directory).context("the directory for pictures")?;
    let directory = directory
        .to_str()
        .context("the directory for pictures has a name that is not UTF-8")?;
    let base = [
        ("REDIS_URL", servers.redis.url()),
        ("DATABASE_URL", servers.postgres.url("postgres")),
        ("STORAGE_URL", directory.to_owned()),
        ("IMAGE_PROVIDER", "builtin".to_owned()),
        ("WORKER_NAME", "demo".to_owned()),
        ("HTTP_ADDR", String::new()),
        ("DASHBOARD_ADDR", "127.0.0.1:0".to_owned()),
    ];
    let bought = origin.into_iter().flat_map(|origin| {
        [
            ("OPENAI_API_KEY", "none".to_owned()),
            ("OPENAI_BASE_URL", format!("{origin}/v1")),
            ("STABILITY_API_KEY", "none".to_owned()),
            ("STABILITY_BASE_URL", format!("{origin}/busy")),
            ("CALLBACK_HOSTS", origin.to_owned()),
            ("CALLBACK_SECRET", CALLBACK_SECRET.to_owned()),
            ("BUDGETS", crowd::BUDGETS.to_owned()),
            ("UNKNOWN_OUTCOME", "hold".to_owned()),
            ("JOB_TIMEOUT", "30m".to_owned()),
            // What is being drawn then is nobody's loss.
            ("SHUTDOWN_TIMEOUT", "1s".to_owned()),
        ]
    });
    let environment: Environment = base.into_iter().chain(bought).collect();
    Ok(Config::from_environment(&environment)?)
}

/// Pushes the five packages, shows their progress, and checks that what the table says is what has to be.
async fn tell(db: &Db, redis: &Redis, stop: &CancellationToken) -> anyhow::Result<()> {
    let story = Story::begin(db, redis).await?;
    let give_up_at = Instant::now() + PATIENCE;
    let mut shown = vec![None; story.acts().len()];
    let bar = Bar::endless("drawing");
    loop {
        for (act, shown) in story.acts().iter().zip(&mut shown) {
            show_progress(db, act, shown, &bar).await?;
        }
        if redis.is_idle().await? {
            break;
        }
        if stop.is_cancelled() || Instant::now() > give_up_at {
            bail!("the demo was stopped before its packages had ended");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    drop(bar);
    let ends = story.ends(db, redis).await?;
    println!("\n{}", table::render(&ends));
    let pictures = db.count_images().await?;
    println!(
        "Five packages, {pictures} pictures, {pictures} rows in images: the repeated package was not drawn again."
    );
    story.check(&ends, pictures)
}

async fn show_progress(db: &Db, act: &Act, shown: &mut Option<i32>, bar: &Bar) -> anyhow::Result<()> {
    let Some(job_id) = act.job_id.filter(|_| act.shows_progress) else {
        return Ok(());
    };
    let progress = db.job(job_id).await?.and_then(|row| row.progress);
    if progress != *shown {
        bar.print(&format!(
            "  job {job_id}  {:>3} %  {}\n",
            progress.unwrap_or_default(),
            act.title
        ))?;
        *shown = progress;
    }
    Ok(())
}

async fn invite(config: &Config, db: &Db, page: &str) -> anyhow::Result<()> {
    let redis_url = config.queue.url.expose_secret();
    let job_id = db.create_job(serde_json::json!({})).await?;
    println!(
        "\nIt goes on running. The operators' page: {page}\n\nPush a package for job {job_id}, whose row is there already:\n\n  \
         redis-cli -u {redis_url} LPUSH {} '{}'\n\n\
         or have the row made as well:\n\n  \
         REDIS_URL={redis_url} DATABASE_URL='{}' generative-ai-worker enqueue --wait --prompt \"a lighthouse at night\"\n\n\
         Ctrl-C ends everything.",
        config.queue.name,
        story::example_package(job_id),
        config.db.url.expose_secret(),
    );
    Ok(())
}
