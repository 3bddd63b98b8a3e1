//! One package from the list to the rows, the object and the event.

use futures_util::StreamExt;
use generative_ai_worker::imaging;
use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::files_below;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::stack::{BUILTIN, Stack, icon, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_package_becomes_a_picture_a_row_and_a_url() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[BUILTIN]).await;
    let job_id = stack.job().await;
    stack
        .sql(
            "UPDATE ac_background_jobs SET data = '{\"kept\": 1}' WHERE id = $1",
            &[&job_id],
        )
        .await;
    stack.push(&with(logo(job_id), "userId", "3")).await;

    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, job.error.clone()), (Some(100), None), "{job:?}");
    assert_eq!(job.data["kept"], 1);
    let url = job.data["imageUrl"].as_str().unwrap();
    let rows = stack
        .sql(
            "SELECT id, formats, user_id, original_filename, user_agent, ip_address, deleted, s3_bucket_name FROM images",
            &[],
        )
        .await;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        i64::from(rows[0].get::<_, i32>(0)),
        job.data["imageId"].as_i64().unwrap()
    );
    assert_eq!(rows[0].get::<_, String>(1), json!([url]).to_string());
    assert_eq!(rows[0].get::<_, Option<i32>>(2), Some(3));
    assert_eq!(rows[0].get::<_, String>(3), "n/a");
    assert_eq!(rows[0].get::<_, String>(4), "AI worker");
    assert_eq!(rows[0].get::<_, String>(5), "127.0.0.1");
    assert!(!rows[0].get::<_, bool>(6));

    let files = files_below(stack.pictures.path());
    assert_eq!(files.len(), 1, "{:?}", files.keys());
    let (path, bytes) = files.first_key_value().unwrap();
    assert!(
        path.starts_with("ypGenAi/group/7/") && path.ends_with(".png"),
        "{path}"
    );
    assert!(url.ends_with(path), "{url} should end with {path}");
    let inspected = imaging::inspect(bytes).unwrap();
    assert_eq!((inspected.width_px, inspected.height_px), (1536, 1024));
    let text = String::from_utf8_lossy(bytes);
    assert!(text.contains("http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"));
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_icon_fits_into_400_by_400() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[BUILTIN, ("KEEP_ORIGINALS", "true")]).await;
    let job_id = stack.job().await;
    stack.push(&icon(job_id)).await;
    let job = stack.ended(job_id).await;
    let files = files_below(stack.pictures.path());
    let named = |suffix: &str| files.iter().find(|(path, _)| path.ends_with(suffix)).unwrap().1;
    let icon = imaging::inspect(named("-icon.png")).unwrap();
    assert_eq!((icon.width_px, icon.height_px), (400, 400));
    let original = imaging::inspect(named("-original.png")).unwrap();
    assert_eq!((original.width_px, original.height_px), (1024, 1024));
    assert!(job.data["imageUrl"].as_str().unwrap().ends_with("-icon.png"));
    let formats: String = stack.sql("SELECT formats FROM images", &[]).await[0].get(0);
    assert_eq!(formats, json!([job.data["imageUrl"]]).to_string());
    let keys: Vec<String> = stack.sql("SELECT object_keys FROM generative_ai.jobs", &[]).await[0].get(0);
    assert_eq!(keys.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_pushed_ten_times_to_three_replicas_is_drawn_once() {
    let stack = Stack::start().await;
    let _replicas = [
        stack.replica(&[]).await,
        stack.replica(&[]).await,
        stack.replica(&[]).await,
    ];
    let job_id = stack.job().await;
    let mut redis = stack.redis().await;
    let packages = vec![logo(job_id).to_string(); 10];
    let _: i64 = redis.lpush("generative-ai", packages).await.unwrap();
    stack.ended(job_id).await;
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
    assert_eq!(files_below(stack.pictures.path()).len(), 1);
    assert_eq!(
        stack.count("SELECT fence FROM generative_ai.jobs").await,
        1,
        "the job had one owner only"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_a_job_from_start_to_end_in_order() {
    let stack = Stack::start().await;
    let client = redis::Client::open(stack.redis.url()).unwrap();
    let mut subscription = client.get_async_pubsub().await.unwrap();
    subscription.subscribe("{generative-ai}:events").await.unwrap();
    let _replica = stack.replica(&[]).await;
    let job_id = stack.job().await;
    let reply_to = "{generative-ai}:reply:test";
    stack.push(&with(logo(job_id), "replyTo", reply_to)).await;
    let mut events = Vec::new();
    let mut messages = subscription.on_message();
    loop {
        let message = messages.next().await.unwrap();
        let event: Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
        assert_eq!(event["jobId"], job_id);
        let status = event["status"].as_str().unwrap().to_owned();
        events.push(event);
        if status == "completed" {
            break;
        }
    }
    assert_eq!(events[0]["status"], "started");
    assert_eq!(events[0]["attempt"], 1);
    assert!(
        events[1..events.len() - 1]
            .iter()
            .all(|event| event["status"] == "progress"),
        "{events:?}"
    );
    let last = events.last().unwrap();
    let job = stack.job_row(job_id).await;
    assert_eq!(
        (&last["imageId"], &last["imageUrl"]),
        (&job.data["imageId"], &job.data["imageUrl"])
    );
    let (_, reply): (String, String) = stack.redis().await.brpop(reply_to, 10.0).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&reply).unwrap(), *last);
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_equal_packages_are_each_seen_to_an_end() {
    let stack = Stack::start().await;
    let _replicas = [stack.replica(&[]).await, stack.replica(&[]).await];
    let job_id = stack.job().await;
    let package = with(logo(job_id), "imageProvider", "blank").to_string();
    let mut redis = stack.redis().await;
    let _: i64 = redis.lpush("generative-ai", vec![package; 1000]).await.unwrap();
    let _: i64 = redis
        .lpush("generative-ai", vec!["{\"type\":"; 1000])
        .await
        .unwrap();
    stack.ended(job_id).await;
    stack.idle().await;
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 1);
    let kept = "SELECT count(*) FROM generative_ai.dead_packages";
    assert_eq!(stack.count(kept).await, 1000, "equal ones are kept one by one");
    assert_eq!(stack.dead_letters().await.len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_started_again_shows_what_is_being_done_and_no_old_error() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let _replica = stack.replica_of(&openai, &[]).await;
    let (failed, fresh) = (stack.job().await, stack.job().await);
    let update = "UPDATE ac_background_jobs SET error = 'no' WHERE id = $1";
    stack.sql(update, &[&failed]).await;
    for job_id in [failed, fresh] {
        stack.push(&logo(job_id)).await;
    }
    openai.called(2).await;
    for job_id in [failed, fresh] {
        stack
            .until("the row tells that the job is being worked on", async || {
                let job = stack.job_row(job_id).await;
                (job.error.is_none() && matches!(job.progress, Some(10..100))).then_some(())
            })
            .await;
    }
    openai.open();
    stack.all_done_once(&[failed, fresh]).await;
}
