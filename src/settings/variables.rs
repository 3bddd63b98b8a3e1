//! The list of variables: `.env.example` and docs/reference/variables.md are made from it.

/// One variable. Each may also be given as `<name>_FILE`, a path whose content is the value.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What is used when it is not set.
    pub default: Option<&'static str>,
    /// A value to copy.
    pub example: &'static str,
    /// What it is for.
    pub help: &'static str,
}

/// A variable, for the lists.
pub(crate) const fn variable(
    name: &'static str,
    default: Option<&'static str>,
    example: &'static str,
    help: &'static str,
) -> Variable {
    Variable {
        name,
        default,
        example,
        help,
    }
}

/// Every variable that this version reads, in the order in which a person meets them.
pub const VARIABLES: &[Variable] = &[
    variable(
        "DATABASE_URL",
        None,
        "postgres://worker:password@127.0.0.1:5432/app",
        "Postgres. Required. sslmode (disable, prefer, require, verify-ca, verify-full) and sslrootcert are honoured",
    ),
    variable(
        "REDIS_WORKER_URL",
        None,
        "redis://127.0.0.1:6379",
        "Redis 6.2 or later, or Valkey 7.2 or later; wins over REDIS_URL",
    ),
    variable(
        "REDIS_URL",
        Some("redis://127.0.0.1:6379"),
        "redis://127.0.0.1:6379",
        "Redis; rediss:// for TLS. Sentinels: redis+sentinel://:password@host1,host2/master-name?sentinel_password=... A cluster: redis+cluster://:password@host1,host2",
    ),
    variable(
        "QUEUE_NAME",
        Some("generative-ai"),
        "generative-ai",
        "The list that producers push to, and the tag of every other key",
    ),
    variable(
        "QUEUE_REPLY_PREFIX",
        None,
        "{generative-ai}:reply:",
        "What replyTo of a package has to start with. Default: {QUEUE_NAME}:reply:",
    ),
    variable(
        "BULLMQ_QUEUE",
        None,
        "mainYpQueue-process-generative-ai",
        "Takes over the jobs of this BullMQ queue (version 5 or 6): their data is pushed here, then they are completed",
    ),
    variable(
        "BULLMQ_PREFIX",
        Some("bull"),
        "bull",
        "What the keys of that queue begin with",
    ),
    variable(
        "BULLMQ_JOB_NAMES",
        Some("process-generative-ai"),
        "process-generative-ai",
        "Names of jobs that are taken from it, with commas between them; others are left to others",
    ),
    variable(
        "BULLMQ_REDIS_URL",
        None,
        "redis://127.0.0.1:6379",
        "Where that queue is. Default: the Redis of the worker",
    ),
    variable(
        "CALLBACK_HOSTS",
        None,
        "hooks.example.org,http://app.internal:3000",
        "Where callbackUrl of a package may lead: hosts (https and public addresses only), or origins written out in full, which are allowed as they are. Default: nowhere, and packages with a callbackUrl are refused",
    ),
    variable(
        "CALLBACK_SECRET",
        None,
        "whsec_<base64 of 32 random bytes>",
        "Signs what is posted to a callbackUrl; required with CALLBACK_HOSTS. Made by: echo \"whsec_$(openssl rand -base64 32)\". Two with a comma between while it is changed",
    ),
    variable(
        "WORKER_NAME",
        None,
        "worker-1",
        "First part of the worker id. Default: the host's name",
    ),
    variable(
        "WORKER_CONCURRENCY",
        Some("10"),
        "10",
        "Packages that a replica works on at once, 1 to 1024",
    ),
    variable(
        "IMAGE_PROVIDER",
        Some("openai"),
        "builtin",
        "Who draws for packages that name no imageProvider: openai, azureOpenai, flux, imagen, gemini, bfl, stability, fal, openrouter, xai, bedrock, azureFoundry, seedream, qwen, openaiCompatible, automatic1111, comfyui, builtin, blank",
    ),
    variable(
        "IMAGE_PROVIDER_FALLBACKS",
        None,
        "gemini,builtin",
        "Who draws when the provider that was meant cannot, in this order",
    ),
    variable(
        "IMAGE_PROVIDER_LIMITS",
        None,
        "openai:5,openai:2/replica,openai:20/min",
        "Calls that a provider gets at the most: open at once over all replicas, open at once on each, and within a minute over all",
    ),
    variable(
        "WORK_TYPE_LIMITS",
        None,
        "collection-image:20,collection-image:5/replica",
        "The same for packages of a type",
    ),
    variable(
        "BUDGETS",
        None,
        "openai:50/day,user:2/day,collection:10/day,total:500/month",
        "What may be spent, in US dollars: at a provider, by each user, for each collection, in all; in a day or a month. Default: anything",
    ),
    variable(
        "BUDGET_ACTION",
        Some("wait"),
        "fail",
        "What happens to a job whose budget is spent: wait (for the next day or month), fail",
    ),
    variable(
        "BUDGET_TIMEZONE",
        Some("UTC"),
        "Europe/Berlin",
        "Where those days and months begin at midnight: a name of the IANA time zone database",
    ),
    variable(
        "MODELS_FILE",
        None,
        "/etc/generative-ai-worker/models.json",
        "Models that are added to the table of models, or replace those of the same provider and id",
    ),
    variable(
        "ALLOWED_MODELS",
        None,
        "openai:gpt-image-2,openai:gpt-image-2.6-flare:low|medium,builtin",
        "What packages may ask for: providers, their models, the qualities of those. Default: everything that is configured",
    ),
    variable(
        "ALLOW_LOW_MODERATION",
        Some("false"),
        "true",
        "Lets packages ask for moderation low",
    ),
    variable(
        "ALLOW_PRIVATE_RESULT_URLS",
        Some("false"),
        "true",
        "Lets result URLs of providers lead to loopback and private addresses, and be plain HTTP; link-local and metadata addresses never",
    ),
    variable(
        "STORAGE_URL",
        None,
        "s3://bucket/prefix",
        "Where pictures go: a path, file:///..., s3://bucket/prefix, gs://..., az://..., memory://. Default: s3://S3_BUCKET where that is set, else ./images",
    ),
    variable(
        "S3_BUCKET",
        None,
        "pictures",
        "Bucket, where STORAGE_URL names none",
    ),
    variable(
        "S3_ENDPOINT",
        None,
        "http://127.0.0.1:9000",
        "Address of a store that is not Amazon's; may have the bucket in its path or host. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL",
    ),
    variable(
        "S3_REGION",
        None,
        "eu-west-1",
        "Region. Default: AWS_REGION, the endpoint's host, the profile; else asked of Amazon, us-east-1 elsewhere",
    ),
    variable(
        "S3_FORCE_PATH_STYLE",
        None,
        "true",
        "Bucket in the path instead of the host's name. Default: true with S3_ENDPOINT",
    ),
    variable(
        "S3_ACL",
        None,
        "public-read",
        "ACL of new objects. Many stores refuse any",
    ),
    variable(
        "AWS_ACCESS_KEY_ID",
        None,
        "AKIA...",
        "Credentials of the store. Without them: AWS_PROFILE, a role of the container, at Amazon the machine's (docs/stores.md)",
    ),
    variable("AWS_SECRET_ACCESS_KEY", None, "...", "The same"),
    variable(
        "AWS_SESSION_TOKEN",
        None,
        "...",
        "The same, where they are temporary",
    ),
    variable(
        "PUBLIC_URL_BASE",
        None,
        "https://images.example.org",
        "What stands before the key in public URLs",
    ),
    variable(
        "CLOUDFLARE_IMAGE_PROXY_DOMAIN",
        None,
        "images.example.org",
        "The same, as a domain",
    ),
    variable(
        "CLOUDFLARE_API_KEY",
        None,
        "<API token>",
        "With CLOUDFLARE_ZONE_ID: Cloudflare stands in front of the store and is told of deleted pictures; a token that may purge the cache of that zone",
    ),
    variable(
        "CLOUDFLARE_ZONE_ID",
        None,
        "023e105f4ecef8ad9ca31a8372d0c353",
        "The zone of the pictures' domain at Cloudflare",
    ),
    variable(
        "CLOUDFLARE_API_URL",
        Some("https://api.cloudflare.com/client/v4"),
        "https://api.cloudflare.com/client/v4",
        "Where Cloudflare's API is",
    ),
    variable(
        "KEEP_ORIGINALS",
        Some("false"),
        "true",
        "Keep the full-size picture that an icon was made from",
    ),
    variable(
        "PROMPT_SUFFIX_ICON",
        Some(
            "Instruction: Create a high quality icon that is clear at a small size for the user's project and follow their \
             style instructions. Do not add text to the image unless asked in the style instructions.",
        ),
        "Draw it in flat colours, without text.",
        "What follows the prompt of every icon, for providers that read instructions; nothing after the equals sign: nothing",
    ),
    variable(
        "PROMPT_SUFFIX_IMAGE",
        Some(
            "Instruction: Create a high quality image for the user's project and follow their style instructions. Do not \
             add text to the image unless asked in the style instructions.",
        ),
        "Draw it in warm colours, without text.",
        "The same for every other picture",
    ),
    variable(
        "JOB_TIMEOUT",
        Some("5m"),
        "5m",
        "How long a provider may take for one attempt",
    ),
    variable(
        "MAX_ATTEMPTS",
        Some("5"),
        "5",
        "Attempts at a job before it has failed for good",
    ),
    variable(
        "RETRY_BASE_DELAY",
        Some("5s"),
        "5s",
        "Longest wait before the second attempt; doubles with each further one",
    ),
    variable("RETRY_MAX_DELAY", Some("10m"), "10m", "Longest wait of all"),
    variable(
        "UNKNOWN_OUTCOME",
        Some("retry"),
        "hold",
        "What happens to a paid call whose outcome nobody knows: retry (once per job), hold (an operator decides), fail",
    ),
    variable(
        "SHUTDOWN_TIMEOUT",
        None,
        "5m",
        "How long a stopping replica finishes what it has in hand; shorter, a picture may be paid for twice. Default: JOB_TIMEOUT",
    ),
    variable(
        "JOB_ROW_WAIT",
        Some("30s"),
        "30s",
        "How long a jobId without a row in ac_background_jobs is looked for, for producers that push before they commit; 0s: not at all",
    ),
    variable(
        "PING_INTERVAL",
        Some("5s"),
        "5s",
        "Between two pings; a ping key lives three times as long",
    ),
    variable(
        "PRIORITY_WEIGHTS",
        Some("critical:20,high:10,normal:5,low:1"),
        "critical:20,high:10,normal:5,low:1",
        "Packages of each list that are taken while all of them are full; a list that was empty for a while goes first at once",
    ),
    variable(
        "FAIRNESS",
        Some("off"),
        "collection",
        "Whose backlog holds up nobody else: collection or user take turns within each list; off: packages leave in the order in which they were pushed",
    ),
    variable(
        "LEASE_TTL",
        Some("15s"),
        "15s",
        "A replica that has not renewed its lease for this long counts as dead",
    ),
    variable(
        "RECONCILE_INTERVAL",
        Some("1m"),
        "1m",
        "How often the queue is compared with the ledger, and what is in neither list nor hand is put back",
    ),
    variable(
        "DEAD_LETTER_MAX",
        Some("10000"),
        "10000",
        "Entries that the dead set in Redis keeps; Postgres keeps all",
    ),
    variable(
        "DEAD_LETTER_MAX_BYTES",
        Some("64MiB"),
        "64MiB",
        "What they take at the most, all of them together: of a long package the beginning is kept there",
    ),
    variable(
        "JOBS_RETENTION",
        Some("90d"),
        "90d",
        "How long the ledger knows a job that has ended: 12h, 90d, ..., or off: for ever",
    ),
    variable(
        "DEAD_RETENTION",
        Some("90d"),
        "90d",
        "How long packages that failed for good are kept, with their prompts",
    ),
    variable(
        "CALLS_RETENTION",
        Some("400d"),
        "400d",
        "How long calls that cost money are kept, for the books, and what commands have done; no prompt is in them",
    ),
    variable("MAX_PACKAGE_BYTES", Some("256KiB"), "256KiB", "Largest package"),
    variable(
        "HTTP_ADDR",
        Some("127.0.0.1:9464"),
        "127.0.0.1:9464",
        "Where /healthz, /readyz and /metrics are served; nothing after the equals sign: nowhere; port 0: any free port",
    ),
    variable(
        "DASHBOARD_ADDR",
        None,
        "127.0.0.1:9465",
        "Where the operators' page is served. Default: nowhere. An address that is not loopback needs a token",
    ),
    variable(
        "DASHBOARD_OPERATOR_TOKEN",
        None,
        "...",
        "Whoever has it may look at the page and change what it shows: 16 characters or more",
    ),
    variable(
        "DASHBOARD_VIEWER_TOKEN",
        None,
        "...",
        "Whoever has it may look at the page and change nothing",
    ),
    variable(
        "DASHBOARD_BASE_PATH",
        None,
        "/workers",
        "What stands before each path of the page, where a proxy serves it below a prefix",
    ),
    variable(
        "LOG_FORMAT",
        None,
        "json",
        "pretty or json. Default: pretty on a terminal, else json",
    ),
    variable(
        "RUST_LOG",
        None,
        "info",
        "Log filter. Default: info for run, warn for migrate, error for the other commands",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "http://collector:4318",
        "Where traces of jobs are sent, by OTLP over HTTP (/v1/traces below it). Default: nowhere",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        None,
        "http://collector:4318/v1/traces",
        "The same, as it is",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_HEADERS",
        None,
        "<name>=<value>",
        "Headers of what is sent there, keys say, with commas between",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        Some("10000"),
        "10000",
        "How long the collector may take, in milliseconds; no job waits for it",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        Some("http/protobuf"),
        "http/protobuf",
        "The one that is spoken",
    ),
    variable(
        "OTEL_SERVICE_NAME",
        Some("generative-ai-worker"),
        "generative-ai-worker",
        "What traces call this service",
    ),
    variable(
        "OTEL_SDK_DISABLED",
        Some("false"),
        "true",
        "Sends no traces, whatever else is set",
    ),
];
