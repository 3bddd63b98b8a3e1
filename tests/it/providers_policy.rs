//! One bad provider stops nobody else: pauses, breakers and fallbacks.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::stack::{Stack, logo, with};

fn busy(seconds: &'static str) -> Reply {
    let error = json!({"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"});
    Reply::Error(429, error, vec![("retry-after", seconds)])
}

fn broken() -> Reply {
    Reply::Error(503, json!({"message": "broken", "type": "server_error"}), vec![])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_one_replica_is_asked_for_holds_for_all() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.then(busy("6"));
    let first = stack.replica_of(&openai, &[]).await;
    let refused = stack.push_logos(1).await;
    first.said("openai asks for a pause").await;
    let second = stack.replica_of(&openai, &[]).await;
    stack
        .until("the second replica has heard of it", async || {
            // It has looked at least once: what it pings, it pings after it has begun.
            let replies: Option<String> = redis::cmd("GET")
                .arg(format!("{{generative-ai}}:ping:{}", second.worker_id()))
                .query_async(&mut stack.redis().await)
                .await
                .unwrap();
            replies.map(|_| ())
        })
        .await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    drop(first);
    let later = stack.push_logos(5).await;
    let other = stack.job().await;
    stack.push(&with(logo(other), "imageProvider", "blank")).await;
    assert_eq!(stack.ended(other).await.progress, Some(100), "no slot sleeps");
    assert_eq!(openai.calls().len(), 1, "nobody calls while the pause holds");
    for job_id in refused.iter().chain(&later) {
        assert_eq!(stack.ended(*job_id).await.progress, Some(100));
    }
    let begun_once = "SELECT count(*) FROM generative_ai.jobs WHERE deliveries = 1 AND attempts = 0";
    assert_eq!(
        stack.count(begun_once).await,
        6,
        "waiting for the pause counts nothing"
    );
}

/// How many packages are parked for openai.
async fn parked(stack: &Stack) -> usize {
    stack.redis().await.llen(key("parked:openai")).await.unwrap()
}

