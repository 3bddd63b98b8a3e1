use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;
use crate::provider::services::imagen::{self, ImagenSettings};
use crate::provider::services::{fal, gemini, openai};
use crate::provider::wire::keyed::{Access, Keyed};

const DATABASE: (&str, &str) = ("DATABASE_URL", "postgres://worker:hunter2@db/app");

fn config(variables: &[(&str, &str)]) -> Result<Config, Faults> {
    let all = variables.iter().copied().chain([DATABASE]);
    Config::from_environment(&all.collect())
}

/// What one provider reads of these variables.
fn read<T>(variables: &[(&str, &str)], list: &'static [Variable], read: impl Fn(&mut Reader<'_>) -> T) -> T {
    let environment = variables.iter().copied().collect();
    Reader::new(&environment).with(list, read)
}

fn keyed(access: &'static Access, variables: &[(&str, &str)]) -> Keyed {
    read(variables, access.variables, |reader| Keyed::read(access, reader))
}

fn faults(variables: &[(&str, &str)]) -> Vec<String> {
    config(variables).map(|_| ()).unwrap_err().0
}

#[test]
fn one_variable_is_enough_to_start() {
    let config = config(&[]).unwrap();
    assert_eq!(config.queue.name, "generative-ai");
    assert_eq!(config.queue.url.expose_secret(), "redis://127.0.0.1:6379");
    assert_eq!(config.queue.lease_ttl, Duration::from_secs(15));
    assert_eq!(config.worker.concurrency, 10);
    assert_eq!(config.worker.attempts.max_attempts, 5);
    assert_eq!(config.worker.attempts.packages.max_bytes, 256 * 1024);
    assert_eq!(
        config.worker.attempts.packages.reply_prefix,
        "{generative-ai}:reply:"
    );
    assert_eq!(config.providers.default, "openai");
    assert_eq!(config.ops.http_addr, "127.0.0.1:9464".parse().ok());
}

#[test]
fn a_stopping_replica_waits_as_long_as_a_call_can_take() {
    let times = |variables| {
        let config = config(variables).unwrap();
        (config.worker.shutdown_timeout.as_secs(), config.warnings())
    };
    assert_eq!(times(&[]), (300, vec![]));
    assert_eq!(times(&[("JOB_TIMEOUT", "90s")]), (90, vec![]));
    assert_eq!(times(&[("SHUTDOWN_TIMEOUT", "6m")]), (360, vec![]));
    let warning = "SHUTDOWN_TIMEOUT: 30s is less than JOB_TIMEOUT (300s), so a picture that is being drawn when a \
                   replica stops may be paid for twice; leave it out, or set it to 300s or more";
    assert_eq!(
        times(&[("SHUTDOWN_TIMEOUT", "30s")]),
        (30, vec![warning.to_owned()])
    );
    let (seconds, warnings) = times(&[("SHUTDOWN_TIMEOUT", "0s")]);
    assert_eq!(seconds, 0);
    assert!(
        warnings[0].starts_with("SHUTDOWN_TIMEOUT: 0s is less than"),
        "{warnings:?}"
    );
}

#[test]
fn what_is_probably_not_meant_is_told() {
    for (variables, begin) in [
        (
            &[("RETRY_BASE_DELAY", "20m"), ("RETRY_MAX_DELAY", "10m")][..],
            "RETRY_BASE_DELAY: 1200s is more than RETRY_MAX_DELAY (600s)",
        ),
        (&[("MAX_PACKAGE_BYTES", "1")], "MAX_PACKAGE_BYTES: 1 is less than"),
        (
            &[("IMAGE_PROVIDER_FALLBACKS", "gemini,openai")],
            "IMAGE_PROVIDER_FALLBACKS: openai is in it",
        ),
        (
            &[("STORAGE_URL", "file:///pictures"), ("S3_BUCKET", "pictures")],
            "S3_BUCKET: pictures is set and STORAGE_URL names another place",
        ),
        (
            &[
                ("PUBLIC_URL_BASE", "https://a.example.org"),
                ("CLOUDFLARE_IMAGE_PROXY_DOMAIN", "b.example.org"),
            ],
            "CLOUDFLARE_IMAGE_PROXY_DOMAIN: b.example.org is set and PUBLIC_URL_BASE",
        ),
        (&[("STORAGE_URL", "memory://")], "STORAGE_URL: memory:// keeps"),
    ] {
        let warnings = config(variables).unwrap().warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(begin), "{warnings:?}");
    }
    let usual = [("STORAGE_URL", "s3://pictures/icons"), ("S3_BUCKET", "pictures")];
    assert_eq!(config(&usual).unwrap().warnings(), [] as [&str; 0]);
}

