//! A budget stops before the call: over all replicas no call is made for which it has no money, and what waits for it goes on by itself.

use std::time::Duration;

use redis::AsyncCommands;
use serde_json::json;

use crate::harness::aftermath::key;
use crate::harness::events::Events;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::operator::Operator;
use crate::harness::page::Page;
use crate::harness::stack::{Stack, logo, with};

/// What a picture of `gpt-image-2` may cost, and what the stand-in's pictures do.
const ESTIMATE: f64 = 0.053;
const COST: f64 = 0.047_62;

async fn parked(stack: &Stack, budget: &str, expected: u64) {
    stack
        .until(&format!("{expected} packages wait for {budget}"), async || {
            let parked: u64 = stack
                .redis()
                .await
                .llen(key(&format!("parked:budget/{budget}")))
                .await
                .unwrap();
            (parked == expected).then_some(())
        })
        .await;
}

/// Dollars that are used of the budgets of a scope.
async fn used(stack: &Stack, scope: &str) -> f64 {
    let query = "SELECT coalesce(sum(used_usd), 0)::float8 FROM generative_ai.budget_periods WHERE scope = $1 AND ends_at > now()";
    stack.sql(query, &[&scope]).await[0].get(0)
}

async fn is_used(stack: &Stack, scope: &str, expected: f64) {
    let found = used(stack, scope).await;
    assert!((found - expected).abs() < 1e-9, "{found} instead of {expected}");
}

