//! Configuration: what the variables mean. Each concern gets a small settings struct of its own.
//!
//! Every fault is found before the first one is reported, so that an operator mends them in one go.

mod budgets;
mod dashboard;
mod doubts;
mod providers;
mod shares;
mod values;
mod variables;

use std::path::PathBuf;

use secrecy::ExposeSecret;

use crate::bullmq::{BullmqSettings, hash_tag};
use crate::db::{DbSettings, Retention};
use crate::generator::PromptSuffixes;
use crate::notify::{NotifySettings, Receivers, Secrets};
use crate::ops::OpsSettings;
use crate::otlp::{self, OtlpSettings};
use crate::queue::QueueSettings;
use crate::redis::is_cluster;
use crate::removal::{self, CloudflareSettings};
use crate::settings::{Reader, misspelled};
use crate::storage::{S3Settings, StorageSettings};
use crate::telemetry::LogFormat;
use crate::work_package::PackageLimits;
use crate::worker::{AttemptSettings, Backoff, Budgets, UpkeepSettings, WorkerSettings, parked_for};

pub use crate::environment::Environment;
pub use crate::provider::list::PROVIDERS;
pub use crate::settings::{Faults, Variable};
pub use providers::ProviderSettings;
pub use variables::{env_example, variables};

/// What the `run` command works with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Redis.
    pub queue: QueueSettings,
    /// Whose jobs are taken over; `None` = nobody's.
    pub bullmq: Option<BullmqSettings>,
    /// Postgres.
    pub db: DbSettings,
    /// Where pictures go.
    pub storage: StorageSettings,
    /// The cache in front of it; `None`: nothing there is told of pictures that are gone.
    pub cloudflare: Option<CloudflareSettings>,
    /// Who draws.
    pub providers: ProviderSettings,
    /// Whether the pictures that icons are made from are kept.
    pub keeps_originals: bool,
    /// What follows every prompt.
    pub suffixes: PromptSuffixes,
    /// The loop.
    pub worker: WorkerSettings,
    /// Where ends of jobs are posted; `None`: nowhere.
    pub notify: Option<NotifySettings>,
    /// HTTP for operators.
    pub ops: OpsSettings,
    /// Warnings of variables that are probably misspelled.
    pub misspelled: Vec<String>,
}

/// How to log.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// `LOG_FORMAT`; `None` = by where standard error goes.
    pub format: Option<LogFormat>,
    /// `RUST_LOG`; `None` = as much as the command thinks fit.
    pub filter: Option<String>,
}

impl Config {
    /// Reads and checks all that the worker needs.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let queue = queue_settings(&mut reader);
        let bullmq = bullmq_settings(&mut reader);
        let db = db_settings(&mut reader);
        let storage = storage_settings(&mut reader);
        let cloudflare = cloudflare_settings(&mut reader);
        let worker = worker_settings(&mut reader, &queue);
        let notify = notify_settings(&mut reader);
        let providers = providers::provider_settings(&mut reader);
        let keeps_originals = reader.or_default("KEEP_ORIGINALS", values::boolean);
        let mut suffix = |name| reader.unless_empty(name, values::text).unwrap_or_default();
        let suffixes = PromptSuffixes {
            icon: suffix("PROMPT_SUFFIX_ICON"),
            image: suffix("PROMPT_SUFFIX_IMAGE"),
        };
        let ops = OpsSettings {
            http_addr: reader.unless_empty("HTTP_ADDR", values::socket_address),
            dashboard: dashboard::dashboard_settings(&mut reader),
        };
        dashboard::beside(&mut reader, &ops);
        // Every command has read them before; their faults are to be told with all others.
        let _ = log_settings(&mut reader);
        let _ = otlp_settings(&mut reader);
        reader.finish(Self {
            queue,
            bullmq,
            db,
            storage,
            cloudflare,
            providers,
            keeps_originals,
            suffixes,
            worker,
            notify,
            ops,
            misspelled: misspelled(environment, variables()),
        })
    }

    /// What works and may cost something all the same, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let of_dashboard = self.ops.dashboard.iter().flat_map(dashboard::warnings);
        let all = self.misspelled.iter().cloned().chain(doubts::doubts(self));
        all.chain(of_dashboard).collect()
    }
}

