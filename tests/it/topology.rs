//! Sentinels, clusters and TLS: the worker finds the server to use, and follows when another one takes over.

use generative_ai_worker::private_servers::{RedisOptions, RedisServer};

use crate::harness::authority::{Authority, free_port};
use crate::harness::command::{Said, command_on};
use crate::harness::load::{Load, REDIS_BACK, REDIS_GONE};
use crate::harness::stack::Stack;
use crate::harness::topology::{
    Cluster, MASTER, PASSWORD, SENTINEL_PASSWORD, Watched, push_replicated, tell,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_freezes_is_left_and_not_returned_to() {
    let stack = Stack::start().await;
    let watched = Watched::start(&stack, 2).await;
    let old = watched.master().await.unwrap();
    stack.look_at(old.url());
    let load = Load::start(&stack, &[("REDIS_URL", &watched.url())]).await;
    let mut jobs = push_replicated(&stack, 20, 2).await;
    stack.done(6).await;
    old.pause().unwrap();
    load.all_say(ANOTHER).await;
    watched.failed_over(&stack, old.port()).await;
    // It still takes itself for the master.
    old.resume().unwrap();
    jobs.extend(push_replicated(&stack, 10, 1).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[ANOTHER]);
    load.each_said_at_most_once(&[REDIS_GONE, REDIS_BACK]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_that_are_gone_stop_nobody() {
    let stack = Stack::start().await;
    let mut watched = Watched::start(&stack, 0).await;
    stack.look_at(watched.master().await.unwrap().url());
    let load = Load::start(&stack, &[("REDIS_URL", &watched.url())]).await;
    watched.sentinels.clear();
    let jobs = stack.push_logos(40).await;
    stack.all_done_once(&jobs).await;
    for replica in &load.replicas {
        assert_eq!(replica.times_said(REDIS_GONE), 0, "{}", replica.log());
    }
    load.counted_nothing(&stack, jobs.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_to_another_master_under_load_is_followed() {
    let stack = Stack::start().await;
    let cluster = Cluster::start(&stack).await;
    let load = Load::start(&stack, &[("REDIS_URL", &cluster.url())]).await;
    let mut jobs = stack.push_logos(40).await;
    stack.done(6).await;
    let to = (cluster.master_place().await + 1) % 3;
    let moving = cluster.begin_to_move_slot(to).await;
    // Neither master has all keys of a script.
    load.all_say(REDIS_GONE).await;
    cluster.end_move(&stack, moving).await;
    load.all_say(REDIS_BACK).await;
    jobs.extend(stack.push_logos(10).await);
    stack.all_done_once(&jobs).await;
    load.each_said_once(&[REDIS_GONE, REDIS_BACK, ANOTHER]);
    load.counted_nothing(&stack, jobs.len()).await;
}

/// Starts a worker that is to refuse the Redis at `url`.
async fn refusal(stack: &Stack, url: &str) -> Said {
    command_on(stack, &["run"], &[("REDIS_URL", url), ("RUST_LOG", "warn")]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_for_another_kind_of_redis_is_refused_with_the_one_to_write() {
    let stack = Stack::start().await;
    let options = RedisOptions {
        config: vec!["cluster-enabled yes".to_owned()],
        ..RedisOptions::default()
    };
    let node = RedisServer::start(&stack.path("node"), options).unwrap();
    let watched = Watched::start(&stack, 0).await;
    let (server, sentinel) = (&stack.redis, &watched.sentinels[0]);
    let at = |server: &RedisServer| format!("127.0.0.1:{}", server.port());
    let alone = "write redis://[user:password@]host[:port][/database] for one server";
    for (url, expected) in [
        (
            node.url(),
            format!(
                "Redis at {0} is a node of a cluster; write redis+cluster://[user:password@]{0}",
                at(&node)
            ),
        ),
        (
            sentinel.url(),
            format!(
                "Redis at {0} is a Sentinel; write redis+sentinel://[user:password@]{0}/<master name>",
                at(sentinel)
            ),
        ),
        (
            format!(
                "{}/jobs?sentinel_password={}",
                server.url().replace("redis", "redis+sentinel"),
                server.url().split([':', '@']).nth(2).unwrap()
            ),
            format!("{} is no Sentinel; {alone}", at(server)),
        ),
        (
            server.url().replace("redis", "redis+cluster"),
            format!("{} is no node of a cluster; {alone}", at(server)),
        ),
        (
            watched.url().replace(&format!("/{MASTER}"), "/other"),
            watched
                .sentinels
                .iter()
                .map(|sentinel| format!("{} knows no master called \"other\"", at(sentinel)))
                .collect::<Vec<_>>()
                .join("; "),
        ),
    ] {
        let said = refusal(&stack, &url).await;
        said.is(78, "", &format!("generative-ai-worker: REDIS_URL: {expected}\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_nodes_that_cannot_help_are_named_with_what_they_said_and_no_password() {
    let stack = Stack::start().await;
    let mut watched = Watched::start(&stack, 0).await;
    let master = watched.servers[0].take().unwrap().port();
    let [one, two, three] = [0, 1, 2].map(|number| watched.sentinels[number].port());
    let gone = watched.sentinels.remove(0);
    drop(gone);
    let refused = "Connection refused (os error 111)";
    let wrong = watched.url().replace(SENTINEL_PASSWORD, "hunter2");
    for (url, expected) in [
        (
            watched.url().replace('@', &format!("@127.0.0.1:{one},")),
            format!(
                "no Sentinel names a master: 127.0.0.1:{one} does not answer (Redis: {refused}); \
                 127.0.0.1:{two} names 127.0.0.1:{master}, which does not answer (Redis: {refused}); \
                 127.0.0.1:{three} names 127.0.0.1:{master}, which does not answer (Redis: {refused})"
            ),
        ),
        (
            format!("redis+cluster://:hunter2@127.0.0.1:{one},127.0.0.1:{master}"),
            format!(
                "no node of the cluster names a master for this queue: \
                 127.0.0.1:{one} does not answer (Redis: {refused}); 127.0.0.1:{master} does not answer (Redis: {refused})"
            ),
        ),
        (wrong, "no Sentinel names a master: 127.0.0.1:".to_owned()),
    ] {
        let said = refusal(&stack, &url).await;
        let expected =
            format!("generative-ai-worker: REDIS_URL: there is no master to be reached: Redis: {expected}");
        assert!(said.err.starts_with(&expected), "{}\n{expected}", said.err);
        assert!(
            !said.err.contains("hunter2") && !said.err.contains(PASSWORD),
            "{}",
            said.err
        );
        assert_eq!(
            (said.status, said.err.lines().count()),
            (Some(69), 1),
            "{}",
            said.err
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_to_servers_and_sentinels_whose_authority_is_trusted_and_to_no_others() {
    let stack = Stack::start().await;
    let authority = Authority::make(&stack.path("authority"));
    let stranger = Authority::make(&stack.path("stranger"));
    let (port, sentinel_port) = (free_port(), free_port());
    let options = RedisOptions {
        config: authority.config(port),
        password: Some(PASSWORD.to_owned()),
        ..RedisOptions::default()
    };
    let server = match RedisServer::start(&stack.path("tls"), options) {
        Ok(server) => server,
        Err(error) if format!("{error:#}").contains("tls-port") => {
            println!("skipped: this redis-server was built without TLS");
            return;
        }
        Err(error) => panic!("{error:#}"),
    };
    let mut config = authority.config(sentinel_port);
    config.extend([
        "tls-replication yes".to_owned(),
        format!("sentinel monitor {MASTER} 127.0.0.1 {port} 1"),
        format!("sentinel auth-pass {MASTER} {PASSWORD}"),
    ]);
    let options = RedisOptions {
        config,
        password: Some(SENTINEL_PASSWORD.to_owned()),
        is_sentinel: true,
        ..RedisOptions::default()
    };
    let _sentinel = RedisServer::start(&stack.path("tls-sentinel"), options).unwrap();
    stack.look_at(server.url());
    let trusted = authority.root.to_str().unwrap();
    for url in [
        format!("rediss://:{PASSWORD}@127.0.0.1:{port}"),
        format!(
            "rediss+sentinel://:{PASSWORD}@127.0.0.1:{sentinel_port}/{MASTER}?sentinel_password={SENTINEL_PASSWORD}"
        ),
    ] {
        let replica = stack
            .replica(&[("REDIS_URL", &url), ("SSL_CERT_FILE", trusted)])
            .await;
        let jobs = stack.push_logos(3).await;
        for job in jobs {
            assert_eq!(stack.ended(job).await.progress, Some(100));
        }
        stack.idle().await;
        drop(replica);
        let untrusted = [
            ("REDIS_URL", &*url),
            ("SSL_CERT_FILE", stranger.root.to_str().unwrap()),
        ];
        let said = command_on(&stack, &["run"], &untrusted).await;
        let last = said.err.lines().last().unwrap_or_default();
        assert!(
            last.contains("invalid peer certificate: UnknownIssuer; name a file with its authority"),
            "{}",
            said.err
        );
        assert!(!said.err.contains(PASSWORD), "{}", said.err);
        assert_eq!(said.status, Some(69), "{}", said.err);
    }
}
