//! `delete-image`: a picture that this service has made is gone everywhere, once, whatever dies or is down meanwhile, and nobody else's is
//! touched.

use redis::AsyncCommands;
use serde_json::{Value, json};

use crate::harness::aftermath::key;
use crate::harness::cloudflare::{Cloudflare, KEY};
use crate::harness::command::command_on;
use crate::harness::events::Events;
use crate::harness::files_below;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::receiver::Receiver;
use crate::harness::replica::Replica;
use crate::harness::stack::{Job, Stack, icon, logo, with};

/// A package that deletes a picture, by whichever fields are given.
pub(crate) fn deletion(job_id: i32, image_id: Option<i64>, image_url: Option<&str>) -> Value {
    let mut package = json!({"type": "delete-image", "jobId": job_id});
    if let Some(id) = image_id {
        package["imageId"] = id.into();
    }
    if let Some(url) = image_url {
        package["imageUrl"] = url.into();
    }
    package
}

/// A picture of a job that is done.
pub(crate) struct Drawn {
    pub(crate) image_id: i64,
    pub(crate) url: String,
}

pub(crate) async fn drawn(stack: &Stack, package: impl FnOnce(i32) -> Value) -> Drawn {
    let job_id = stack.job().await;
    stack.push(&package(job_id)).await;
    let data = stack.ended(job_id).await.data;
    Drawn {
        image_id: data["imageId"].as_i64().unwrap(),
        url: data["imageUrl"].as_str().unwrap().to_owned(),
    }
}

/// Pushes a deletion and waits for its end.
async fn delete(stack: &Stack, image_id: Option<i64>, image_url: Option<&str>) -> Job {
    let job_id = stack.job().await;
    stack.push(&deletion(job_id, image_id, image_url)).await;
    ended(stack, job_id).await
}

async fn ended(stack: &Stack, job_id: i32) -> Job {
    stack
        .until(&format!("job {job_id} has ended"), async || {
            let job = stack.job_row(job_id).await;
            (job.progress == Some(100) || job.error.is_some()).then_some(job)
        })
        .await
}

pub(crate) async fn is_marked(stack: &Stack, image_id: i64) -> bool {
    let query =
        format!("SELECT count(*) FROM images WHERE id = {image_id} AND deleted AND updated_at > created_at");
    stack.count(&query).await == 1
}

async fn replica(stack: &Stack, cloudflare: &Cloudflare, variables: &[(&str, &str)]) -> Replica {
    let own = cloudflare.variables();
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.extend(variables);
    stack.replica(&all).await
}

