//! What one writes in an afternoon: pop, spawn a task, hold their number down with a semaphore.

use std::sync::Arc;

use redis::{AsyncCommands, Direction};
use serde_json::json;
use tokio::sync::Semaphore;

use super::Package;
use super::plain::Maker;
use super::pool::Pool;
use crate::peer::{Kind, Orders};

/// Without a `maker` nothing is drawn.
pub(super) async fn run(orders: Orders, maker: Option<Maker>) -> anyhow::Result<()> {
    let pool = Arc::new(Pool::open(&orders.database_url, orders.concurrency).await?);
    let maker = maker.map(Arc::new);
    let client = redis::Client::open(orders.redis_url)?;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut taking = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    let settling = client.get_multiplexed_async_connection().await?;
    let slots = Arc::new(Semaphore::new(orders.concurrency));
    let (queue, processing) = (orders.queue.clone(), format!("{}:processing", orders.queue));
    let keeps = orders.kind != Kind::NaivePop;
    println!("READY");
    loop {
        let slot = slots.clone().acquire_owned().await?;
        let package: Option<String> = if keeps {
            taking
                .blmove(&queue, &processing, Direction::Right, Direction::Left, 5.0)
                .await?
        } else {
            let popped: Option<(String, String)> = taking.brpop(&queue, 5.0).await?;
            popped.map(|(_, package)| package)
        };
        let Some(package) = package else { continue };
        let (pool, maker, mut settling) = (pool.clone(), maker.clone(), settling.clone());
        let processing = processing.clone();
        tokio::spawn(async move {
            if let Err(error) = work_on(&package, &pool, maker.as_deref()).await {
                eprintln!("{error:#}");
                return;
            }
            if keeps {
                let removed: redis::RedisResult<i64> = settling.lrem(&processing, -1, &package).await;
                removed.unwrap();
            }
            drop(slot);
        });
    }
}

async fn work_on(package: &str, pool: &Pool, maker: Option<&Maker>) -> anyhow::Result<()> {
    let package: Package = serde_json::from_str(package)?;
    let url = match maker {
        Some(maker) => maker.make(&package).await?,
        None => package.url("https://bench.example", ""),
    };
    let session = pool.get().await?;
    let formats = serde_json::to_string(&[&url])?;
    let row = session
        .client
        .query_one(&session.insert, &[&package.user_id, &formats])
        .await?;
    let image_id: i32 = row.get(0);
    let data = json!({ "imageId": image_id, "imageUrl": url }).to_string();
    session
        .client
        .execute(&session.update, &[&package.job_id, &data])
        .await?;
    Ok(())
}
