//! Which server is the one to use now.
//!
//! All keys of a queue live in one hash slot, so there is always one right server: the one that the URL names,
//! the master that Sentinels name, or the master of the queue's slot in a cluster. What somebody names is
//! believed only when the server itself says that it is a master.

mod slots;

use std::sync::Mutex;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, FromRedisValue, TlsCertificates, Value};
use tokio::time::timeout;

use super::RedisFailure;
use super::address::{Access, Address, Node};
use slots::read_slots;

/// How long a Sentinel, a node or a candidate may take to be connected to, and to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a look may take in all, however many there are to ask.
const LIMIT: Duration = Duration::from_secs(8);

/// Why there is no server to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotFound {
    /// Nobody who was asked can tell, now.
    #[error("{0}")]
    Away(String),
    /// Those who were asked answer that the URL is wrong.
    #[error("{0}")]
    Misnamed(String),
}

/// The server to use.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// `host:port`
    pub(crate) name: String,
    pub(crate) info: ConnectionInfo,
    /// Whom to trust there and who this is; `None`: TLS is not spoken.
    pub(crate) certificates: Option<TlsCertificates>,
}

/// Finds the server to use.
pub(crate) struct Locator {
    address: Address,
    queue: String,
    /// Whom to ask, those who knew last first.
    known: Mutex<Vec<Node>>,
    /// Kept open, since it is asked again and again.
    asked: tokio::sync::Mutex<Option<(Node, MultiplexedConnection)>>,
}

/// What somebody who was asked has answered.
enum Answer {
    Master(Node),
    /// It does not know, or is nobody to ask.
    Misnamed(String),
}

impl Locator {
    pub(crate) fn new(address: Address, queue: &str) -> Self {
        let known = match &address {
            Address::Server { .. } => Vec::new(),
            Address::Sentinels { nodes, .. } | Address::Cluster { nodes, .. } => nodes.clone(),
        };
        Self {
            address,
            queue: queue.to_owned(),
            known: Mutex::new(known),
            asked: tokio::sync::Mutex::default(),
        }
    }