pub(crate) fn done(drawn: &Drawn, word: &str) -> Job {
    Job {
        progress: Some(100),
        error: None,
        data: json!({"imageId": drawn.image_id, "imageUrl": drawn.url, "imageDeletion": word}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_deleted_with_all_that_belongs_to_it_and_deleting_it_again_says_so() {
    let stack = Stack::start().await;
    let (cloudflare, receiver) = (Cloudflare::start().await, Receiver::start().await);
    let of_receiver = receiver.variables();
    let mut variables: Vec<(&str, &str)> = of_receiver
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    variables.push(("KEEP_ORIGINALS", "true"));
    let replica = replica(&stack, &cloudflare, &variables).await;
    let picture = drawn(&stack, icon).await;
    let other = drawn(&stack, logo).await;
    assert_eq!(
        files_below(stack.pictures.path()).len(),
        3,
        "an icon, its original, a logo"
    );

    let mut events = Events::of(&stack).await;
    let job_id = stack.job().await;
    let reply = key("reply:deleted");
    let package = with(
        deletion(job_id, Some(picture.image_id), None),
        "replyTo",
        reply.as_str(),
    );
    let package = with(package, "callbackUrl", receiver.url("/deleted"));
    stack.push(&package).await;
    let event = events.next("completed").await;
    assert_eq!(
        (
            &event["jobId"],
            &event["imageId"],
            &event["imageUrl"],
            &event["progress"]
        ),
        (
            &job_id.into(),
            &picture.image_id.into(),
            &picture.url.clone().into(),
            &100.into()
        )
    );
    assert_eq!(stack.job_row(job_id).await, done(&picture, "deleted"));
    assert!(is_marked(&stack, picture.image_id).await && !is_marked(&stack, other.image_id).await);
    assert_eq!(files_below(stack.pictures.path()).len(), 1, "the other one's");
    assert_eq!(cloudflare.purged().await, [[picture.url.clone()]]);
    let post = receiver.told(&stack, "/deleted", 1).await.remove(0);
    assert_eq!(
        (&post.body["type"], &post.body["imageId"]),
        (&"job.completed".into(), &picture.image_id.into())
    );
    let (_, told): (String, String) = stack.redis().await.blpop(&reply, 10.0).await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["status"], &told["imageId"]),
        (&"completed".into(), &picture.image_id.into())
    );
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.provider_calls")
            .await,
        0,
        "nothing is bought"
    );

    // Once more, by another job, and by what is left to name it by.
    let again = delete(&stack, None, Some(&picture.url)).await;
    assert_eq!(again, done(&picture, "already gone"));
    // The same package again, which finds its job done.
    stack.push(&package).await;
    let (_, told): (String, String) = stack.redis().await.blpop(&reply, 10.0).await.unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (&told["status"], &told["imageId"]),
        (&"completed".into(), &picture.image_id.into())
    );
    stack.idle().await;
    let story = command_on(&stack, &["jobs", "show", &job_id.to_string()], &[]).await;
    assert!(
        story.out.starts_with(&format!(
            "job {job_id} is done: image {} is deleted\n",
            picture.image_id
        )),
        "{story:?}"
    );
    assert!(
        replica
            .log()
            .contains(&format!("image {} is deleted", picture.image_id))
    );
    assert_eq!(stack.dead_letters().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_deleted_and_what_nobody_here_has_made_is_not() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let _replica = replica(&stack, &cloudflare, &[]).await;
    let (one, other) = (drawn(&stack, logo).await, drawn(&stack, logo).await);
    let row = |user_agent: &str, url: &str| {
        format!(
            "INSERT INTO images (formats, ip_address, user_agent, deleted, created_at, updated_at)
             VALUES ('[\"{url}\"]', '127.0.0.1', '{user_agent}', false, now(), now()) RETURNING id::bigint"
        )
    };
    let uploaded = stack
        .count(&row(
            "Mozilla",
            "https://images.example.org/uploads/group/7/cat.png",
        ))
        .await;
    let elsewhere = stack
        .count(&row(
            "AI worker",
            "https://elsewhere.example/ypGenAi/group/7/cat.png",
        ))
        .await;
    let anothers = stack
        .pictures
        .path()
        .join("ypGenAi/group/7/another-installation.png");
    std::fs::write(&anothers, "a picture").unwrap();

    for (image_id, image_url, why) in [
        (
            Some(uploaded),
            None,
            format!("imageId: image {uploaded} was not made by this service; none of its addresses"),
        ),
        (
            Some(elsewhere),
            None,
            format!("imageId: image {elsewhere} was not made by this service"),
        ),
        (
            Some(4_711),
            None,
            "imageId: there is no image 4711 in images, and no job is known that has made it".to_owned(),
        ),
        (
            None,
            Some("https://elsewhere.example/ypGenAi/group/7/cat.png"),
            "imageUrl: this is not the address of a picture".to_owned(),
        ),
        (
            None,
            Some("https://images.example.org/ypGenAi/../../etc/passwd"),
            "imageUrl: this is not the address".to_owned(),
        ),
        (
            None,
            Some("https://images.example.org/ypGenAi/group/7/another-installation.png"),
            "imageUrl: there is such a picture in the store, and no row of this database knows it".to_owned(),
        ),
        (
            Some(one.image_id),
            Some(other.url.as_str()),
            format!("imageUrl: this is not the address of image {}", one.image_id),
        ),
    ] {
        let job = delete(&stack, image_id, image_url).await;
        let error = job.error.unwrap();
        assert!(error.starts_with(&why), "{image_id:?} {image_url:?}: {error}");
        assert_eq!(job.data, json!({}));
    }
    let neither = delete(&stack, None, None).await.error.unwrap();
    assert_eq!(
        neither,
        "imageId: nothing was found; imageId or imageUrl is required"
    );
    assert_eq!(stack.count("SELECT count(*) FROM images WHERE deleted").await, 0);
    assert_eq!(files_below(stack.pictures.path()).len(), 3, "nothing was removed");
    assert_eq!(cloudflare.purged().await.len(), 0);
    assert_eq!(stack.dead_letters().await.len(), 8);

    // Somebody has removed the file: the row is marked, and that is all there is to do.
    for file in files_below(stack.pictures.path()).keys() {
        std::fs::remove_file(stack.pictures.path().join(file)).unwrap();
    }
    assert_eq!(
        delete(&stack, Some(one.image_id), Some(&one.url)).await,
        done(&one, "deleted")
    );
    assert!(is_marked(&stack, one.image_id).await);
    // Somebody has removed the row: the job that has made it is known.
    stack
        .sql(
            "DELETE FROM images WHERE id = $1",
            &[&i32::try_from(other.image_id).unwrap()],
        )
        .await;
    assert_eq!(
        delete(&stack, Some(other.image_id), None).await,
        done(&other, "already gone")
    );
    // An address of this store at which nothing is, and of which nobody knows anything.
    let url = "https://images.example.org/ypGenAi/group/7/0a1b2c3d.png";
    let gone = delete(&stack, None, Some(url)).await;
    assert_eq!(
        gone.data,
        json!({"imageUrl": url, "imageDeletion": "already gone"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_row_shows_too_stays_until_the_last_one_of_them_is_deleted() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let _replica = replica(&stack, &cloudflare, &[]).await;
    let picture = drawn(&stack, logo).await;
    // As an application that copies a group has it, and as another one writes the same text.
    for formats in [
        format!("[\"{}\"]", picture.url),
        format!(
            "[ \"https://h/small.png\", \"{}\" ]",
            picture.url.replace('/', "\\/")
        ),
    ] {
        let copy = format!(
            "INSERT INTO images (formats, ip_address, user_agent, deleted, created_at, updated_at)
             VALUES ('{formats}', '127.0.0.1', 'Mozilla', false, now(), now()) RETURNING id::bigint"
        );
        let copy = stack.count(&copy).await;
        for (image_id, image_url, other, why) in [
            (
                Some(picture.image_id),
                None,
                copy,
                format!(
                    "imageId: image {} shows a file that image {copy} shows too",
                    picture.image_id
                ),
            ),
            (
                None,
                Some(&*picture.url),
                copy,
                format!("imageUrl: this is a file that image {copy} shows too"),
            ),
            (
                Some(copy),
                None,
                picture.image_id,
                format!(
                    "imageId: image {copy} shows a file that image {} shows too",
                    picture.image_id
                ),
            ),
        ] {
            let error = delete(&stack, image_id, image_url).await.error.unwrap();
            assert!(error.starts_with(&why), "{other}: {error}");
        }
        assert_eq!(stack.count("SELECT count(*) FROM images WHERE deleted").await, 0);
        stack
            .sql(&format!("DELETE FROM images WHERE id = {copy}"), &[])
            .await;
    }
    assert_eq!(files_below(stack.pictures.path()).len(), 1);
    let longer = format!(
        "INSERT INTO images (formats, ip_address, user_agent, deleted, created_at, updated_at)
         VALUES ('[\"{}?v=2\"]', '127.0.0.1', 'Mozilla', false, now(), now())",
        picture.url
    );
    stack.sql(&longer, &[]).await;
    assert_eq!(
        delete(&stack, Some(picture.image_id), None).await,
        done(&picture, "deleted")
    );
}

/// A producer that takes the number of the job that has drawn a picture for the one that is to delete it.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_job_is_no_answer_to_a_package_of_another_type() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let own = openai.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let _replica = stack.replica_for(&receiver, &variables).await;
    openai.close();
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    openai.called(1).await;
    // While it is being drawn, and when it is.
    let early = with(
        deletion(job_id, Some(1), None),
        "callbackUrl",
        receiver.url("/early"),
    );
    stack.push(&early).await;
    openai.open();
    let drawn = stack.ended(job_id).await;
    let image_id = drawn.data["imageId"].as_i64();
    let late = with(
        deletion(job_id, image_id, None),
        "callbackUrl",
        receiver.url("/late"),
    );
    stack.push(&late).await;
    for path in ["/late", "/early"] {
        let post = receiver.told(&stack, path, 1).await.remove(0);
        let said = post.body["error"]["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(post.body["type"], "job.failed", "{}", post.body);
        let expected = format!(
            "jobId: job {job_id} has drawn a picture, and is no job for delete-image; make a row of its own"
        );
        assert!(post.body.to_string().contains(&expected), "{said} {}", post.body);
    }
    assert_eq!(stack.job_row(job_id).await, drawn, "its own end stays");
    assert_eq!(stack.count("SELECT count(*) FROM images WHERE deleted").await, 0);

    let deleted = stack.job().await;
    stack.push(&deletion(deleted, image_id, None)).await;
    let end = ended(&stack, deleted).await;
    let package = with(logo(deleted), "callbackUrl", receiver.url("/drawn"));
    stack.push(&package).await;
    let post = receiver.told(&stack, "/drawn", 1).await.remove(0);
    assert!(
        post.body
            .to_string()
            .contains("has deleted an image, and is no job for collection-image"),
        "{}",
        post.body
    );
    // Also where the ledger has forgotten it.
    let forget = format!("DELETE FROM generative_ai.jobs WHERE job_id = {deleted}");
    stack.sql(&forget, &[]).await;
    stack
        .push(&with(logo(deleted), "callbackUrl", receiver.url("/forgotten")))
        .await;
    let post = receiver.told(&stack, "/forgotten", 1).await.remove(0);
    assert_eq!(post.body["type"], "job.failed", "{}", post.body);
    assert_eq!(ended(&stack, deleted).await, end);
    assert_eq!(openai.bills(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_has_forgotten_is_deleted_by_its_row_with_its_original() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let _replica = replica(&stack, &cloudflare, &[("KEEP_ORIGINALS", "true")]).await;
    let (by_id, by_url) = (drawn(&stack, icon).await, drawn(&stack, icon).await);
    assert_eq!(files_below(stack.pictures.path()).len(), 4);
    stack.sql("DELETE FROM generative_ai.jobs", &[]).await;
    assert_eq!(
        delete(&stack, Some(by_id.image_id), None).await,
        done(&by_id, "deleted")
    );
    assert_eq!(
        delete(&stack, None, Some(&by_url.url)).await,
        done(&by_url, "deleted")
    );
    assert_eq!(files_below(stack.pictures.path()).len(), 0);
    assert!(is_marked(&stack, by_id.image_id).await && is_marked(&stack, by_url.image_id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_cache_cannot_be_told_the_objects_are_gone_and_it_is_told_later() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let replica = replica(&stack, &cloudflare, &[("MAX_ATTEMPTS", "20")]).await;
    let picture = drawn(&stack, logo).await;
    cloudflare.answers(503);
    let mut events = Events::of(&stack).await;
    let job_id = stack.job().await;
    stack.push(&deletion(job_id, Some(picture.image_id), None)).await;
    let retrying = events.next("retrying").await;
    assert_eq!(retrying["errorClass"], "storage");
    let said = retrying["error"].as_str().unwrap();
    assert!(
        said.starts_with("The picture is removed from the store, and the cache in front of it"),
        "{said}"
    );
    assert_eq!(files_below(stack.pictures.path()).len(), 0);
    assert!(is_marked(&stack, picture.image_id).await);
    assert_eq!(stack.job_row(job_id).await.error, None);
    cloudflare.answers(200);
    assert_eq!(ended(&stack, job_id).await, done(&picture, "deleted"));
    let purged = cloudflare.purged().await;
    assert!(
        purged.len() >= 2 && purged.iter().all(|files| *files == [picture.url.clone()]),
        "{purged:?}"
    );
    assert!(!replica.log().contains(KEY));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_half_way_leaves_a_deletion_that_the_next_one_finishes() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let points = [
        "begun",
        "image-marked",
        "objects-removed",
        "cache-purged",
        "recorded",
        "settled",
    ];
    let mut pictures = Vec::new();
    {
        let _painter = replica(&stack, &cloudflare, &[]).await;
        for _ in points {
            pictures.push(drawn(&stack, icon).await);
        }
        stack.idle().await;
    }
    let mut jobs = Vec::new();
    for (point, picture) in points.iter().zip(&pictures) {
        let fault = format!("{point}:1");
        let variables = [("FAULT_POINT", fault.as_str()), ("WORKER_CONCURRENCY", "1")];
        let mut victim = replica(&stack, &cloudflare, &variables).await;
        let job_id = stack.job().await;
        stack
            .push(&deletion(job_id, Some(picture.image_id), Some(&picture.url)))
            .await;
        victim.exit().await;
        jobs.push(job_id);
        let _heir = replica(&stack, &cloudflare, &[]).await;
        assert_eq!(ended(&stack, job_id).await, done(picture, "deleted"), "{point}");
        stack.idle().await;
    }
    assert_eq!(files_below(stack.pictures.path()).len(), 0);
    for picture in &pictures {
        assert!(is_marked(&stack, picture.image_id).await);
    }
    for job_id in jobs {
        assert_eq!(stack.ledger(job_id).await.state, "done");
    }
    assert_eq!(
        stack.count("SELECT count(*) FROM images").await,
        6,
        "no row was made"
    );
    assert_eq!(stack.dead_letters().await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_job_has_the_cache_forget_its_picture_too() {
    let stack = Stack::start().await;
    let cloudflare = Cloudflare::start().await;
    let own = cloudflare.variables();
    let variables: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    let _replica = stack.replica(&variables).await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    let url = stack.ended(job_id).await.data["imageUrl"]
        .as_str()
        .unwrap()
        .to_owned();
    stack.idle().await;
    cloudflare.answers(403);
    let erase = async || command_on(&stack, &["jobs", "erase", &job_id.to_string()], &variables).await;
    let cut = erase().await;
    assert_ne!(cut.status, Some(0), "{cut:?}");
    assert!(
        cut.err.contains("CLOUDFLARE_API_KEY has to be a token") && !cut.err.contains(KEY),
        "{cut:?}"
    );
    assert_eq!(files_below(stack.pictures.path()).len(), 0);
    cloudflare.answers(200);
    assert_eq!(erase().await.status, Some(0));
    let purged = cloudflare.purged().await;
    assert!(purged.iter().all(|files| files.contains(&url)), "{purged:?}");
    // What was erased cannot be deleted once more, and that is no failure.
    let image_id = stack.count("SELECT id::bigint FROM images").await;
    let again = delete(&stack, Some(image_id), None).await;
    assert_eq!(
        again.data,
        json!({"imageId": image_id, "imageDeletion": "already gone"})
    );
}
