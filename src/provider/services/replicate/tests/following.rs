//! From the order to the end: looks, faults on the way, taking up again, giving up.

use super::*;

#[tokio::test]
async fn a_prediction_is_looked_at_until_it_is_finished() {
    for status in [200, 201, 202] {
        let fake = service(
            Reply::json(status, &prediction("processing", Value::Null)),
            vec![
                |_| Reply::json(200, &prediction("starting", Value::Null)),
                |_| {
                    let mut running = prediction("processing", Value::Null);
                    running["logs"] = "Using seed: 7\n  0%|          | 0/31\n 45%|████▌     | 14/31".into();
                    Reply::json(200, &running)
                },
                |_| Reply::json(200, &prediction("a-status-of-the-future", Value::Null)),
                |_| Reply::json(200, &json!({"id": ID})),
                |asked| {
                    let mut done = prediction("succeeded", file_of(asked).into());
                    done["metrics"] = json!({"predict_time": 3.5});
                    Reply::json(200, &done)
                },
            ],
        )
        .await;
        let (drawn, watch) = draw(&fake, MINUTE).await;
        let drawn = drawn.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.usage, Some(json!({"predict_time": 3.5})));
        let price = Cost {
            usd: 0.04,
            basis: CostBasis::Estimated,
        };
        assert_eq!(drawn.cost, Some(price));
        assert_eq!(*watch.fractions.lock().unwrap(), [0.45]);
        assert_eq!(times(&fake, "GET", "/v1/predictions/"), 5);
    }
}

#[tokio::test]
async fn faults_while_looking_are_ridden_out() {
    let fake = service(
        created(),
        vec![
            |_| Reply::HangUp,
            |_| Reply::of(502, "text/html", "<html><title>502</title></html>"),
            |_| Reply::of(200, "text/html", "<html>a proxy</html>"),
            |_| Reply::of(200, "application/json", "{\"id\":\"gm3"),
            |_| Reply::of(200, "application/json", ""),
            |_| Reply::json(404, &json!({"detail": "not yet"})),
            |_| Reply::json(500, &json!({})).with("retry-after", "0.01"),
            |_| Reply::json(429, &json!({"detail": "throttled, resets in ~0.02s"})),
            |_| Reply::json(504, &json!({})),
            |_| Reply::of(307, "text/plain", "").with("location", "/elsewhere"),
            |asked| Reply::json(200, &prediction("succeeded", file_of(asked).into())),
        ],
    )
    .await;
    let (drawn, _) = draw(&fake, MINUTE).await;
    assert_eq!(&drawn.unwrap().bytes[..], PNG);
    assert_eq!(times(&fake, "POST", "/"), 1, "one order, whatever happens");
}

#[tokio::test]
async fn a_prediction_that_outlasts_the_attempt_is_not_cancelled_and_brings_its_picture_to_the_next() {
    for (look, class) in [
        (
            (|_| Reply::json(200, &prediction("processing", Value::Null))) as fn(&Asked) -> Reply,
            ErrorClass::TimedOut,
        ),
        (|_| Reply::HangUp, ErrorClass::Network),
        (|_| Reply::json(503, &json!({})), ErrorClass::Overloaded),
    ] {
        let fake = service(created(), vec![look]).await;
        let (outcome, watch) = draw(&fake, Duration::from_millis(300)).await;
        let error = goes_on(outcome);
        assert_eq!(error.class, class, "{error}");
        assert_eq!(error.request_id.as_deref(), Some(ID));
        assert_eq!(watch.handle(), ID);
        assert_eq!(times(&fake, "POST", "/"), 1, "the order, and nothing else");

        let later = Fake::start(good).await;
        let drawn = resume(&later, &watch.handle(), MINUTE).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(times(&later, "POST", "/"), 0);
    }
}

#[tokio::test]
async fn a_token_that_is_refused_after_the_order_does_not_end_it() {
    for status in [401, 403] {
        let looked = AtomicUsize::new(0);
        let fake = Fake::start(move |asked| {
            let is_look = asked.method == "GET" && !is_file(asked);
            match is_look && looked.fetch_add(1, Ordering::Relaxed) == 0 {
                true => Reply::json(status, &json!({"detail": "Unauthenticated"})),
                false => good(asked),
            }
        })
        .await;
        let (outcome, watch) = draw(&fake, MINUTE).await;
        let error = goes_on(outcome);
        assert_eq!(error.class, ErrorClass::Auth, "{error}");
        let (prompt, spec) = (prompt(), spec());
        let call = Call::unwatched(&prompt, &spec, after(MINUTE));
        let drawn = provider(&fake.url).resume(&watch.handle(), &call).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(times(&fake, "POST", "/"), 1, "one order, one picture");
    }
}

