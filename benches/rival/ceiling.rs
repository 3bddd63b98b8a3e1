//! No usable worker but a limit: the same durable work in batches, straight at Redis and Postgres.
//!
//! LMOVE × B in one pipeline, one statement that inserts B images and updates B jobs, LREM × B in one pipeline. A batch
//! is never larger than the concurrency, as more would be in hand otherwise.

use redis::{AsyncCommands, Direction};
use tokio_postgres::NoTls;

use super::Package;
use crate::peer::Orders;

const STATEMENT: &str = r#"
    WITH asked AS MATERIALIZED (
        SELECT given.job_id, given.user_id, given.url, nextval('images_id_seq')::integer AS image_id
        FROM unnest($1::integer[], $2::integer[], $3::text[]) AS given(job_id, user_id, url)
    ), image AS (
        INSERT INTO images (id, user_id, s3_bucket_name, original_filename, formats, user_agent, ip_address, deleted, created_at, updated_at)
        SELECT image_id, user_id, 'bench', 'n/a', '["' || url || '"]', 'AI worker', '127.0.0.1', false, now(), now() FROM asked
    )
    UPDATE ac_background_jobs AS job SET
        data = jsonb_build_object('imageId', asked.image_id, 'imageUrl', asked.url), progress = 100, updated_at = now()
    FROM asked WHERE job.id = asked.job_id"#;

pub(super) async fn run(orders: Orders) -> anyhow::Result<()> {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut redis = redis::Client::open(orders.redis_url)?
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    let (postgres, connection) = tokio_postgres::connect(&orders.database_url, NoTls).await?;
    tokio::spawn(connection);
    let statement = postgres.prepare(STATEMENT).await?;
    let (queue, processing) = (&orders.queue, &format!("{}:processing", orders.queue));
    let mut taking = redis::pipe();
    for _ in 0..orders.concurrency {
        taking.lmove(queue, processing, Direction::Right, Direction::Left);
    }
    println!("READY");
    loop {
        let taken: Vec<Option<Vec<u8>>> = taking.query_async(&mut redis).await?;
        let mut packages: Vec<Vec<u8>> = taken.into_iter().flatten().collect();
        if packages.is_empty() {
            let one: Option<Vec<u8>> = redis
                .blmove(queue, processing, Direction::Right, Direction::Left, 5.0)
                .await?;
            packages.extend(one);
        }
        if packages.is_empty() {
            continue;
        }
        let (mut jobs, mut users, mut urls) = (Vec::new(), Vec::new(), Vec::new());
        for package in &packages {
            let package: Package = serde_json::from_slice(package)?;
            jobs.push(package.job_id);
            users.push(package.user_id);
            urls.push(package.url("https://bench.example", ""));
        }
        postgres.execute(&statement, &[&jobs, &users, &urls]).await?;
        let mut settling = redis::pipe();
        for package in &packages {
            settling.lrem(processing, -1, package).ignore();
        }
        settling.exec_async(&mut redis).await?;
    }
}
