//! A large ledger: what a statement takes beside many jobs that have ended, and beside few. `make ledger` for ten million of
//! them, here for some.
//!
//! Measured are the calls that the worker and its commands make, without Redis: what grows with the ledger is Postgres's alone. Beside
//! the time of each stands how many rows of the ledger it has read, which no other program on the machine changes, and which is
//! compared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, try_join_all};
use generative_ai_worker::db::{
    BeginRequest, Begun, Chore, Db, DbError, DbSettings, DeadFilter, IntendRequest, PictureFilter,
    PictureRecord, Recorded,
};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::harness::stack::{QUEUE, Stack, logo};

/// What is beside the measured jobs in the end, unless `make ledger` asks for more.
const MANY: i32 = 60_000;
/// What is beside the measured jobs at first.
const FEW: i32 = 10_000;
/// Jobs that are begun, bought for and recorded together.
const BATCH: i32 = 100;
/// So often each is measured; the median counts.
const TIMES: i32 = 30;
/// Rows that are made by one statement.
const CHUNK: i32 = 250_000;
/// Of a hundred jobs so many have failed for good.
const DEAD_SHARE: i32 = 1;

/// Median time and rows read of one call.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    ms: f64,
    rows: f64,
}

type Figures = BTreeMap<&'static str, Taken>;

#[expect(
    clippy::disallowed_methods,
    reason = "it is asked of the tests, not of the worker"
)]
pub(crate) fn asked() -> i32 {
    std::env::var("LEDGER_ROWS").map_or(MANY, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_ledger_has_no_statement_read_more_rows_than_a_small_one() {
    let rows = asked();
    let stack = Stack::start().await;
    let sql = stack.sql_client().await;
    let settings = DbSettings {
        // One session, which tells of all its statements once it is asked for something a second later.
        pool_size: 1,
        ..stack.db_settings()
    };
    let db = Db::new(&settings).unwrap();
    fill(&sql, 1, FEW).await;
    // Their own jobs come after all others.
    let few = figures(&sql, &db, rows).await;
    // What `status` counts is of the last day, which the second round's calls are to be alone in.
    sql.batch_execute("UPDATE generative_ai.provider_calls SET sent_at = sent_at - interval '2 days'")
        .await
        .unwrap();
    fill(&sql, FEW + 1, rows).await;
    let many = figures(&sql, &db, rows + TIMES * BATCH).await;
    let bytes = stack.count("SELECT pg_database_size(current_database())").await;
    println!("{rows} ended jobs, {} MB, beside {FEW}:", bytes >> 20);
    println!(
        "| what | ms beside {FEW} | ms beside {rows} | rows read beside {FEW} | rows read beside {rows} |"
    );
    for (what, few) in &few {
        let many = many[what];
        println!(
            "| {what} | {:.2} | {:.2} | {:.0} | {:.0} |",
            few.ms, many.ms, few.rows, many.rows
        );
    }
    for (what, few) in &few {
        let many = many[what];
        // A row that has been changed is read once more, until Postgres has cleaned up.
        assert!(many.rows <= few.rows * 2.0 + 50.0, "{what}: {few:?}, {many:?}");
        // Rows are found by their keys, however many are asked for together.
        if what.contains(&format!("{BATCH} ")) {
            assert!(many.rows <= f64::from(10 * BATCH), "{what}: {many:?}");
        }
    }
}

/// Makes jobs that have ended in the last year, with their calls and images, and dead packages of some of them.
pub(crate) async fn fill(sql: &Client, first: i32, last: i32) {
    let mut from = first;
    while from <= last {
        let to = last.min(from + CHUNK - 1);
        let statement = format!(
            "INSERT INTO ac_background_jobs (id, progress, data, internal_data, created_at, updated_at)
                SELECT id, 100, jsonb_build_object('imageId', id, 'imageUrl', 'https://images.example/ypGenAi/group/7/' || id), '{{}}',
                    now() - interval '1 year', now() FROM generate_series({from}, {to}) AS id;
             INSERT INTO images (id, formats, user_agent, ip_address, created_at, updated_at)
                SELECT id, '[\"https://images.example/ypGenAi/group/7/' || id || '\"]', 'AI worker', '127.0.0.1', now(), now()
                FROM generate_series({from}, {to}) AS id;
             INSERT INTO generative_ai.jobs (job_id, state, queue, worker_id, calls, package, begun_at, finished_at, row_created_at,
                    image_id, image_url, object_keys, provider, model, provider_request_id, cost_usd, cost_basis, error_class, error_message)
                SELECT id, CASE WHEN is_dead THEN 'dead' ELSE 'done' END, '{QUEUE}', 'worker-1', 1, '', ended_at, ended_at,
                    now() - interval '1 year', CASE WHEN NOT is_dead THEN id END, 'https://images.example/ypGenAi/group/7/' || id,
                    ARRAY['ypGenAi/group/7/' || id], 'openai', 'gpt-image-2', 'req_' || id, 0.04, 'computed',
                    CASE WHEN is_dead THEN 'moderation' END, CASE WHEN is_dead THEN 'openai refused this prompt.' END
                FROM (SELECT id, id % 100 < {DEAD_SHARE} AS is_dead, now() - (id % 8760 + 25) * interval '1 hour' AS ended_at
                    FROM generate_series({from}, {to}) AS id) AS job;
             INSERT INTO generative_ai.provider_calls (job_id, call_no, state, provider, model, worker_id, fence, sent_at, deadline_at,
                    ended_at, cost_usd, cost_basis, provider_request_id)
                SELECT job_id, 1, 'succeeded', 'openai', 'gpt-image-2', 'worker-1', 1, finished_at, finished_at, finished_at, 0.04,
                    'computed', 'req_' || job_id FROM generative_ai.jobs WHERE job_id BETWEEN {from} AND {to};
             INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, error_class, attempts, worker_id, dead_at, retried_at)
                SELECT gen_random_uuid(), job_id, '{{}}', error_message, error_class, 1, 'worker-1', finished_at,
                    CASE WHEN job_id % 1000 > 0 THEN finished_at END
                FROM generative_ai.jobs WHERE job_id BETWEEN {from} AND {to} AND state = 'dead' AND job_id <= {OPEN_LETTERS_BELOW};"
        );
        sql.batch_execute(&statement).await.unwrap();
        from = to + 1;
    }
    for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
        sql.batch_execute(statement).await.unwrap();
    }
}