#[tokio::test]
async fn a_stalled_look_does_not_outlast_the_deadline() {
    let fake = service(created(), vec![|_| Reply::Silence]).await;
    let (outcome, _) = draw(&fake, Duration::from_secs(300)).await;
    assert_eq!(goes_on(outcome).class, ErrorClass::Network);
    assert!(
        times(&fake, "GET", "/v1/predictions/") > 5,
        "each look is cut short"
    );
}

#[tokio::test]
async fn a_prediction_is_taken_up_again_by_its_id() {
    let fake = service(
        created(),
        vec![
            |_| Reply::HangUp,
            |_| Reply::json(200, &prediction("processing", Value::Null)),
            |asked| Reply::json(200, &prediction("succeeded", json!([file_of(asked)]))),
        ],
    )
    .await;
    let drawn = resume(&fake, ID, MINUTE).await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(drawn.request_id.as_deref(), Some(ID));
    assert_eq!(times(&fake, "POST", "/"), 0);
}

#[tokio::test]
async fn a_verdict_keeps_its_class_when_it_is_taken_up_again() {
    let failed = |error: &str| {
        let mut failed = prediction("failed", Value::Null);
        failed["error"] = error.into();
        failed
    };
    let mut removed = prediction("succeeded", Value::Null);
    removed["data_removed"] = true.into();
    for (reply, class) in [
        (
            Reply::json(404, &json!({"detail": "gone"})),
            ErrorClass::Ambiguous,
        ),
        (Reply::json(200, &removed), ErrorClass::Ambiguous),
        (Reply::json(200, &failed("NSFW content")), ErrorClass::Moderation),
        (
            Reply::json(200, &failed("Prediction interrupted; please retry (code: PA)")),
            ErrorClass::Overloaded,
        ),
        (
            Reply::json(200, &prediction("aborted", Value::Null)),
            ErrorClass::Overloaded,
        ),
        (
            Reply::json(200, &prediction("canceled", Value::Null)),
            ErrorClass::BadOutput,
        ),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let error = ended(resume(&fake, ID, MINUTE).await);
        assert_eq!(error.class, class, "{error}");
    }
    for handle in ["", "../account", "a/b", "a?b", "ä"] {
        let fake = Fake::start(good).await;
        let error = ended(resume(&fake, handle, MINUTE).await);
        assert_eq!(error.class, ErrorClass::Ambiguous, "{handle}");
        assert_eq!(fake.asked().len(), 0);
    }
}

#[tokio::test]
async fn whatever_is_no_verdict_is_asked_about_again() {
    for (reply, class) in [
        (
            Reply::json(401, &json!({"detail": "Unauthenticated"})),
            ErrorClass::Auth,
        ),
        (
            Reply::json(402, &json!({"detail": "Insufficient credit"})),
            ErrorClass::Quota,
        ),
        (Reply::HangUp, ErrorClass::Network),
        (Reply::json(503, &json!({})), ErrorClass::Overloaded),
        (Reply::json(429, &json!({})), ErrorClass::RateLimited),
        (
            Reply::of(200, "text/html", "<html>a proxy</html>"),
            ErrorClass::Network,
        ),
        (
            Reply::json(200, &prediction("processing", Value::Null)),
            ErrorClass::TimedOut,
        ),
    ] {
        let fake = Fake::start(move |_| reply.clone()).await;
        let error = goes_on(resume(&fake, ID, Duration::from_millis(500)).await);
        assert_eq!(error.class, class, "{error}");
        assert_eq!(error.request_id.as_deref(), Some(ID));
        assert_eq!(times(&fake, "POST", "/"), 0, "nothing is cancelled");
    }
}

#[tokio::test]
async fn a_picture_whose_address_is_not_valid_now_is_asked_for_again() {
    for status in [401, 403, 410] {
        let fake = Fake::start(move |asked| match is_file(asked) {
            true => Reply::json(status, &json!({})),
            false => good(asked),
        })
        .await;
        let error = goes_on(resume(&fake, ID, MINUTE).await);
        assert!(error.details.contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn a_picture_that_is_not_wanted_is_cancelled() {
    let fake = service(created(), vec![|_| Reply::HangUp]).await;
    let provider = provider(&fake.url);
    provider.cancel(ID).await;
    provider.cancel("../account").await;
    let asked = fake.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].path, format!("/v1/predictions/{ID}/cancel"));
    assert_eq!(
        asked[0].header("authorization"),
        Some(format!("Bearer {KEY}").as_str())
    );
}
