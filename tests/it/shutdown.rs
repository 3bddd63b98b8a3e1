//! A replica that is told to stop finishes what it can, gives the rest back and is gone.

use std::sync::Arc;

use generative_ai_worker::db::{BeginRequest, Db};
use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::command::command_on;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{QUEUE, Stack, logo};

const FINISHING: &str = "finishing what is in hand";

/// Longer than any test runs.
const NEVER: &str = "10m";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_hand_is_finished_and_nothing_more_is_taken() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [("WORKER_CONCURRENCY", "3"), ("SHUTDOWN_TIMEOUT", NEVER)];
    let mut replica = stack.replica_of(&openai, &variables).await;
    let worker_id = replica.worker_id();
    let jobs = stack.push_logos(5).await;
    openai.called(3).await;
    replica.terminate();
    replica.said(FINISHING).await;
    // It is well while it finishes, and says what it does.
    let ping = key(&format!("ping:{worker_id}"));
    stack
        .until("the ping says that it drains", async || {
            let ping: Option<String> = stack.redis().await.get(&ping).await.unwrap();
            ping?.contains(r#""state":"draining""#).then_some(())
        })
        .await;
    openai.open();
    assert_eq!(replica.exit().await.code(), Some(0));

    assert_eq!(openai.calls().len(), 3);
    for job_id in &jobs[..3] {
        assert_eq!(stack.job_row(*job_id).await.progress, Some(100));
    }
    assert_eq!(stack.waiting(QUEUE).await, numbers(&jobs[3..]));
    assert_eq!(stack.traces_of(&worker_id).await, Vec::<String>::new());
    assert!(!stack.has_key("in-flight").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_finish_goes_back_to_the_head_of_its_list_uncounted() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let urgent = stack.jobs(2).await;
    for job_id in &urgent {
        let package = logo(*job_id).to_string();
        let _: i64 = stack.redis().await.lpush(key("high"), package).await.unwrap();
    }
    let jobs = stack.push_logos(4).await;
    let variables = [("WORKER_CONCURRENCY", "5"), ("SHUTDOWN_TIMEOUT", "300ms")];
    let mut replica = stack.replica_of(&openai, &variables).await;
    openai.called(5).await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(0));

    assert_eq!(stack.waiting(&key("high")).await, numbers(&urgent));
    assert_eq!(stack.waiting(QUEUE).await, numbers(&jobs));
    for job_id in urgent.iter().chain(&jobs[..3]) {
        let ledger = stack.ledger(*job_id).await;
        assert_eq!(
            (
                ledger.state.as_str(),
                &ledger.worker_id,
                ledger.attempts,
                ledger.crashes
            ),
            ("waiting", &None, 0, 0)
        );
        assert_eq!(stack.job_row(*job_id).await.error, None);
    }
    assert_eq!(stack.traces_of(&replica.worker_id()).await, Vec::<String>::new());
    assert!(!stack.has_key("in-flight").await);

    openai.open();
    let _next = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&[urgent, jobs].concat()).await;
    assert_eq!(
        stack
            .count("SELECT sum(attempts + crashes) FROM generative_ai.jobs")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_gives_back_at_once() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack.replica_of(&openai, &[("SHUTDOWN_TIMEOUT", NEVER)]).await;
    let jobs = stack.push_logos(3).await;
    openai.called(3).await;
    replica.terminate();
    replica.said(FINISHING).await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(0));
    assert_eq!(stack.waiting(QUEUE).await, numbers(&jobs));
    assert_eq!(stack.traces_of(&replica.worker_id()).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_terminal_is_closed_finishes_what_it_has() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    // By default it waits as long as a call can take, and nobody has to be warned.
    let mut replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(1).await;
    openai.called(1).await;
    replica.hang_up();
    replica.said(FINISHING).await;
    openai.open();
    assert_eq!(replica.exit().await.code(), Some(0));
    stack.all_done_once(&jobs).await;
    assert_eq!(openai.calls().len(), 1);
    assert_eq!(replica.times_said("SHUTDOWN_TIMEOUT"), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_lets_replicas_stop_too_early_is_warned() {
    let stack = Stack::start().await;
    let hasty = [("SHUTDOWN_TIMEOUT", "1s"), ("IMAGE_PROVIDER", "builtin")];
    let warning = "SHUTDOWN_TIMEOUT: 1s is less than JOB_TIMEOUT";
    let replica = stack.replica(&hasty).await;
    assert_eq!(replica.times_said(warning), 1, "{}", replica.log());
    for command in [["check-config", "--offline"], ["doctor", "--offline"]] {
        let said = command_on(&stack, &command, &hasty).await;
        assert_eq!(said.status, Some(0), "{command:?}: {} {}", said.out, said.err);
        assert_eq!(said.out.matches(warning).count(), 1, "{command:?}: {}", said.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_replica_leaves_nothing_that_would_have_to_expire() {
    let stack = Stack::start().await;
    let variables = [
        ("SHUTDOWN_TIMEOUT", NEVER),
        ("LEASE_TTL", NEVER),
        ("PING_INTERVAL", "60s"),
    ];
    let mut replica = stack.replica(&variables).await;
    stack.until_key("ping", true).await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(0));
    assert_eq!(stack.traces_of(&replica.worker_id()).await, Vec::<String>::new());
    assert!(!stack.has_key("ping").await, "the service is down");
    assert_eq!(replica.times_said(FINISHING), 0, "there was nothing to finish");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_up_as_long_as_one_replica_is() {
    let stack = Stack::start().await;
    let stays = stack.replica(&[("PING_INTERVAL", "60s")]).await;
    let mut leaves = stack.replica(&[("PING_INTERVAL", "60s")]).await;
    for replica in [&stays, &leaves] {
        stack
            .until_key(&format!("ping:{}", replica.worker_id()), true)
            .await;
    }
    leaves.terminate();
    assert_eq!(leaves.exit().await.code(), Some(0));
    assert!(stack.has_key("ping").await);
    assert!(stack.has_key(&format!("ping:{}", stays.worker_id())).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_pushed_while_a_replica_stops_is_not_lost() {
    let stack = Stack::start().await;
    let variables = [("SHUTDOWN_TIMEOUT", "50ms"), ("IMAGE_PROVIDER", "blank")];
    let mut jobs = Vec::new();
    for _ in 0..5 {
        let mut replica = stack.replica(&variables).await;
        jobs.extend(stack.jobs(3).await);
        let (before, during) = jobs[jobs.len() - 3..].split_at(1);
        stack.push(&logo(before[0])).await;
        replica.terminate();
        for job_id in during {
            stack.push(&logo(*job_id)).await;
        }
        assert_eq!(replica.exit().await.code(), Some(0));
        assert_eq!(stack.traces_of(&replica.worker_id()).await, Vec::<String>::new());
    }
    let _last = stack.replica(&variables).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(
        stack
            .count("SELECT sum(attempts + crashes) FROM generative_ai.jobs")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_being_begun_when_its_replica_stops_is_given_back_too() {
    let stack = Stack::start().await;
    let slow = "CREATE FUNCTION takes_long() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
        CREATE TRIGGER slow BEFORE INSERT ON generative_ai.jobs FOR EACH ROW EXECUTE FUNCTION takes_long()";
    stack.sql_client().await.batch_execute(slow).await.unwrap();
    let request = Arc::new(BeginRequest {
        job_id: stack.job().await,
        worker_id: "stops".to_owned(),
        queue: QUEUE.to_owned(),
        package: "{}".to_owned(),
        replaces_fence: 0,
        only_looks: false,
    });
    let db = Db::new(&stack.db_settings()).unwrap();
    let attempt = tokio::spawn({
        let db = db.clone();
        async move { db.begin(request).await }
    });
    stack
        .until("the job is being begun", async || {
            let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
            (stack.count(sleeping).await == 1).then_some(())
        })
        .await;
    attempt.abort();
    db.give_back("stops", Vec::new()).await.unwrap();
    let state = stack
        .until("it is begun", async || {
            let rows = stack.sql("SELECT state FROM generative_ai.jobs", &[]).await;
            rows.first().map(|row| row.get::<_, String>(0))
        })
        .await;
    assert_eq!(state, "waiting");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_postgres_is_away_ends_and_loses_nothing() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack
        .replica_of(&openai, &[("SHUTDOWN_TIMEOUT", "300ms"), ("JOB_TIMEOUT", "6s")])
        .await;
    let jobs = stack.push_logos(3).await;
    openai.called(3).await;
    stack.postgres.stop();
    replica.said("Postgres does not answer").await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(1));
    assert_eq!(stack.waiting(QUEUE).await, numbers(&jobs));
    assert_eq!(stack.traces_of(&replica.worker_id()).await, Vec::<String>::new());

    stack.postgres.restart().unwrap();
    openai.open();
    let _next = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_while_redis_is_away_ends_and_loses_nothing() {
    let mut stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack.replica_of(&openai, &[("SHUTDOWN_TIMEOUT", "300ms")]).await;
    let jobs = stack.push_logos(3).await;
    openai.called(3).await;
    stack.redis.stop();
    replica.said("Redis does not answer").await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(1));
    for job_id in &jobs {
        assert_eq!(stack.ledger(*job_id).await.state, "waiting");
    }

    stack.redis.restart().unwrap();
    openai.open();
    let _next = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
    assert_eq!(
        stack
            .count("SELECT sum(attempts + crashes) FROM generative_ai.jobs")
            .await,
        0
    );
}

fn numbers(jobs: &[i32]) -> Vec<i64> {
    jobs.iter().copied().map(i64::from).collect()
}