/// Dead letters are gone through by somebody, so there are as many of them beside a large ledger.
const OPEN_LETTERS_BELOW: i32 = FEW;

/// Measures everything, with jobs whose numbers are above `last`.
async fn figures(sql: &Client, db: &Db, last: i32) -> Figures {
    let rows = TIMES * BATCH;
    let jobs = format!(
        "INSERT INTO ac_background_jobs (id, progress, data, internal_data, created_at, updated_at)
         SELECT id, 5, '{{}}', '{{}}', now(), now() FROM generate_series({}, {}) AS id;
         SELECT setval('images_id_seq', {})",
        last + 1,
        last + rows,
        last
    );
    sql.batch_execute(&jobs).await.unwrap();
    let of = |round: i32| last + round * BATCH + 1..last + (round + 1) * BATCH + 1;
    let mut figures = Figures::new();
    let mut read = rows_read(sql, db).await;
    let mut note = async |what, call: &dyn Fn(i32) -> BoxFuture<'static, Result<(), DbError>>| {
        let ms = median_ms(call).await;
        let before = std::mem::replace(&mut read, rows_read(sql, db).await);
        let rows = (read - before) / f64::from(TIMES);
        figures.insert(what, Taken { ms, rows });
    };
    let (begin, intend, record) = (db.clone(), db.clone(), db.clone());
    note("begin 100 jobs", &|round| {
        let all = of(round).map(|job_id| begin_one(begin.clone(), job_id));
        try_join_all(all).map(|all| all.map(drop)).boxed()
    })
    .await;
    note("intend 100 calls", &|round| {
        let all = of(round).map(|job_id| intend_one(intend.clone(), job_id));
        try_join_all(all).map(|all| all.map(drop)).boxed()
    })
    .await;
    note("record 100 pictures", &|round| {
        let all = of(round).map(|job_id| record_one(record.clone(), job_id));
        try_join_all(all).map(|all| all.map(drop)).boxed()
    })
    .await;
    let begin_again = db.clone();
    note("begin 100 jobs that are done", &|round| {
        let db = begin_again.clone();
        let all = of(round).map(move |job_id| begin_done(db.clone(), job_id));
        try_join_all(all).map(|all| all.map(drop)).boxed()
    })
    .await;
    let status = db.clone();
    note("status", &|_| {
        let db = status.clone();
        async move { db.figures(QUEUE).await.map(drop) }.boxed()
    })
    .await;
    let dead = db.clone();
    note("dead list, 50 packages", &|_| {
        let db = dead.clone();
        async move {
            let filter = DeadFilter {
                queue: Some(QUEUE.to_owned()),
                limit: Some(50),
                ..DeadFilter::default()
            };
            let mut selection = db.select_dead(filter).await?;
            selection.counts().await?;
            selection.next(50).await.map(drop)
        }
        .boxed()
    })
    .await;
    let reconciler = db.clone();
    note("reconciler", &|_| {
        let db = reconciler.clone();
        async move {
            db.close_letters(QUEUE).await?;
            let overdue = Some(Duration::from_secs(60));
            db.adrift(QUEUE, 0, &["worker-1".to_owned()], overdue).await?;
            let now = db.now().await?;
            db.let_go("worker-2", vec![1, 2, 3], now).await.map(drop)
        }
        .boxed()
    })
    .await;
    let doctor = db.clone();
    note("doctor", &|_| {
        let db = doctor.clone();
        async move { db.stuck(QUEUE, &["worker-1".to_owned()], &[1]).await.map(drop) }.boxed()
    })
    .await;
    let show = db.clone();
    note("jobs show", &|round| {
        let db = show.clone();
        async move { db.story(round + 1).await.map(drop) }.boxed()
    })
    .await;
    let search = db.clone();
    note("search for a request and a collection", &|round| {
        let db = search.clone();
        async move {
            for (wanted, count) in [(format!("req_{}", round + 1), 1), ("group/7".to_owned(), 21)] {
                assert_eq!(db.search(&wanted).await?.len(), count, "{wanted}");
            }
            Ok(())
        }
        .boxed()
    })
    .await;
    let pictures = db.clone();
    note("pictures of a collection", &|round| {
        let db = pictures.clone();
        async move {
            let filter = PictureFilter {
                collection: Some("group/7".to_owned()),
                before: Some(FEW - round),
                ..PictureFilter::default()
            };
            let found = db.pictures(&filter, 24).await?;
            assert_eq!(found.pictures.len(), 24);
            Ok(())
        }
        .boxed()
    })
    .await;
    let tidy = db.clone();
    note("housekeeping, a look at each chore", &|_| {
        let db = tidy.clone();
        async move {
            // Longer ago than anything here: what is measured is how what is to be removed is found.
            let older_than = Duration::from_secs(500 * 24 * 3600);
            for chore in Chore::ALL {
                let older_than = if chore == Chore::Prompts {
                    Duration::ZERO
                } else {
                    older_than
                };
                db.tidy(chore, older_than, &(1..=1_000)).await?;
            }
            Ok(())
        }
        .boxed()
    })
    .await;
    figures
}