    /// Whether it is always the same server.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self.address, Address::Server { .. })
    }

    /// How often to look although nothing has failed.
    ///
    /// A master that Sentinels have replaced goes on as one for some 10 s before it is told, and what is written to
    /// it in the meantime is lost. A node of a cluster that is no master any more says so by itself; there it is
    /// about the other nodes' names.
    pub(crate) fn look_every(&self) -> Duration {
        match self.address {
            Address::Sentinels { .. } => Duration::from_secs(1),
            Address::Server { .. } | Address::Cluster { .. } => Duration::from_secs(10),
        }
    }

    /// `trusted` is the name of a server that needs not be asked itself, as it is in use and answers.
    ///
    /// # Errors
    /// [`NotFound`] names everybody who was asked, and what each of them said.
    pub(crate) async fn locate(&self, trusted: Option<&str>) -> Result<Found, NotFound> {
        let (access, searching) = match &self.address {
            Address::Server { info, certificates } => {
                return Ok(Found {
                    name: info.addr().to_string(),
                    info: (**info).clone(),
                    certificates: certificates.clone(),
                });
            }
            Address::Sentinels { servers, .. } => (servers, "no Sentinel names a master"),
            Address::Cluster { servers, .. } => {
                (servers, "no node of the cluster names a master for this queue")
            }
        };
        let mut said = Vec::new();
        let mut misnamed = 0;
        let asking = async {
            let mut refused: Vec<(Node, String)> = Vec::new();
            for node in self.known() {
                let answer = match self.ask(&node).await {
                    Ok(Answer::Master(master)) => master,
                    Ok(Answer::Misnamed(why)) => {
                        misnamed += 1;
                        said.push(format!("{node} {why}"));
                        continue;
                    }
                    Err(error) => {
                        said.push(format!("{node} does not answer ({error})"));
                        continue;
                    }
                };
                let known = refused.iter().find(|(master, _)| *master == answer);
                let why = match known {
                    Some((_, why)) => why.clone(),
                    None if trusted == Some(&answer.to_string()) => {
                        self.prefer(&node);
                        return Some(answer);
                    }
                    None => match self.verify(access, &answer).await {
                        Ok(()) => {
                            self.prefer(&node);
                            return Some(answer);
                        }
                        Err(why) => why,
                    },
                };
                said.push(format!("{node} names {answer}, which {why}"));
                refused.push((answer, why));
            }
            None
        };
        match timeout(LIMIT, asking).await {
            Ok(Some(master)) => Ok(Found {
                name: master.to_string(),
                info: access.to(&master),
                certificates: access.certificates.clone(),
            }),
            Ok(None) if misnamed == said.len() => Err(NotFound::Misnamed(said.join("; "))),
            Ok(None) => Err(NotFound::Away(format!("{searching}: {}", said.join("; ")))),
            Err(_) => {
                said.push(format!("gave up after {LIMIT:?}"));
                Err(NotFound::Away(format!("{searching}: {}", said.join("; "))))
            }
        }
    }

    fn known(&self) -> Vec<Node> {
        self.known
            .lock()
            .expect("nothing panics while it holds this lock")
            .clone()
    }

    fn prefer(&self, node: &Node) {
        let mut known = self
            .known
            .lock()
            .expect("nothing panics while it holds this lock");
        known.retain(|other| other != node);
        known.insert(0, node.clone());
    }

    /// The nodes that a cluster has now; those of the URL stay, as the last resort.
    fn learn(&self, nodes: Vec<Node>) {
        let Address::Cluster { nodes: named, .. } = &self.address else {
            return;
        };
        let mut all = nodes;
        for node in named {
            if !all.contains(node) {
                all.push(node.clone());
            }
        }
        *self
            .known
            .lock()
            .expect("nothing panics while it holds this lock") = all;
    }

    async fn ask(&self, node: &Node) -> Result<Answer, RedisFailure> {
        let mut asked = self.asked.lock().await;
        if let Some((_, mut kept)) = asked.take_if(|(kept, _)| kept == node)
            && let Ok(answer) = self.ask_over(node, &mut kept).await
        {
            *asked = Some((node.clone(), kept));
            return Ok(answer);
        }
        let access = match &self.address {
            Address::Sentinels { sentinels, .. } => sentinels,
            Address::Cluster { servers, .. } => servers,
            Address::Server { .. } => unreachable!("a fixed server is not asked for"),
        };
        let mut connection = connect(access.to(node)).await?;
        let answer = self.ask_over(node, &mut connection).await?;
        *asked = Some((node.clone(), connection));
        Ok(answer)
    }

    async fn ask_over(
        &self,
        node: &Node,
        connection: &mut MultiplexedConnection,
    ) -> Result<Answer, RedisFailure> {
        let master = match &self.address {
            Address::Sentinels { master, .. } => master,
            _ => return self.ask_cluster(node, connection).await,
        };
        let named: redis::RedisResult<Option<(String, u16)>> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(master)
            .query_async(connection)
            .await;
        match named {
            Ok(Some((host, port))) => Ok(Answer::Master(Node { host, port })),
            Ok(None) => Ok(Answer::Misnamed(format!("knows no master called \"{master}\""))),
            Err(error) if is_unknown_command(&error) => Ok(Answer::Misnamed(
                "is no Sentinel; write redis://[user:password@]host[:port][/database] for one server"
                    .to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    async fn ask_cluster(
        &self,
        node: &Node,
        connection: &mut MultiplexedConnection,
    ) -> Result<Answer, RedisFailure> {
        let asked: redis::RedisResult<(u16, Value)> = redis::pipe()
            .cmd("CLUSTER")
            .arg("KEYSLOT")
            .arg(&self.queue)
            .cmd("CLUSTER")
            .arg("SLOTS")
            .query_async(connection)
            .await;
        match asked {
            Ok((slot, slots)) => {
                let (master, nodes) = read_slots(slots, slot, &node.host);
                self.learn(nodes);
                master.map(Answer::Master).ok_or_else(|| {
                    RedisFailure::Failed(format!("it knows nobody who serves slot {slot}, that of this queue"))
                })
            }
            Err(error) if is_no_cluster(&error) => Ok(Answer::Misnamed(
                "is no node of a cluster; write redis://[user:password@]host[:port][/database] for one server".to_owned(),
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks a server itself whether it is a master that can be written to; says why not.
    async fn verify(&self, access: &Access, node: &Node) -> Result<(), String> {
        let away = |error: RedisFailure| format!("does not answer ({error})");
        let mut connection = connect(access.to(node)).await.map_err(away)?;
        let role: Vec<Value> = redis::cmd("ROLE")
            .query_async(&mut connection)
            .await
            .map_err(|error| away(error.into()))?;
        let role = role.into_iter().next().map(String::from_redis_value);
        match role {
            Some(Ok(role)) if role == "master" => {}
            Some(Ok(_)) => return Err("is a replica".to_owned()),
            Some(Err(_)) | None => return Err("does not tell its role".to_owned()),
        }
        if matches!(self.address, Address::Cluster { .. }) {
            let info: String = redis::cmd("CLUSTER")
                .arg("INFO")
                .query_async(&mut connection)
                .await
                .map_err(|error| away(error.into()))?;
            // A master that has lost sight of the others still takes itself for one.
            if !info.contains("cluster_state:ok") {
                return Err("says that the cluster is down".to_owned());
            }
        }
        Ok(())
    }
}

async fn connect(info: ConnectionInfo) -> Result<MultiplexedConnection, RedisFailure> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = Client::open(info)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&config)
        .await?)
}

fn is_unknown_command(error: &redis::RedisError) -> bool {
    error.code() == Some("ERR")
        && error
            .detail()
            .is_some_and(|text| text.contains("unknown command"))
}

fn is_no_cluster(error: &redis::RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.iter().flat_map(|errors| errors.iter()).any(|(_, error)| {
        let text = error.details().unwrap_or_default();
        text.contains("unknown command") || text.contains("cluster support disabled")
    })
}