#[test]
fn no_call_is_given_up_before_a_provider_can_have_drawn() {
    for wrong in ["0s", "999ms", "25h"] {
        assert_eq!(
            faults(&[("JOB_TIMEOUT", wrong)]),
            [format!(
                "JOB_TIMEOUT: \"{wrong}\" is out of range; 1s to 86400s is accepted"
            )]
        );
    }
}

#[test]
fn a_log_filter_that_would_hide_everything_is_refused() {
    for right in [
        "warn",
        "info,hyper=off",
        "off",
        "3",
        "generative_ai_worker::worker",
        "WARN",
    ] {
        assert!(config(&[("RUST_LOG", right)]).is_ok(), "{right}");
    }
    for (wrong, word) in [("warning", "warning"), ("info,verbose", "verbose")] {
        let faults = faults(&[("RUST_LOG", wrong)]);
        let expected = format!("RUST_LOG: \"{word}\" was found, which is no level; off, error, warn, ");
        assert!(faults[0].starts_with(&expected), "{faults:?}");
    }
}

#[test]
fn a_job_without_a_row_may_be_looked_for_or_not() {
    let wait = |variables| config(variables).unwrap().worker.attempts.job_row_wait;
    assert_eq!(wait(&[]), Duration::from_secs(30));
    assert_eq!(wait(&[("JOB_ROW_WAIT", "0s")]), Duration::ZERO);
    assert_eq!(
        faults(&[("JOB_ROW_WAIT", "soon")]),
        ["JOB_ROW_WAIT: \"soon\" is not a duration; write for example 500ms, 30s or 5m"]
    );
}

#[test]
fn an_address_that_is_set_to_nothing_is_none() {
    let http_addr = |value| config(&[("HTTP_ADDR", value)]).unwrap().ops.http_addr;
    assert_eq!(http_addr(""), None);
    assert_eq!(http_addr(" "), None);
    assert_eq!(http_addr("[::]:80"), "[::]:80".parse().ok());
    for wrong in ["9464", ":9464", "localhost:9464", "127.0.0.1"] {
        assert_eq!(
            faults(&[("HTTP_ADDR", wrong)]),
            [format!(
                "HTTP_ADDR: \"{wrong}\" was found; an address with its port such as 127.0.0.1:9464, or nothing at all, is accepted"
            )]
        );
    }
}

