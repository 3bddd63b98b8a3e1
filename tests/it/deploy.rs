//! What is in `deploy/`: the worker and its commands run under the rights that are granted there, and under no others.

use generative_ai_worker::config::{Config, variables};
use generative_ai_worker::private_servers::{RedisOptions, RedisServer};
use redis::AsyncCommands as _;

use crate::harness::authority::{Authority, free_port};
use crate::harness::command::{Said, command_on};
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::receiver::Receiver;
use crate::harness::stack::{QUEUE, Stack, icon, logo, with};
use crate::harness::users::user_file;

mod redis_users;
mod roles;

const WORKER: &str = include_str!("../../deploy/kubernetes/worker.yaml");
const SCALING: &str = include_str!("../../deploy/kubernetes/scaling.yaml");
const COMPOSE: &str = include_str!("../../docker-compose.yml");
const ENV_EXAMPLE: &str = include_str!("../../.env.example");

/// What a replica may take to give back what it has not finished, in seconds.
const GIVING_BACK_S: u64 = 15;

/// A life with everything in it: pictures, retries, failures, limits, a pause, a cancelled job, and every command.
async fn live(stack: &Stack, worker: &[(&str, &str)], operator: &[(&str, &str)]) {
    let openai = OpenAi::start(small_picture()).await;
    openai.then(Reply::Error(500, serde_json::json!({"message": "no"}), vec![]));
    openai.then(Reply::Error(500, serde_json::json!({"message": "no"}), vec![]));
    openai.then(Reply::Error(500, serde_json::json!({"message": "no"}), vec![]));
    let mut variables = vec![
        ("IMAGE_PROVIDER_LIMITS", "openai:1,openai:100/min"),
        ("FAIRNESS", "collection"),
        ("RECONCILE_INTERVAL", "1s"),
    ];
    variables.extend(worker);
    let receiver = Receiver::start().await;
    receiver.always("/gone", wiremock::ResponseTemplate::new(410));
    let to_receiver = receiver.variables();
    variables.extend(to_receiver.iter().map(|(name, value)| (&**name, &**value)));
    let replica = stack.replica_of(&openai, &variables).await;
    let mut jobs = stack.push_logos(20).await;
    let urgent = stack.job().await;
    let _: i64 = stack
        .redis()
        .await
        .lpush(format!("{{{QUEUE}}}:critical"), icon(urgent).to_string())
        .await
        .unwrap();
    jobs.push(urgent);
    stack.all_done_once(&jobs).await;

    let lost = stack.job().await;
    let package = logo(lost).to_string();
    let nowhere = "INSERT INTO generative_ai.jobs (job_id, state, package) VALUES ($1, 'waiting', $2)";
    stack.sql(nowhere, &[&lost, &package]).await;
    replica.said("they are in the queue again").await;
    stack.ended(lost).await;

    let run = async |arguments: &[&str]| -> Said { command_on(stack, arguments, operator).await };
    let ok = async |arguments: &[&str]| {
        let said = run(arguments).await;
        assert_eq!(said.status, Some(0), "{arguments:?}: {} {}", said.out, said.err);
    };
    ok(&["pause"]).await;
    let cancelled = stack.job().await;
    let package = with(logo(cancelled), "replyTo", format!("{{{QUEUE}}}:reply:x"));
    stack.push(&package).await;
    ok(&["cancel", &cancelled.to_string()]).await;
    ok(&["resume"]).await;
    let dead = stack.job().await;
    stack.push(&with(logo(dead), "imageSize", "1x1")).await;
    stack.push_raw(b"no JSON").await;
    stack.ended(dead).await;
    stack.idle().await;
    ok(&["jobs", "show", &dead.to_string()]).await;
    ok(&["dead", "list"]).await;
    ok(&["dead", "retry", "--class", "invalid_request", "--yes"]).await;
    stack.ended(dead).await;
    stack.idle().await;
    ok(&["dead", "purge", "--yes"]).await;
    let told = stack.job().await;
    stack
        .push(&with(logo(told), "callbackUrl", receiver.url("/gone")))
        .await;
    stack.outbox_has("state = 'failed'", 1).await;
    ok(&["callbacks", "list"]).await;
    ok(&["callbacks", "retry", "--all"]).await;
    receiver.told(stack, "/gone", 2).await;
    stack.outbox_has("state = 'failed'", 1).await;
    ok(&["callbacks", "drop", &told.to_string()]).await;
    let deletion = stack.job().await;
    let image_id = stack.job_row(jobs[0]).await.data["imageId"].clone();
    stack
        .push(&serde_json::json!({"type": "delete-image", "jobId": deletion, "imageId": image_id}))
        .await;
    let deleted = stack.ended(deletion).await;
    assert_eq!(
        (deleted.error, &deleted.data["imageDeletion"]),
        (None, &"deleted".into())
    );
    ok(&["reseed"]).await;
    ok(&["tidy"]).await;
    ok(&["status"]).await;
    ok(&["healthcheck"]).await;
    // It looks at the rights that it is run with.
    let doctor = command_on(stack, &["doctor", "--offline"], worker).await;
    assert!(!doctor.out.contains("FAIL"), "{}", doctor.out);
    ok(&["enqueue", "--prompt", "A lighthouse", "--wait"]).await;
    replica.terminate();
    replica.said("stopped").await;
    // Nothing of all this was refused and ridden out.
    assert_eq!(replica.times_said("does not answer"), 0, "{}", replica.log());
    assert_eq!(replica.times_said("Redis does not tell"), 0, "{}", replica.log());
}