/// As if a day had passed: what was used was yesterday's, and the time has come to look.
async fn midnight(stack: &Stack) {
    stack
        .sql(
            "UPDATE generative_ai.budget_periods SET begins_at = begins_at - interval '1 day', ends_at = ends_at - interval '1 day'",
            &[],
        )
        .await;
    let mut redis = stack.redis().await;
    let waiting: Vec<String> = redis.zrange(key("budgets"), 0, -1).await.unwrap();
    for budget in waiting {
        let _: i64 = redis.zadd(key("budgets"), budget, 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_together_buy_no_more_than_a_budget_pays_and_go_on_after_midnight() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.delay(Duration::from_millis(50));
    // Ten pictures, and not eleven.
    let budgets = [("BUDGETS", "openai:0.5/day")];
    let replicas = [
        stack.replica_of(&openai, &budgets).await,
        stack.replica_of(&openai, &budgets).await,
        stack.replica_of(&openai, &budgets).await,
    ];
    stack.push_logos(200).await;
    stack.done(10).await;
    parked(&stack, "openai/day", 190).await;
    is_used(&stack, "openai", 10.0 * COST).await;
    assert_eq!(openai.calls().len(), 10);
    let warned = replicas.iter().filter(|replica| {
        replica
            .log()
            .contains("four fifths or more are used up of openai/day")
    });
    assert_eq!(warned.count(), 1, "it is said once, by one of them");
    assert_eq!(
        stack.count("SELECT sum(attempts) FROM generative_ai.jobs").await,
        0,
        "nothing has failed"
    );

    midnight(&stack).await;
    stack.done(20).await;
    parked(&stack, "openai/day", 180).await;
    assert_eq!(openai.calls().len(), 20);
    is_used(&stack, "openai", 10.0 * COST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_reads_that_the_picture_waits_and_why_and_until_when() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let budgets = [("BUDGETS", "total:0.06/month"), ("BUDGET_TIMEZONE", "Asia/Tokyo")];
    let _replica = stack.replica_of(&openai, &budgets).await;
    stack.push_logos(1).await;
    stack.done(1).await;
    let mut events = Events::of(&stack).await;
    let job_id = stack.push_logos(1).await[0];
    let event = events.next("retrying").await;
    assert_eq!(
        (&event["jobId"], &event["errorClass"]),
        (&json!(job_id), &json!("over_budget"))
    );
    parked(&stack, "total/month", 1).await;
    let said = String::from_utf8(
        stack
            .command(&["jobs", "show", &job_id.to_string()], &[])
            .await
            .stdout,
    )
    .unwrap();
    for text in [event["error"].as_str().unwrap(), &said] {
        assert!(
            text.contains("The budget of $0.06 a month in all has not enough left for this picture until 20"),
            "{text}"
        );
        assert!(
            text.contains("-01 00:00 (Asia/Tokyo). It waits, until then at the most."),
            "{text}"
        );
    }
    assert_eq!(stack.job_row(job_id).await.error, None, "it has not failed");
    // It is where the ledger looks for it, so nobody puts a copy back.
    let reseeded = stack.command(&["reseed"], &[]).await;
    assert_eq!(
        String::from_utf8(reseeded.stdout).unwrap(),
        "put back 0 packages into generative-ai\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_without_a_bill_gives_its_money_to_who_waits() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let refusal =
        json!({"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"});
    openai.then(Reply::Error(400, refusal, vec![]));
    openai.close();
    let _replica = stack.replica_of(&openai, &[("BUDGETS", "openai:0.06/day")]).await;
    let refused = stack.push_logos(1).await[0];
    openai.called(1).await;
    is_used(&stack, "openai", ESTIMATE).await;
    let waiting = stack.push_logos(1).await[0];
    parked(&stack, "openai/day", 1).await;
    openai.open();
    assert!(stack.ended(refused).await.error.is_some());
    assert_eq!(stack.ended(waiting).await.progress, Some(100));
    assert_eq!(openai.calls().len(), 2);
    is_used(&stack, "openai", COST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_billed_stays_taken() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [
        ("BUDGETS", "openai:0.06/day"),
        ("JOB_TIMEOUT", "1s"),
        ("UNKNOWN_OUTCOME", "fail"),
        // Nobody else is asked for want of money.
        ("IMAGE_PROVIDER_FALLBACKS", "builtin"),
    ];
    let _replica = stack.replica_of(&openai, &variables).await;
    let lost = stack.push_logos(1).await[0];
    assert!(stack.ended(lost).await.error.is_some());
    openai.open();
    stack.push_logos(1).await;
    parked(&stack, "openai/day", 1).await;
    assert_eq!(openai.calls().len(), 1);
    is_used(&stack, "openai", ESTIMATE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_and_a_collection_have_budgets_of_their_own() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let budgets = [("BUDGETS", "user:0.06/day,collection:0.11/day")];
    let _replica = stack.replica_of(&openai, &budgets).await;
    let of = |job_id, user_id: i32, collection: &str| {
        with(with(logo(job_id), "userId", user_id), "collectionId", collection)
    };
    let jobs = stack.jobs(6).await;
    stack.push(&of(jobs[0], 7, "1")).await;
    stack.done(1).await;
    stack.push(&of(jobs[1], 7, "2")).await;
    parked(&stack, "user/7/day", 1).await;
    stack.push(&of(jobs[2], 8, "1")).await;
    stack.done(2).await;
    stack.push(&of(jobs[3], 9, "1")).await;
    parked(&stack, "collection/group/1/day", 1).await;
    // Nobody's user counts for nobody.
    for job_id in &jobs[4..] {
        stack.push(&with(logo(*job_id), "collectionId", "3")).await;
    }
    stack.done(4).await;
    assert_eq!(openai.calls().len(), 4);
    is_used(&stack, "user", 2.0 * COST).await;
    is_used(&stack, "collection", 4.0 * COST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_fail_instead_of_waiting() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let variables = [("BUDGETS", "openai:0.06/day"), ("BUDGET_ACTION", "fail")];
    let _replica = stack.replica_of(&openai, &variables).await;
    stack.push_logos(1).await;
    stack.done(1).await;
    let job_id = stack.push_logos(1).await[0];
    let error = stack.ended(job_id).await.error.unwrap();
    assert!(
        error.starts_with(
            "The budget of $0.06 a day for openai has not enough left for this picture until 20"
        ),
        "{error}"
    );
    let cure = "It was not asked for. Start the job again after that, or have an operator raise BUDGETS.";
    assert!(error.ends_with(cure), "{error}");
    stack.idle().await;
    assert_eq!(stack.dead_letters().await[0]["errorClass"], "over_budget");
    assert_eq!(openai.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_no_budget_can_pay_fails_at_once() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let address = format!("http://127.0.0.1:{}/v1", openai.port());
    let variables = [
        ("BUDGETS", "openai:0.05/day,total:9/month"),
        ("OPENAI_COMPATIBLE_BASE_URL", &address),
        ("OPENAI_COMPATIBLE_MODEL", "mine"),
    ];
    let _replica = stack.replica_of(&openai, &variables).await;
    let jobs = stack.jobs(2).await;
    stack.push(&logo(jobs[0])).await;
    stack
        .push(&with(logo(jobs[1]), "imageProvider", "openaiCompatible"))
        .await;
    assert_eq!(
        stack.ended(jobs[0]).await.error.unwrap(),
        "A picture of gpt-image-2 of openai costs about $0.053, which is more than the whole budget of $0.05 a day for openai. \
         Choose a cheaper model or quality, or have an operator raise BUDGETS, and start the job again."
    );
    assert_eq!(
        stack.ended(jobs[1]).await.error.unwrap(),
        "Nobody knows what a picture of mine of openaiCompatible costs, and budgets are set here, so it is not asked for one. \
         Choose another model, or have an operator add its usd_per_image to MODELS_FILE, and start the job again."
    );
    assert_eq!(openai.calls().len(), 0);
    let [first, second, third] = openai.variables();
    let own = [first, second, third];
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.extend(variables);
    let checked = stack.command(&["check-config"], &all).await;
    let said = String::from_utf8(checked.stdout).unwrap();
    for warning in [
        "warning: BUDGETS: a picture of gpt-image-2 of openai costs about $0.053, which is more than $0.05 a day for openai: such jobs \
         fail; raise it, or have packages ask for a cheaper model or quality\n",
        "warning: BUDGETS: nobody knows what a picture of mine of openaiCompatible costs: such jobs fail; add its usd_per_image to \
         MODELS_FILE\n",
    ] {
        assert!(said.contains(warning), "{said}");
    }
    assert_eq!(checked.status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_budget_is_used_as_soon_as_a_replica_has_it() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut first = stack.replica_of(&openai, &[("BUDGETS", "openai:0.06/day")]).await;
    stack.push_logos(3).await;
    stack.done(1).await;
    parked(&stack, "openai/day", 2).await;
    first.kill();
    // None at all, say.
    let _second = stack.replica_of(&openai, &[]).await;
    stack.done(3).await;
    stack.idle().await;
    assert!(!stack.has_key("budgets").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_budgets_nothing_is_reserved() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let jobs = stack.push_logos(3).await;
    stack.all_done_once(&jobs).await;
    let charged = "SELECT count(*) FROM generative_ai.provider_calls WHERE charged_to IS NOT NULL OR charged_usd IS NOT NULL";
    assert_eq!(stack.count(charged).await, 0);
    assert_eq!(
        stack
            .count("SELECT count(*) FROM generative_ai.budget_periods")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_is_wrong_with_budgets_is_told_at_once() {
    let stack = Stack::start().await;
    let variables = [
        (
            "BUDGETS",
            "openai:50/day,nobody:1/day,user:2/week,openai:7/day,total:-1/month",
        ),
        ("BUDGET_ACTION", "stop"),
        ("BUDGET_TIMEZONE", "Berlin"),
    ];
    let started = stack.command(&["run"], &variables).await;
    assert_eq!(started.status.code(), Some(78));
    let said = String::from_utf8(started.stderr).unwrap();
    for fault in [
        "BUDGETS: \"nobody:1/day\" was found, and nobody is nobody's name; total, user, collection, openai, ",
        "BUDGETS: \"user:2/week\" was found; write a provider, user, collection or total, then dollars and day or month, for example \
         openai:50/day or total:500/month",
        "BUDGETS: \"openai:7/day\" was found, and openai/day has a budget before it; write each once",
        "BUDGETS: \"total:-1/month\" was found; dollars above 0 are accepted, such as 50 or 0.5",
        "BUDGET_ACTION: \"stop\" was found; wait and fail are accepted",
        "BUDGET_TIMEZONE: \"Berlin\" was found; a name of the IANA time zone database is accepted, such as UTC or Europe/Berlin",
    ] {
        assert!(said.contains(fault), "{fault}\nis not in\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_warned_from_four_fifths_on_and_see_what_waits() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let variables = [
        ("BUDGETS", "openai:0.055/day,total:9/month"),
        ("DASHBOARD_ADDR", "127.0.0.1:0"),
        // What has no money makes no call, and takes the room of none.
        ("IMAGE_PROVIDER_LIMITS", "openai:2/min"),
    ];
    let replica = stack.replica_of(&openai, &variables).await;
    stack.push_logos(1).await;
    stack.done(1).await;
    stack.push_logos(3).await;
    parked(&stack, "openai/day", 3).await;
    // Room is given back after the package is parked.
    let mut redis = stack.redis().await;
    stack
        .until("one call is counted", async || {
            let counted: u64 = redis.zcard(key("recent-calls:openai")).await.unwrap();
            (counted == 1).then_some(())
        })
        .await;

    let metrics = Operator::of(&replica).await;
    let of_openai = r#"{scope="openai",period="day"}"#;
    metrics
        .shows(&stack, "generative_ai_queue_budget_parked_packages", 3.0)
        .await;
    metrics
        .shows(&stack, &format!("generative_ai_budget_used_usd{of_openai}"), COST)
        .await;
    metrics
        .shows(
            &stack,
            &format!("generative_ai_budget_limit_usd{of_openai}"),
            0.055,
        )
        .await;
    let sentence = "The budget of $0.055 a day for openai is used up to 86 %: $0.05 until 20";
    let waits = " 00:00:00 UTC; 3 packages wait for it.";
    let page = Page::of(&replica).await;
    page.get("/")
        .await
        .is(200)
        .has(sentence)
        .has(waits)
        .has("parked: budget openai/day")
        .has("<dt>Parked</dt><dd>3</dd>");
    page.get("/providers")
        .await
        .is(200)
        .has("$0.055 a day for openai")
        .has("$9.00 a month in all");
    page.get("/running").await.is(200).has("for its budget");
    let own = openai.variables();
    let mut all: Vec<(&str, &str)> = own.iter().map(|(name, value)| (&**name, &**value)).collect();
    all.extend([variables[0], ("HTTP_ADDR", "")]);
    for (command, words) in [
        ("doctor", sentence),
        ("doctor", waits),
        ("status", "budget     openai/day: parked 3"),
    ] {
        let said = String::from_utf8(stack.command(&[command], &all).await.stdout).unwrap();
        assert!(said.contains(words), "{said}");
    }
    let status = String::from_utf8(stack.command(&["status"], &all).await.stdout).unwrap();
    let table = status
        .split_once("budget ")
        .and_then(|(_, rest)| rest.split_once("\nbudget "))
        .unwrap()
        .1;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[1][..5],
        ["openai/day", "$0.05", "$0.055", "86", "%"],
        "{status}"
    );
    assert_eq!(rows[2][..4], ["total/month", "$0.05", "$9.00", "0"], "{status}");
    let json = stack.command(&["status", "--json"], &all).await;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        json["redis"]["budgets"],
        json!([{"budget": "openai/day", "parked": 3}])
    );
    assert_eq!(
        (&json["budgets"][0]["scope"], &json["budgets"][0]["limitUsd"]),
        (&json!("openai"), &json!(0.055))
    );
}