#[test]
fn the_operators_page_needs_a_port_of_its_own() {
    let both = |probes, page| [("HTTP_ADDR", probes), ("DASHBOARD_ADDR", page)];
    for (probes, page) in [
        ("127.0.0.1:9464", "127.0.0.1:9464"),
        ("0.0.0.0:9464", "127.0.0.1:9464"),
    ] {
        assert_eq!(
            faults(&both(probes, page)),
            [format!(
                "DASHBOARD_ADDR: \"{page}\" was found, and HTTP_ADDR has that port already; choose another one, such as 127.0.0.1:9465"
            )]
        );
    }
    for (probes, page) in [
        ("127.0.0.1:9464", "127.0.0.1:9465"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("", "127.0.0.1:9464"),
    ] {
        assert!(config(&both(probes, page)).is_ok(), "{probes} {page}");
    }
}

#[test]
fn every_fault_is_reported_at_once_and_names_its_variable() {
    let environment = [
        ("JOB_TIMEOUT", "5 minutes"),
        ("WORKER_CONCURRENCY", "0"),
        ("QUEUE_NAME", "a{b}"),
        ("REDIS_URL", "http://h"),
        ("IMAGE_PROVIDER", "OpenAI"),
        ("S3_FORCE_PATH_STYLE", "maybe"),
        ("MAX_PACKAGE_BYTES", "lots"),
        ("STORAGE_URL", "ftp://x"),
        ("LOG_FORMAT", "xml"),
        ("RUST_LOG", "=["),
    ];
    let faults = Config::from_environment(&environment.into_iter().collect())
        .unwrap_err()
        .0;
    for expected in [
        "DATABASE_URL: is not set; write for example postgres://",
        "JOB_TIMEOUT: \"5 minutes\" is not a duration; write for example 500ms, 30s or 5m",
        "WORKER_CONCURRENCY: \"0\" was found; a number from 1 to 1024 is accepted",
        "QUEUE_NAME: \"a{b}\" was found; a name of up to 128 characters without spaces and braces is accepted",
        "REDIS_URL: a URL with the scheme http was found, which is that of an API over HTTP",
        "IMAGE_PROVIDER: \"OpenAI\" was found; openai, azureOpenai, flux, imagen, gemini, bfl, stability, fal, openrouter, xai, bedrock, azureFoundry, seedream, qwen, openaiCompatible, automatic1111, comfyui, builtin, blank are accepted",
        "S3_FORCE_PATH_STYLE: \"maybe\" was found; true and false are accepted",
        "MAX_PACKAGE_BYTES: \"lots\" is not a size",
        "STORAGE_URL",
        "LOG_FORMAT: \"xml\" was found; pretty and json are accepted",
        "RUST_LOG: \"=[\" was found, which does not parse",
    ] {
        assert!(
            faults.iter().any(|fault| fault.starts_with(expected)),
            "{expected}\nis not in\n{}",
            faults.join("\n")
        );
    }
    assert_eq!(faults.len(), 11, "{}", faults.join("\n"));
}

#[test]
fn no_fault_and_no_debug_output_shows_a_secret() {
    let wrong = [
        ("DATABASE_URL", "mysql://worker:hunter2@db/app"),
        ("REDIS_URL", "tcp://:hunter2@cache"),
        ("OPENAI_BASE_URL", "https://user:hunter2@host/"),
    ];
    let faults = Config::from_environment(&wrong.into_iter().collect()).unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    assert!(!faults.to_string().contains("hunter2"), "{faults}");
    let config = config(&[
        ("REDIS_URL", "redis://:hunter2@cache"),
        ("OPENAI_API_KEY", "sk-hunter2"),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
    ])
    .unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_no_client_could_use_is_a_fault_before_anything_is_reached() {
    assert_eq!(
        faults(&[
            ("REDIS_URL", "redis://:hunter2@cache/hunter2"),
            ("OPENAI_API_KEY", "sk-\u{7}hunter2"),
            ("OPENAI_PROJECT_ID", "proj\nhunter2"),
            ("OPENAI_BASE_URL", "https://example.org/v1?key=hunter2"),
        ]),
        [
            "REDIS_URL: cannot be used (its database is not a number such as 2); \
             redis://[user:password@]host[:port][/database][?protocol=resp3], or rediss:// for TLS [?ssl_ca_certs=file], or \
             redis+unix:///path/of/socket[?db=database&user=…&pass=…] is accepted",
            "OPENAI_API_KEY: the value has characters that no HTTP header can carry; write it on one line, in plain ASCII",
            "OPENAI_PROJECT_ID: the value has characters that no HTTP header can carry; write it on one line, in plain ASCII",
            "OPENAI_BASE_URL: the base URL must end with its path, without ? or #",
        ]
    );
}

#[test]
fn on_a_cluster_reply_lists_have_to_live_where_the_queue_does() {
    let cluster = ("REDIS_URL", "redis+cluster://a,b");
    assert_eq!(
        faults(&[cluster, ("QUEUE_REPLY_PREFIX", "replies:")]),
        [
            "QUEUE_REPLY_PREFIX: \"replies:\" was found; on a cluster it has to start with {generative-ai}, as \
             reply lists live where the queue lives"
        ]
    );
    assert!(config(&[cluster]).is_ok());
    assert!(config(&[cluster, ("QUEUE_REPLY_PREFIX", "{generative-ai}:x")]).is_ok());
    assert!(config(&[("QUEUE_REPLY_PREFIX", "replies:")]).is_ok());
}

#[test]
fn what_a_service_of_ones_own_could_not_use_is_a_fault_too() {
    let faults = faults(&[
        ("AZURE_OPENAI_API_KEY", "\u{7}hunter2"),
        ("AZURE_OPENAI_API_BASE", "https://example.org/?key=hunter2"),
        ("AZURE_OPENAI_API_VERSION", "newest"),
        ("AZURE_OPENAI_API_MODEL", "gpt-image-99"),
        ("OPENAI_COMPATIBLE_BASE_URL", "localhost:8080"),
        ("OPENAI_COMPATIBLE_API_KEY", "two\nhunter2"),
        ("OPENAI_COMPATIBLE_IS_FREE", "perhaps"),
        ("AUTOMATIC1111_API_KEY", "hunter2"),
        ("AUTOMATIC1111_OPTIONS", "{\"prompt\":\"hunter2\"}"),
        ("COMFYUI_API_KEY", "two\nhunter2"),
        ("COMFYUI_WORKFLOW", "/nonexistent/workflow.json"),
    ]);
    for (fault, expected) in faults.iter().zip([
        "AZURE_OPENAI_API_VERSION: \"newest\" was found; v1, preview, or a date such as 2025-04-01-preview is accepted",
        "AZURE_OPENAI_API_MODEL: \"gpt-image-99\" was found; the id of a model of OpenAI is accepted",
        "AZURE_OPENAI_API_KEY: the value has characters",
        "AZURE_OPENAI_API_BASE: the base URL must end with its path",
        "OPENAI_COMPATIBLE_BASE_URL: \"localhost:8080\" was found; an http or https URL is accepted",
        "OPENAI_COMPATIBLE_IS_FREE: \"perhaps\" was found; true and false are accepted",
        "OPENAI_COMPATIBLE_API_KEY: the value has characters",
        "AUTOMATIC1111_OPTIONS: prompt is set by each package",
        "AUTOMATIC1111_API_KEY: user:password is accepted",
        "COMFYUI_WORKFLOW: the file /nonexistent/workflow.json cannot be read",
        "COMFYUI_API_KEY: the value has characters",
    ]) {
        assert!(fault.starts_with(expected), "{fault}\nshould begin with\n{expected}");
    }
    assert_eq!(faults.len(), 11, "{faults:?}");
    assert!(!faults.join("\n").contains("hunter2"), "{faults:?}");
}

#[test]
fn the_first_redis_url_that_is_set_wins() {
    let url = |variables: &[(&str, &str)]| config(variables).unwrap().queue.url.expose_secret().to_owned();
    assert_eq!(
        url(&[("REDIS_WORKER_URL", "redis://a"), ("REDIS_URL", "redis://b")]),
        "redis://a"
    );
    assert_eq!(
        url(&[("REDIS_WORKER_URL", ""), ("REDIS_URL", "rediss://b/2")]),
        "rediss://b/2"
    );
}

#[test]
fn a_value_can_come_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "sk-from-file\n").unwrap();
    let path = file.path().to_str().unwrap();
    let key = keyed(&openai::ACCESS, &[("OPENAI_API_KEY_FILE", path)])
        .key
        .unwrap();
    assert_eq!(key.expose_secret(), "sk-from-file");
    assert_eq!(
        faults(&[("OPENAI_API_KEY_FILE", path), ("OPENAI_API_KEY", "sk-2")]),
        ["OPENAI_API_KEY: both OPENAI_API_KEY and OPENAI_API_KEY_FILE are set; set one of them"]
    );
    let missing = faults(&[("OPENAI_API_KEY_FILE", "/nonexistent/key")]);
    assert!(
        missing[0].starts_with("OPENAI_API_KEY_FILE: the file /nonexistent/key cannot be read: "),
        "{missing:?}"
    );
}