/// As `docs/operations.md` leads to it: the file of users as it is, TLS on the only port, and a certificate asked of clients or not.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_with_the_users_of_the_file_and_tls_alone_is_worked_with() {
    let stack = Stack::start().await;
    let authority = Authority::make(&stack.path("authority"));
    let file = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    let root = file(&authority.root);
    let (certificate, key) = authority.own_files();
    let mut jobs = Vec::new();
    for asks in [false, true] {
        let users = stack.path("users.acl");
        user_file(&users, "worker-4f1c", "test-77");
        let tls_port = free_port();
        let mut config = authority.config(tls_port);
        config.push(format!("aclfile {}", users.display()));
        if asks {
            config.push("tls-auth-clients yes".to_owned());
        }
        let options = RedisOptions {
            append_only: true,
            config,
            password: Some("test-77".to_owned()),
            ..RedisOptions::default()
        };
        let server = RedisServer::start(&stack.path(&format!("redis-{asks}")), options).unwrap();
        stack.look_at(server.url());
        let base = format!("rediss://worker:worker-4f1c@127.0.0.1:{tls_port}?ssl_ca_certs={root}");
        let own = format!("&ssl_certfile={}&ssl_keyfile={}", file(certificate), file(key));
        if asks {
            let said = command_on(&stack, &["check-config"], &[("REDIS_URL", &base)]).await;
            assert_eq!(said.status, Some(69), "{}", said.err);
            assert!(
                said.err.contains("it asks for a certificate of its clients"),
                "{}",
                said.err
            );
        }
        let url = if asks { base + &own } else { base };
        let variables = [("REDIS_URL", url.as_str())];
        let said = command_on(&stack, &["check-config"], &variables).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""));
        let replica = stack.replica(&variables).await;
        jobs.extend(stack.push_logos(3).await);
        stack.all_done_once(&jobs).await;
        assert!(!replica.log().contains("worker-4f1c"), "{}", replica.log());
        assert_eq!(redis_users::refused(&stack).await, Vec::<String>::new());
        for (wrong, words) in [
            (format!("ssl_ca_certs={}", file(key)), "UnknownIssuer"),
            (
                "ssl_ca_certs=/nonexistent/ca.pem".to_owned(),
                "the file of ssl_ca_certs cannot be read",
            ),
            (
                format!("ssl_ca_certs={}", file(&users)),
                "the file of ssl_ca_certs is no PEM file",
            ),
            (
                format!("ssl_ca_certs={root}&ssl_certfile={root}"),
                "which go together",
            ),
        ] {
            let url = format!("rediss://worker:worker-4f1c@127.0.0.1:{tls_port}?{wrong}");
            let said = command_on(&stack, &["check-config"], &[("REDIS_URL", &url)]).await;
            assert!(said.err.contains(words), "{wrong}: {}", said.err);
        }
    }
}

