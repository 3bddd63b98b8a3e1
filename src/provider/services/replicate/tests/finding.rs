//! Looking for an order whose id was lost: a match that leaves no doubt, or none at all.

use chrono::{DateTime, TimeDelta, Utc};

use super::*;
use crate::provider::Found;

const OTHER: &str = "other0rzdhgbfurvjtvhg6dckhu";

fn input_as_sent() -> Value {
    json!({"prompt": PROMPT, "aspect_ratio": "16:9", "seed": 7, "output_format": "png"})
}

fn listed(id: &str, created: DateTime<Utc>, input: Value) -> Value {
    json!({"id": id, "model": OFFICIAL, "version": "hidden", "input": input, "data_removed": false,
        "created_at": created.to_rfc3339(), "status": "processing", "source": "api"})
}

fn page(results: &[Value]) -> Reply {
    Reply::json(200, &json!({"next": null, "previous": null, "results": results}))
}

async fn find_at(fake: &Fake, sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
    let (prompt, spec) = (prompt(), spec());
    let call = Call::unwatched(&prompt, &spec, after(Duration::from_secs(5)));
    let found = provider(&fake.url).find(&call, sent_at).await;
    assert_eq!(times(fake, "POST", "/"), 0, "nothing is bought");
    found
}

/// What is found where the service answers so.
async fn find(reply: Reply, sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
    let fake = Fake::start(move |_| reply.clone()).await;
    find_at(&fake, sent_at).await
}

fn some_minutes_ago() -> DateTime<Utc> {
    Utc::now() - TimeDelta::minutes(12)
}

#[tokio::test]
async fn an_order_is_found_by_its_input_and_its_time() {
    let sent_at = some_minutes_ago();
    let mut with_defaults = input_as_sent();
    with_defaults["safety_tolerance"] = 2.into();
    let elsewhere = json!({"image": "https://example.org/x.png"});
    let mut another = input_as_sent();
    another["prompt"] = "a paper boat".into();
    let fake = Fake::start(move |_| {
        page(&[
            listed(OTHER, sent_at + TimeDelta::minutes(11), input_as_sent()),
            listed("third", sent_at + TimeDelta::seconds(9), another.clone()),
            listed("fourth", sent_at + TimeDelta::seconds(8), elsewhere.clone()),
            listed(ID, sent_at + TimeDelta::seconds(2), with_defaults.clone()),
            listed("fifth", sent_at - TimeDelta::seconds(90), input_as_sent()),
        ])
    })
    .await;
    let found = find_at(&fake, sent_at).await.unwrap();
    assert_eq!(found, Found::Handle(ID.into()));
    let asked = &fake.asked()[0];
    assert!(
        asked.path.starts_with("/v1/predictions?created_after="),
        "{}",
        asked.path
    );
    assert!(asked.header("authorization").is_some());
}

#[tokio::test]
async fn an_order_that_is_not_listed_was_never_taken() {
    let sent_at = some_minutes_ago();
    let mut another = input_as_sent();
    another["prompt"] = "a paper boat".into();
    for results in [vec![], vec![listed(OTHER, sent_at, another)]] {
        let found = find(page(&results), sent_at).await.unwrap();
        assert_eq!(found, Found::NeverTaken, "{results:?}");
    }
    // It may not be listed yet, or any more.
    for sent_at in [Utc::now(), Utc::now() - TimeDelta::hours(2)] {
        assert_eq!(find(page(&[]), sent_at).await.unwrap(), Found::Unknown);
    }
}

