//! Healthy jobs and troubled ones beside each other, and a look at all books afterwards.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use redis::AsyncCommands;
use tokio::time::Instant;

use super::kinds::{MAX_PACKAGE_BYTES, SQLSTATES, Trouble};
use crate::harness::aftermath::key;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::replica::Replica;
use crate::harness::stack::{QUEUE, Stack, logo, with};

const HEALTHY: usize = 400;

/// An application with owners of images, and triggers that raise what a table tells them to.
const APPLICATION: &str = "
    CREATE TABLE owners (id integer PRIMARY KEY);
    ALTER TABLE images ADD FOREIGN KEY (user_id) REFERENCES owners;
    CREATE TABLE faults (job_id integer, place text, code text, said text, PRIMARY KEY (job_id, place));
    CREATE FUNCTION raise_fault(number integer, at text) RETURNS void LANGUAGE plpgsql AS $$
        DECLARE fault faults;
        BEGIN
            SELECT * INTO fault FROM faults WHERE job_id = number AND place = at;
            IF FOUND THEN RAISE EXCEPTION USING ERRCODE = fault.code, MESSAGE = fault.said; END IF;
        END $$;
    CREATE FUNCTION fault_of_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM raise_fault(NEW.id, 'row');
        IF NEW.progress = 100 THEN PERFORM raise_fault(NEW.id, 'end'); END IF;
        RETURN NEW; END $$;
    CREATE TRIGGER fault BEFORE UPDATE ON ac_background_jobs FOR EACH ROW EXECUTE FUNCTION fault_of_row();
    CREATE FUNCTION fault_of_image() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM raise_fault(NEW.user_id, 'image'); RETURN NEW; END $$;
    CREATE TRIGGER fault BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION fault_of_image();";

pub(super) struct Bench {
    pub(super) replicas: [Replica; 2],
    pub(super) stack: Stack,
    pub(super) sql: tokio_postgres::Client,
    pub(super) openai: OpenAi,
}

impl Bench {
    /// Two replicas with so many slots each.
    pub(super) async fn start(slots: &str) -> Self {
        let stack = Stack::start().await;
        let sql = stack.sql_client().await;
        sql.batch_execute(APPLICATION).await.unwrap();
        let openai = OpenAi::start(small_picture()).await;
        openai.delay(Duration::from_millis(50));
        let max_bytes = MAX_PACKAGE_BYTES.to_string();
        let variables = [
            ("WORKER_CONCURRENCY", slots),
            ("MAX_PACKAGE_BYTES", max_bytes.as_str()),
        ];
        let replicas = [
            stack.replica_of(&openai, &variables).await,
            stack.replica_of(&openai, &variables).await,
        ];
        Self {
            replicas,
            stack,
            sql,
            openai,
        }
    }

    /// Rows of the application, and an owner for each.
    pub(super) async fn jobs(&self, count: usize) -> Vec<i32> {
        let jobs = self.stack.jobs(count.try_into().unwrap()).await;
        let owners = "INSERT INTO owners SELECT unnest($1::integer[])";
        self.sql.execute(owners, &[&jobs]).await.unwrap();
        jobs
    }

    pub(super) async fn push(&self, packages: &[String]) {
        let mut redis = self.stack.redis().await;
        for chunk in packages.chunks(50) {
            let _: i64 = redis.lpush(QUEUE, chunk).await.unwrap();
        }
    }

    pub(super) async fn count_of(&self, what: &str, jobs: &[i32]) -> usize {
        let count = format!("SELECT count(*) FROM ac_background_jobs WHERE id = ANY($1) AND {what}");
        let count: i64 = self.sql.query_one(&count, &[&jobs]).await.unwrap().get(0);
        count.try_into().unwrap()
    }

    /// Pushes packages among which are those of `healthy` jobs, and returns the time until these are done.
    pub(super) async fn time_of(&self, packages: &[String], healthy: &[i32]) -> Duration {
        let begun = Instant::now();
        self.push(packages).await;
        self.stack
            .until("the healthy jobs are done", async || {
                let done = self
                    .count_of("progress = 100 AND data ? 'imageId'", healthy)
                    .await;
                (done == healthy.len()).then_some(())
            })
            .await;
        begun.elapsed()
    }

    pub(super) async fn undisturbed(&self) -> Duration {
        let jobs = self.jobs(HEALTHY).await;
        let packages: Vec<String> = jobs
            .iter()
            .map(|id| with(logo(*id), "userId", *id).to_string())
            .collect();
        let time = self.time_of(&packages, &jobs).await;
        self.stack.idle().await;
        time
    }

