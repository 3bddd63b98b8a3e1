//! What producers write is text on the page and nothing else, and prompts and secrets are not on it.

use serde_json::{Value, json};

use super::{OPERATOR, PAGES, VIEWER, actions, guarded, session};
use crate::harness::stack::{Stack, logo, with};

const HOSTILE: &str =
    "<script>alert(1)</script>\"><img src=x onerror=alert(2)>\u{202e}gnp.exe\u{7}{{7*7}}'--";
const CANARY: &str = "canary-prompt-53c1";

fn is_harmless(path: &str, text: &str) {
    let bad = |c: char| {
        (c.is_control() && c != '\n' && c != '\r' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    assert!(!text.contains(bad), "{path}");
    for words in ["<script>alert", "<img src=x", CANARY, OPERATOR, VIEWER] {
        assert!(!text.contains(words), "{path}: {words} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_stands_in_a_package_is_text_and_its_prompt_is_nowhere_until_an_operator_asks() {
    let stack = Stack::start().await;
    let (replica, page) = guarded(&stack, &[]).await;
    let operator = session(&page, OPERATOR).await;
    let own: Value = with(logo(0), "prompt", CANARY);
    let fields = [
        "type",
        "imageType",
        "imageProvider",
        "imageModel",
        "imageSize",
        "imageQuality",
        "collectionType",
        "collectionId",
        "generationContext",
        "imageGenerationProfile",
        "userId",
        "replyTo",
        "notBefore",
        "deadline",
        HOSTILE,
    ];
    let jobs = stack.jobs(i32::try_from(fields.len()).unwrap()).await;
    for (job_id, field) in jobs.iter().zip(fields) {
        let package = with(own.clone(), "jobId", *job_id);
        stack.push(&with(package, field, HOSTILE)).await;
        stack.ended(*job_id).await;
    }
    let odd = stack.job().await;
    stack
        .push(&json!({"jobId": odd, HOSTILE: HOSTILE, "type": "collection-image", "prompt": CANARY}))
        .await;
    stack.ended(odd).await;
    stack.idle().await;
    let mut paths: Vec<String> = PAGES.map(str::to_owned).into();
    paths.extend(jobs.iter().map(|job_id| format!("/jobs/{job_id}")));
    let failures = operator.get("/failures").await.text();
    paths.extend(
        failures
            .split("href=\"/failures/")
            .skip(1)
            .map(|rest| format!("/failures/{}", rest.split('"').next().unwrap())),
    );
    assert!(paths.len() > PAGES.len() + jobs.len(), "{failures}");
    let hostile = "%3Cscript%3Ealert(1)%3C%2Fscript%3E%22%3E%3Cimg%20src%3Dx%3E";
    for query in [
        "/search?q=",
        "/results?provider=",
        "/results?day=",
        "/login?next=",
        "/failures/",
        "/jobs/",
    ] {
        paths.push(format!("{query}{hostile}"));
    }
    for path in &paths {
        is_harmless(path, &operator.get(path).await.text());
    }
    assert!(actions(&stack).await.is_empty());

    let masked = format!("/jobs/{odd}");
    operator.get(&masked).await.has("•••••");
    operator
        .post(&format!("{masked}/prompt"))
        .await
        .is(200)
        .has(CANARY);
    let (who, action, subject) = actions(&stack).await.remove(0);
    assert_eq!(
        (&*who, &*action, &*subject),
        ("operator (dashboard)", "reveal prompt", &*format!("job {odd}"))
    );
    operator.post(&format!("/jobs/{}/prompt", jobs[0])).await.is(200);
    for words in [CANARY, OPERATOR, VIEWER] {
        assert!(!replica.log().contains(words), "{words} is in the log");
    }
    let done = actions(&stack).await;
    assert!(!format!("{done:?}").contains(CANARY));
}
