//! What Postgres refuses or the application has locked stays with the jobs that it is about: the others go on, and each of them
//! ends with a true reason and its picture kept.

use std::time::Duration;

use generative_ai_worker::db;
use serde_json::json;

use crate::harness::events::Events;
use crate::harness::load::POSTGRES_GONE;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo};

const ROLES: &str = include_str!("../../deploy/postgres/roles.sql");

/// Jobs of a tenant that Postgres makes trouble for carry this.
const MARK: &str =
    "UPDATE ac_background_jobs SET internal_data = '{\"tenant\": \"closed\"}' WHERE id = ANY($1)";

/// What a trigger does to rows of such a tenant, `when` it is to do it.
fn trigger(what: &str, when: &str) -> String {
    format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON ac_background_jobs FOR EACH ROW
         WHEN (NEW.internal_data IS NOT NULL AND {when}) EXECUTE FUNCTION refuse();"
    )
}

const RAISE: &str = "RAISE EXCEPTION 'the tenant is closed'";
const TRIGGER_GOES: &str = "DROP TRIGGER refuse ON ac_background_jobs";

/// Jobs that go wrong in a certain way, beside others that do not.
struct Beside {
    stack: Stack,
    openai: OpenAi,
    replica: Replica,
    bad: Vec<i32>,
    good: Vec<i32>,
}

impl Beside {
    /// Has 25 jobs refused by what `setup` has made of the database, and 50 others done.
    async fn run(stack: Stack, setup: &str, variables: &[(&str, &str)]) -> Self {
        let openai = OpenAi::start(small_picture()).await;
        let bad = stack.jobs(25).await;
        stack.sql(MARK, &[&bad]).await;
        stack.sql_client().await.batch_execute(setup).await.unwrap();
        let replica = stack.replica_of(&openai, variables).await;
        for job_id in &bad {
            stack.push(&logo(*job_id)).await;
        }
        let good = stack.push_logos(50).await;
        let beside = Self {
            stack,
            openai,
            replica,
            bad,
            good,
        };
        beside.are_done(&beside.good).await;
        beside.stack.idle().await;
        beside
    }

    async fn are_done(&self, jobs: &[i32]) {
        let open = "SELECT count(*) FROM ac_background_jobs WHERE id = ANY($1) AND data->>'imageId' IS NULL";
        let what = format!("{} jobs have their pictures", jobs.len());
        self.stack
            .until(&what, async || {
                let open: i64 = self.stack.sql(open, &[&jobs]).await[0].get(0);
                (open == 0).then_some(())
            })
            .await;
    }

    /// All bad ones have ended with this reason, in their rows too if these take it, and their pictures are kept and paid.
    async fn ended_with(&self, reason: &str, is_shown: bool) {
        let letters = self.stack.dead_letters().await;
        assert_eq!(letters.len(), self.bad.len(), "{letters:?}");
        for letter in &letters {
            let found = letter["reason"].as_str().unwrap();
            assert!(found.contains(reason), "{found}");
            assert!(
                found.ends_with("Its picture is kept, and will be used then."),
                "{found}"
            );
        }
        for job_id in &self.bad {
            let job = self.stack.job_row(*job_id).await;
            assert_eq!(job.error.is_some_and(|error| error.contains(reason)), is_shown);
        }
        let paid = "SELECT count(*) FROM generative_ai.provider_calls AS call JOIN generative_ai.jobs AS job USING (job_id)
             WHERE call.state = 'succeeded' AND call.cost_usd > 0 AND cardinality(job.object_keys) > 0 AND job.state = 'dead'";
        assert_eq!(self.stack.count(paid).await, 25);
        self.nobody_was_away();
    }

    fn nobody_was_away(&self) {
        let log = self.replica.log();
        assert_eq!(self.replica.times_said(POSTGRES_GONE), 0, "{log}");
    }