    /// Healthy jobs among others that `rng` makes trouble for; all books are looked at afterwards.
    pub(super) async fn disturbed(&self, rng: &mut StdRng) -> Duration {
        let healthy = self.jobs(HEALTHY).await;
        let mut troubles: Vec<Trouble> = (0..HEALTHY / 8).map(|_| Trouble::random(rng)).collect();
        // Each class comes up.
        let mut classes: HashMap<&str, Vec<&'static str>> = HashMap::new();
        for code in SQLSTATES.split_whitespace() {
            classes.entry(&code[..2]).or_default().push(code);
        }
        for codes in classes.values() {
            troubles.push(Trouble::raised(codes.choose(rng).unwrap(), rng));
        }
        let jobs = self.jobs(troubles.len()).await;
        let troubled: Vec<(i32, Trouble)> = jobs.into_iter().zip(troubles).collect();
        let of = |is: fn(&Trouble) -> bool| -> Vec<i32> {
            troubled
                .iter()
                .filter(|(_, trouble)| is(trouble))
                .map(|(job_id, _)| *job_id)
                .collect()
        };
        for (job_id, trouble) in &troubled {
            match trouble {
                Trouble::Raised { place, code, said } => {
                    let insert = "INSERT INTO faults VALUES ($1, $2, $3, $4)";
                    self.sql
                        .execute(insert, &[job_id, place, code, said])
                        .await
                        .unwrap();
                }
                Trouble::NoRow => {
                    let delete = "DELETE FROM ac_background_jobs WHERE id = $1";
                    self.sql.execute(delete, &[job_id]).await.unwrap();
                }
                _ => {}
            }
        }
        let mut application = self.stack.sql_client().await;
        let locks = application.transaction().await.unwrap();
        for (table, jobs) in [
            (
                "ac_background_jobs",
                of(|trouble| matches!(trouble, Trouble::RowLocked)),
            ),
            ("owners", of(|trouble| matches!(trouble, Trouble::OwnerLocked))),
        ] {
            let lock = format!("SELECT FROM {table} WHERE id = ANY($1) FOR UPDATE");
            locks.execute(&lock, &[&jobs]).await.unwrap();
        }

        let mut packages: Vec<String> = healthy
            .iter()
            .map(|id| with(logo(*id), "userId", *id).to_string())
            .collect();
        for (job_id, trouble) in &troubled {
            packages.push(trouble.package(*job_id, rng));
        }
        for _ in 0..HEALTHY / 4 {
            let twice = packages.choose(rng).unwrap().clone();
            if !of(|trouble| !trouble.is_bought())
                .iter()
                .any(|id| twice.contains(&format!("\"jobId\":{id},")))
            {
                packages.push(twice);
            }
        }
        packages.shuffle(rng);
        let bills = self.openai.bills();
        let time = self.time_of(&packages, &healthy).await;
        eprintln!("{time:?} beside trouble");

        self.ended_with_reasons(&troubled).await;
        locks.rollback().await.unwrap();
        self.sql.execute("DELETE FROM faults", &[]).await.unwrap();
        self.stack.idle().await;
        let bought: Vec<i32> = of(Trouble::is_bought);
        assert_eq!(
            self.openai.bills() - bills,
            HEALTHY + bought.len(),
            "each picture is bought once"
        );
        let letters = self.letters().await;
        for (job_id, trouble) in &troubled {
            let job = self.done_images(*job_id).await;
            let is_dead = letters.contains_key(&i64::from(*job_id));
            match trouble {
                Trouble::TooLarge => assert!(job.is_none() && !is_dead, "{job_id}: {trouble:?}"),
                Trouble::NoRow | Trouble::Malformed => {
                    assert!(job.is_none() && is_dead, "{job_id}: {trouble:?}")
                }
                // Either it has ended with a reason, or its picture came when the trouble was over.
                _ => assert_eq!(job.is_none(), is_dead, "{job_id}: {trouble:?}"),
            }
        }
        let too_large = of(|trouble| matches!(trouble, Trouble::TooLarge)).len();
        let set_aside: usize = self.stack.redis().await.llen(key("set-aside")).await.unwrap();
        assert_eq!(set_aside, too_large);
        self.clear().await;
        time
    }

    /// Waits until all have ended, with their reasons, that cannot wait for better times.
    async fn ended_with_reasons(&self, troubled: &[(i32, Trouble)]) {
        let expected: Vec<_> = troubled
            .iter()
            .filter(|(_, trouble)| !trouble.may_wait())
            .filter_map(|(job_id, trouble)| Some((i64::from(*job_id), trouble, trouble.letter()?)))
            .collect();
        self.stack
            .until("what is refused has ended", async || {
                let letters = self.letters().await;
                expected
                    .iter()
                    .all(|(job_id, _, _)| letters.contains_key(job_id))
                    .then_some(())
            })
            .await;
        let letters = self.letters().await;
        for (job_id, trouble, said) in expected {
            let reason = &letters[&job_id];
            assert!(reason.contains(said), "{job_id}: {trouble:?}: {reason}");
            let is_shown = match trouble {
                Trouble::Raised { place, .. } => *place != "row",
                Trouble::NoRow => continue,
                _ => true,
            };
            let row = self.stack.job_row(job_id.try_into().unwrap()).await;
            assert_eq!(
                row.error.is_some_and(|error| error.contains(said)),
                is_shown,
                "{job_id}: {trouble:?}"
            );
        }
    }

    /// Reasons by job.
    pub(super) async fn letters(&self) -> HashMap<i64, String> {
        let mut reasons = HashMap::new();
        for letter in self.stack.dead_letters().await {
            let reason = letter["reason"].as_str().unwrap().to_owned();
            let other = reasons.insert(letter["jobId"].as_i64().unwrap(), reason);
            assert_eq!(other, None, "a second one: {letter}");
        }
        reasons
    }

    /// The image of a job, of which there is one.
    async fn done_images(&self, job_id: i32) -> Option<i32> {
        let images = "SELECT count(*)::integer FROM images WHERE user_id = $1";
        let images: i32 = self.sql.query_one(images, &[&job_id]).await.unwrap().get(0);
        assert!(images <= 1, "job {job_id} has {images} images");
        let done = "SELECT (data->'imageId')::integer FROM ac_background_jobs WHERE id = $1 AND progress = 100 AND error IS NULL";
        let done: Option<i32> = self
            .sql
            .query_opt(done, &[&job_id])
            .await
            .unwrap()
            .and_then(|row| row.get(0));
        assert_eq!(done.is_some(), images == 1, "job {job_id}");
        done
    }

    async fn clear(&self) {
        let keys = [key("dead"), key("set-aside")];
        let _: i64 = self.stack.redis().await.del(&keys).await.unwrap();
    }
}
