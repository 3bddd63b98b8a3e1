//! What production has around a worker, for one test alone: Redis, Postgres with the tables, a place for pictures.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use generative_ai_worker::db::{self, DbSettings};
use generative_ai_worker::private_servers::{PostgresOptions, PostgresServer, RedisOptions, RedisServer};
use redis::AsyncCommands;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_postgres::types::ToSql;

use super::openai::OpenAi;
use super::replica::Replica;

/// The queue of every test, each on a server of its own.
pub(crate) const QUEUE: &str = "generative-ai";

/// For replicas that are to draw real pictures, and refuse what a provider refuses.
pub(crate) const BUILTIN: (&str, &str) = ("IMAGE_PROVIDER", "builtin");

/// Longer than anything here takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Private servers of one test. Everything ends when it is dropped.
pub(crate) struct Stack {
    pub(crate) redis: RedisServer,
    pub(crate) postgres: PostgresServer,
    /// Where replicas store pictures, unless a test says otherwise.
    pub(crate) pictures: TempDir,
    /// Logs and data of the servers and replicas.
    directory: TempDir,
    replicas: AtomicUsize,
    /// The Redis that the test itself looks at.
    redis_url: Mutex<String>,
    /// The connection to Postgres that the test itself looks with, and the port that it leads to.
    client: tokio::sync::Mutex<Option<(u16, Arc<tokio_postgres::Client>)>>,
}

/// What a producer that polls its job row sees.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Job {
    pub(crate) progress: Option<i32>,
    pub(crate) error: Option<String>,
    pub(crate) data: Value,
}

impl Stack {
    /// Starts the servers; the database is migrated.
    pub(crate) async fn start() -> Self {
        Self::start_servers(Vec::new(), true).await
    }

    /// The same, for so many connections to Postgres.
    pub(crate) async fn start_for(connections: usize) -> Self {
        Self::start_servers(vec![format!("max_connections={connections}")], true).await
    }

    /// Starts the servers; the database is empty.
    pub(crate) async fn start_without_tables() -> Self {
        Self::start_servers(Vec::new(), false).await
    }

    async fn start_servers(settings: Vec<String>, has_tables: bool) -> Self {
        tokio::task::spawn_blocking(move || {
            let directory = super::temporary_directory();
            if has_tables {
                copy_tree(&cluster_with_tables(), &directory.path().join("postgres"));
            }
            let options = RedisOptions {
                append_only: true,
                ..RedisOptions::default()
            };
            let redis = RedisServer::start(&directory.path().join("redis"), options).unwrap();
            Self {
                redis_url: Mutex::new(redis.url()),
                client: tokio::sync::Mutex::default(),
                redis,
                postgres: PostgresServer::start(
                    &directory.path().join("postgres"),
                    PostgresOptions {
                        settings,
                        ..super::postgres_options()
                    },
                )
                .unwrap(),
                pictures: super::temporary_directory(),
                directory,
                replicas: AtomicUsize::new(0),
            }
        })
        .await
        .unwrap()
    }

    pub(crate) fn db_settings(&self) -> DbSettings {
        settings_of(&self.postgres)
    }