#[test]
fn the_key_of_gemini_goes_by_two_names_and_the_plainer_one_wins() {
    let key = |variables: &[(&str, &str)]| {
        let key = keyed(&gemini::ACCESS, variables).key;
        key.map(|key| key.expose_secret().to_owned())
    };
    assert_eq!(key(&[]), None);
    assert_eq!(key(&[("GOOGLE_API_KEY", "b")]).as_deref(), Some("b"));
    let both = [("GOOGLE_API_KEY", "b"), ("GEMINI_API_KEY", "a")];
    assert_eq!(key(&both).as_deref(), Some("a"));
}

#[test]
fn the_login_of_gcloud_is_looked_for_where_gcloud_keeps_it() {
    let file = |variables: &[(&str, &str)]| {
        let read = read(variables, imagen::VARIABLES, ImagenSettings::read);
        read.auth.well_known_file
    };
    assert_eq!(file(&[]), None);
    assert_eq!(
        file(&[("HOME", "/home/me")]),
        Some("/home/me/.config/gcloud/application_default_credentials.json".into())
    );
    assert_eq!(
        file(&[("HOME", "/home/me"), ("CLOUDSDK_CONFIG", "/etc/gcloud")]),
        Some("/etc/gcloud/application_default_credentials.json".into())
    );
}