async fn begin_one(db: Db, job_id: i32) -> Result<(), DbError> {
    let begun = db.begin(Arc::new(request(job_id))).await?;
    assert!(matches!(begun, Begun::Owned { .. }), "{begun:?}");
    Ok(())
}

async fn begin_done(db: Db, job_id: i32) -> Result<(), DbError> {
    let begun = db.begin(Arc::new(request(job_id))).await?;
    assert!(matches!(begun, Begun::Done { .. }), "{begun:?}");
    Ok(())
}

fn request(job_id: i32) -> BeginRequest {
    BeginRequest {
        job_id,
        worker_id: "worker-1".to_owned(),
        queue: QUEUE.to_owned(),
        package: logo(job_id).to_string(),
        replaces_fence: 0,
        only_looks: false,
    }
}

async fn intend_one(db: Db, job_id: i32) -> Result<(), DbError> {
    let request = IntendRequest {
        job_id,
        fence: 1,
        worker_id: "worker-1".to_owned(),
        provider: "openai".to_owned(),
        model: "gpt-image-2".to_owned(),
        patience: Duration::from_secs(60),
        reservation: None,
    };
    let intended = db.intend(request).await?;
    assert_eq!(intended.call_no, Some(1), "job {job_id}");
    Ok(())
}

async fn record_one(db: Db, job_id: i32) -> Result<(), DbError> {
    let picture = PictureRecord {
        job_id,
        reuses: 0,
        user_id: None,
        urls: vec![format!("https://images.example/ypGenAi/group/7/{job_id}")],
        object_keys: vec![format!("ypGenAi/group/7/{job_id}")],
        bucket: None,
        provenance_mark: None,
        provider: "openai".to_owned(),
        model: "gpt-image-2".to_owned(),
        provider_request_id: None,
        usage: None,
        cost: Some((0.04, "computed")),
        call_no: Some(1),
    };
    let recorded = db.record(Arc::new(picture)).await?;
    assert!(matches!(recorded, Recorded::Image { .. }), "{recorded:?}");
    Ok(())
}

async fn median_ms(call: &dyn Fn(i32) -> BoxFuture<'static, Result<(), DbError>>) -> f64 {
    let mut times = Vec::new();
    for round in 0..TIMES {
        let begun = Instant::now();
        call(round).await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Rows that statements have read of the ledger, by indexes or without. A session tells of them when it ends a statement, once a second.
async fn rows_read(sql: &Client, db: &Db) -> f64 {
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    db.now().await.unwrap();
    let query = "SELECT (sum(table_rows.seq_tup_read) + sum(index_rows.read))::float8
        FROM pg_stat_user_tables AS table_rows CROSS JOIN LATERAL (
            SELECT coalesce(sum(idx_tup_read), 0) AS read FROM pg_stat_user_indexes AS i WHERE i.relid = table_rows.relid
        ) AS index_rows WHERE table_rows.schemaname = 'generative_ai'";
    sql.query_one(query, &[]).await.unwrap().get(0)
}
