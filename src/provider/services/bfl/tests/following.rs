//! From the order to the end: looks, faults on the way, taking up again, giving up.

use super::*;

#[tokio::test]
async fn every_way_of_saying_that_it_goes_on_is_waited_for() {
    let fake = service(vec![
        |_| Reply::json(200, &task("Pending")),
        |_| Reply::json(200, &json!({"id": ID, "state": "Queued"})),
        |_| Reply::json(200, &json!({"id": ID, "status": "Processing", "progress": 0.25})),
        |_| Reply::json(200, &task("A Status Of The Future")),
        |_| Reply::json(200, &json!({})),
        |_| Reply::HangUp,
        |_| Reply::of(200, "text/html", "<html>a proxy</html>"),
        |_| Reply::json(503, &json!({"detail": "busy"})),
        |_| Reply::json(429, &json!({"detail": "slow", "retry_after": 0.02})),
        |_| Reply::json(404, &json!({"id": ID, "status": "Task not found"})),
        |_| Reply::json(200, &task("Task not found")),
        |asked| {
            let mut ready = json!({"id": ID, "state": "Ready"});
            ready["result"] = json!({"sample": format!("{}/delivery/x", asked.origin)});
            Reply::json(200, &ready)
        },
    ])
    .await;
    let (drawn, watch) = draw(&fake, MINUTE).await;
    assert_eq!(&drawn.unwrap().bytes[..], PNG);
    assert_eq!(*watch.fractions.lock().unwrap(), [0.25]);
    assert_eq!(
        watch.handle(),
        format!("{}v1/get_result?id={ID}&region=eu1", fake.url)
    );
    assert_eq!(times(&fake, "POST", "/"), 1);
}

#[tokio::test]
async fn a_task_is_taken_up_again_by_its_address() {
    let fake = service(vec![
        |_| Reply::HangUp,
        |_| Reply::json(200, &task("Pending")),
        finished,
    ])
    .await;
    let handle = format!("{}v1/get_result?id={ID}&region=eu1", fake.url);
    let drawn = resume(&fake, &handle, MINUTE).await.unwrap();
    assert_eq!(&drawn.bytes[..], PNG);
    assert_eq!(drawn.request_id.as_deref(), Some(ID));
    assert_eq!(drawn.cost.unwrap().basis, CostBasis::Estimated);
    assert_eq!(fake.asked()[0].path, format!("/v1/get_result?id={ID}&region=eu1"));

    for handle in [
        "",
        ID,
        "https://evil.invalid/v1/get_result?id=1",
        "http://127.0.0.1:1/x",
    ] {
        let fake = Fake::start(good).await;
        let error = ended(resume(&fake, handle, MINUTE).await);
        assert_eq!(error.class, ErrorClass::Ambiguous, "{handle}");
        assert_eq!(fake.asked().len(), 0);
    }
}

#[tokio::test]
async fn a_verdict_alone_ends_a_task_that_is_taken_up_again() {
    type Script = fn(&Asked) -> Reply;
    let gone: Script = |_| Reply::json(200, &task("Task not found"));
    let verdicts: [(Script, ErrorClass); 3] = [
        (gone, ErrorClass::Ambiguous),
        (
            |_| Reply::json(200, &task("Content Moderated")),
            ErrorClass::Moderation,
        ),
        (|_| Reply::json(200, &task("Error")), ErrorClass::BadOutput),
    ];
    for (look, class) in verdicts {
        let fake = service(vec![look]).await;
        let handle = format!("{}v1/get_result?id={ID}", fake.url);
        let error = ended(resume(&fake, &handle, MINUTE).await);
        assert_eq!(error.class, class, "{error}");
    }
    let others: [(Script, ErrorClass); 4] = [
        (|_| Reply::HangUp, ErrorClass::Network),
        (|_| Reply::json(503, &json!({})), ErrorClass::Overloaded),
        (|_| Reply::json(403, &json!({})), ErrorClass::Auth),
        (|_| Reply::json(200, &task("Pending")), ErrorClass::TimedOut),
    ];
    for (look, class) in others {
        let fake = service(vec![look]).await;
        let handle = format!("{}v1/get_result?id={ID}", fake.url);
        let error = goes_on(resume(&fake, &handle, Duration::from_millis(500)).await);
        assert_eq!(error.class, class, "{error}");
    }
}

#[tokio::test]
async fn a_task_that_outlasts_the_attempt_brings_its_picture_to_the_next() {
    for look in [
        |_: &Asked| Reply::json(200, &task("Pending")),
        |_: &Asked| Reply::json(401, &json!({})),
    ] {
        let fake = service(vec![look]).await;
        let (outcome, watch) = draw(&fake, Duration::from_millis(300)).await;
        goes_on(outcome);
        let handle = watch.handle();
        assert_eq!(times(&fake, "POST", "/"), 1);
        let port = fake.url.port().unwrap();
        let later = service(vec![finished]).await;
        let handle = handle.replace(&port.to_string(), &later.url.port().unwrap().to_string());
        assert_eq!(&resume(&later, &handle, MINUTE).await.unwrap().bytes[..], PNG);
    }
}
