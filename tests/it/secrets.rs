//! No secret and no prompt in what the service says, at any level of its log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use generative_ai_worker::telemetry::{self, LogFormat};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::harness::openai::{self, OpenAi, Reply};
use crate::harness::picture::any_picture;
use crate::harness::replica::{self, Replica};
use crate::harness::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};
use crate::harness::stack::{Job, Stack, logo, with};

const PROMPT: &str = "heron-4471 over a frozen lake at dawn";
const SESSION_TOKEN: &str = "session-token-81c03f";
const PASSWORD: &str = "hunter2-5be1";

/// What must not be seen, by name. Parts of the longer ones count as well.
struct Planted(Vec<(&'static str, String)>);

impl Planted {
    fn on(stack: &Stack) -> Self {
        let password = |url: &str| {
            let rest = url.split_once("://").unwrap().1;
            rest.split_once('@')
                .unwrap()
                .0
                .split_once(':')
                .unwrap()
                .1
                .to_owned()
        };
        let mut planted = Self::everywhere();
        planted
            .0
            .push(("password of Redis", password(&stack.redis.url())));
        planted
            .0
            .push(("password of Postgres", password(&stack.postgres.url("postgres"))));
        planted
    }

    fn everywhere() -> Self {
        Self(vec![
            ("prompt", "heron-4471".to_owned()),
            ("prompt", "frozen lake".to_owned()),
            ("key of OpenAI", openai::KEY["sk-test-".len()..].to_owned()),
            ("secret of AWS", SECRET_ACCESS_KEY.to_owned()),
            ("session token of AWS", SESSION_TOKEN.to_owned()),
            ("password", PASSWORD.to_owned()),
        ])
    }

    fn are_not_in(&self, place: &str, text: &str) {
        for (name, value) in &self.0 {
            // Drivers log what they send as numbers.
            let bytes = format!("{:?}", value.as_bytes());
            for form in [value, bytes.trim_matches(['[', ']'])] {
                let line = text.lines().find(|line| line.contains(form));
                assert_eq!(line, None, "the {name} is in {place}");
            }
        }
    }
}

/// A stack whose replicas log everything and are given every secret, and what they have published.
struct Scene {
    stack: Stack,
    openai: OpenAi,
    store: S3Server,
    planted: Planted,
    events: Arc<Mutex<Vec<String>>>,
    listening: JoinHandle<()>,
}

impl Scene {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let client = redis::Client::open(stack.redis.url()).unwrap();
        let mut subscription = client.get_async_pubsub().await.unwrap();
        subscription.subscribe("{generative-ai}:events").await.unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let listening = tokio::spawn(async move {
            let mut messages = subscription.on_message();
            while let Some(message) = messages.next().await {
                heard.lock().unwrap().push(message.get_payload().unwrap());
            }
        });
        Self {
            planted: Planted::on(&stack),
            stack,
            openai: OpenAi::start(Reply::Picture(any_picture())).await,
            store: S3Server::start("pictures").await,
            events,
            listening,
        }
    }

    fn variables(&self) -> BTreeMap<String, String> {
        let mut all = self.stack.environment();
        all.extend(self.openai.variables());
        let more = [
            ("RUST_LOG", "trace"),
            ("MAX_ATTEMPTS", "1"),
            ("STORAGE_URL", "s3://pictures"),
            ("S3_ENDPOINT", &self.store.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ];
        all.extend(more.map(|(name, value)| (name.to_owned(), value.to_owned())));
        all
    }

    async fn replica(&self, variables: &[(&str, &str)]) -> Replica {
        let mut all = self.variables();
        all.extend(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (&**name, &**value)).collect();
        self.stack.replica(&all).await
    }

    /// Has a job with the planted prompt end in what the provider answers, and returns its row.
    async fn end(&self, replies: &[Reply]) -> (i32, Job) {
        let job_id = self.stack.job().await;
        for reply in replies {
            self.openai.then(reply.clone());
        }
        self.stack.push(&with(logo(job_id), "prompt", PROMPT)).await;
        (job_id, self.stack.ended(job_id).await)
    }

    /// Looks at everything that is there to be read by people: all but the packages themselves, which are kept to the byte.
    async fn check(&self, logs: &[String]) {
        for log in logs {
            self.planted.are_not_in("the log", log);
        }
        self.stack.idle().await;
        for (place, query) in [
            (
                "the job rows",
                "SELECT to_jsonb(j)::text FROM ac_background_jobs j",
            ),
            ("the images", "SELECT to_jsonb(i)::text FROM images i"),
            (
                "the ledger",
                "SELECT (to_jsonb(j) - 'package')::text FROM generative_ai.jobs j",
            ),
            (
                "the dead packages",
                "SELECT (to_jsonb(d) - 'payload')::text FROM generative_ai.dead_packages d",
            ),
        ] {
            let rows = self.stack.sql(query, &[]).await;
            assert!(place == "the images" || !rows.is_empty(), "{place} tell nothing");
            for row in rows {
                self.planted.are_not_in(place, row.get(0));
            }
        }
        let letters = self.stack.dead_letters().await;
        assert!(!letters.is_empty());
        for mut letter in letters {
            letter["payload"] = Value::Null;
            self.planted.are_not_in("the dead letters", &letter.to_string());
        }
        let events = self.events.lock().unwrap();
        assert!(
            events.iter().any(|event| event.contains("\"failed\"")),
            "{events:?}"
        );
        self.planted.are_not_in("the events", &events.join("\n"));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Waits until the replica has logged the end of this job.
async fn told(replica: &Replica, job_id: i32) {
    replica.said(&format!("job {job_id} ")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_logs_everything_logs_no_secret_and_no_prompt() {
    let scene = Scene::start().await;
    let mut replica = scene.replica(&[]).await;
    let explained = format!("{} is not accepted for the prompt '{PROMPT}'", openai::KEY);
    let says = |code: &str| json!({"message": explained, "type": "error", "code": code, "param": explained});
    let echo = json!({"data": [], "note": explained}).to_string();
    let cases = [
        ("success", vec![], None),
        (
            "a wrong key",
            vec![Reply::Error(401, says("invalid_api_key"), vec![])],
            Some("auth"),
        ),
        // Sent again once.
        (
            "a broken provider",
            vec![Reply::Error(500, says("server_error"), vec![]); 2],
            Some("overloaded"),
        ),
        (
            "a refused prompt",
            vec![Reply::Error(400, says("moderation_blocked"), vec![])],
            Some("moderation"),
        ),
        (
            "echoed words",
            vec![Reply::Error(
                400,
                says(PROMPT),
                vec![("x-request-id", openai::KEY)],
            )],
            Some("invalid_request"),
        ),
        (
            "no picture",
            vec![Reply::Body("application/json", Bytes::from(echo))],
            Some("bad_output"),
        ),
        (
            "plain text",
            vec![Reply::Body("text/plain", Bytes::from(explained.clone()))],
            Some("bad_output"),
        ),
    ];
    for (name, replies, class) in cases {
        let (job_id, job) = scene.end(&replies).await;
        assert_eq!(job.error.is_some(), class.is_some(), "{name}: {job:?}");
        told(&replica, job_id).await;
        let query = "SELECT error_class, error_details FROM generative_ai.jobs WHERE job_id = $1";
        let row = scene.stack.sql(query, &[&job_id]).await.remove(0);
        assert_eq!(row.get::<_, Option<String>>(0).as_deref(), class, "{name}");
        // What is hidden leaves an explanation behind.
        let details: Option<String> = row.get(1);
        assert_eq!(details.is_some(), class.is_some(), "{name}");
    }
    assert_eq!(
        scene.openai.calls()[0].authorization,
        format!("Bearer {}", openai::KEY)
    );
    let asked = scene.openai.calls()[0].body["prompt"].to_string();
    assert!(asked.contains(PROMPT), "{asked}");

    // Refused before anybody draws.
    for raw in [
        format!("{{\"type\": \"collection-image\", \"prompt\": \"{PROMPT}"),
        json!({"type": "collection-image", "jobId": "none", "prompt": PROMPT}).to_string(),
    ] {
        let before = scene.stack.dead_letters().await.len();
        scene.stack.push_raw(raw.as_bytes()).await;
        scene
            .stack
            .until("the package is dead", async || {
                (scene.stack.dead_letters().await.len() > before).then_some(())
            })
            .await;
    }
    replica.terminate();
    assert!(replica.exit().await.success());
    assert!(replica.log().lines().count() > 10, "{}", replica.log());
    scene.check(&[replica.log()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_and_a_store_that_are_away_are_told_without_secrets() {
    let scene = Scene::start().await;
    let replica = scene
        .replica(&[("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")])
        .await;
    let (job_id, job) = scene.end(&[]).await;
    told(&replica, job_id).await;
    let error = job.error.unwrap();
    assert!(error.starts_with("openai could not be reached"), "{error}");
    scene.check(&[replica.log()]).await;
    drop(replica);

    let replica = scene.replica(&[]).await;
    scene.store.fail_next(100);
    let job_id = scene.stack.job().await;
    scene.stack.push(&with(logo(job_id), "prompt", PROMPT)).await;
    replica.said("the picture cannot be stored").await;
    scene.planted.are_not_in("the log", &replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_say_what_is_wrong_with_a_secret_and_not_the_secret() {
    let scene = Scene::start().await;
    let port = scene.stack.postgres.port();
    let wrong_database = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    let wrong_redis = format!("redis://:{PASSWORD}@127.0.0.1:{}", scene.stack.redis.port());
    let no_port = format!("postgres://worker:{PASSWORD}@127.0.0.1:port/app");
    let unescaped = format!("postgres://worker:{PASSWORD}/x@127.0.0.1/app");
    let not_postgres = format!("mysql://worker:{PASSWORD}@127.0.0.1/app");
    let key_words = format!("host=127.0.0.1 user=worker password={PASSWORD}");
    let wrong_option = format!("postgres://worker:{PASSWORD}@127.0.0.1/app?connect_timeout={PASSWORD}");
    let no_database = format!("redis://:{PASSWORD}@127.0.0.1:6379/{PASSWORD}");
    let with_key = format!("https://example.org/v1?key={PASSWORD}");
    let two_lines = format!("{PASSWORD}\u{7}{PASSWORD}");
    for (variable, value, status) in [
        ("DATABASE_URL", &no_port, 78),
        ("DATABASE_URL", &unescaped, 78),
        ("DATABASE_URL", &not_postgres, 78),
        ("DATABASE_URL", &key_words, 78),
        ("DATABASE_URL", &wrong_option, 78),
        ("REDIS_URL", &no_database, 78),
        ("OPENAI_BASE_URL", &with_key, 78),
        ("OPENAI_API_KEY", &two_lines, 78),
        ("DATABASE_URL", &wrong_database, 78),
        ("REDIS_URL", &wrong_redis, 78),
        ("AWS_SECRET_ACCESS_KEY", &PASSWORD.to_owned(), 78),
        ("RUST_LOG", &"trace".to_owned(), 0),
    ] {
        let mut variables = scene.variables();
        variables.insert(variable.to_owned(), value.clone());
        for command in ["check-config", "run"] {
            if (command, status) == ("run", 0) {
                continue; // it would go on
            }
            let output = replica::run(&[command], &variables).await;
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert_eq!(
                output.status.code(),
                Some(status),
                "{command} with another {variable}: {said}"
            );
            assert!(!said.is_empty());
            scene
                .planted
                .are_not_in(&format!("what {command} says of {variable}"), &said);
        }
    }
}

const STUMBLES: &str = "SECRETS_TEST_STUMBLES";

/// The test starts itself as a process that panics in the middle of a prompt.
#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "this is no setting, but how a process tells its copy what to be"
)]
async fn a_panic_is_told_by_its_place_and_not_by_its_words() {
    if std::env::var_os(STUMBLES).is_some() {
        telemetry::start(Some(LogFormat::Json), "trace", None);
        let _ = std::thread::spawn(|| panic!("cannot draw {PROMPT} with {PASSWORD}")).join();
        telemetry::end();
        std::process::exit(0);
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "secrets::a_panic_is_told_by_its_place_and_not_by_its_words",
            "--nocapture",
        ])
        .env(STUMBLES, "yes")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("a fault in this program stopped what it was doing"),
        "{said}"
    );
    assert!(said.contains("tests/it/secrets.rs:"), "{said}");
    Planted::everywhere().are_not_in("the log", &said);
}
