//! What an operator is told to look at, on servers that are well and on servers that are not.

use redis::AsyncCommands;
use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::command::{Said, command_on};
use crate::harness::files_below;
use crate::harness::openai::{self, OpenAi, Reply};
use crate::harness::stack::Stack;

async fn doctor(stack: &Stack, variables: &[(&str, &str)]) -> Said {
    let said = command_on(stack, &["doctor"], variables).await;
    assert_eq!(said.err, "", "{}", said.out);
    said
}

/// A line with this grade and text.
#[track_caller]
fn says(said: &Said, grade: &str, text: &str) {
    let has = said
        .out
        .lines()
        .any(|line| line.starts_with(grade) && line.contains(text));
    assert!(has, "{grade} … {text} is missing in:\n{}", said.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_well_is_told_so_and_nothing_stays_behind() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    stack.until_key("ping", true).await;
    let keys_before: Vec<String> = stack.redis().await.keys("*").await.unwrap();
    let said = doctor(&stack, &[]).await;
    said.looks_like(
        0,
        "ok    redis      version, role, maxmemory-policy and keys are as a replica wants them
ok    redis      this account may do all 8 kinds of things that a worker does
ok    redis      * at 127.0.0.1:*
ok    redis      * MiB of memory in use, without a limit of its own
ok    redis      it appends every change to a file
*  redis      a round trip takes *
ok    redis      its clock agrees with this machine's within 2 s
ok    redis      its slow log is not full
ok    postgres   every migration is applied
ok    postgres   this account has every right that it needs
ok    postgres   every step of a job can be done, as a try that was rolled back has shown
ok    postgres   Postgres *
*  postgres   fsync is *
*  postgres   synchronous_commit is *
ok    postgres   * of * connections are open
ok    postgres   its clock agrees with this machine's within 2 s
ok    storage    * takes an object and gives it back
ok    storage    an object can be removed
warn  storage    addresses of pictures begin with file:, which other machines cannot open; set PUBLIC_URL_BASE to one that they can
ok    providers  replicas call each of them
ok    providers  builtin: draws by itself
ok    providers  blank: draws by itself
ok    providers  not configured and not needed: openai, *
ok    packages   a replica is able to work; 0 packages wait
ok    packages   no package is too large
ok    packages   no dead replica has packages
ok    packages   no delayed package is overdue
ok    packages   every unfinished job that nobody works on has its package in Redis
ok    packages   every job that a live replica has begun is in its hand
ok    packages   every job that was begun has a live replica
ok    packages   no paid call is open after its deadline
ok    packages   no callback was given up or waits for long
* ok, * to be warned of, 0 failed
",
    );
    let keys: Vec<String> = stack.redis().await.keys("*").await.unwrap();
    assert_eq!(keys.len(), keys_before.len(), "{keys:?}");
    assert!(files_below(stack.pictures.path()).is_empty());
    drop(replica);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_what_to_do() {
    let stack = Stack::start().await;
    stack.jobs(2).await;
    let mut redis = stack.redis().await;
    redis::pipe()
        .cmd("CONFIG")
        .arg(&["SET", "maxmemory-policy", "allkeys-lru"])
        .cmd("CONFIG")
        .arg(&["SET", "appendfsync", "no"])
        .cmd("ACL")
        .arg(&[
            "SETUSER",
            "clerk",
            "on",
            ">clerk-5be1",
            "~*",
            "&*",
            "+@all",
            "-blmove",
        ])
        .lpush("generative-ai", "{}")
        .zadd(key("delayed"), "a/1.normal:{}", 1)
        .sadd(key("workers"), "a-1")
        .hset(key("processing:a-1"), "1.normal", "{}")
        .exec_async(&mut redis)
        .await
        .unwrap();
    stack
        .sql_client()
        .await
        .batch_execute(
            "INSERT INTO generative_ai.jobs (job_id, state, package, worker_id, queue)
                VALUES (1, 'begun', '{}', 'a-1', 'generative-ai'), (2, 'held', '{}', NULL, NULL);
             INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, deadline_at)
                VALUES (1, 1, 'intended', 'openai', 'm', 'a-1', 1, now() - interval '1 minute');
             CREATE USER clerk PASSWORD 'clerk-5be1';
             GRANT USAGE ON SCHEMA generative_ai TO clerk;
             GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA generative_ai TO clerk;
             GRANT SELECT, UPDATE ON ac_background_jobs TO clerk;
             GRANT SELECT ON images TO clerk;
             ALTER USER clerk SET synchronous_commit = off;",
        )
        .await
        .unwrap();
    let wrong_key = json!({"message": format!("{} is wrong", openai::KEY), "code": "invalid_api_key"});
    let openai = OpenAi::start(Reply::Error(401, wrong_key, vec![])).await;
    let redis_url = format!("redis://clerk:clerk-5be1@127.0.0.1:{}", stack.redis.port());
    let database_url = format!(
        "postgres://clerk:clerk-5be1@127.0.0.1:{}/postgres",
        stack.postgres.port()
    );
    let mut variables = vec![
        ("REDIS_URL", redis_url.as_str()),
        ("DATABASE_URL", database_url.as_str()),
        ("IMAGE_PROVIDER_FALLBACKS", "gemini"),
        ("PUBLIC_URL_BASE", "http://cdn.example.org"),
    ];
    let own = openai.variables();
    variables.extend(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    let said = doctor(&stack, &variables).await;
    assert_eq!(said.status, Some(78), "{}", said.out);
    for (grade, text) in [
        (
            "FAIL  redis",
            "maxmemory-policy allkeys-lru, under which waiting packages can vanish; set it to noeviction",
        ),
        ("warn  redis", "appendfsync is no"),
        ("FAIL  redis", "lists: refused: "),
        ("warn  postgres", "synchronous_commit is off"),
        ("FAIL  postgres", "this account lacks INSERT on images: GRANT it"),
        (
            "FAIL  postgres",
            "this account lacks USAGE on public.images_id_seq: GRANT it",
        ),
        (
            "warn  postgres",
            "this account lacks DELETE on generative_ai.dead_packages, which housekeeping needs",
        ),
        (
            "warn  storage",
            "addresses of pictures begin with http://cdn.example.org, which pages under https cannot show",
        ),
        (
            "FAIL  providers",
            "openai: its service refuses this account (401): set another key",
        ),
        (
            "FAIL  providers",
            "IMAGE_PROVIDER_FALLBACKS: gemini cannot be used: ",
        ),
        ("FAIL  packages", "no replica pings and 1 package waits"),
        (
            "warn  packages",
            "dead replicas have packages, which live ones take back within twice LEASE_TTL: a-1",
        ),
        ("FAIL  packages", "a delayed package is overdue for "),
        ("warn  packages", "1 job was begun by a replica that is gone"),
        ("warn  packages", "1 paid call is open for too long"),
        ("warn  packages", "1 job is held ("),
    ] {
        says(&said, grade, text);
    }
    for secret in [openai::KEY, "clerk-5be1"] {
        assert!(!said.out.contains(secret), "{secret} is in:\n{}", said.out);
    }
    assert_eq!(
        (openai.calls().len(), openai.bills()),
        (1, 0),
        "asked once, for free"
    );

    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await.unwrap();
    let said = command_on(&stack, &["doctor", "--offline"], &variables).await;
    says(
        &said,
        "FAIL  packages",
        "1 unfinished jobs have no package in Redis, which has lost them: start a replica",
    );
    says(&said, "ok    providers", "openai: configured, not checked");
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_away_is_told_beside_what_is_there() {
    let stack = Stack::start_without_tables().await;
    let said = doctor(&stack, &[]).await;
    assert_eq!(said.status, Some(78), "{}", said.out);
    says(&said, "FAIL  postgres", "run generative-ai-worker migrate");
    let said = doctor(
        &stack,
        &[
            ("REDIS_URL", "redis://127.0.0.1:1"),
            ("DATABASE_URL", "postgres://a:hunter2@127.0.0.1:1/c"),
            ("STORAGE_URL", "/proc/pictures"),
        ],
    )
    .await;
    assert_eq!(said.status, Some(69), "{}", said.out);
    says(
        &said,
        "FAIL  redis",
        "REDIS_URL: Redis at 127.0.0.1:1 cannot be reached: ",
    );
    says(
        &said,
        "FAIL  postgres",
        "DATABASE_URL: Postgres cannot be reached: ",
    );
    says(&said, "FAIL  storage", "STORAGE_URL");
    says(&said, "ok    providers", "builtin: draws by itself");
    assert!(!said.out.contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_are_told_the_same_as_people() {
    let stack = Stack::start().await;
    let said = command_on(&stack, &["doctor", "--json"], &[]).await;
    let found: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let people = command_on(&stack, &["doctor"], &[]).await;
    assert_eq!(found.len(), people.out.lines().count() - 1, "{}", people.out);
    for (line, finding) in people.out.lines().zip(&found) {
        let grade = finding["grade"].as_str().unwrap();
        assert!(line.to_lowercase().starts_with(grade), "{line}: {finding}");
        assert!(
            line.contains(finding["about"].as_str().unwrap()),
            "{line}: {finding}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_a_model_that_only_its_service_knows_is_told() {
    let stack = Stack::start().await;
    let service = wiremock::MockServer::start().await;
    let models = json!({"object": "list", "data": [
        {"id": "gpt-image-2", "shutdown_date": "2031-02-03"},
        {"id": "gpt-image-1.5", "shutdown_date": "2026-12-01"},
        {"id": "gpt-image-2.6-flare", "shutdown_date": null},
        {"id": "gpt-7", "shutdown_date": "2031-02-03"}]});
    wiremock::Mock::given(wiremock::matchers::path("/models"))
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_json(models))
        .mount(&service)
        .await;
    let uri = service.uri();
    let said = doctor(&stack, &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", &uri)]).await;
    says(
        &said,
        "warn",
        "openai: its service shuts gpt-image-2 down on 2031-02-03, and this version knows of no end: choose another",
    );
    says(&said, "ok", "openai: its service accepts this account");
    assert_eq!(said.out.matches("its service shuts").count(), 1, "{}", said.out);
}
