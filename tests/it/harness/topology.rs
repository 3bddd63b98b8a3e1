//! More than one Redis: a master with replicas and Sentinels, and a cluster.

use std::time::Duration;

use generative_ai_worker::private_servers::{RedisOptions, RedisServer};
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, Value};

use super::stack::{PATIENCE, QUEUE, Stack, logo};

/// Asked for by every server here.
pub(crate) const PASSWORD: &str = "servers-password";
/// Asked for by every Sentinel.
pub(crate) const SENTINEL_PASSWORD: &str = "sentinels-password";
pub(crate) const MASTER: &str = "jobs";

/// A connection of the test's own.
pub(crate) async fn connect(url: &str) -> RedisResult<MultiplexedConnection> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    redis::Client::open(url)?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Says one command to a server.
pub(crate) async fn tell<T: FromRedisValue>(server: &RedisServer, command: &[&str]) -> RedisResult<T> {
    let mut connection = connect(&server.url()).await?;
    redis::cmd(command[0])
        .arg(&command[1..])
        .query_async(&mut connection)
        .await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("waited {PATIENCE:?} in vain until {what}");
    }
}

/// Starts a server in a directory of its own.
pub(crate) fn start(stack: &Stack, name: &str, config: &[String]) -> RedisServer {
    let options = RedisOptions {
        append_only: true,
        config: [&[format!("masterauth {PASSWORD}")], config].concat(),
        password: Some(PASSWORD.to_owned()),
        is_sentinel: false,
    };
    RedisServer::start(&stack.path(name), options).unwrap()
}

/// Pushes packages for new jobs to the Redis that the stack looks at, and returns when `copies` replicas have them:
/// what a failover to one of these cannot lose.
pub(crate) async fn push_replicated(stack: &Stack, count: i32, copies: i64) -> Vec<i32> {
    let jobs = stack.jobs(count).await;
    let packages: Vec<String> = jobs.iter().map(|job_id| logo(*job_id).to_string()).collect();
    let (_, copied): (i64, i64) = redis::pipe()
        .lpush(QUEUE, packages)
        .cmd("WAIT")
        .arg(copies)
        .arg(PATIENCE.as_millis() / 2)
        .query_async(&mut stack.redis().await)
        .await
        .unwrap();
    assert!(copied >= copies, "{copied} replicas have the packages");
    jobs
}

/// Whether a replica follows its master.
async fn follows(server: &RedisServer) -> bool {
    let role: RedisResult<Vec<Value>> = tell(server, &["ROLE"]).await;
    role.is_ok_and(|role| {
        let words: Vec<String> = role
            .iter()
            .filter_map(|word| String::from_redis_value(word.clone()).ok())
            .collect();
        words.iter().any(|word| word == "slave") && words.iter().any(|word| word == "connected")
    })
}

/// A master, its replicas, and three Sentinels that watch them.
pub(crate) struct Watched {
    /// The first one is the master at first. `None`: killed.
    pub(crate) servers: Vec<Option<RedisServer>>,
    pub(crate) sentinels: Vec<RedisServer>,
}