    /// When the cause is gone the dead ones are retried, and nothing is bought again.
    async fn retried_for_nothing(&self, mend: &str) {
        self.stack.sql_client().await.batch_execute(mend).await.unwrap();
        let output = self.stack.command(&["dead", "retry", "--yes"], &[]).await;
        assert!(output.status.success(), "{output:?}");
        self.are_done(&self.bad).await;
        self.stack.idle().await;
        assert_eq!(self.openai.bills(), self.bad.len() + self.good.len());
        let images = self.stack.count("SELECT count(*) FROM images").await;
        assert_eq!(images, 75);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_rows_a_trigger_refuses_end_alone_and_their_pictures_are_used_later() {
    let beside = Beside::run(Stack::start().await, &trigger(RAISE, "true"), &[]).await;
    beside.ended_with("the tenant is closed", false).await;
    beside.retried_for_nothing(TRIGGER_GOES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_takes_the_reason_shows_what_a_trigger_has_choked_on() {
    let cast = "PERFORM 'x1'::integer";
    let beside = Beside::run(Stack::start().await, &trigger(cast, "NEW.progress = 100"), &[]).await;
    beside
        .ended_with("invalid input syntax for type integer: \"x1\"", true)
        .await;
    beside.retried_for_nothing(TRIGGER_GOES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_the_result_violates_is_the_reason_of_those_that_violate_it() {
    let check = "ALTER TABLE ac_background_jobs ADD CONSTRAINT open_tenants CHECK (internal_data IS NULL OR progress < 100)";
    let beside = Beside::run(Stack::start().await, check, &[]).await;
    beside.ended_with("open_tenants", true).await;
    let mend = "ALTER TABLE ac_background_jobs DROP CONSTRAINT open_tenants";
    beside.retried_for_nothing(mend).await;
}

/// A database with the roles of `deploy/`, and the URL of the worker's.
async fn with_roles() -> (Stack, String) {
    let stack = Stack::start().await;
    let sql = stack.sql_client().await;
    sql.batch_execute(ROLES).await.unwrap();
    let password = "ALTER ROLE generative_ai_worker PASSWORD 'change-me'";
    sql.batch_execute(password).await.unwrap();
    let port = stack.postgres.port();
    let url = format!("postgres://generative_ai_worker:change-me@127.0.0.1:{port}/postgres?sslmode=disable");
    (stack, url)
}

const ROW_SECURITY: &str = "ALTER TABLE ac_background_jobs ENABLE ROW LEVEL SECURITY;
    CREATE POLICY seen ON ac_background_jobs FOR SELECT USING (true);";
const NO_ROW_SECURITY: &str = "ALTER TABLE ac_background_jobs DISABLE ROW LEVEL SECURITY";

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_rows_a_policy_refuses_end_alone() {
    let (stack, url) = with_roles().await;
    let policy = format!(
        "{ROW_SECURITY}
         CREATE POLICY done ON ac_background_jobs FOR UPDATE USING (true) WITH CHECK (internal_data IS NULL OR progress < 100)"
    );
    let beside = Beside::run(stack, &policy, &[("DATABASE_URL", &url)]).await;
    beside
        .ended_with("violates row-level security policy", true)
        .await;
    beside.retried_for_nothing(NO_ROW_SECURITY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_rows_no_policy_lets_change_end_alone() {
    let (stack, url) = with_roles().await;
    let policy = format!(
        "{ROW_SECURITY} CREATE POLICY changed ON ac_background_jobs FOR UPDATE USING (internal_data IS NULL)"
    );
    let beside = Beside::run(stack, &policy, &[("DATABASE_URL", &url)]).await;
    beside.ended_with("hidden from updates by a policy", false).await;
    beside.retried_for_nothing(NO_ROW_SECURITY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_revoked_ends_each_job_with_that_reason_and_keeps_its_picture() {
    let (stack, url) = with_roles().await;
    let openai = OpenAi::start(small_picture()).await;
    let replica = stack.replica_of(&openai, &[("DATABASE_URL", &url)]).await;
    let revoke = "REVOKE UPDATE ON ac_background_jobs FROM generative_ai_worker";
    stack.sql_client().await.batch_execute(revoke).await.unwrap();
    let jobs = stack.push_logos(25).await;
    stack
        .until("all are dead", async || {
            (stack.dead_letters().await.len() == 25).then_some(())
        })
        .await;
    stack.idle().await;
    for letter in stack.dead_letters().await {
        let reason = letter["reason"].as_str().unwrap();
        assert!(
            reason.contains("permission denied for table ac_background_jobs"),
            "{reason}"
        );
    }
    assert_eq!(replica.times_said(POSTGRES_GONE), 0, "{}", replica.log());
    let grant = "GRANT UPDATE ON ac_background_jobs TO generative_ai_worker";
    stack.sql_client().await.batch_execute(grant).await.unwrap();
    let output = stack.command(&["dead", "retry", "--yes"], &[]).await;
    assert!(output.status.success(), "{output:?}");
    for job_id in jobs {
        assert_eq!(stack.ended(job_id).await.error, None);
    }
    assert_eq!(openai.bills(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_whose_rows_are_locked_wait_and_nobody_waits_with_them() {
    let stack = Stack::start().await;
    let locked = stack.jobs(25).await;
    let mut sql = stack.sql_client().await;
    let transaction = sql.transaction().await.unwrap();
    let lock = "SELECT FROM ac_background_jobs WHERE id = ANY($1) FOR UPDATE";
    transaction.execute(lock, &[&locked]).await.unwrap();
    let variables = [("IMAGE_PROVIDER", "blank"), ("WORKER_CONCURRENCY", "4")];
    let replica = stack.replica(&variables).await;
    for job_id in &locked {
        stack.push(&logo(*job_id)).await;
    }
    let others = stack.push_logos(200).await;
    // One that has to be told something else than a picture.
    let wrong = stack.job().await;
    stack
        .push(&json!({"type": "collection-image", "jobId": locked[0], "prompt": 7}))
        .await;
    stack
        .push(&json!({"type": "collection-image", "jobId": wrong, "prompt": 7}))
        .await;
    stack.done(200).await;
    assert!(stack.ended(wrong).await.error.is_some());
    for job_id in &others {
        assert_eq!(stack.ended(*job_id).await.error, None);
    }
    let images = stack.count("SELECT count(*) FROM images").await;
    assert_eq!(images, 200, "what is locked has not ended");
    transaction.rollback().await.unwrap();
    for job_id in &locked {
        let job = stack.ended(*job_id).await;
        assert_eq!(job.error, None, "{job:?}");
    }
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 225);
    assert_eq!(
        stack.count("SELECT sum(attempts) FROM generative_ai.jobs").await,
        0
    );
    assert_eq!(replica.times_said(POSTGRES_GONE), 0, "{}", replica.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_row_that_a_trigger_rewrites_is_still_its_jobs() {
    let stack = Stack::start().await;
    let rewrite = "CREATE FUNCTION rewrite() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.formats := '{\"all\": ' || NEW.formats || '}'; RETURN NEW; END $$;
        CREATE TRIGGER rewrite BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION rewrite();";
    stack.sql_client().await.batch_execute(rewrite).await.unwrap();
    let mut events = Events::of(&stack).await;
    let _replica = stack.replica(&[]).await;
    let jobs = stack.push_logos(30).await;
    events.next("completed").await;
    for job_id in &jobs {
        let job = stack.ended(*job_id).await;
        let formats = "SELECT formats FROM images WHERE id = (SELECT image_id FROM generative_ai.jobs WHERE job_id = $1)";
        let formats: String = stack.sql(formats, &[job_id]).await[0].get(0);
        let url = job.data["imageUrl"].as_str().unwrap();
        assert_eq!(formats, format!("{{\"all\": [\"{url}\"]}}"), "{job:?}");
        stack.push(&logo(*job_id)).await;
    }
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_row_that_a_trigger_leaves_out_is_its_jobs_reason() {
    let stack = Stack::start().await;
    let leave_out = "CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.user_id = 13 THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER leave_out BEFORE INSERT ON images FOR EACH ROW EXECUTE FUNCTION leave_out();";
    stack.sql_client().await.batch_execute(leave_out).await.unwrap();
    let left_out = stack.job().await;
    let mut package = logo(left_out);
    package["userId"] = 13.into();
    stack.push(&package).await;
    let jobs = stack.push_logos(20).await;
    let _replica = stack.replica(&[]).await;
    let error = stack.ended(left_out).await.error.unwrap();
    assert!(error.contains("images has taken 0 rows"), "{error}");
    for job_id in &jobs {
        assert_eq!(stack.ended(*job_id).await.error, None);
    }
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_transactions_are_no_outage() {
    let stack = Stack::start_without_tables().await;
    let default = "ALTER DATABASE postgres SET default_transaction_isolation = 'serializable'";
    stack.sql_client().await.batch_execute(default).await.unwrap();
    db::migrate(&stack.db_settings()).await.unwrap();
    // One as it is by the database's default, the others because it is asked for.
    let url = stack.postgres.url("postgres");
    let asked = format!("{url}?options=-c%20default_transaction_isolation%3Dserializable");
    // What collides is not slowed down by drawing.
    let blank = ("IMAGE_PROVIDER", "blank");
    let asked = [("DATABASE_URL", asked.as_str()), blank];
    let replicas = [
        stack.replica(&[blank]).await,
        stack.replica(&asked).await,
        stack.replica(&asked).await,
    ];
    let has_collided = || {
        let log = std::fs::read_to_string(stack.path("postgres").join("postgres.log")).unwrap();
        log.contains("could not serialize access")
    };
    // Somebody else changes the rows meanwhile, and collides with nobody.
    let sql = stack.sql_client().await;
    let read_committed = "SET default_transaction_isolation = 'read committed'";
    sql.batch_execute(read_committed).await.unwrap();
    let others = tokio::spawn(async move {
        loop {
            let update = "UPDATE generative_ai.jobs SET calls = calls WHERE state = 'begun'";
            sql.batch_execute(update).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut jobs = Vec::new();
    while !has_collided() {
        assert!(jobs.len() < 4_000, "nothing has collided");
        jobs.extend(stack.push_logos(200).await);
        stack.all_done_once(&jobs).await;
    }
    assert!(!others.is_finished(), "it ends when it is told to");
    others.abort();
    let attempts = stack.count("SELECT sum(attempts) FROM generative_ai.jobs").await;
    assert_eq!(attempts, 0);
    for replica in &replicas {
        let log = replica.log();
        let warnings = log
            .lines()
            .filter(|line| line.contains("\"ERROR\"") || line.contains("\"WARN\""));
        assert_eq!(warnings.collect::<Vec<_>>(), Vec::<&str>::new(), "{log}");
    }
}