/// The value behind a key of a manifest, wherever it stands.
fn value<'a>(manifest: &'a str, key: &str) -> &'a str {
    let line = manifest
        .lines()
        .find_map(|line| line.trim().strip_prefix(&format!("{key}: ")));
    line.unwrap_or_else(|| panic!("{key} is missing"))
        .trim_matches('"')
}

#[test]
fn whoever_stops_a_replica_waits_until_it_has_finished() {
    let files = [
        (".env.example", ENV_EXAMPLE, None),
        (
            "deploy/kubernetes/worker.yaml",
            WORKER,
            Some("terminationGracePeriodSeconds"),
        ),
        ("docker-compose.yml", COMPOSE, Some("stop_grace_period")),
    ];
    for (name, text, grace) in files {
        // As it would be read there: what the file sets, and the defaults.
        let set = text.lines().filter_map(|line| {
            let line = line.trim().trim_start_matches("# ");
            let (variable, value) = line.split_once(": ").or_else(|| line.split_once('='))?;
            ["JOB_TIMEOUT", "SHUTDOWN_TIMEOUT"]
                .contains(&variable)
                .then_some((variable, value))
        });
        let database = ("DATABASE_URL", "postgres://worker@postgres/app");
        let config = Config::from_environment(&set.chain([database]).collect()).unwrap();
        let (shutdown, job) = (config.worker.shutdown_timeout, config.worker.attempts.job_timeout);
        assert!(
            shutdown >= job,
            "{name}: SHUTDOWN_TIMEOUT is {shutdown:?}, JOB_TIMEOUT {job:?}"
        );
        let Some(key) = grace else { continue };
        let grace: u64 = value(text, key).trim_end_matches('s').parse().unwrap();
        let least = shutdown.as_secs() + GIVING_BACK_S;
        assert!(
            grace >= least,
            "{name}: {key} is {grace} s, at least {least} s is needed"
        );
    }
}

#[test]
fn the_manifests_name_variables_that_there_are_and_times_that_fit() {
    let is_name = |word: &str| {
        word.len() > 3
            && word
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let mut names: Vec<&str> = WORKER
        .lines()
        .filter_map(|line| {
            line.trim()
                .strip_prefix("- name: ")
                .or_else(|| Some(line.trim().split_once(": ")?.0))
        })
        .filter(|word| is_name(word))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(
            variables().any(|variable| variable.name == name),
            "{name} is no variable of the worker"
        );
    }
    assert!(value(WORKER, "HTTP_ADDR").ends_with(value(WORKER, "containerPort")));
    // A replica more for what one can hold, and none taken away before a delayed package is due.
    assert_eq!(value(SCALING, "listLength"), value(WORKER, "WORKER_CONCURRENCY"));
    let longest = variables()
        .find(|variable| variable.name == "RETRY_MAX_DELAY")
        .unwrap();
    assert_eq!(longest.default, Some("10m"));
    assert!(value(SCALING, "cooldownPeriod").parse::<u64>().unwrap() > 600);
    let queue = value(WORKER, "QUEUE_NAME");
    for list in SCALING
        .lines()
        .filter_map(|line| line.trim().strip_prefix("listName: "))
    {
        let list = list.trim_matches('"');
        assert!(
            list == queue || list.starts_with(&format!("{{{queue}}}:")),
            "{list}"
        );
    }
}