impl Watched {
    pub(crate) async fn start(stack: &Stack, replicas: usize) -> Self {
        let master = start(stack, "master", &[]);
        let follow = [format!("replicaof 127.0.0.1 {}", master.port())];
        let mut servers = vec![master];
        for number in 0..replicas {
            servers.push(start(stack, &format!("copy-{number}"), &follow));
        }
        for replica in &servers[1..] {
            until("the replica follows", async || follows(replica).await).await;
        }
        let config = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {} 2", servers[0].port()),
            format!("sentinel auth-pass {MASTER} {PASSWORD}"),
            format!("sentinel down-after-milliseconds {MASTER} 1000"),
            format!("sentinel failover-timeout {MASTER} 10000"),
            format!("sentinel sentinel-pass {SENTINEL_PASSWORD}"),
        ];
        let sentinels: Vec<RedisServer> = (0..3)
            .map(|number| {
                let options = RedisOptions {
                    config: config.to_vec(),
                    password: Some(SENTINEL_PASSWORD.to_owned()),
                    is_sentinel: true,
                    ..RedisOptions::default()
                };
                RedisServer::start(&stack.path(&format!("sentinel-{number}")), options).unwrap()
            })
            .collect();
        for sentinel in &sentinels {
            until("the Sentinels know all", async || {
                knows(sentinel, "SENTINELS", 2).await && knows(sentinel, "REPLICAS", replicas).await
            })
            .await;
        }
        Self {
            servers: servers.into_iter().map(Some).collect(),
            sentinels,
        }
    }

    /// As an operator writes it.
    pub(crate) fn url(&self) -> String {
        let sentinels: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("127.0.0.1:{}", sentinel.port()))
            .collect();
        format!(
            "redis+sentinel://:{PASSWORD}@{}/{MASTER}?sentinel_password={SENTINEL_PASSWORD}",
            sentinels.join(",")
        )
    }

    /// The server that the Sentinels take for the master.
    pub(crate) async fn master(&self) -> Option<&RedisServer> {
        let query = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
        let mut named = Vec::new();
        for sentinel in &self.sentinels {
            let (_, port): (String, u16) = tell(sentinel, &query).await.ok()?;
            named.push(port);
        }
        let is_agreed = named.iter().all(|port| *port == named[0]);
        let mut servers = self.servers.iter().flatten();
        servers.find(|server| is_agreed && server.port() == named[0])
    }

    /// Waits until the Sentinels agree on another master than the one on `port`, and looks at that one.
    pub(crate) async fn failed_over(&self, stack: &Stack, port: u16) {
        until("the Sentinels name another master", async || {
            self.master().await.is_some_and(|master| master.port() != port)
        })
        .await;
        stack.look_at(self.master().await.unwrap().url());
    }
}

async fn knows(sentinel: &RedisServer, kind: &str, count: usize) -> bool {
    let known: RedisResult<Vec<Value>> = tell(sentinel, &["SENTINEL", kind, MASTER]).await;
    known.is_ok_and(|known| known.len() == count)
}

/// A cluster of three masters with a replica each.
pub(crate) struct Cluster {
    /// Masters, then their replicas in the same order. `None`: killed.
    pub(crate) nodes: Vec<Option<RedisServer>>,
    /// Slot of the queue.
    pub(crate) slot: u16,
}

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

