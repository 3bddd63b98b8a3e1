//! What a fault leaves behind: in whose hands packages are, what the ledger says, whether all ended well.

use redis::AsyncCommands;
use serde_json::Value;

use super::files_below;
use super::replica::Replica;
use super::stack::{QUEUE, Stack, logo, with};

/// What the ledger says of a job.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ledger {
    pub(crate) state: String,
    pub(crate) worker_id: Option<String>,
    pub(crate) deliveries: i32,
    pub(crate) attempts: i32,
    pub(crate) crashes: i32,
}

/// `{Q}:<what>`
pub(crate) fn key(what: &str) -> String {
    format!("{{{QUEUE}}}:{what}")
}

impl Stack {
    /// Pushes packages of these jobs for a provider.
    pub(crate) async fn push_to(&self, provider: &str, jobs: &[i32]) {
        for job_id in jobs {
            self.push(&with(logo(*job_id), "imageProvider", provider)).await;
        }
    }

    /// Makes jobs and pushes their packages, in this order.
    pub(crate) async fn push_logos(&self, count: i32) -> Vec<i32> {
        let jobs = self.jobs(count).await;
        let packages: Vec<String> = jobs.iter().map(|job_id| logo(*job_id).to_string()).collect();
        let _: i64 = self.redis().await.lpush(QUEUE, packages).await.unwrap();
        jobs
    }

    pub(crate) async fn ledger(&self, job_id: i32) -> Ledger {
        let query = "SELECT state, worker_id, deliveries, attempts, crashes FROM generative_ai.jobs WHERE job_id = $1";
        let rows = self.sql(query, &[&job_id]).await;
        Ledger {
            state: rows[0].get(0),
            worker_id: rows[0].get(1),
            deliveries: rows[0].get(2),
            attempts: rows[0].get(3),
            crashes: rows[0].get(4),
        }
    }

    /// How often the server has run a command, and has not refused it, since its statistics were reset.
    pub(crate) async fn commands(&self, name: &str) -> u64 {
        let statistics: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.redis().await)
            .await
            .unwrap();
        let begin = format!("cmdstat_{name}:");
        let Some(line) = statistics.lines().find_map(|line| line.strip_prefix(&begin)) else {
            return 0;
        };
        let number = |name: &str| -> u64 {
            let field = line.split(',').find_map(|field| field.strip_prefix(name));
            field.unwrap().trim().parse().unwrap()
        };
        number("calls=") - number("failed_calls=")
    }

    /// Waits until a replica waits for packages: the next one lands.
    pub(crate) async fn awaited(&self) {
        self.until("a replica waits for packages", async || {
            let clients: String = redis::cmd("INFO")
                .arg("clients")
                .query_async(&mut self.redis().await)
                .await
                .unwrap();
            (!clients.contains("blocked_clients:0")).then_some(())
        })
        .await;
    }

    /// Waits until so many jobs or more are done.
    pub(crate) async fn done(&self, count: i64) {
        self.until(&format!("{count} jobs are done"), async || {
            let done = self.count("SELECT count(*) FROM images").await;
            (done >= count).then_some(())
        })
        .await;
    }

    /// Waits until a replica says in its ping that it works on nothing.
    pub(crate) async fn hands_empty(&self, replica: &Replica) {
        let ping = key(&format!("ping:{}", replica.worker_id()));
        self.until("the replica works on nothing", async || {
            let ping: Option<String> = self.redis().await.get(&ping).await.unwrap();
            let ping: Value = serde_json::from_str(&ping?).unwrap();
            (ping["inFlight"] == 0).then_some(())
        })
        .await;
    }

    /// Waits until a key is there, or is not.
    pub(crate) async fn until_key(&self, what: &str, is_there: bool) {
        self.until(&format!("{what} is there: {is_there}"), async || {
            (self.has_key(what).await == is_there).then_some(())
        })
        .await;
    }

    pub(crate) async fn has_key(&self, what: &str) -> bool {
        self.redis().await.exists(key(what)).await.unwrap()
    }

    /// Jobs whose packages wait in a list, the next one first.
    pub(crate) async fn waiting(&self, list: &str) -> Vec<i64> {
        let mut packages: Vec<String> = self.redis().await.lrange(list, 0, -1).await.unwrap();
        packages.reverse();
        packages
            .iter()
            .map(|package| {
                serde_json::from_str::<Value>(package).unwrap()["jobId"]
                    .as_i64()
                    .unwrap()
            })
            .collect()
    }

    /// Every key that names a replica, and whether the set of workers does.
    pub(crate) async fn traces_of(&self, worker_id: &str) -> Vec<String> {
        let mut redis = self.redis().await;
        let mut traces: Vec<String> = redis.keys(format!("*{worker_id}*")).await.unwrap();
        if redis.sismember(key("workers"), worker_id).await.unwrap() {
            traces.push(key("workers"));
        }
        traces
    }

    /// Names of stored pictures.
    pub(crate) fn stored(&self) -> Vec<String> {
        files_below(self.pictures.path())
            .into_keys()
            .filter(|name| name.ends_with(".png"))
            .collect()
    }

    /// Waits until all these jobs are done and no package is anywhere, and checks that each has one image row,
    /// one picture and no trace of the fault that a person would see. There are no others.
    pub(crate) async fn all_done_once(&self, jobs: &[i32]) {
        self.each_done_once(jobs).await;
        let images = self.count("SELECT count(*) FROM images").await;
        assert_eq!(
            usize::try_from(images).unwrap(),
            jobs.len(),
            "no image row is left over"
        );
        assert_eq!(self.stored().len(), jobs.len(), "no picture is left over");
        assert_eq!(self.dead_letters().await, Vec::<Value>::new());
    }

    /// The same beside other jobs, done and dead.
    pub(crate) async fn each_done_once(&self, jobs: &[i32]) {
        let open =
            "SELECT count(*) FROM ac_background_jobs WHERE id = ANY($1) AND progress < 100 AND error IS NULL";
        self.until(&format!("the {} jobs have ended", jobs.len()), async || {
            let open: i64 = self.sql(open, &[&jobs]).await[0].get(0);
            (open == 0).then_some(())
        })
        .await;
        self.idle().await;
        for job_id in jobs {
            let job = self.job_row(*job_id).await;
            assert_eq!(
                (job.progress, &job.error),
                (Some(100), &None),
                "job {job_id}: {job:?}"
            );
            let url = &job.data["imageUrl"];
            let formats = Value::from(vec![url.clone()]).to_string();
            let rows = self
                .sql("SELECT id FROM images WHERE formats = $1", &[&formats])
                .await;
            assert_eq!(rows.len(), 1, "job {job_id} has one image row");
            assert_eq!(job.data["imageId"], rows[0].get::<_, i32>(0));
        }
    }
}
