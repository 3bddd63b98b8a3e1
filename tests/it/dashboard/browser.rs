//! A real browser gets through every page and presses every button, with scripts and without.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::{ON, OPERATOR, VIEWER};
use crate::harness::aftermath::key;
use crate::harness::node::node_within;
use crate::harness::openai::{OpenAi, small_picture};
use crate::harness::page::Page;
use crate::harness::stack::{Stack, icon, logo, with};

/// Half a minute on a machine of its own, with fifty pages to be judged; tests share theirs with others.
const PATIENCE: Duration = Duration::from_secs(240);

/// The browser that `scripts/install-servers tests` has installed.
#[expect(
    clippy::disallowed_methods,
    reason = "this is no setting, but where a terminal looks for its programs"
)]
fn chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .collect();
    places.push("/Applications/Chromium.app/Contents/MacOS/Chromium".into());
    places
        .into_iter()
        .find(|place| place.exists())
        .expect("chromium is missing: run scripts/install-servers tests, as make test does")
}

/// Jobs whose paid call ended with nobody knowing how, and that wait for an operator.
async fn held(stack: &Stack, openai: &OpenAi, count: i32) -> Vec<i32> {
    let variables = [("UNKNOWN_OUTCOME", "hold"), ("JOB_TIMEOUT", "1s")];
    let mut replica = stack.replica_of(openai, &variables).await;
    let jobs = stack.push_logos(count).await;
    for job_id in &jobs {
        replica.said(&format!("job {job_id} is held")).await;
    }
    replica.kill();
    jobs
}

/// Two jobs that fail alike: `field` of their packages has a value that this provider does not know.
async fn failed(stack: &Stack, provider: &str, field: &str) -> Vec<i32> {
    let jobs = stack.jobs(2).await;
    for job_id in &jobs {
        let package = with(logo(*job_id), "imageProvider", provider);
        stack.push(&with(package, field, "none")).await;
    }
    for job_id in &jobs {
        assert!(stack.ended(*job_id).await.error.is_some());
    }
    jobs
}

#[tokio::test(flavor = "multi_thread")]
async fn chromium_gets_through_every_page_and_button_with_scripts_and_without() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let held = held(&stack, &openai, 2).await;
    let tokens = [
        ON,
        ("DASHBOARD_OPERATOR_TOKEN", OPERATOR),
        ("DASHBOARD_VIEWER_TOKEN", VIEWER),
        ("BUDGETS", "openai:0.2/day,user:2/day"),
    ];
    let replica = stack.replica_of(&openai, &tokens).await;
    let page = Page::of(&replica).await;
    let asked = openai.calls().len();
    let running = stack.push_logos(2).await;
    openai.called(asked + 2).await;
    let done = stack.jobs(2).await;
    for job_id in &done {
        let package = with(logo(*job_id), "imageProvider", "builtin");
        stack.push(&with(package, "userId", 5)).await;
        let job_id = stack.job().await;
        stack.push(&with(icon(job_id), "imageProvider", "builtin")).await;
        stack.ended(job_id).await;
    }
    let mut walks: Vec<Value> = Vec::new();
    for (place, provider) in ["openai", "builtin"].into_iter().enumerate() {
        assert_eq!(stack.ended(done[place]).await.progress, Some(100));
        failed(&stack, provider, "imageSize").await;
        failed(&stack, provider, "imageModel").await;
        let alone = failed(&stack, provider, "imageQuality").await;
        let shut = ["gemini", "bfl"][place];
        let fields = [
            ("why", "failing"),
            ("until", "9999999999999"),
            ("began", "1795608000000"),
            ("faults", "5"),
        ];
        redis::cmd("HSET")
            .arg(key(&format!("provider:{shut}")))
            .arg(&fields)
            .exec_async(&mut stack.redis().await)
            .await
            .unwrap();
        walks.push(json!({
            "scripts": place == 1, "prompt": format!("a paper boat number {}", alone[0]), "shut": shut,
            "replica": replica.worker_id(), "done": done[place], "running": running[place], "held": held[place],
            "failed": alone[0], "retried": {"provider": provider, "word": "size"},
            "discarded": {"provider": provider, "word": "model"},
        }));
    }
    let input = json!({"origin": page.origin(), "operator": OPERATOR, "viewer": VIEWER, "walks": walks});
    let chromium = chromium();
    let arguments = [chromium.to_str().unwrap()];
    let said = node_within(PATIENCE, "browser.cjs", &arguments, &input.to_string()).await;
    let pages: usize = said.split(' ').next().unwrap().parse().unwrap();
    assert!(pages >= 2 * 15, "{said}");
}