impl Cluster {
    pub(crate) async fn start(stack: &Stack) -> Self {
        let config = [
            "cluster-enabled yes".to_owned(),
            "cluster-node-timeout 1000".to_owned(),
        ];
        let nodes: Vec<RedisServer> = (0..2 * MASTERS)
            .map(|number| start(stack, &format!("node-{number}"), &config))
            .collect();
        let mut ids: Vec<String> = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            ids.push(tell(node, &["CLUSTER", "MYID"]).await.unwrap());
            let epoch = (number + 1).to_string();
            let _: () = tell(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch])
                .await
                .unwrap();
            let port = node.port().to_string();
            let _: () = tell(&nodes[0], &["CLUSTER", "MEET", "127.0.0.1", &port])
                .await
                .unwrap();
        }
        for (number, master) in nodes[..MASTERS].iter().enumerate() {
            let slots = number * SLOTS / MASTERS..(number + 1) * SLOTS / MASTERS;
            let slots: Vec<String> = slots.map(|slot| slot.to_string()).collect();
            let mut command = vec!["CLUSTER", "ADDSLOTS"];
            command.extend(slots.iter().map(String::as_str));
            let _: () = tell(master, &command).await.unwrap();
        }
        for (number, replica) in nodes[MASTERS..].iter().enumerate() {
            until("the replica knows its master", async || {
                tell::<()>(replica, &["CLUSTER", "REPLICATE", &ids[number]])
                    .await
                    .is_ok()
            })
            .await;
        }
        for node in &nodes {
            until("the cluster is up", async || {
                let info: String = tell(node, &["CLUSTER", "INFO"]).await.unwrap();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:6")
            })
            .await;
        }
        for replica in &nodes[MASTERS..] {
            until("the replica follows", async || follows(replica).await).await;
        }
        let slot = tell(&nodes[0], &["CLUSTER", "KEYSLOT", QUEUE]).await.unwrap();
        let cluster = Self {
            nodes: nodes.into_iter().map(Some).collect(),
            slot,
        };
        until("all nodes know all replicas", async || {
            for node in cluster.nodes.iter().flatten() {
                let ranges: Vec<Vec<Value>> = tell(node, &["CLUSTER", "SLOTS"]).await.unwrap();
                if ranges.len() != MASTERS || ranges.iter().any(|range| range.len() != 4) {
                    return false;
                }
            }
            true
        })
        .await;
        stack.look_at(cluster.master().await.unwrap().url());
        cluster
    }

    /// As an operator writes it: some of the nodes.
    pub(crate) fn url(&self) -> String {
        let nodes: Vec<String> = self.nodes[..2]
            .iter()
            .flatten()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://:{PASSWORD}@{}", nodes.join(","))
    }

    /// The master of the queue's slot by the word of every node that lives.
    pub(crate) async fn master(&self) -> Option<&RedisServer> {
        let mut named = Vec::new();
        for node in self.nodes.iter().flatten() {
            let ranges: Vec<Vec<Value>> = tell(node, &["CLUSTER", "SLOTS"]).await.ok()?;
            named.push(ranges.iter().find_map(|range| {
                let first = u16::from_redis_value(range[0].clone()).ok()?;
                let last = u16::from_redis_value(range[1].clone()).ok()?;
                let master: Vec<Value> = Vec::from_redis_value(range[2].clone()).ok()?;
                (first..=last)
                    .contains(&self.slot)
                    .then(|| u16::from_redis_value(master[1].clone()).ok())?
            })?);
        }
        let is_agreed = named.iter().all(|port| *port == named[0]);
        let mut nodes = self.nodes.iter().flatten();
        nodes.find(|node| is_agreed && node.port() == named[0])
    }

    /// The place of the queue's master among the nodes.
    pub(crate) async fn master_place(&self) -> usize {
        let port = self.master().await.unwrap().port();
        let is_it = |node: &Option<RedisServer>| node.as_ref().is_some_and(|node| node.port() == port);
        self.nodes.iter().position(is_it).unwrap()
    }

    /// Waits until another node than the one on `port` is the master of the queue's slot, and looks at that one.
    pub(crate) async fn failed_over(&self, stack: &Stack, port: u16) {
        until("another node serves the queue's slot", async || {
            self.master().await.is_some_and(|master| master.port() != port)
        })
        .await;
        stack.look_at(self.master().await.unwrap().url());
    }

    /// Begins to move the queue's slot to the node at `place`: one of its keys is there, the others are not.
    pub(crate) async fn begin_to_move_slot(&self, place: usize) -> Move<'_> {
        let from = self.master().await.unwrap();
        let to = self.nodes[place].as_ref().unwrap();
        let to_id: String = tell(to, &["CLUSTER", "MYID"]).await.unwrap();
        let from_id: String = tell(from, &["CLUSTER", "MYID"]).await.unwrap();
        let slot = self.slot.to_string();
        let _: () = tell(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id])
            .await
            .unwrap();
        let _: () = tell(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id])
            .await
            .unwrap();
        let moving = Move {
            from,
            to,
            to_id,
            slot,
        };
        assert!(moving.keys(1).await, "the queue has keys");
        moving
    }

    /// Ends the move, and looks at the new master.
    pub(crate) async fn end_move(&self, stack: &Stack, moving: Move<'_>) {
        while moving.keys(100).await {}
        let masters = self.nodes[..MASTERS].iter().flatten();
        for node in [moving.to, moving.from].into_iter().chain(masters) {
            let _: () = tell(node, &["CLUSTER", "SETSLOT", &moving.slot, "NODE", &moving.to_id])
                .await
                .unwrap();
        }
        self.failed_over(stack, moving.from.port()).await;
    }
}

/// A slot on its way to another master.
pub(crate) struct Move<'a> {
    pub(crate) from: &'a RedisServer,
    to: &'a RedisServer,
    to_id: String,
    slot: String,
}

impl Move<'_> {
    /// Moves up to `count` keys; whether there were any.
    async fn keys(&self, count: usize) -> bool {
        let query = ["CLUSTER", "GETKEYSINSLOT", &self.slot, &count.to_string()];
        let keys: Vec<String> = tell(self.from, &query).await.unwrap();
        let port = self.to.port().to_string();
        let mut command = vec![
            "MIGRATE",
            "127.0.0.1",
            &port,
            "",
            "0",
            "5000",
            "AUTH",
            PASSWORD,
            "KEYS",
        ];
        command.extend(keys.iter().map(String::as_str));
        if !keys.is_empty() {
            // Answers NOKEY when they have run out meanwhile.
            let _: String = tell(self.from, &command).await.unwrap();
        }
        !keys.is_empty()
    }
}
