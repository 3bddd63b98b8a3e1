//! Ten thousand failures are a few causes, and each is dealt with as one.

use super::{actions, open};
use crate::harness::stack::{Stack, logo, with};

const CAUSES: [&str; 7] = [
    "openai refused this prompt under its content policy (request req_%s). Change the prompt and start the job again.",
    "the picture of order %s cannot be fetched from https://results.example.org/%s.png: no answer within 30 s",
    "imageSize: \"%sx1\" was found; 1024x1024 is accepted",
    "no answer within %s s",
    "replicate has failed with the status 502 (prediction 0b6f3c1e-7a55-4a54-9b7c-%s)",
    "the account has no credit left",
    "the row of job %s cannot be written",
];

/// Dead packages of these causes, in turn.
pub(super) async fn fail(stack: &Stack, count: i32) {
    let insert = "INSERT INTO generative_ai.dead_packages (id, job_id, payload, reason, error_class, attempts, worker_id, dead_at)
        SELECT gen_random_uuid(), number, convert_to(format('{\"type\":\"collection-image\",\"jobId\":%s}', number), 'UTF8'),
            replace(($1::text[])[1 + number % 7], '%s', lpad(number::text, 12, '0')), 'timeout', 5, 'test',
            now() - number * interval '1 second'
        FROM generate_series(1, $2::integer) AS number";
    stack.sql(insert, &[&CAUSES.as_slice(), &count]).await;
}

pub(super) fn groups(text: &str) -> Vec<String> {
    let parts = text.split("data-group=\"").skip(1);
    parts
        .map(|part| part.split('"').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_failures_of_seven_causes_are_seven_groups_and_one_is_discarded() {
    let stack = Stack::start().await;
    fail(&stack, 10_000).await;
    let (_replica, page) = open(&stack).await;
    let text = page.get("/failures").await.is(200).text();
    let all = groups(&text);
    assert_eq!(all.len(), 7, "{text}");
    assert!(
        text.contains("openai refused this prompt under its content policy (request #)"),
        "{text}"
    );
    let chosen = all.last().unwrap();
    let here = format!("/failures/{chosen}");
    page.get(&here)
        .await
        .is(200)
        .has("1428 packages")
        .has("Discard …");
    page.get(&format!("{here}?confirm=discard"))
        .await
        .is(200)
        .has("Discard 1428 packages?");
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.dead_packages")
            .await,
        10_000
    );
    let answer = page.post(&format!("{here}/discard")).await;
    assert!([200, 202].contains(&answer.status.as_u16()), "{}", answer.text());
    stack
        .until("the group is gone", async || {
            let left = stack
                .count("SELECT count(*) FROM generative_ai.dead_packages")
                .await;
            (left == 10_000 - 1_428 && !actions(&stack).await.is_empty()).then_some(())
        })
        .await;
    let (who, action, subject) = actions(&stack).await.remove(0);
    assert_eq!((&*who, &*action), ("operator (dashboard)", "dead purge"));
    assert!(subject.starts_with("1428 packages: timeout: "), "{subject}");
    stack
        .until("six are left", async || {
            (groups(&page.get("/failures").await.text()).len() == 6).then_some(())
        })
        .await;
    page.get(&here).await.is(404);
    page.post(&format!("{here}/retry")).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_retried_as_the_command_does_it_and_no_faster_than_asked() {
    let stack = Stack::start().await;
    let (_replica, page) = open(&stack).await;
    let jobs = stack.jobs(3).await;
    for job_id in &jobs {
        stack
            .push(&with(logo(*job_id), "imageSize", format!("{job_id}x1")))
            .await;
        stack.ended(*job_id).await;
    }
    stack.idle().await;
    let found = groups(&page.get("/failures").await.text());
    assert_eq!(found.len(), 1);
    let here = format!("/failures/{}", found[0]);
    page.post_form(&format!("{here}/retry"), "rate=fast")
        .await
        .is(400)
        .has("write for example 10/s");
    page.get(&format!("{here}?confirm=retry"))
        .await
        .is(200)
        .has("Retry 3 packages?");
    page.post_form(&format!("{here}/retry"), "rate=100%2Fs")
        .await
        .is(200)
        .has("retried 3 packages");
    // They fail again, of the same.
    stack
        .until("all three have failed twice", async || {
            let all = stack
                .count("SELECT count(*) FROM generative_ai.dead_packages WHERE retried_at IS NULL")
                .await;
            (all == 3
                && stack
                    .count("SELECT count(*) FROM generative_ai.dead_packages")
                    .await
                    == 6)
                .then_some(())
        })
        .await;
    assert_eq!(actions(&stack).await[0].1, "dead retry");
}

/// What producers write for a provider is theirs, and one cause all the same.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_providers_and_models_are_one_cause_each_and_the_group_is_exactly_theirs() {
    let stack = Stack::start().await;
    let (_replica, page) = open(&stack).await;
    let jobs = stack.jobs(24).await;
    for (place, job_id) in jobs.iter().enumerate() {
        let package = match place {
            0..12 => with(
                logo(*job_id),
                "imageProvider",
                format!("dalle{}", "x".repeat(place)),
            ),
            12..18 => with(logo(*job_id), "imageModel", format!("picture-{place}")),
            _ => with(logo(*job_id), "imageSize", format!("{place}x1")),
        };
        stack.push(&package).await;
    }
    for job_id in &jobs {
        stack.ended(*job_id).await;
    }
    stack.idle().await;
    let answer = page.get("/failures").await;
    let found = groups(&answer.text());
    assert_eq!(found.len(), 3, "{}", answer.text());
    answer
        .has("Unsupported image provider: …; this version has openai, azureOpenai, ")
        .has("automatic1111")
        .has(">another name</bdi>");
    let here = format!("/failures/{}", found[0]);
    page.get(&here).await.is(200).has("12 packages");
    page.post(&format!("{here}/discard"))
        .await
        .is(200)
        .has("purged 12 packages");
    let left = stack
        .sql(
            "SELECT job_id FROM generative_ai.dead_packages ORDER BY job_id",
            &[],
        )
        .await;
    let left: Vec<i32> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, jobs[12..]);
}