impl QueueSettings {
    /// Reads what a command needs that only talks to Redis.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = queue_settings(&mut reader);
        reader.finish(settings)
    }
}

impl Receivers {
    /// Reads to whom ends of jobs may be posted; nobody where it is not set.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let found = receivers(&mut reader).unwrap_or_default();
        reader.finish(found)
    }
}

impl BullmqSettings {
    /// Reads which BullMQ queue is taken over; `None` = none is.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, Faults> {
        let mut reader = Reader::new(environment);
        let settings = bullmq_settings(&mut reader);
        reader.finish(settings)
    }
}

impl DbSettings {
    /// Reads what a command needs that only talks to Postgres.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = db_settings(&mut reader);
        reader.finish(settings)
    }
}

impl Retention {
    /// Reads how long what has ended is kept.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = retention(&mut reader);
        reader.finish(settings)
    }
}

impl PackageLimits {
    /// Reads what a producer has to keep to.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let queue_name = reader.or_default("QUEUE_NAME", values::queue_name);
        let limits = package_limits(&mut reader, &queue_name);
        reader.finish(limits)
    }
}

impl Budgets {
    /// Reads what may be spent.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = budgets::budgets(&mut reader);
        reader.finish(settings)
    }
}

/// Reads the name of the queue alone.
///
/// # Errors
/// [`Faults`].
pub fn queue_name(environment: &Environment) -> Result<String, Faults> {
    let mut reader = Reader::new(environment);
    let name = reader.or_default("QUEUE_NAME", values::queue_name);
    reader.finish(name)
}

impl LogSettings {
    /// Reads how to log, which every command wants to know first.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Self, Faults> {
        let mut reader = Reader::new(environment);
        let settings = log_settings(&mut reader);
        reader.finish(settings)
    }
}

impl OtlpSettings {
    /// Reads where spans go; `None` = nowhere.
    ///
    /// # Errors
    /// [`Faults`].
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, Faults> {
        let mut reader = Reader::new(environment);
        let settings = otlp_settings(&mut reader);
        reader.finish(settings)
    }
}

fn otlp_settings(reader: &mut Reader<'_>) -> Option<OtlpSettings> {
    let below = reader
        .optional("OTEL_EXPORTER_OTLP_ENDPOINT", otlp::endpoint)
        .map(|mut base| {
            base.set_path(&format!("{}/v1/traces", base.path().trim_end_matches('/')));
            base
        });
    let own = reader.optional("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", otlp::endpoint);
    let headers = reader.optional("OTEL_EXPORTER_OTLP_HEADERS", otlp::headers);
    let timeout = reader.or_default("OTEL_EXPORTER_OTLP_TIMEOUT", otlp::timeout);
    reader.or_default("OTEL_EXPORTER_OTLP_PROTOCOL", otlp::protocol);
    let service_name = reader.or_default("OTEL_SERVICE_NAME", values::text);
    let is_disabled = reader.or_default("OTEL_SDK_DISABLED", values::boolean);
    let endpoint = own.or(below).filter(|_| !is_disabled)?;
    Some(OtlpSettings {
        endpoint,
        headers: headers.unwrap_or_default(),
        timeout,
        service_name,
    })
}

fn log_settings(reader: &mut Reader<'_>) -> LogSettings {
    LogSettings {
        format: reader.optional("LOG_FORMAT", values::log_format),
        filter: reader.optional("RUST_LOG", values::log_filter),
    }
}

fn queue_settings(reader: &mut Reader<'_>) -> QueueSettings {
    let (variable, url) = reader.first_secret(&["REDIS_WORKER_URL", "REDIS_URL"], values::redis_url);
    QueueSettings {
        url,
        variable,
        name: reader.or_default("QUEUE_NAME", values::queue_name),
        worker_name: reader
            .optional("WORKER_NAME", values::worker_name)
            .unwrap_or_else(values::host_name),
        lease_ttl: reader.or_default("LEASE_TTL", values::lease_ttl),
        ping_interval: reader.or_default("PING_INTERVAL", values::ping_interval),
        max_package_bytes: reader.or_default("MAX_PACKAGE_BYTES", values::bytes),
        dead_letter_max: reader.or_default("DEAD_LETTER_MAX", values::count),
        dead_letter_max_bytes: reader.or_default("DEAD_LETTER_MAX_BYTES", values::bytes),
        weights: reader.or_default("PRIORITY_WEIGHTS", shares::weights),
        fairness: reader.or_default("FAIRNESS", shares::fairness),
        rooms: parked_for(PROVIDERS.into_iter()),
    }
}

