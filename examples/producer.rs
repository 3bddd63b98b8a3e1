//! Asks for a picture: `cargo run --example producer "A lighthouse at night"`
use redis::AsyncCommands;
use serde_json::{Value, json};
use tokio_postgres::NoTls;

#[expect(clippy::disallowed_methods, reason = "it stands for another program")]
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let variable = |name| std::env::var(name).map_err(|_| anyhow::anyhow!("{name} is not set"));
    let prompt = std::env::args().nth(1).unwrap_or_default();
    let (db, connection) = tokio_postgres::connect(&variable("DATABASE_URL")?, NoTls).await?;
    tokio::spawn(connection);
    // Otherwise no answer is waited for as long as a picture takes.
    let patience = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(variable("REDIS_URL")?)?;
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&patience)
        .await?;

    // Committed by itself. Push after that, so that the worker finds the row.
    let insert = "INSERT INTO ac_background_jobs (progress, data, created_at, updated_at)
                  VALUES (5, '{}', now(), now()) RETURNING id";
    let job_id: i32 = db.query_one(insert, &[]).await?.get(0);
    let reply_to = format!("{{generative-ai}}:reply:{}", uuid::Uuid::new_v4());
    let package = json!({
        "type": "collection-image", "jobId": job_id, "prompt": prompt, "imageType": "icon",
        "collectionType": "group", "collectionId": 7, "replyTo": reply_to,
    });
    let _: i64 = redis.lpush("generative-ai", package.to_string()).await?;

    let reply: Option<(String, String)> = redis.blpop(&reply_to, 600.0).await?;
    let Some((_, reply)) = reply else {
        anyhow::bail!("job {job_id} goes on; its row will say what comes of it");
    };
    let event: Value = serde_json::from_str(&reply)?;
    anyhow::ensure!(event["status"] == "completed", "{}", event["error"]);
    println!("{}", event["imageUrl"].as_str().unwrap_or_default());
    Ok(())
}