    /// The variables of a worker on these servers; waits are short, so that tests are, and pictures cost nothing.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        [
            ("REDIS_URL", self.redis.url()),
            ("DATABASE_URL", self.postgres.url("postgres")),
            ("STORAGE_URL", self.pictures.path().to_str().unwrap().to_owned()),
            ("IMAGE_PROVIDER", "blank".to_owned()),
            ("QUEUE_NAME", QUEUE.to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
            ("PING_INTERVAL", "500ms".to_owned()),
            ("LEASE_TTL", "2s".to_owned()),
            ("JOB_ROW_WAIT", "0s".to_owned()),
            ("RETRY_BASE_DELAY", "300ms".to_owned()),
            ("RETRY_MAX_DELAY", "1s".to_owned()),
            ("HTTP_ADDR", "127.0.0.1:0".to_owned()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// Starts a worker process with some variables of its own and waits until it takes packages.
    pub(crate) async fn replica(&self, variables: &[(&str, &str)]) -> Replica {
        let replica = self.starting_replica(variables);
        replica.said("waiting for packages").await;
        replica
    }

    /// Starts a worker process that has its pictures drawn by `openai`.
    pub(crate) async fn replica_of(&self, openai: &OpenAi, variables: &[(&str, &str)]) -> Replica {
        let own = openai.variables();
        let mut all: Vec<(&str, &str)> = own
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        all.extend(variables);
        self.replica(&all).await
    }

    /// Starts a worker process and does not wait for it.
    pub(crate) fn starting_replica(&self, variables: &[(&str, &str)]) -> Replica {
        let (environment, log) = self.replica_environment(variables);
        Replica::start(&["run"], &environment, log)
    }

    /// The same in the hands of another program.
    pub(crate) fn starting_replica_under(&self, watcher: &[&str], variables: &[(&str, &str)]) -> Replica {
        let (environment, log) = self.replica_environment(variables);
        Replica::start_under(watcher, &["run"], &environment, log)
    }

    /// What the next replica is started with, and where it logs.
    fn replica_environment(&self, variables: &[(&str, &str)]) -> (BTreeMap<String, String>, PathBuf) {
        let number = self.replicas.fetch_add(1, Ordering::Relaxed) + 1;
        let mut environment = self.environment();
        environment.insert("WORKER_NAME".to_owned(), format!("replica-{number}"));
        environment.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let log = self.directory.path().join(format!("replica-{number}.log"));
        (environment, log)
    }

    /// Runs a command of the worker to its end.
    pub(crate) async fn command(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> std::process::Output {
        let mut environment = self.environment();
        environment.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        super::replica::run(arguments, &environment).await
    }

    /// Copies the data of Postgres as a crash at this moment leaves it.
    pub(crate) fn copy_postgres(&mut self, name: &str) {
        self.postgres.kill();
        copy_tree(&self.path("postgres"), &self.path(name));
        self.postgres.restart().unwrap();
    }

    /// Brings Postgres back as it was when the copy was made.
    pub(crate) fn restore_postgres(&mut self, name: &str) {
        self.postgres.kill();
        std::fs::remove_dir_all(self.path("postgres")).unwrap();
        copy_tree(&self.path(name), &self.path("postgres"));
        self.postgres.restart().unwrap();
    }

    /// A place for files of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a test looks at does not collide with what it looks for, whatever the database's default is.
    pub(crate) async fn sql_client(&self) -> tokio_postgres::Client {
        let mut config: tokio_postgres::Config = self.postgres.url("postgres").parse().unwrap();
        config.options(r"-c default_transaction_isolation=read\ committed");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    pub(crate) async fn sql(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> Vec<tokio_postgres::Row> {
        let client = self.kept_client().await;
        match client.query(query, values).await {
            Err(_) if client.is_closed() => self.kept_client().await.query(query, values).await,
            rows => rows,
        }
        .unwrap()
    }

    /// One connection for all looks: to make one takes Postgres and the test longer than most queries do.
    async fn kept_client(&self) -> Arc<tokio_postgres::Client> {
        let port = self.postgres.port();
        let mut kept = self.client.lock().await;
        let is_fit = |(of, client): &&(u16, Arc<tokio_postgres::Client>)| *of == port && !client.is_closed();
        if let Some((_, client)) = kept.as_ref().filter(is_fit) {
            return Arc::clone(client);
        }
        let client = Arc::new(self.sql_client().await);
        *kept = Some((port, Arc::clone(&client)));
        client
    }

    /// The one number that a query answers with.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.sql(query, &[]).await[0].get(0)
    }

    /// From now on the queue is looked at on another Redis than the stack's own.
    pub(crate) fn look_at(&self, redis_url: String) {
        *self.redis_url.lock().unwrap() = redis_url;
    }

    pub(crate) async fn redis(&self) -> redis::aio::MultiplexedConnection {
        let redis_url = self.redis_url.lock().unwrap().clone();
        let client = redis::Client::open(redis_url).unwrap();
        // Otherwise it gives up after half a second, and with it every command that waits for something.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
        client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .unwrap()
    }

    /// Makes a job row as the producer does: progress 5, data `{}`.
    pub(crate) async fn job(&self) -> i32 {
        self.jobs(1).await[0]
    }

    pub(crate) async fn jobs(&self, count: i32) -> Vec<i32> {
        let rows = self
            .sql(
                "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)
                 SELECT 5, '{}', now(), now() FROM generate_series(1, $1) RETURNING id",
                &[&count],
            )
            .await;
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn job_row(&self, job_id: i32) -> Job {
        let rows = self
            .sql(
                "SELECT progress, error, data FROM ac_background_jobs WHERE id = $1",
                &[&job_id],
            )
            .await;
        let data: Option<Value> = rows[0].get::<_, Option<JsonText>>(2).map(|JsonText(value)| value);
        Job {
            progress: rows[0].get(0),
            error: rows[0].get(1),
            data: data.unwrap_or_default(),
        }
    }

    pub(crate) async fn push(&self, package: &Value) {
        self.push_raw(package.to_string().as_bytes()).await;
    }

    pub(crate) async fn push_raw(&self, package: &[u8]) {
        let _: i64 = self.redis().await.lpush(QUEUE, package).await.unwrap();
    }

    /// Waits until the job has a picture or a reason.
    pub(crate) async fn ended(&self, job_id: i32) -> Job {
        self.until(&format!("job {job_id} has ended"), async || {
            let job = self.job_row(job_id).await;
            (job.data.get("imageId").is_some() || job.error.is_some()).then_some(job)
        })
        .await
    }

    /// Waits until no package is anywhere but among the dead.
    pub(crate) async fn idle(&self) {
        self.until("the queue is idle", async || self.is_idle().await.then_some(()))
            .await;
    }

    async fn is_idle(&self) -> bool {
        let mut redis = self.redis().await;
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for list in [
            "generative-ai",
            "{generative-ai}:critical",
            "{generative-ai}:high",
            "{generative-ai}:low",
        ] {
            pipeline.llen(list);
        }
        pipeline
            .zcard("{generative-ai}:delayed")
            .zcard("{generative-ai}:in-flight");
        for kind in ["landing", "processing", "parked"] {
            let keys: Vec<String> = redis.keys(format!("{{{QUEUE}}}:{kind}:*")).await.unwrap();
            if !keys.is_empty() {
                return false;
            }
        }
        let counts: Vec<u64> = pipeline.query_async(&mut redis).await.unwrap();
        counts.iter().all(|count| *count == 0)
    }

    /// Members of the dead set, newest first.
    pub(crate) async fn dead_letters(&self) -> Vec<Value> {
        let members: Vec<String> = self
            .redis()
            .await
            .zrevrange(format!("{{{QUEUE}}}:dead"), 0, -1)
            .await
            .unwrap();
        members
            .iter()
            .map(|member| serde_json::from_str(member).unwrap())
            .collect()
    }

    /// Looks again and again until `look` finds something; `what` is what the failure says was waited for.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("waited {PATIENCE:?} in vain until {what}"),
        }
    }
}

fn settings_of(postgres: &PostgresServer) -> DbSettings {
    DbSettings {
        url: SecretString::from(postgres.url("postgres")),
        pool_size: 2,
    }
}

/// The files of a Postgres whose database is migrated, to be copied: made by the first test of a build, as migrating each takes as long
/// as many a test.
fn cluster_with_tables() -> PathBuf {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("postgres-with-tables");
    let program = std::env::current_exe().unwrap().metadata().unwrap();
    let built = program.modified().unwrap().duration_since(UNIX_EPOCH).unwrap();
    let made = cache.join(built.as_nanos().to_string());
    if made.exists() {
        return made;
    }
    std::fs::create_dir_all(&cache).unwrap();
    let lock = std::fs::File::create(cache.join("lock")).unwrap();
    lock.lock().unwrap();
    if made.exists() {
        return made;
    }
    let of_other_builds = cache.read_dir().unwrap().map(|entry| entry.unwrap().path());
    for other in of_other_builds.filter(|path| path.is_dir()) {
        std::fs::remove_dir_all(other).unwrap();
    }
    let directory = super::temporary_directory();
    let mut postgres =
        PostgresServer::start(&directory.path().join("postgres"), super::postgres_options()).unwrap();
    let migrating = async { db::migrate(&settings_of(&postgres)).await };
    tokio::runtime::Handle::current().block_on(migrating).unwrap();
    postgres.stop();
    let unfinished = cache.join("unfinished");
    copy_tree(&directory.path().join("postgres"), &unfinished);
    std::fs::rename(&unfinished, &made).unwrap();
    made
}

/// With owners and rights, which Postgres is particular about.
fn copy_tree(from: &std::path::Path, to: &std::path::Path) {
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([from, to])
        .status()
        .unwrap();
    assert!(copied.success(), "{} can be copied", from.display());
}

/// `jsonb` as it comes over the wire: one version byte, then text.
struct JsonText(Value);

impl<'a> tokio_postgres::types::FromSql<'a> for JsonText {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(serde_json::from_slice(&raw[1..])?))
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        *kind == tokio_postgres::types::Type::JSONB
    }
}

/// A valid package for a collection's picture.
pub(crate) fn logo(job_id: i32) -> Value {
    json!({
        "type": "collection-image",
        "jobId": job_id,
        "prompt": format!("a paper boat number {job_id}"),
        "imageType": "logo",
        "collectionType": "group",
        "collectionId": "7",
    })
}

/// A valid package for an icon.
pub(crate) fn icon(job_id: i32) -> Value {
    with(logo(job_id), "imageType", "icon")
}

/// The package with one field changed.
pub(crate) fn with(mut package: Value, name: &str, value: impl Into<Value>) -> Value {
    package[name] = value.into();
    package
}