fn bullmq_settings(reader: &mut Reader<'_>) -> Option<BullmqSettings> {
    let names = ["BULLMQ_REDIS_URL", "REDIS_WORKER_URL", "REDIS_URL"];
    let (url_variable, url) = reader.first_secret(&names, values::redis_url);
    let settings = BullmqSettings {
        prefix: reader.or_default("BULLMQ_PREFIX", values::bullmq_name),
        job_names: reader.or_default("BULLMQ_JOB_NAMES", values::names),
        url,
        url_variable,
        queue: reader.optional("BULLMQ_QUEUE", values::bullmq_name)?,
    };
    let base = format!("{}:{}", settings.prefix, settings.queue);
    if hash_tag(&base).is_none() && is_cluster(settings.url.expose_secret()) {
        reader.fault(format!(
            "BULLMQ_PREFIX: \"{}\" was found; on a cluster BullMQ's keys have to share a hash tag: give its queue a prefix in \
             braces, {{bull}} say, there and here",
            settings.prefix
        ));
    }
    Some(settings)
}

fn db_settings(reader: &mut Reader<'_>) -> DbSettings {
    DbSettings {
        url: reader.required_secret("DATABASE_URL", values::database_url),
        pool_size: POOL_SIZE,
    }
}

/// One connection for each kind of batch, and some for what goes beside them.
const POOL_SIZE: usize = 10;

fn storage_settings(reader: &mut Reader<'_>) -> StorageSettings {
    let settings = StorageSettings {
        url: reader.text("STORAGE_URL"),
        s3: S3Settings {
            bucket: reader.text("S3_BUCKET"),
            endpoint: reader.text("S3_ENDPOINT"),
            region: reader.text("S3_REGION"),
            force_path_style: reader.optional("S3_FORCE_PATH_STYLE", values::boolean),
            access_key_id: reader.text("AWS_ACCESS_KEY_ID"),
            secret_access_key: reader.secret("AWS_SECRET_ACCESS_KEY"),
            session_token: reader.secret("AWS_SESSION_TOKEN"),
            acl: reader.text("S3_ACL"),
        },
        cloud_variables: reader.with_prefixes(&["AWS_", "GOOGLE_", "AZURE_", "STORAGE_EMULATOR_HOST"]),
        home: reader.foreign("HOME").map(PathBuf::from),
        public_url_base: reader.optional("PUBLIC_URL_BASE", values::http_url),
        cloudflare_image_proxy_domain: reader.text("CLOUDFLARE_IMAGE_PROXY_DOMAIN"),
    };
    if let Err(error) = settings.check() {
        reader.fault(format!("{error:#}"));
    }
    settings
}

fn cloudflare_settings(reader: &mut Reader<'_>) -> Option<CloudflareSettings> {
    let api_key = reader.optional("CLOUDFLARE_API_KEY", removal::api_key);
    let zone_id = reader.optional("CLOUDFLARE_ZONE_ID", removal::zone_id);
    let api_url = reader.or_default("CLOUDFLARE_API_URL", removal::api_url);
    let is_set = |reader: &mut Reader<'_>, name| reader.text(name).is_some();
    let (has_key, has_zone) = (
        is_set(reader, "CLOUDFLARE_API_KEY"),
        is_set(reader, "CLOUDFLARE_ZONE_ID"),
    );
    if has_key != has_zone {
        let (set, missing) = match has_key {
            true => ("CLOUDFLARE_API_KEY", "CLOUDFLARE_ZONE_ID"),
            false => ("CLOUDFLARE_ZONE_ID", "CLOUDFLARE_API_KEY"),
        };
        reader.fault(format!(
            "{missing}: is not set, and {set} is; Cloudflare is told of deleted pictures with both, and of none without either"
        ));
    }
    Some(CloudflareSettings {
        api_url,
        zone_id: zone_id?,
        api_key: api_key?,
    })
}

