//! Redis and Postgres may stop, restart, freeze or cut connections: the replicas go on by themselves.

use std::time::Duration;

use redis::AsyncCommands;

use crate::harness::aftermath::key;
use crate::harness::load::{Load, POSTGRES_BACK, POSTGRES_GONE, REDIS_BACK, REDIS_GONE};
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{QUEUE, Stack, logo};

/// How long an outage lasts here: longer than the replicas' leases.
const OUTAGE: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stops_and_comes_back_loses_nothing() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let mut jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.redis.stop();
    load.all_say(REDIS_GONE).await;
    let healthcheck = stack.command(&["healthcheck"], &[]).await;
    assert!(!healthcheck.status.success());
    tokio::time::sleep(OUTAGE).await;
    stack.redis.restart().unwrap();
    load.all_say(REDIS_BACK).await;
    jobs.extend(stack.push_logos(6).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
    stack.until_key("ping", true).await;
    let healthcheck = stack.command(&["healthcheck"], &[]).await;
    assert!(healthcheck.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_and_comes_back_loses_nothing() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.redis.kill();
    load.all_say(REDIS_GONE).await;
    stack.redis.restart().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_of_redis_nobody_is_taken_for_dead() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    load.openai.close();
    let jobs = stack.push_logos(6).await;
    load.openai.called(6).await;
    stack.redis.stop();
    load.all_say(REDIS_GONE).await;
    // All leases have run out when Redis is back, and one of the replicas is slow to renew its own.
    tokio::time::sleep(OUTAGE).await;
    let [quick, slow] = &load.replicas;
    slow.freeze();
    stack.redis.restart().unwrap();
    quick.said(REDIS_BACK).await;
    // Time for the quick one to look for dead ones, and less than the patience that it has to have.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    slow.thaw();
    load.all_say(REDIS_BACK).await;
    load.openai.open();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
    for replica in &load.replicas {
        assert_eq!(replica.times_said("gone without a word"), 0);
    }
    // What is taken for dead and lives would have lost its name.
    let workers: usize = stack.redis().await.scard(key("workers")).await.unwrap();
    assert_eq!(workers, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_redis_that_goes_on_loses_nothing() {
    let stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.redis.pause().unwrap();
    load.all_say(REDIS_GONE).await;
    stack.redis.resume().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_stops_and_comes_back_loses_nothing() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.postgres.stop();
    load.all_say(POSTGRES_GONE).await;
    tokio::time::sleep(OUTAGE).await;
    stack.postgres.restart().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[POSTGRES_GONE, POSTGRES_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_and_comes_back_loses_nothing() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.postgres.kill();
    load.all_say(POSTGRES_GONE).await;
    stack.postgres.restart().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[POSTGRES_GONE, POSTGRES_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_taken_while_postgres_is_away_and_what_has_landed_goes_back() {
    let mut stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let jobs = stack.jobs(2).await;
    stack.postgres.stop();
    replica.said(POSTGRES_GONE).await;
    // As a BLMOVE that was under way leaves it.
    let landing = key(&format!("landing:{}", replica.worker_id()));
    let landed = logo(jobs[0]).to_string();
    let _: i64 = stack.redis().await.lpush(&landing, landed).await.unwrap();
    stack.push(&logo(jobs[1])).await;
    let both = [i64::from(jobs[0]), i64::from(jobs[1])];
    stack
        .until("both packages wait, the landed one first", async || {
            (stack.waiting(QUEUE).await == both).then_some(())
        })
        .await;
    stack.postgres.restart().unwrap();
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ping_is_withdrawn_while_postgres_is_away() {
    let mut stack = Stack::start().await;
    // A ping that was left to expire would outlive this test.
    let replica = stack.replica(&[("PING_INTERVAL", "60s")]).await;
    let own = format!("ping:{}", replica.worker_id());
    for ping in ["ping", &own] {
        stack.until_key(ping, true).await;
    }
    stack.postgres.stop();
    for ping in ["ping", &own] {
        stack.until_key(ping, false).await;
    }
    let healthcheck = stack.command(&["healthcheck"], &[]).await;
    assert_eq!(healthcheck.status.code(), Some(1));
    assert!(stack.has_key(&format!("lease:{}", replica.worker_id())).await);
    stack.postgres.restart().unwrap();
    for ping in ["ping", &own] {
        stack.until_key(ping, true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_both_loses_nothing() {
    let mut stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.postgres.kill();
    stack.redis.kill();
    load.all_say(REDIS_GONE).await;
    load.all_say(POSTGRES_GONE).await;
    stack.redis.restart().unwrap();
    load.all_say(REDIS_BACK).await;
    stack.postgres.restart().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK, POSTGRES_GONE, POSTGRES_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(60).await;
    let mut redis = stack.redis().await;
    for cut in 1..=10 {
        stack.done(cut * 5).await;
        // Right after the cut before there may be none that is open again.
        while kill_clients(&mut redis).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE application_name = 'generative-ai-worker'";
        stack.sql(cut, &[]).await;
    }
    stack.all_done_once(&jobs).await;
    load.counted_nothing(&stack, jobs.len()).await;
}

/// Cuts every connection but this one, and says how many there were.
async fn kill_clients(redis: &mut redis::aio::MultiplexedConnection) -> i64 {
    let mut kill = redis::cmd("CLIENT");
    kill.arg("KILL")
        .arg("TYPE")
        .arg("normal")
        .arg("SKIPME")
        .arg("yes");
    kill.query_async(redis).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_redis_forgets_are_loaded_again() {
    let stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(60).await;
    let mut redis = stack.redis().await;
    for flush in 1..=6 {
        // More than are in hand together, so that the scripts have been needed since the last time.
        stack.done(flush * 8).await;
        let _: String = redis::cmd("SCRIPT")
            .arg("FLUSH")
            .query_async(&mut redis)
            .await
            .unwrap();
    }
    stack.all_done_once(&jobs).await;
    load.counted_nothing(&stack, jobs.len()).await;
    for replica in &load.replicas {
        assert_eq!(replica.times_said(REDIS_GONE), 0, "{}", replica.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_postgres_that_goes_on_loses_nothing() {
    let stack = Stack::start().await;
    let load = Load::start(&stack, &[]).await;
    let jobs = stack.push_logos(30).await;
    stack.done(6).await;
    stack.postgres.pause().unwrap();
    load.all_say(POSTGRES_GONE).await;
    stack.until_key("ping", false).await;
    stack.postgres.resume().unwrap();
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[POSTGRES_GONE, POSTGRES_BACK]);
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_a_frozen_postgres_can_be_stopped() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let mut replica = stack.replica_of(&openai, &[("SHUTDOWN_TIMEOUT", "300ms")]).await;
    let jobs = stack.push_logos(3).await;
    openai.called(3).await;
    stack.postgres.pause().unwrap();
    openai.open();
    replica.said(POSTGRES_GONE).await;
    replica.terminate();
    assert_eq!(replica.exit().await.code(), Some(1));
    assert_eq!(stack.waiting(QUEUE).await.len(), 3);
    stack.postgres.resume().unwrap();
    let _next = stack.replica_of(&openai, &[]).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_that_postgres_does_not_record_do_not_pile_up() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut other = stack.sql_client().await;
    let migration = other.transaction().await.unwrap();
    migration
        .batch_execute("LOCK TABLE images IN SHARE MODE")
        .await
        .unwrap();
    let _replica = stack.replica_of(&openai, &[("WORKER_CONCURRENCY", "1")]).await;
    let jobs = stack.push_logos(20).await;
    // Ten wait for Postgres without a slot, and the eleventh keeps its own.
    openai.called(11).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(openai.calls().len(), 11);
    migration.rollback().await.unwrap();
    stack.all_done_once(&jobs).await;
    assert_eq!((openai.bills(), openai.most_open()), (20, 1));
}