/// A field of what is known of openai.
async fn known(stack: &Stack, field: &str) -> Option<String> {
    stack
        .redis()
        .await
        .hget(key("provider:openai"), field)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pause_holds_no_slot_and_no_other_job_on_any_replica() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(busy("30")).await;
    let telling = ("RUST_LOG", "info,generative_ai_worker::worker::room=debug");
    let first = stack.replica_of(&openai, &[telling]).await;
    let mut paused = stack.push_logos(1).await;
    first
        .said("openai asks for a pause; its packages wait 30 s")
        .await;
    let second = stack.replica_of(&openai, &[telling]).await;
    second.said("openai is left alone for").await;

    paused.extend(stack.push_logos(8).await);
    let others = stack.jobs(8).await;
    for job_id in &others {
        stack.push(&with(logo(*job_id), "imageProvider", "blank")).await;
    }
    for job_id in &others {
        assert_eq!(
            stack.ended(*job_id).await.progress,
            Some(100),
            "meanwhile others go on"
        );
    }
    stack
        .until("no slot is held", async || {
            let in_flight: usize = stack
                .redis()
                .await
                .zcard("{generative-ai}:in-flight")
                .await
                .unwrap();
            (in_flight == 0 && parked(&stack).await == paused.len()).then_some(())
        })
        .await;
    let mut redis = stack.redis().await;
    let ends_ms: f64 = redis.hget(key("provider:openai"), "until").await.unwrap();
    let (seconds, _): (f64, f64) = redis::cmd("TIME").query_async(&mut redis).await.unwrap();
    assert!(ends_ms > seconds * 1000.0, "the pause holds by the server's time");
    assert_eq!(openai.calls().len(), 1, "neither replica calls");
    let begun = "SELECT count(*) FROM generative_ai.jobs WHERE provider IS DISTINCT FROM 'blank'";
    assert_eq!(stack.count(begun).await, 1, "what waits is not begun");

    drop((first, second));
    let helped = stack
        .replica_of(&openai, &[telling, ("IMAGE_PROVIDER_FALLBACKS", "builtin")])
        .await;
    helped.said("openai is left alone for").await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    assert_eq!(
        stack.ended(job_id).await.progress,
        Some(100),
        "a fallback, where there is one"
    );
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_provider_is_left_alone_and_others_go_on() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    let replica = stack.replica_of(&openai, &[("WORKER_CONCURRENCY", "2")]).await;
    let broken = stack.push_logos(40).await;
    replica.said("openai has failed 5 times in a row").await;
    let well = stack.jobs(10).await;
    for job_id in &well {
        stack.push(&with(logo(*job_id), "imageProvider", "blank")).await;
    }
    for job_id in &well {
        assert_eq!(stack.ended(*job_id).await.progress, Some(100));
    }
    // Two were under way when the breaker opened.
    assert!(openai.calls().len() <= 7, "{} calls", openai.calls().len());
    for job_id in &broken {
        assert_eq!(stack.job_row(*job_id).await.error, None, "nobody has failed yet");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_begun_for_fallbacks_that_cannot_draw() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    let variables = [
        ("IMAGE_PROVIDER_FALLBACKS", "gemini,bfl"),
        ("GEMINI_API_KEY", "a-key"),
        ("BFL_API_KEY", "a-key"),
        ("WORKER_CONCURRENCY", "1"),
    ];
    let replica = stack.replica_of(&openai, &variables).await;
    let jobs = stack.jobs(40).await;
    for job_id in &jobs {
        // Neither of them offers it.
        stack.push(&with(logo(*job_id), "outputFormat", "webp")).await;
    }
    replica.said("openai has failed 5 times in a row").await;
    stack
        .until("all are parked", async || {
            (parked(&stack).await == jobs.len()).then_some(())
        })
        .await;
    let begun = stack.count("SELECT count(*) FROM generative_ai.jobs").await;
    let counted = stack
        .count("SELECT count(*) FROM generative_ai.jobs WHERE attempts > 0")
        .await;
    assert!((1..=5).contains(&begun), "{begun} were begun");
    assert_eq!(begun, counted, "what was begun has called, and counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_draws_where_it_is_configured_and_nothing_was_bought() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    let fallback = ("IMAGE_PROVIDER_FALLBACKS", "builtin");
    let replica = stack.replica_of(&openai, &[fallback]).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageSize", "2048x1152")).await;
    assert_eq!(stack.ended(job_id).await.progress, Some(100));
    replica.said("builtin is asked in place of the provider").await;
    let row = stack
        .sql(
            "SELECT provider, attempts, calls FROM generative_ai.jobs WHERE job_id = $1",
            &[&job_id],
        )
        .await;
    assert_eq!(row[0].get::<_, String>(0), "builtin");
    assert_eq!(row[0].get::<_, i32>(1), 0, "the attempt has not failed");
    assert_eq!(
        row[0].get::<_, i32>(2),
        2,
        "each call to the broken one is in the ledger: sent again once, then it looks dead"
    );
    let failed = "SELECT count(*) FROM generative_ai.provider_calls WHERE state = 'failed' AND error_class = 'overloaded'";
    assert_eq!(stack.count(failed).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_prompt_is_not_taken_elsewhere() {
    let stack = Stack::start().await;
    let refused =
        json!({"message": "no", "code": "moderation_blocked", "type": "image_generation_user_error"});
    let openai = OpenAi::start(Reply::Error(400, refused, vec![])).await;
    let _replica = stack
        .replica_of(&openai, &[("IMAGE_PROVIDER_FALLBACKS", "builtin")])
        .await;
    let jobs = stack.push_logos(1).await;
    let job = stack.ended(jobs[0]).await;
    assert!(job.error.unwrap().contains("refused this prompt"));
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_provider_costs_the_others_nothing_and_is_hardly_called() {
    const EACH: i32 = 500;
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    let replica = stack.replica_of(&openai, &[]).await;
    let healthy = async |beside: &[Value]| {
        let jobs = stack.jobs(EACH).await;
        let mut packages = Vec::new();
        for (index, job_id) in jobs.iter().enumerate() {
            packages.push(with(logo(*job_id), "imageProvider", "blank").to_string());
            packages.extend(beside.get(index).map(Value::to_string));
        }
        let before = stack.count("SELECT count(*) FROM images").await;
        let begun = tokio::time::Instant::now();
        let _: i64 = stack
            .redis()
            .await
            .lpush("generative-ai", packages)
            .await
            .unwrap();
        stack.done(before + i64::from(EACH)).await;
        begun.elapsed()
    };
    let alone = healthy(&[]).await;
    let others = stack.jobs(EACH).await;
    let waiting: Vec<Value> = others
        .iter()
        .map(|job_id| with(logo(*job_id), "notBefore", "2100-01-01T00:00:00Z"))
        .collect();
    let beside_waiting = healthy(&waiting).await;
    let dead: Vec<Value> = others.iter().map(|job_id| logo(*job_id)).collect();
    let beside = healthy(&dead).await;
    replica.said("openai has failed 5 times in a row").await;
    let when_open = openai.calls().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let while_open = openai.calls().len() - when_open;
    println!(
        "{EACH} healthy jobs: {alone:?} alone, {beside_waiting:?} beside {EACH} packages that only wait for a time, \
         {beside:?} beside {EACH} of a dead provider"
    );
    println!("calls to the dead one: {when_open} until its breaker was open, {while_open} in the 3 s after");
    // Those that were under way when it opened, and none of the packages that wait.
    assert!(when_open <= 30, "{when_open} calls");
    assert!(while_open <= 5, "below 1 % of its packages: {while_open}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_busy_without_a_time_costs_no_job_its_end() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.takes_one_each(Duration::from_millis(500));
    let replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(20).await;
    stack.all_done_once(&jobs).await;
    let counted = "SELECT sum(attempts) FROM generative_ai.jobs";
    assert_eq!(
        stack.count(counted).await,
        0,
        "what costs nothing uses up no attempt"
    );
    replica.said("openai takes no more calls for now").await;
    assert!(stack.dead_letters().await.is_empty());
    assert!(
        openai.calls().len() <= 80,
        "{} calls for 20 pictures",
        openai.calls().len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_of_a_day_is_one_of_minutes_and_an_operator_ends_it() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.then(busy("86400"));
    let replica = stack.replica_of(&openai, &[]).await;
    let first = stack.push_logos(1).await;
    replica
        .said("openai asks for a pause; its packages wait 600 s")
        .await;
    let mut jobs = stack.push_logos(5).await;
    jobs.extend(first);
    stack
        .until("all are parked", async || {
            (parked(&stack).await == 6).then_some(())
        })
        .await;
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let listed = command_on(&stack, &["providers"], &variables).await;
    assert!(
        listed.out.contains("openai (default): configured; paused since "),
        "{}",
        listed.out
    );
    let listed = command_on(&stack, &["providers", "--json"], &variables).await;
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(listed[0]["state"]["why"], "asked");
    assert!(listed[1]["state"].is_null());

    let unknown = command_on(&stack, &["providers", "resume", "nobody"], &[]).await;
    assert_eq!(unknown.status, Some(64));
    assert!(unknown.err.contains("openai, azureOpenai"), "{}", unknown.err);
    command_on(&stack, &["providers", "resume", "openai"], &[])
        .await
        .is(
            0,
            "openai is resumed: replicas call it again, and what is parked for it goes on\n",
            "",
        );
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 7);
    command_on(&stack, &["providers", "resume", "openai"], &[])
        .await
        .is(0, "openai is neither paused nor left alone\n", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_one_breaker_and_one_probe() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(broken()).await;
    openai.close();
    let variables = [("WORKER_CONCURRENCY", "3")];
    let _replicas = [
        stack.replica_of(&openai, &variables).await,
        stack.replica_of(&openai, &variables).await,
    ];
    let jobs = stack.push_logos(20).await;
    openai.called(6).await;
    openai.open();
    stack
        .until("the breaker is open", async || known(&stack, "until").await)
        .await;
    stack
        .until("all are parked", async || {
            (parked(&stack).await == jobs.len()).then_some(())
        })
        .await;
    let when_open = openai.calls().len();
    // Six were under way; while fewer than two faults in a row were counted some of them were sent again.
    assert!(when_open <= 9, "{when_open} calls until it was open");
    let until = known(&stack, "until").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(openai.calls().len(), when_open, "nobody calls while it is open");
    stack
        .until("a probe has failed", async || {
            let now = known(&stack, "until").await;
            (now.is_some() && now != until).then_some(())
        })
        .await;
    assert_eq!(openai.calls().len(), when_open + 1, "one probe for both");
    assert_eq!(known(&stack, "length").await.as_deref(), Some("20000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_account_costs_five_jobs_however_many_replicas_there_are() {
    let stack = Stack::start().await;
    let refused = json!({"message": "Incorrect API key provided", "code": "invalid_api_key"});
    let openai = OpenAi::start(Reply::Error(401, refused, vec![])).await;
    openai.close();
    let _replicas = [
        stack.replica_of(&openai, &[]).await,
        stack.replica_of(&openai, &[]).await,
    ];
    let jobs = stack.push_logos(40).await;
    openai.called(20).await;
    openai.open();
    stack
        .until("five have failed and the others are parked", async || {
            let dead = stack.dead_letters().await.len();
            ((dead, parked(&stack).await) == (5, jobs.len() - 5)).then_some(())
        })
        .await;
    assert_eq!(openai.calls().len(), 20);
    let until = known(&stack, "until").await;
    stack
        .until("a probe was refused", async || {
            let now = known(&stack, "until").await;
            (now.is_some() && now != until).then_some(())
        })
        .await;
    stack
        .until("its job is parked again", async || {
            (parked(&stack).await == jobs.len() - 5).then_some(())
        })
        .await;
    assert_eq!((stack.dead_letters().await.len(), openai.calls().len()), (5, 21));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_of_a_killed_replica_is_forgotten() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.then(busy("4"));
    let timeout = ("JOB_TIMEOUT", "3s");
    let mut victim = stack.replica_of(&openai, &[timeout]).await;
    let jobs = stack.push_logos(1).await;
    victim.said("openai asks for a pause").await;
    openai.close();
    openai.called(2).await;
    victim.kill();
    openai.open();
    let other = stack.push_logos(3).await;
    let _other = stack.replica_of(&openai, &[timeout]).await;
    for job_id in jobs.iter().chain(&other) {
        assert_eq!(stack.ended(*job_id).await.progress, Some(100));
    }
}