#[test]
fn faults_of_google_and_stability_are_found_at_the_start() {
    let found = faults(&[
        ("GOOGLE_CLOUD_PROJECT_ID", "my-project"),
        ("GOOGLE_CLOUD_IMAGEN_LOCATION", "us/east"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/google.json"),
        ("VERTEX_BASE_URL", "https://example.org/?key=hunter2"),
        ("GEMINI_API_KEY", "AIza\u{7}hunter2"),
        ("STABILITY_API_KEY", "sk-\u{7}hunter2"),
        ("STABILITY_BASE_URL", "ftp://example.org"),
    ]);
    for (fault, variable) in found.iter().zip([
        "GOOGLE_CLOUD_IMAGEN_LOCATION: \"us/east\" was found; ",
        "VERTEX_BASE_URL: ",
        "GOOGLE_APPLICATION_CREDENTIALS: the file /nonexistent/google.json cannot be read: ",
        "GEMINI_API_KEY: ",
        "STABILITY_",
        "STABILITY_",
    ]) {
        assert!(fault.starts_with(variable), "{fault}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(!found.concat().contains("hunter2"));
    // A file for gs:// alone is none of imagen's business.
    assert!(config(&[("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/google.json")]).is_ok());
}

#[test]
fn a_false_path_style_is_false() {
    let path_style = |value| {
        config(&[("S3_FORCE_PATH_STYLE", value)])
            .unwrap()
            .storage
            .s3
            .force_path_style
    };
    assert_eq!(path_style("false"), Some(false));
    assert_eq!(path_style("1"), Some(true));
    assert_eq!(config(&[]).unwrap().storage.s3.force_path_style, None);
}

#[test]
fn the_example_file_is_made_from_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.env.example");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    if written != env_example() {
        std::fs::write(path, env_example()).unwrap();
        panic!(
            ".env.example differed from the list of variables; it has been written anew, look at it and commit it"
        );
    }
}

#[test]
fn the_reference_lists_every_variable() {
    let reference = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/reference/variables.md"
    ))
    .unwrap();
    let missing: Vec<_> = variables()
        .filter(|v| !reference.contains(&format!("`{}`", v.name)))
        .map(|v| v.name)
        .collect();
    assert!(
        missing.is_empty(),
        "docs/reference/variables.md does not mention {missing:?}"
    );
    // First cells of its table: each variable is told of once.
    let cells: Vec<&str> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split(" | ").next())
        .collect();
    let repeated: Vec<_> = variables()
        .map(|v| v.name)
        .filter(|name| {
            let has = |cell: &&&str| cell.split('`').any(|word| word == *name);
            cells.iter().filter(has).count() != 1
        })
        .collect();
    assert!(
        repeated.is_empty(),
        "docs/reference/variables.md has no row, or several, for {repeated:?}"
    );
}

#[test]
fn every_provider_that_is_listed_can_be_the_default() {
    for name in PROVIDERS {
        assert_eq!(
            config(&[("IMAGE_PROVIDER", name)]).unwrap().providers.default,
            name
        );
    }
}

#[test]
fn the_key_of_fal_goes_by_two_names_and_its_own_wins() {
    let key = |variables: &[(&str, &str)]| {
        let key = keyed(&fal::ACCESS, variables).key;
        key.map(|key| key.expose_secret().to_owned())
    };
    assert_eq!(key(&[]), None);
    assert_eq!(key(&[("FAL_API_KEY", "b")]).as_deref(), Some("b"));
    let both = [("FAL_API_KEY", "b"), ("FAL_KEY", "a")];
    assert_eq!(key(&both).as_deref(), Some("a"));
}

#[test]
fn the_help_of_the_default_provider_names_all_of_them() {
    let variable = variables()
        .find(|variable| variable.name == "IMAGE_PROVIDER")
        .unwrap();
    for name in PROVIDERS {
        assert!(
            variable.help.contains(name),
            "{name} is not in \"{}\"",
            variable.help
        );
    }
}

#[test]
fn what_is_posted_to_others_is_signed_and_goes_where_an_operator_allows() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let origins = |variables: &[(&str, &str)]| {
        let config = config(variables).unwrap();
        let limits = &config.worker.attempts.packages.callback_origins;
        let of_packages: Vec<String> = limits.iter().map(str::to_owned).collect();
        let of_notifier: Vec<String> = config
            .notify
            .iter()
            .flat_map(|notify| notify.receivers.origins())
            .map(str::to_owned)
            .collect();
        assert_eq!(of_packages, of_notifier);
        of_packages
    };
    assert!(origins(&[]).is_empty());
    assert!(origins(&[("CALLBACK_SECRET", secret)]).is_empty());
    let hosts = ("CALLBACK_HOSTS", "hooks.example.org,http://app.internal:3000");
    assert_eq!(
        origins(&[hosts, ("CALLBACK_SECRET", secret)]),
        ["http://app.internal:3000", "https://hooks.example.org"]
    );
    assert_eq!(
        faults(&[hosts]),
        ["CALLBACK_SECRET: is not set; write for example whsec_<base64 of 32 random bytes>"]
    );
    let wrong = faults(&[("CALLBACK_HOSTS", "localhost"), ("CALLBACK_SECRET", "hunter2")]);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
    assert!(wrong[0].starts_with("CALLBACK_HOSTS: \"localhost\" was found, a name of this machine"));
    assert!(wrong[1].starts_with("CALLBACK_SECRET: value 1 of 1 does not begin with whsec_"));
    assert!(!wrong[1].contains("hunter2"));
}
