//! Latency: how long it takes from a push until somebody else can see the result, at an easy pace.

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use redis::AsyncCommands;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_postgres::{AsyncMessage, NoTls};

use crate::machine::Usage;
use crate::peer::{Kind, Peer};
use crate::record::{Figures, Run, quantile};
use crate::stand::{Order, QUEUE, Stand};

pub(crate) const NAME: &str = "latency";
pub(crate) const KINDS: [Kind; 3] = [Kind::Worker, Kind::Naive, Kind::NaivePop];
pub(crate) const CONCURRENCY: usize = 10;
const WARM_UP: usize = 100;
const PER_SECOND: usize = 50;

/// The notice comes after the commit, so it tells when the result was there for all.
const TELL: &str = "
    CREATE FUNCTION bench_tell() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_notify('bench', new.id::text); RETURN NULL; END $$;
    CREATE TRIGGER bench_tell AFTER UPDATE ON ac_background_jobs FOR EACH ROW
        WHEN (new.progress = 100 AND old.progress IS DISTINCT FROM 100) EXECUTE FUNCTION bench_tell()";
const TELL_NO_MORE: &str = "DROP TRIGGER bench_tell ON ac_background_jobs; DROP FUNCTION bench_tell";

pub(crate) async fn measure(run: &mut Run<'_>, worker: &Path) -> anyhow::Result<()> {
    let jobs = run.options.jobs(600);
    run.stand.postgres.batch_execute(TELL).await?;
    run.rounds(
        (NAME, CONCURRENCY),
        &KINDS,
        worker,
        async |kind, worker, stand| once(kind, worker, stand, jobs).await,
    )
    .await?;
    run.stand.postgres.batch_execute(TELL_NO_MORE).await?;
    Ok(())
}

async fn once(kind: Kind, worker: &Path, stand: &Stand, jobs: usize) -> anyhow::Result<Figures> {
    stand.reset(WARM_UP + jobs).await?;
    let (client, mut connection) = tokio_postgres::connect(&stand.database_url(), NoTls).await?;
    let (sender, mut told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notice) = message {
                let job_id: usize = notice.payload().parse().unwrap();
                let _ = sender.send((job_id, Instant::now()));
            }
        }
    });
    client.batch_execute("LISTEN bench").await?;
    let peer = Peer::start(kind, worker, stand, CONCURRENCY, None)?;
    stand.stash(1..WARM_UP + 1, Order::Nothing).await?;
    stand.release_stash().await?;
    for _ in 0..WARM_UP {
        told.recv().await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;

    let mut redis = stand.redis.clone();
    let mut pids = vec![("peer", peer.pid())];
    pids.extend(stand.pids());
    let before = Usage::now(&pids);
    let mut pushed = Vec::with_capacity(jobs);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(PER_SECOND)?);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for job_id in WARM_UP + 1..WARM_UP + jobs + 1 {
        ticks.tick().await;
        let package = Order::Nothing.package(job_id);
        pushed.push(Instant::now());
        let _: i64 = redis.lpush(QUEUE, package).await?;
    }
    let mut times = Vec::with_capacity(jobs);
    while times.len() < jobs {
        let Ok(Some((job_id, at))) = tokio::time::timeout(Duration::from_secs(20), told.recv()).await else {
            anyhow::bail!("{} of {jobs} jobs were told of", times.len());
        };
        times.push((at - pushed[job_id - WARM_UP - 1]).as_secs_f64() * 1e3);
    }
    let used = before.until(&Usage::now(&pids));
    drop(peer);
    let mut figures = Figures::new(used.others);
    figures.set("p50 ms", quantile(&mut times, 0.5));
    figures.set("p99 ms", quantile(&mut times, 0.99));
    figures.set("peer", used.seconds["peer"] / jobs as f64 * 1e6);
    Ok(figures)
}
