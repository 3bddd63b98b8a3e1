//! Each page shows what there is, and each button does what the command does.

use futures_util::StreamExt as _;
use redis::AsyncCommands as _;
use serde_json::json;

use super::{ON, PAGES, actions, open};
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::page::Page;
use crate::harness::receiver::Receiver;
use crate::harness::stack::{QUEUE, Stack, icon, logo, with};

#[tokio::test(flavor = "multi_thread")]
async fn pictures_failures_and_stories_are_shown_and_found() {
    let stack = Stack::start().await;
    let (replica, page) = open(&stack).await;
    page.get("/failures").await.is(200).has("Nothing has failed.");
    page.get("/results").await.is(200).has("No picture matches");
    page.get("/jobs/4711").await.is(404).has("There is no job 4711");
    for none in ["/jobs/none", "/jobs/99999999999", "/jobs/-", "/thumbnails/x"] {
        page.get(none)
            .await
            .is(404)
            .has("There is nothing at this address")
            .has("aria-label=\"Pages\"");
    }
    let jobs = stack.jobs(3).await;
    stack
        .push(&with(with(logo(jobs[0]), "userId", 5), "prompt", "a lighthouse"))
        .await;
    stack.push(&with(icon(jobs[1]), "collectionId", "nine")).await;
    stack.push(&with(logo(jobs[2]), "imageSize", "1x1")).await;
    for job_id in &jobs {
        stack.ended(*job_id).await;
    }
    stack.idle().await;
    for path in PAGES {
        page.get(path).await.is(200);
    }
    page.get("/").await.has(&replica.worker_id());
    stack
        .until("nothing needs anybody", async || {
            page.get("/")
                .await
                .text()
                .contains("Nothing needs you")
                .then_some(())
        })
        .await;
    let image_id = stack.job_row(jobs[0]).await.data["imageId"].clone();
    let thumbnail = format!("/thumbnails/{image_id}?job={}", jobs[0]);
    let results = page.get("/results").await;
    results
        .has(&thumbnail)
        .has(&format!("Job {}", jobs[1]))
        .has("builtin");
    for (query, expected) in [
        ("user=5", vec![jobs[0]]),
        ("collection=nine", vec![jobs[1]]),
        ("collection=group%2Fnine", vec![jobs[1]]),
        ("provider=openai", vec![]),
        ("day=2020-01-01", vec![]),
        ("provider=builtin", vec![jobs[1], jobs[0]]),
        ("type=icon", vec![jobs[1]]),
        ("type=logo", vec![jobs[0]]),
        ("collection=nine&type=logo", vec![]),
        ("collection=other%2Fnine", vec![]),
    ] {
        let text = page.get(&format!("/results?{query}")).await.is(200).text();
        let shown: Vec<i32> = text
            .split("href=\"/jobs/")
            .skip(1)
            .map(|rest| rest.split('"').next().unwrap().parse().unwrap())
            .collect();
        let mut shown = shown;
        shown.dedup();
        assert_eq!(shown, expected, "{query}");
    }
    for (query, said) in [
        ("user=x", "A user is a number"),
        ("type=x", "A type is icon or logo"),
    ] {
        let answer = page.get(&format!("/results?{query}")).await;
        answer.is(200).has(said);
        assert!(!answer.text().contains("Job "), "{}", answer.text());
    }

    let small = page.get(&thumbnail).await;
    small.is(200);
    let picture = image::load_from_memory_with_format(&small.body, image::ImageFormat::Jpeg).unwrap();
    assert_eq!(picture.width().max(picture.height()), 320);
    assert_eq!(
        page.get(&format!("/thumbnails/{image_id}")).await.body,
        small.body
    );
    for missing in [
        "/thumbnails/99999",
        &*format!("/thumbnails/{image_id}?job={}", jobs[2]),
    ] {
        page.get(missing).await.is(404);
    }

    let story = page.get(&format!("/jobs/{}", jobs[2])).await;
    story
        .is(200)
        .has("failed for good")
        .has("invalid_request")
        .has("Unsupported image size");
    for (wanted, by) in [
        (jobs[0].to_string(), "job"),
        (image_id.to_string(), "image"),
        ("5".to_owned(), "user"),
        ("group/nine".to_owned(), "collection"),
    ] {
        let found = page
            .get(&format!("/search?q={}", wanted.replace('/', "%2F")))
            .await;
        found.is(200).has(&format!(">{by}</td>"));
    }
    page.get("/search?q=%27%3B--")
        .await
        .is(200)
        .has("Nothing was found")
        .has("Users and collections are found by their pictures.");
    page.get("/results?user=77")
        .await
        .has("Jobs that failed are under");
    let dead = stack
        .sql("SELECT id::text FROM generative_ai.dead_packages", &[])
        .await;
    let dead: String = dead[0].get(0);
    page.get(&format!("/search?q={dead}"))
        .await
        .has(&format!("href=\"/jobs/{}\"", jobs[2]))
        .has(">dead package</td>");
    // As `dead list` shows it, and as people write what they know.
    for (wanted, by, others) in [
        (dead[..13].to_owned(), "dead package", ["job", "image"]),
        (format!("job+{}", jobs[0]), "job", ["image", "user"]),
        (format!("image+%23{image_id}"), "image", ["job", "user"]),
        ("User+5".to_owned(), "user", ["job", "image"]),
        ("collection+5".to_owned(), "Nothing was found", ["job", "user"]),
    ] {
        let found = page.get(&format!("/search?q={wanted}")).await;
        found.is(200).has(by);
        for other in others {
            let other = format!(">{other}</td>");
            assert!(!found.text().contains(&other), "{wanted}: {}", found.text());
        }
    }
    let only_dead = "INSERT INTO generative_ai.dead_packages
        (id, payload, job_id, attempts, error_class, reason, worker_id)
        SELECT '0b6f3c1e-7a55-4a54-9b7c-0242ac120002', payload, NULL, attempts, error_class, reason, worker_id
        FROM generative_ai.dead_packages LIMIT 1";
    stack.sql(only_dead, &[]).await;
    page.get("/search?q=0b6f3c1e-7a55")
        .await
        .has("none could be read");

    page.post(&format!("/jobs/{}/retry", jobs[2]))
        .await
        .is(200)
        .has("retried 1 package");
    stack.ended(jobs[2]).await;
    page.post(&format!("/jobs/{}/retry", jobs[0]))
        .await
        .is(409)
        .has("nothing was changed: it is done");
    page.post(&format!("/jobs/{}/cancel", jobs[0]))
        .await
        .is(409)
        .has("has its picture already");
    page.post(&format!("/jobs/{}/release", jobs[0]))
        .await
        .is(409)
        .has("is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_cancelled_and_a_pause_and_a_shut_provider_are_shown_and_ended() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let replica = stack
        .replica_of(&openai, &[ON, ("WORKER_CONCURRENCY", "1")])
        .await;
    let page = Page::of(&replica).await;
    let jobs = stack.jobs(2).await;
    stack.push(&logo(jobs[0])).await;
    openai.called(1).await;
    stack.push(&logo(jobs[1])).await;
    let text = page
        .get("/running")
        .await
        .is(200)
        .has("openai")
        .has("being drawn")
        .text();
    assert!(text.contains(&format!("/jobs/{}/cancel", jobs[0])), "{text}");
    page.get("/").await.has("<dt>In flight</dt><dd>1</dd>");
    assert!(text.contains("<details class=\"sure\"><summary"), "{text}");
    page.post_form(&format!("/jobs/{}/cancel", jobs[0]), "reason=wrong+colour")
        .await
        .is(200)
        .has("is cancelled");
    let error = stack.ended(jobs[0]).await.error.unwrap();
    assert_eq!(error, "Cancelled by operator (dashboard): wrong colour");
    openai.open();
    stack.ended(jobs[1]).await;

    page.post("/pause").await.is(200).has("is paused");
    page.get("/")
        .await
        .has("The queue is paused by operator (dashboard)");
    page.post("/resume").await.is(200).has("is resumed");
    let key = format!("{{{QUEUE}}}:provider:openai");
    let until = chrono::Utc::now().timestamp_millis() + 600_000;
    let shut = [
        ("why", "asked".to_owned()),
        ("began", "1".to_owned()),
        ("until", until.to_string()),
    ];
    let _: () = stack.redis().await.hset_multiple(&key, &shut).await.unwrap();
    stack
        .until("the page knows", async || {
            page.get("/providers")
                .await
                .text()
                .contains("as it asks")
                .then_some(())
        })
        .await;
    page.post("/providers/openai/resume")
        .await
        .is(200)
        .has("openai is resumed");
    page.post("/providers/nobody/resume").await.is(404);
    let exists: bool = stack.redis().await.exists(&key).await.unwrap();
    assert!(!exists);
    page.get("/providers")
        .await
        .is(200)
        .has("openai")
        .has("p95")
        .has("$0.");
    page.get("/search?q=req_test").await.is(200).has(">request</td>");
    let done: Vec<String> = actions(&stack)
        .await
        .into_iter()
        .map(|(_, action, _)| action)
        .collect();
    assert_eq!(done, ["cancel", "pause", "resume", "providers resume"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_job_says_all_that_jobs_show_says_and_who_was_told() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let refusal = json!({"message": "no", "code": "moderation_blocked"});
    openai.then(Reply::Error(400, refusal, vec![]));
    let own = openai.variables();
    let own = own.iter().map(|(name, value)| (&**name, &**value));
    let variables: Vec<(&str, &str)> = own.chain([ON]).collect();
    let replica = stack.replica_for(&receiver, &variables).await;
    let page = Page::of(&replica).await;
    let job_id = stack.job().await;
    let url = receiver.url("/ends?token=heron");
    stack.push(&with(logo(job_id), "callbackUrl", url)).await;
    receiver.told(&stack, "/ends", 1).await;
    stack.command(&["dead", "retry", "--yes"], &[]).await;
    receiver.told(&stack, "/ends", 2).await;
    stack.idle().await;
    stack.outbox_has("state = 'waiting'", 0).await;
    let told = stack.command(&["jobs", "show", &job_id.to_string()], &[]).await;
    let told = String::from_utf8(told.stdout).unwrap();
    let answer = page.get(&format!("/jobs/{job_id}")).await;
    answer.is(200);
    assert!(
        told.lines().count() > 20 && told.contains("\ncallback ") && told.contains("\ndead package "),
        "{told}"
    );
    let shown = answer.text().replace("&quot;", "\"");
    for line in told.lines() {
        // A fact has a name of nine characters; long ones are cut on the page.
        let said: String = match line.strip_prefix("  ") {
            Some(fact) => fact.chars().skip(10).take(200).collect(),
            None => line.to_owned(),
        };
        assert!(shown.contains(&said), "{said} is missing in {shown}");
    }
    answer
        .has("the application made the job")
        .has("pushed again by an operator");
    assert!(!answer.text().contains("heron"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_said_and_released() {
    let stack = Stack::start().await;
    let held = stack.job().await;
    let package = logo(held).to_string();
    let hold = "INSERT INTO generative_ai.jobs (job_id, state, queue, package) VALUES ($1, 'held', 'generative-ai', $2)";
    stack.sql(hold, &[&held, &package]).await;
    let (_replica, page) = open(&stack).await;
    page.get("/").await.has(&format!(
        "1 job is held (<a href=\"/jobs/{held}\">{held}</a>): decide whether another picture may be bought"
    ));
    page.get("/running").await.has("for an operator");
    page.post(&format!("/jobs/{held}/release"))
        .await
        .is(200)
        .has("is released");
    assert_eq!(stack.ended(held).await.error, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_come_as_a_stream_and_outages_are_said_on_the_page() {
    let mut stack = Stack::start().await;
    let (_replica, page) = open(&stack).await;
    let response = page.getting("/events").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    while text.matches("event: strip").count() < 2 {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.contains("<section id=\"strip\""), "{text}");
    drop(stream);
    stack.postgres.stop();
    stack
        .until("the page says that Postgres is away", async || {
            let answer = page.get("/").await;
            (answer.status == 200 && answer.text().contains("Postgres does not answer")).then_some(())
        })
        .await;
    stack.postgres.restart().unwrap();
    stack.redis.stop();
    stack
        .until("the page says that Redis is away", async || {
            page.get("/")
                .await
                .text()
                .contains("Redis does not answer")
                .then_some(())
        })
        .await;
}

/// A phone gets a page in a moment, and all jobs are somewhere.
#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_shown_part_by_part_with_a_way_to_the_rest() {
    let stack = Stack::start().await;
    let begin = "INSERT INTO generative_ai.jobs (job_id, state, queue, package, worker_id, attempts, error_class, error_message)
        SELECT number, (ARRAY['begun', 'held', 'waiting'])[number % 3 + 1], 'generative-ai', '{}', repeat('w', 40), 3, 'unknown_outcome',
            repeat('what was said of it ', 30)
        FROM generate_series(1000001, 1000488) AS number";
    stack.sql(begin, &[]).await;
    let (_replica, page) = open(&stack).await;
    let mut path = "/running".to_owned();
    let mut jobs = Vec::new();
    let mut pages = 0;
    loop {
        let answer = page.get(&path).await;
        answer.is(200).has(" of 488 jobs");
        assert!(answer.body.len() < 80_000, "{}", answer.body.len());
        let text = answer.text();
        let rows = text.split("href=\"/jobs/").skip(1);
        jobs.extend(rows.map(|rest| rest.split('"').next().unwrap().to_owned()));
        pages += 1;
        let Some(next) = text.split("rel=\"next\" href=\"").nth(1) else {
            break;
        };
        path = next.split('"').next().unwrap().to_owned();
    }
    assert!(
        page.get(&path).await.text().contains("for a replica"),
        "who waits comes last"
    );
    jobs.sort();
    jobs.dedup();
    assert_eq!((jobs.len(), pages), (488, 10));
    page.get("/running?after=9999")
        .await
        .is(200)
        .has("451 to 488 of 488 jobs");
    page.get("/running?after=x").await.is(200).has("50 of 488 jobs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_finds_more_than_it_shows_says_so_and_leads_there() {
    let stack = Stack::start().await;
    let variables = [ON, ("IMAGE_PROVIDER", "blank")];
    let replica = stack.replica(&variables).await;
    let page = Page::of(&replica).await;
    let jobs = stack.jobs(21).await;
    for job_id in &jobs {
        stack.push(&with(icon(*job_id), "collectionId", "many")).await;
    }
    stack.all_done_once(&jobs).await;
    let found = page.get("/search?q=group%2Fmany").await;
    found
        .is(200)
        .has("these are the latest 20, and there are more")
        .has("href=\"/results?collection=group%2Fmany\"");
    assert_eq!(found.text().matches(">collection</td>").count(), 20);
    page.get("/results?collection=group%2Fmany")
        .await
        .is(200)
        .has(&format!("Job {}", jobs[20]));
}
