//! Sentinels, clusters and TLS: the worker finds the server to use, and follows when another one takes over.

use crate::harness::load::{Load, REDIS_BACK, REDIS_GONE};
use crate::harness::stack::Stack;
use crate::harness::topology::{Cluster, MASTER, Watched, push_replicated, tell};

const ANOTHER: &str = "another Redis has become the master";

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_dies_under_load_is_followed_by_what_the_sentinels_promote() {
    let stack = Stack::start().await;
    let mut watched = Watched::start(&stack, 2).await;
    stack.look_at(watched.master().await.unwrap().url());
    let load = Load::start(&stack, &[("REDIS_URL", &watched.url())]).await;
    let mut jobs = push_replicated(&stack, 40, 2).await;
    stack.done(6).await;
    let mut master = watched.servers[0].take().unwrap();
    master.kill();
    load.all_say(REDIS_GONE).await;
    watched.failed_over(&stack, master.port()).await;
    load.all_say(REDIS_BACK).await;
    jobs.extend(push_replicated(&stack, 10, 1).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK, ANOTHER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_an_operator_asks_for_is_followed_at_once() {
    let stack = Stack::start().await;
    let watched = Watched::start(&stack, 2).await;
    let old = watched.master().await.unwrap();
    stack.look_at(old.url());
    let load = Load::start(&stack, &[("REDIS_URL", &watched.url())]).await;
    let mut jobs = push_replicated(&stack, 40, 2).await;
    stack.done(6).await;
    let _: () = tell(&watched.sentinels[0], &["SENTINEL", "FAILOVER", MASTER])
        .await
        .unwrap();
    load.all_say(ANOTHER).await;
    watched.failed_over(&stack, old.port()).await;
    jobs.extend(push_replicated(&stack, 10, 1).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[ANOTHER]);
    load.each_said_at_most_once(&[REDIS_GONE, REDIS_BACK]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_master_that_dies_under_load_is_followed_by_its_replica() {
    let stack = Stack::start().await;
    let mut cluster = Cluster::start(&stack).await;
    let load = Load::start(&stack, &[("REDIS_URL", &cluster.url())]).await;
    let mut jobs = push_replicated(&stack, 40, 1).await;
    stack.done(6).await;
    let place = cluster.master_place().await;
    let mut master = cluster.nodes[place].take().unwrap();
    master.kill();
    load.all_say(REDIS_GONE).await;
    cluster.failed_over(&stack, master.port()).await;
    load.all_say(REDIS_BACK).await;
    jobs.extend(push_replicated(&stack, 10, 0).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK, ANOTHER]);
}