fn worker_settings(reader: &mut Reader<'_>, queue: &QueueSettings) -> WorkerSettings {
    let limits = package_limits(reader, &queue.name);
    let tag = format!("{{{}}}", queue.name);
    if !limits.reply_prefix.starts_with(&tag) && is_cluster(queue.url.expose_secret()) {
        reader.fault(format!(
            "QUEUE_REPLY_PREFIX: \"{}\" was found; on a cluster it has to start with {tag}, as reply lists live where the queue lives",
            limits.reply_prefix
        ));
    }
    let concurrency = reader.or_default("WORKER_CONCURRENCY", values::concurrency);
    let job_timeout = reader.or_default("JOB_TIMEOUT", values::job_timeout);
    WorkerSettings {
        concurrency,
        // An open call is over by then, whatever comes of it.
        shutdown_timeout: reader
            .optional("SHUTDOWN_TIMEOUT", values::duration)
            .unwrap_or(job_timeout),
        lease_ttl: queue.lease_ttl,
        upkeep: UpkeepSettings {
            ping_interval: queue.ping_interval,
            reconcile_interval: reader.or_default("RECONCILE_INTERVAL", values::reconcile_interval),
            retention: retention(reader),
        },
        attempts: AttemptSettings {
            packages: limits,
            job_timeout,
            job_row_wait: reader.or_default("JOB_ROW_WAIT", values::duration),
            max_attempts: reader.or_default("MAX_ATTEMPTS", values::attempts),
            backoff: Backoff {
                base: reader.or_default("RETRY_BASE_DELAY", values::duration),
                max: reader.or_default("RETRY_MAX_DELAY", values::duration),
            },
            unknown_outcome: reader.or_default("UNKNOWN_OUTCOME", values::unknown_outcome),
            budgets: budgets::budgets(reader),
        },
        provider_limits: reader
            .optional("IMAGE_PROVIDER_LIMITS", shares::provider_limits)
            .unwrap_or_default(),
        work_type_limits: reader
            .optional("WORK_TYPE_LIMITS", shares::work_type_limits)
            .unwrap_or_default(),
    }
}

fn retention(reader: &mut Reader<'_>) -> Retention {
    Retention {
        jobs: reader.or_default("JOBS_RETENTION", values::retention),
        dead: reader.or_default("DEAD_RETENTION", values::retention),
        calls: reader.or_default("CALLS_RETENTION", values::retention),
    }
}

fn package_limits(reader: &mut Reader<'_>, queue_name: &str) -> PackageLimits {
    let reply_prefix = reader
        .text("QUEUE_REPLY_PREFIX")
        .unwrap_or_else(|| format!("{{{queue_name}}}:reply:"));
    PackageLimits {
        max_bytes: reader.or_default("MAX_PACKAGE_BYTES", values::bytes),
        reply_prefix,
        callback_origins: receivers(reader)
            .unwrap_or_default()
            .origins()
            .map(str::to_owned)
            .collect(),
    }
}

fn receivers(reader: &mut Reader<'_>) -> Option<Receivers> {
    reader.optional("CALLBACK_HOSTS", Receivers::parse)
}

fn notify_settings(reader: &mut Reader<'_>) -> Option<NotifySettings> {
    let receivers = receivers(reader);
    let secrets = if receivers.is_some() {
        let secret = reader.required_secret("CALLBACK_SECRET", |text| Secrets::parse(text).map(|_| ()));
        Secrets::parse(secret.expose_secret()).ok()
    } else {
        // Looked at all the same, so that all faults are told at once.
        reader.optional("CALLBACK_SECRET", Secrets::parse)
    };
    Some(NotifySettings {
        receivers: receivers?,
        secrets: secrets?,
    })
}

/// Who gives a command, in words for other people: the user and the host.
#[must_use]
pub fn operator(environment: &Environment) -> String {
    let user = environment.get("USER").filter(|user| !user.is_empty());
    format!("{}@{}", user.unwrap_or("somebody"), values::host_name())
}

/// Where the demo leaves its pictures when no other place is named.
#[must_use]
pub fn demo_directory() -> PathBuf {
    PathBuf::from("demo-pictures")
}

#[cfg(test)]
mod tests;
