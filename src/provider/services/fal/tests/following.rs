//! From the order to the end: looks, faults on the way, taking up again, giving up.

use super::*;

#[tokio::test]
async fn a_request_is_waited_for_and_faults_on_the_way_are_ridden_out() {
    let fake = service(
        vec![
            in_queue,
            |_| Reply::json(202, &json!({"status": "IN_PROGRESS", "logs": []})),
            |_| {
                let logs = json!([{"message": " 10%|█         | 3/30", "level": "STDERR"}, {"message": " 40%|████      | 12/30"},
                    {"message": "something else"}, 7]);
                Reply::json(202, &json!({"status": "IN_PROGRESS", "logs": logs}))
            },
            |_| Reply::json(200, &json!({"status": "A_STATUS_OF_THE_FUTURE"})),
            |_| Reply::json(200, &json!({})),
            |_| Reply::HangUp,
            |_| Reply::of(502, "text/html", "<html>bad gateway</html>"),
            |_| Reply::of(200, "application/json", "{\"status\""),
            |_| Reply::json(404, &json!({"detail": "not yet"})),
            |_| Reply::json(429, &json!({})).with("retry-after", "0.02"),
            completed,
        ],
        |asked| Reply::json(200, &picture(asked)),
    )
    .await;
    let (drawn, watch) = draw(&fake, MINUTE).await;
    assert_eq!(&drawn.unwrap().bytes[..], PNG);
    assert_eq!(watch.handle(), handle(&fake));
    assert_eq!(*watch.fractions.lock().unwrap(), [0.4]);
    assert_eq!(times(&fake, "POST", "/"), 1);
}

#[tokio::test]
async fn a_result_that_does_not_arrive_is_asked_for_again() {
    let asked_for = AtomicUsize::new(0);
    let fake = Fake::start(move |asked| {
        if asked.path != APP {
            return good(asked);
        }
        match asked_for.fetch_add(1, Ordering::Relaxed) {
            0 => Reply::HangUp,
            1 => Reply::of(503, "text/html", "<html>busy</html>"),
            2 => Reply::of(200, "application/json", "{\"images\":"),
            3 => Reply::json(404, &json!({})),
            _ => Reply::json(200, &picture(asked)),
        }
    })
    .await;
    assert_eq!(&draw(&fake, MINUTE).await.0.unwrap().bytes[..], PNG);
    assert_eq!(times(&fake, "POST", "/"), 1);
}

#[tokio::test]
async fn a_request_that_outlasts_the_attempt_is_not_cancelled_and_brings_its_picture_to_the_next() {
    for (look, class) in [
        (in_queue as fn(&Asked) -> Reply, ErrorClass::TimedOut),
        (|_| Reply::HangUp, ErrorClass::Network),
        (|_| Reply::json(401, &json!({})), ErrorClass::Auth),
    ] {
        let fake = service(vec![look], |_| Reply::HangUp).await;
        let (outcome, watch) = draw(&fake, Duration::from_millis(300)).await;
        let error = goes_on(outcome);
        assert_eq!(
            (error.class, error.request_id.as_deref()),
            (class, Some(ID)),
            "{error}"
        );
        assert_eq!((watch.handle(), times(&fake, "PUT", "/")), (handle(&fake), 0));

        let later = Fake::start(good).await;
        let drawn = resume(&later, &handle(&later), MINUTE).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
    }
}

#[tokio::test]
async fn a_picture_that_is_not_wanted_is_cancelled() {
    for (status, body) in [
        (202, json!({"status": "CANCELLATION_REQUESTED"})),
        (400, json!({"status": "ALREADY_COMPLETED"})),
        (404, json!({})),
    ] {
        let fake = Fake::start(move |_| Reply::json(status, &body)).await;
        let provider = provider(&fake.url);
        provider.cancel(&handle(&fake)).await;
        provider.cancel("rubbish").await;
        let asked = fake.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(
            (asked[0].method.as_str(), asked[0].path.as_str()),
            ("PUT", format!("{APP}/cancel").as_str())
        );
        assert!(asked[0].header("authorization").is_some());
    }
}

#[tokio::test]
async fn a_request_is_taken_up_again_by_its_addresses() {
    let fake = service(vec![|_| Reply::HangUp, in_queue, completed], |asked| {
        Reply::json(200, &picture(asked))
    })
    .await;
    let drawn = resume(&fake, &handle(&fake), MINUTE).await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(drawn.request_id.as_deref(), Some(ID));

    let other = Fake::start(good).await;
    for saved in ["", "{}", ID, handle(&other).as_str()] {
        let fake = Fake::start(good).await;
        let error = ended(resume(&fake, saved, MINUTE).await);
        assert_eq!(error.class, ErrorClass::Ambiguous, "{saved}");
        assert_eq!((fake.asked().len(), other.asked().len()), (0, 0));
    }
}

#[tokio::test]
async fn a_verdict_alone_ends_a_request_that_is_taken_up_again() {
    type Script = fn(&Asked) -> Reply;
    let broken: Script = |_| Reply::json(500, &json!({"detail": "x", "error_type": "runner_server_error"}));
    let verdicts: [(Script, Script, ErrorClass); 3] = [
        (|_| Reply::json(404, &json!({})), broken, ErrorClass::Ambiguous),
        (completed, |_| Reply::json(404, &json!({})), ErrorClass::Ambiguous),
        (completed, broken, ErrorClass::Overloaded),
    ];
    for (number, (look, result, class)) in verdicts.into_iter().enumerate() {
        let fake = service(vec![look], result).await;
        let error = ended(resume(&fake, &handle(&fake), MINUTE).await);
        assert_eq!(error.class, class, "{number}: {error}");
    }
    let others: [(Script, Script, ErrorClass); 7] = [
        (|_| Reply::HangUp, broken, ErrorClass::Network),
        (completed, |_| Reply::HangUp, ErrorClass::Network),
        (|_| Reply::json(503, &json!({})), broken, ErrorClass::Overloaded),
        (
            completed,
            |_| Reply::json(405, &json!({})),
            ErrorClass::InvalidRequest,
        ),
        (|_| Reply::json(401, &json!({})), broken, ErrorClass::Auth),
        (completed, |_| Reply::json(401, &json!({})), ErrorClass::Auth),
        (in_queue, broken, ErrorClass::TimedOut),
    ];
    for (number, (look, result, class)) in others.into_iter().enumerate() {
        let fake = service(vec![look], result).await;
        let error = goes_on(resume(&fake, &handle(&fake), Duration::from_millis(500)).await);
        assert_eq!(error.class, class, "{number}: {error}");
        assert_eq!(times(&fake, "PUT", "/"), 0, "{number}: nothing is cancelled");
    }
}
