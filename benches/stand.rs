//! The services that all peers use: one private Redis and one private Postgres, with the durability of production.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use generative_ai_worker::db::{self, DbSettings};
use generative_ai_worker::private_servers::{PostgresOptions, PostgresServer, RedisOptions, RedisServer};
use redis::aio::MultiplexedConnection;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use crate::machine;

pub(crate) const QUEUE: &str = "generative-ai";
/// Where packages are gathered until all of them appear in the queue at one moment.
const STASH: &str = "bench-stash";
/// Above this the log of Redis is begun anew between two runs.
const LARGE_LOG_BYTES: u64 = 256 << 20;
/// Timed work of its own stays out of what is timed here.
const SETTINGS: [&str; 4] = [
    "track_commit_timestamp=on",
    "autovacuum=off",
    "checkpoint_timeout=1h",
    "max_wal_size=8GB",
];
/// No run takes this long.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Stand {
    redis_server: RedisServer,
    postgres_server: PostgresServer,
    pub(crate) redis: MultiplexedConnection,
    pub(crate) postgres: tokio_postgres::Client,
    pub(crate) redis_pid: u32,
    pub(crate) postgres_pid: u32,
    // Last, as the servers live in it.
    directory: TempDir,
}

impl Stand {
    pub(crate) async fn start(parent: &Path, postgres_settings: &[String]) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("bench-").tempdir_in(parent)?;
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755))?;
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).to_vec();
        settings.extend_from_slice(postgres_settings);
        let path = directory.path().to_owned();
        let (redis_server, postgres_server) = tokio::task::spawn_blocking(move || {
            let redis = RedisOptions {
                append_only: true,
                config: vec!["auto-aof-rewrite-percentage 0".to_owned()],
                ..RedisOptions::default()
            };
            let postgres = PostgresOptions {
                durable: true,
                settings,
                ..PostgresOptions::default()
            };
            Ok::<_, anyhow::Error>((
                RedisServer::start(&path.join("redis"), redis)?,
                PostgresServer::start(&path.join("postgres"), postgres)?,
            ))
        })
        .await??;
        let settings = DbSettings {
            url: SecretString::from(postgres_server.url("postgres")),
            pool_size: 2,
        };
        db::migrate(&settings).await?;
        let (postgres, connection) = tokio_postgres::connect(&postgres_server.url("postgres"), NoTls).await?;
        tokio::spawn(connection);
        let backend: i32 = postgres.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let settings = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        let mut redis = redis::Client::open(redis_server.url())?
            .get_multiplexed_async_connection_with_config(&settings)
            .await?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut redis).await?;
        Ok(Self {
            redis_pid: value_of(&info, "process_id").context("Redis does not tell its pid")?,
            postgres_pid: machine::parent(backend.cast_unsigned()).context("Postgres has no pid")?,
            redis_server,
            postgres_server,
            redis,
            postgres,
            directory,
        })
    }

    pub(crate) fn redis_url(&self) -> String {
        self.redis_server.url()
    }

    pub(crate) fn database_url(&self) -> String {
        self.postgres_server.url("postgres")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Both servers, for the reckoning of CPU.
    pub(crate) fn pids(&self) -> [(&'static str, u32); 2] {
        [("redis", self.redis_pid), ("postgres", self.postgres_pid)]
    }

    pub(crate) async fn facts(&self) -> String {
        let version: String = self
            .postgres
            .query_one("SHOW server_version", &[])
            .await
            .map_or_else(|_| "?".to_owned(), |row| row.get(0));
        let info: String = redis::cmd("INFO")
            .arg("server")
            .query_async(&mut self.redis.clone())
            .await
            .unwrap_or_default();
        let redis: String = value_of(&info, "redis_version").unwrap_or_default();
        let flush = self
            .flush_time()
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
        format!(
            "Redis {redis} (appendonly, everysec), Postgres {version} (fsync on, synchronous_commit on); \
             a flush of 8 KiB to their disk takes {flush:.2} ms"
        )
    }

    /// What one commit has to wait for at least: the median of 50 writes, each flushed.
    fn flush_time(&self) -> std::io::Result<Duration> {
        use std::io::{Seek, Write};
        let mut file = tempfile::tempfile_in(self.directory.path())?;
        file.write_all(&[0; 8192])?;
        file.sync_all()?;
        let mut times = Vec::new();
        for _ in 0..50 {
            file.rewind()?;
            let begun = Instant::now();
            file.write_all(&[1; 8192])?;
            file.sync_data()?;
            times.push(begun.elapsed());
        }
        times.sort();
        Ok(times[times.len() / 2])
    }

    /// Empties everything. No peer may be running.
    pub(crate) async fn reset(&self, jobs: usize) -> anyhow::Result<()> {
        let mut redis = self.redis.clone();
        redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await?;
        let info: String = redis::cmd("INFO")
            .arg("persistence")
            .query_async(&mut redis)
            .await?;
        if value_of::<u64>(&info, "aof_current_size").is_some_and(|bytes| bytes > LARGE_LOG_BYTES) {
            redis::cmd("BGREWRITEAOF").query_async::<()>(&mut redis).await?;
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let info: String = redis::cmd("INFO")
                    .arg("persistence")
                    .query_async(&mut redis)
                    .await?;
                let is_busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"]
                    .iter()
                    .any(|name| value_of::<u64>(&info, name) != Some(0));
                if !is_busy {
                    break;
                }
            }
        }
        let insert = format!(
            "TRUNCATE ac_background_jobs, images, generative_ai.jobs, generative_ai.provider_calls, generative_ai.dead_packages
                RESTART IDENTITY;
             INSERT INTO ac_background_jobs (id, progress, data, internal_data, created_at, updated_at)
                SELECT id, 5, '{{}}', '{{}}', now(), now() FROM generate_series(1, {jobs}) AS id"
        );
        self.postgres.batch_execute(&insert).await?;
        for statement in ["VACUUM ANALYZE ac_background_jobs", "CHECKPOINT"] {
            self.postgres.batch_execute(statement).await?;
        }
        Ok(())
    }

    /// Gathers packages where nobody takes them from, the next ones to be taken last.
    pub(crate) async fn stash(&self, jobs: std::ops::Range<usize>, order: Order) -> anyhow::Result<()> {
        let mut redis = self.redis.clone();
        let jobs: Vec<usize> = jobs.collect();
        for chunk in jobs.chunks(1000) {
            let mut push = redis::cmd("LPUSH");
            push.arg(STASH);
            for job_id in chunk {
                push.arg(order.package(*job_id));
            }
            push.query_async::<()>(&mut redis).await?;
        }
        Ok(())
    }

    /// Lets everything that was stashed appear in the queue at once.
    pub(crate) async fn release_stash(&self) -> anyhow::Result<()> {
        redis::cmd("RENAME")
            .arg(STASH)
            .arg(QUEUE)
            .query_async::<()>(&mut self.redis.clone())
            .await?;
        Ok(())
    }

    /// Waits until so many images are recorded. Asks Postgres for a number that costs it nothing.
    pub(crate) async fn recorded(&self, images: usize) -> anyhow::Result<()> {
        let statement = self
            .postgres
            .prepare("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM images_id_seq")
            .await?;
        let given_up_at = Instant::now() + PATIENCE;
        loop {
            let drawn: i64 = self.postgres.query_one(&statement, &[]).await?.get(0);
            if drawn >= i64::try_from(images)? && self.count("SELECT count(*) FROM images").await? >= images {
                return Ok(());
            }
            ensure!(
                Instant::now() < given_up_at,
                "{drawn} of {images} images were recorded in {PATIENCE:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn count(&self, query: &str) -> anyhow::Result<usize> {
        let count: i64 = self.postgres.query_one(query, &[]).await?.get(0);
        Ok(usize::try_from(count)?)
    }

    /// When the last of these jobs was committed, and whether each has exactly one image and tells of it.
    pub(crate) async fn verify(&self, jobs: std::ops::Range<usize>) -> anyhow::Result<SystemTime> {
        let (first, last) = (i32::try_from(jobs.start)?, i32::try_from(jobs.end)? - 1);
        let query = "
            SELECT max(pg_xact_commit_timestamp(job.xmin)), count(*),
                count(DISTINCT image.id) FILTER (WHERE image.formats::jsonb ->> 0 = job.data ->> 'imageUrl' AND job.progress = 100)
            FROM ac_background_jobs AS job LEFT JOIN images AS image ON image.id = (job.data ->> 'imageId')::integer
            WHERE job.id BETWEEN $1 AND $2";
        // The last update of a job row may come after its image.
        let given_up_at = Instant::now() + Duration::from_secs(5);
        loop {
            let row = self.postgres.query_one(query, &[&first, &last]).await?;
            let (end, rows, proper): (Option<SystemTime>, i64, i64) = (row.get(0), row.get(1), row.get(2));
            if rows == proper {
                return end.context("no job was committed");
            }
            ensure!(
                Instant::now() < given_up_at,
                "{proper} of {rows} jobs have their image"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn forget_commands(&self) -> anyhow::Result<()> {
        redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .query_async::<()>(&mut self.redis.clone())
            .await?;
        Ok(())
    }

    /// Commands that Redis has run since [`Self::forget_commands`], by name, those within scripts included.
    pub(crate) async fn commands(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.redis.clone())
            .await?;
        Ok(info
            .lines()
            .filter_map(|line| {
                let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
                let ours = ["info", "config|resetstat", "rename"];
                let calls = rest.split(',').next()?.trim().parse().ok()?;
                (!ours.contains(&name)).then(|| (name.to_owned(), calls))
            })
            .collect())
    }
}

/// What packages ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Nothing to be drawn: the worker's `blank` provider.
    Nothing,
    /// An icon, drawn by the image service that a peer is configured for.
    Icon,
}

impl Order {
    pub(crate) fn package(self, job_id: usize) -> String {
        let mut package = format!("{{\"type\":\"collection-image\",\"jobId\":{job_id},");
        let words = match self {
            Self::Nothing => "\"imageType\":\"logo\",\"imageProvider\":\"blank\"",
            Self::Icon => "\"imageType\":\"icon\",\"imageProvider\":\"openai\"",
        };
        let _ = write!(
            package,
            "{words},\"userId\":1,\"collectionType\":\"group\",\"collectionId\":7,\"prompt\":\"A lighthouse at night, \
             seen from the sea, with a single lit window and gulls above; calm, wide, in the manner of a woodcut\"}}"
        );
        package
    }
}

/// `name:value` in what INFO answers.
fn value_of<T: std::str::FromStr>(info: &str, name: &str) -> Option<T> {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
}