#[tokio::test]
async fn whatever_leaves_a_doubt_is_unknown() {
    let sent_at = some_minutes_ago();
    let own = || listed(ID, sent_at, input_as_sent());
    let changed = |name: &str, value: Value| {
        let mut listed = own();
        listed[name] = value;
        listed
    };
    let mut other_seed = input_as_sent();
    other_seed["seed"] = 7.0.into();
    for results in [
        // Two jobs may have the same prompt.
        vec![own(), listed(OTHER, sent_at, input_as_sent())],
        vec![changed("data_removed", true.into())],
        vec![changed("input", json!({}))],
        vec![changed("input", Value::Null)],
        vec![changed("input", other_seed)],
        vec![changed("model", "acme/other".into())],
        vec![changed("created_at", Value::Null)],
        vec![changed("id", "../x".into())],
    ] {
        let found = find(page(&results), sent_at).await.unwrap();
        assert_eq!(found, Found::Unknown, "{results:?}");
    }
    for reply in [
        Reply::json(200, &json!({"detail": "no listing"})),
        Reply::json(400, &json!({"detail": "no such parameter"})),
        Reply::json(404, &json!({})),
    ] {
        assert_eq!(find(reply, sent_at).await.unwrap(), Found::Unknown);
    }
}

#[tokio::test]
async fn a_listing_that_is_not_answered_is_asked_for_again_later() {
    for (reply, class) in [
        (Reply::json(401, &json!({})), ErrorClass::Auth),
        (Reply::json(503, &json!({})), ErrorClass::Overloaded),
        (Reply::json(429, &json!({})), ErrorClass::RateLimited),
        (Reply::HangUp, ErrorClass::Network),
    ] {
        let error = find(reply, some_minutes_ago()).await.unwrap_err();
        assert_eq!(error.class, class, "{error}");
    }
}

#[tokio::test]
async fn two_pages_are_read_and_the_token_goes_nowhere_else() {
    let sent_at = some_minutes_ago();
    let mut another = input_as_sent();
    another["prompt"] = "a paper boat".into();
    let first = listed(OTHER, sent_at + TimeDelta::seconds(9), another);
    let paged = move |next: fn(&Asked) -> String, results: Vec<Value>| {
        let first = first.clone();
        Fake::start(move |asked| match asked.path.contains("cursor=2") {
            true => page(&results),
            false => Reply::json(200, &json!({"next": next(asked), "results": [first]})),
        })
    };
    let own: fn(&Asked) -> String = |asked| format!("{}/v1/predictions?cursor=2", asked.origin);
    let fake = paged(own, vec![listed(ID, sent_at, input_as_sent())]).await;
    assert_eq!(find_at(&fake, sent_at).await.unwrap(), Found::Handle(ID.into()));
    let fake = paged(own, vec![]).await;
    assert_eq!(find_at(&fake, sent_at).await.unwrap(), Found::NeverTaken);
    // There is no end of pages, or the next one is elsewhere: the order may be on one that was not read.
    for next in [
        (|asked| format!("{}/v1/predictions?cursor=1", asked.origin)) as fn(&Asked) -> String,
        |_| "https://localhost:9/v1/predictions?cursor=2".into(),
    ] {
        let fake = paged(next, vec![]).await;
        assert_eq!(find_at(&fake, sent_at).await.unwrap(), Found::Unknown);
        assert!(fake.asked().len() <= 2);
    }
}

#[tokio::test]
async fn an_order_from_pictures_is_none_that_only_looks_like_it() {
    let sent_at = some_minutes_ago();
    let mut from_others = input_as_sent();
    from_others["image_prompt"] = "https://replicate.delivery/x.png".into();
    let reply = page(&[listed(ID, sent_at, from_others)]);
    let fake = Fake::start(move |_| reply.clone()).await;
    let (prompt, plain) = (prompt(), spec());
    let from_pictures = CheckedSpec {
        reference_count: 1,
        ..spec()
    };
    for (spec, expected) in [
        (&plain, Found::Handle(ID.into())),
        (&from_pictures, Found::Unknown),
    ] {
        let call = Call::unwatched(&prompt, spec, after(Duration::from_secs(5)));
        assert_eq!(provider(&fake.url).find(&call, sent_at).await.unwrap(), expected);
    }
}
