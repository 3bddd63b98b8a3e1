//! What probes and metrics say of a replica, in calm and in outages.

use std::collections::BTreeSet;

use generative_ai_worker::measure;
use serde_json::json;

use crate::harness::authority::free_port;
use crate::harness::command::command_on;
use crate::harness::openai::{KEY, OpenAi, Reply, small_picture};
use crate::harness::operator::Operator;
use crate::harness::stack::{Stack, logo, with};
use crate::harness::users::users;
use crate::observability::a_model_that_ends;

mod port;
mod store;

const READY: &str = r#"{"isReady":true,"state":"running","notAnswering":[]}"#;

fn not_answering(what: &str) -> String {
    format!(r#"{{"isReady":false,"state":"running","notAnswering":["{what}"]}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_postgres_or_redis_is_alive_and_not_ready_until_they_are_back() {
    let mut stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    operator.is_ready(&stack, 200, READY).await;
    operator.is_alive().await;

    stack.postgres.stop();
    operator.is_ready(&stack, 503, &not_answering("postgres")).await;
    operator.is_alive().await;
    let up = r#"generative_ai_dependency_up{dependency="postgres"}"#;
    operator.shows(&stack, up, 0.0).await;
    stack.postgres.restart().unwrap();
    operator.is_ready(&stack, 200, READY).await;
    operator.shows(&stack, up, 1.0).await;

    stack.redis.stop();
    operator.is_ready(&stack, 503, &not_answering("redis")).await;
    operator.is_alive().await;
    let up = r#"generative_ai_dependency_up{dependency="redis"}"#;
    operator.shows(&stack, up, 0.0).await;
    // Nobody knows, which is something else than none.
    let delayed = "generative_ai_queue_delayed_packages";
    operator.shows(&stack, delayed, f64::NAN).await;
    stack.redis.restart().unwrap();
    operator.is_ready(&stack, 200, READY).await;
    operator.shows(&stack, up, 1.0).await;
    operator.shows(&stack, delayed, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_nothing_any_more_says_so_and_goes_on_when_it_may_again() {
    let stack = Stack::start().await;
    let url = users(&stack).await("worker");
    let replica = stack.replica(&[("REDIS_URL", &url)]).await;
    let operator = Operator::of(&replica).await;
    operator.is_ready(&stack, 200, READY).await;
    stack.until_key("ping", true).await;

    let mut redis = stack.redis().await;
    redis::cmd("ACL")
        .arg(&["SETUSER", "worker", "-@all"])
        .query_async::<()>(&mut redis)
        .await
        .unwrap();
    stack
        .until("/readyz says what is refused", async || {
            let (status, body) = operator.get("/readyz").await;
            let refused = [
                r#""refusing":["redis: "#,
                "has no permissions to run the 'ping' command",
            ];
            (status == 503 && refused.iter().all(|words| body.contains(words))).then_some(())
        })
        .await;
    operator.is_alive().await;
    stack.until_key("ping", false).await;

    drop(users(&stack).await);
    operator.is_ready(&stack, 200, READY).await;
    stack.until_key("ping", true).await;
    let jobs = stack.push_logos(1).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_again_and_again_is_well_by_itself() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    let mut redis = stack.redis().await;
    for _ in 0..20 {
        redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query_async::<i64>(&mut redis)
            .await
            .unwrap();
        operator.is_alive().await;
    }
    operator.is_ready(&stack, 200, READY).await;
    stack.until_key("ping", true).await;
    let jobs = stack.push_logos(1).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_makes_nobody_ill() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let replica = stack.replica_of(&openai, &[("WORKER_CONCURRENCY", "1")]).await;
    let operator = Operator::of(&replica).await;
    let jobs = stack.push_logos(2).await;
    openai.called(1).await;
    // Longer than what a loop that has stopped is given: pings would be taken back after 10 s.
    for _ in 0..24 {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        operator.is_alive().await;
        assert_eq!(operator.get("/readyz").await.1, READY);
        assert!(stack.has_key("ping").await);
    }
    openai.open();
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_store_is_not_ready_until_it_is_back() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    std::fs::remove_dir_all(stack.pictures.path()).unwrap();
    operator.is_ready(&stack, 503, &not_answering("storage")).await;
    operator.is_alive().await;
    std::fs::create_dir(stack.pictures.path()).unwrap();
    operator.is_ready(&stack, 200, READY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_drains_is_alive_and_not_ready_and_is_served_to_its_end() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack.replica_of(&openai, &[]).await;
    let operator = Operator::of(&replica).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    replica.terminate();
    let draining = r#"{"isReady":false,"state":"draining","notAnswering":[]}"#;
    operator.is_ready(&stack, 503, draining).await;
    operator.is_alive().await;
    operator
        .shows(&stack, "generative_ai_in_hand_packages", 1.0)
        .await;
    openai.open();
    assert!(replica.exit().await.success());
    assert!(!operator.is_served().await);
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_becomes_of_packages_and_calls_is_counted_and_tells_nothing_of_them() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let models = a_model_that_ends(&stack);
    let variables = [
        ("MODELS_FILE", &*models),
        ("WORKER_CONCURRENCY", "3"),
        ("BULLMQ_QUEUE", "pictures"),
        ("BUDGETS", "stability:9/day"),
    ];
    let replica = stack.replica_of(&openai, &variables).await;
    let operator = Operator::of(&replica).await;

    let prompt = "a grebe-7719 on its nest";
    let busy = json!({"message": "slow down", "code": "rate_limit_exceeded"});
    openai.then(Reply::Error(429, busy, vec![]));
    let retried = stack.job().await;
    stack.push(&with(logo(retried), "prompt", prompt)).await;
    assert_eq!(stack.ended(retried).await.progress, Some(100));
    let refused =
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"});
    openai.then(Reply::Error(400, refused, vec![]));
    let failed = stack.job().await;
    stack.push(&with(logo(failed), "prompt", prompt)).await;
    assert!(stack.ended(failed).await.error.is_some());
    stack
        .push_raw(format!("{{\"type\": \"{prompt}\"").as_bytes())
        .await;
    stack.push(&with(logo(retried), "prompt", prompt)).await;
    stack.idle().await;

    let package = |outcome: &str, class: &str| {
        format!(r#"generative_ai_packages_total{{outcome="{outcome}",error_type="{class}"}}"#)
    };
    let call = |outcome: &str| {
        format!(
            r#"generative_ai_provider_calls_total{{provider="openai",model="gpt-image-2",outcome="{outcome}"}}"#
        )
    };
    operator.shows(&stack, &package("repeated", ""), 1.0).await;
    operator
        .shows(&stack, &package("rejected", "invalid_package"), 1.0)
        .await;
    let scrape = operator.scrape().await;
    let spent = r#"generative_ai_provider_cost_usd_sum{provider="openai",cost_basis="computed"}"#;
    for (series, value) in [
        (package("completed", ""), 1.0),
        (package("retried", "rate_limited"), 1.0),
        (package("failed", "moderation"), 1.0),
        (call("succeeded"), 1.0),
        (call("rate_limited"), 1.0),
        (call("moderation"), 1.0),
        (spent.to_owned(), 0.04762),
        ("messaging_client_consumed_messages_total".to_owned(), 5.0),
        (
            r#"messaging_process_duration_seconds_count{outcome="completed"}"#.to_owned(),
            1.0,
        ),
        (
            r#"generative_ai_stage_duration_seconds_count{stage="record"}"#.to_owned(),
            1.0,
        ),
        (
            r#"generative_ai_stage_duration_seconds_count{stage="store"}"#.to_owned(),
            1.0,
        ),
        ("generative_ai_slots".to_owned(), 3.0),
        ("generative_ai_queue_dead_packages".to_owned(), 2.0),
        (
            r#"generative_ai_provider_breaker_state{provider="openai"}"#.to_owned(),
            0.0,
        ),
        (
            r#"generative_ai_provider_unknown_outcomes_total{provider="openai"}"#.to_owned(),
            0.0,
        ),
        (r#"db_client_connection_max{pool="postgres"}"#.to_owned(), 10.0),
    ] {
        let found = scrape
            .get(&series)
            .unwrap_or_else(|| panic!("{series} is not in\n{}", scrape.text));
        assert!((found - value).abs() < 1e-9, "{series} is {found}, not {value}");
    }
    let left = r#"generative_ai_model_ends_in_days{provider="openai",model="gpt-image-brief"}"#;
    assert!(
        matches!(scrape.get(left), Some(9.0 | 10.0)),
        "midnight may have passed"
    );

    let shown: BTreeSet<&str> = scrape
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let known: BTreeSet<&str> = measure::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known, "every metric is shown, and no other");
    for secret in [prompt, "grebe", KEY, "postgres://", "redis://"] {
        assert!(!scrape.text.contains(secret), "{secret} is in\n{}", scrape.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_with_its_age() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let replica = stack.replica_of(&openai, &[("WORKER_CONCURRENCY", "1")]).await;
    let operator = Operator::of(&replica).await;
    let mut jobs = stack.push_logos(1).await;
    openai.called(1).await;
    jobs.extend(stack.push_logos(2).await);
    let older = "UPDATE ac_background_jobs SET created_at = created_at - interval '1 hour' WHERE id = $1";
    stack.sql(older, &[&jobs[1]]).await;
    let scrape = operator
        .shows(
            &stack,
            r#"generative_ai_queue_waiting_packages{priority="normal"}"#,
            2.0,
        )
        .await;
    let age = |priority: &str| format!(r#"generative_ai_queue_oldest_age_seconds{{priority="{priority}"}}"#);
    assert!(scrape.get(&age("normal")) >= Some(3600.0), "{}", scrape.text);
    assert_eq!(scrape.get(&age("high")), Some(0.0), "none waits there");
    assert_eq!(scrape.get("generative_ai_queue_in_flight_packages"), Some(1.0));
    assert_eq!(scrape.get("generative_ai_in_hand_packages"), Some(1.0));
    openai.open();
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_models_make_one_series() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let base_url = format!("http://127.0.0.1:{}/v1", openai.port());
    let variables = [
        ("OPENAI_COMPATIBLE_BASE_URL", &*base_url),
        ("OPENAI_COMPATIBLE_MODEL", "sdxl"),
        ("IMAGE_PROVIDER", "openaiCompatible"),
    ];
    let replica = stack.replica(&variables).await;
    let operator = Operator::of(&replica).await;
    let jobs = stack.jobs(200).await;
    for job_id in &jobs {
        let model = format!("checkpoint-{job_id}");
        stack.push(&with(logo(*job_id), "imageModel", model)).await;
    }
    stack.all_done_once(&jobs).await;
    let other = r#"generative_ai_provider_calls_total{provider="openaiCompatible",model="other",outcome="succeeded"}"#;
    let scrape = operator.shows(&stack, other, 200.0).await;
    assert_eq!(scrape.beginning("generative_ai_provider_calls_total{"), [other]);
    assert!(!scrape.text.contains("checkpoint-"), "{}", scrape.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_taken_ends_the_start() {
    let stack = Stack::start().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for variable in ["HTTP_ADDR", "DASHBOARD_ADDR"] {
        for command in ["run", "check-config"] {
            let said = command_on(&stack, &[command], &[(variable, &addr)]).await;
            let line = format!(
                "generative-ai-worker: {variable}: {addr} is in use by another program: choose another address, or leave it empty\n"
            );
            assert_eq!((said.status, &*said.out), (Some(78), ""), "{}", said.err);
            assert!(said.err.ends_with(&line), "{command}: {}", said.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_at_the_address_is_well_for_doctor_and_in_the_way_of_another_one() {
    let stack = Stack::start().await;
    let page = format!("127.0.0.1:{}", free_port());
    let token = ("DASHBOARD_VIEWER_TOKEN", "a-token-of-the-viewers");
    for of_page in [&[][..], &[token]] {
        let mut variables = vec![("DASHBOARD_ADDR", &*page)];
        variables.extend(of_page);
        let replica = stack.replica(&variables).await;
        stack.until_key("ping", true).await;
        let operator = Operator::of(&replica).await;
        variables.push(("HTTP_ADDR", operator.address()));
        let said = command_on(&stack, &["doctor"], &variables).await;
        assert_eq!((said.status, &*said.err), (Some(0), ""), "{}", said.out);
        let warning = command_on(&stack, &["check-config"], &variables).await;
        assert_eq!((warning.status, &*warning.err), (Some(0), ""), "{}", warning.out);
        for variable in ["HTTP_ADDR", "DASHBOARD_ADDR"] {
            let served = format!("ok    settings   {variable}: a replica of this worker serves it");
            assert!(said.out.contains(&served), "{}", said.out);
            let warned = format!("warning: {variable}: a replica of this worker serves this address already");
            assert!(warning.out.contains(&warned), "{}", warning.out);
        }
        let said = command_on(&stack, &["run"], &variables).await;
        assert_eq!(said.status, Some(78), "{}", said.err);
        for (variable, addr) in [("HTTP_ADDR", operator.address()), ("DASHBOARD_ADDR", &page)] {
            let line = format!("{variable}: another replica of this worker serves {addr}");
            assert!(said.err.contains(&line), "{}", said.err);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_address_is_none() {
    let stack = Stack::start().await;
    let served = stack.replica(&[]).await;
    let replica = stack.replica(&[("HTTP_ADDR", "")]).await;
    assert_eq!((served.listens_on(), replica.listens_on()), (1, 0));
    let operator = Operator::of(&served).await;
    for path in ["/", "/metrics/", "/healthz/x", "/jobs"] {
        assert_eq!(operator.get(path).await.0, 404, "{path}");
    }
}
