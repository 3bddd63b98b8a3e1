//! The queue that is taken over is where its owners have it: behind TLS, behind Sentinels, on a cluster.

use generative_ai_worker::private_servers::{RedisOptions, RedisServer};
use serde_json::Value;

use super::{At, TAKES_OVER, VERSIONS, as_the_application, is_as_bullmq_leaves_it_at, producer};
use crate::harness::authority::{Authority, free_port};
use crate::harness::stack::{Stack, logo};
use crate::harness::topology::{Cluster, PASSWORD, Watched};

/// Some jobs of either version become pictures, and nothing of them is left.
async fn is_taken_over(stack: &Stack, at: &At) {
    for version in VERSIONS {
        let jobs = stack.jobs(4).await;
        let adds: Vec<Value> = jobs.iter().map(|job| as_the_application(&logo(*job))).collect();
        producer(at, "add", version, &adds).await;
        for job in jobs {
            assert_eq!(stack.ended(job).await.error, None, "{version}");
        }
        is_as_bullmq_leaves_it_at(at, stack, version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls_on_a_server_of_its_own() {
    let stack = Stack::start().await;
    let authority = Authority::make(&stack.path("authority"));
    let port = free_port();
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
    let url = format!("rediss://:{PASSWORD}@127.0.0.1:{port}");
    let trusted = authority.root.to_str().unwrap();
    let variables = [TAKES_OVER, ("BULLMQ_REDIS_URL", &url), ("SSL_CERT_FILE", trusted)];
    let replica = stack.replica(&variables).await;
    let at = At {
        url: server.url(),
        prefix: "bull",
    };
    is_taken_over(&stack, &at).await;
    assert_eq!(replica.times_said("\"ERROR\""), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_before_and_after_a_failover() {
    let stack = Stack::start().await;
    let mut watched = Watched::start(&stack, 1).await;
    let url = watched.url();
    let at = |server: &RedisServer| At {
        url: server.url(),
        prefix: "bull",
    };
    let master = watched.servers[0].take().unwrap();
    stack.look_at(master.url());
    let _replica = stack.replica(&[TAKES_OVER, ("REDIS_URL", &url)]).await;
    is_taken_over(&stack, &at(&master)).await;
    let port = master.port();
    drop(master);
    watched.failed_over(&stack, port).await;
    is_taken_over(&stack, &at(watched.master().await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_beside_the_workers_own_keys() {
    let stack = Stack::start().await;
    let cluster = Cluster::start(&stack).await;
    let url = cluster.url();
    // On a cluster BullMQ itself needs a prefix that keeps the keys of a queue together.
    let variables = [TAKES_OVER, ("BULLMQ_PREFIX", "{bull}"), ("REDIS_URL", &url)];
    let _replica = stack.replica(&variables).await;
    let nodes: Vec<String> = cluster.nodes[..3]
        .iter()
        .flatten()
        .map(RedisServer::url)
        .collect();
    let at = At {
        url: nodes.join(","),
        prefix: "{bull}",
    };
    is_taken_over(&stack, &at).await;
}
