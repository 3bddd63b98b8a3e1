//! How a picture ends that does not come: refused, failed, forgotten, too late.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn every_refusal_has_its_class_and_is_not_accepted() {
    use ErrorClass::*;
    let error = |kind: &str| json!({"error": {"type": kind, "message": "m", "details": "", "extra_info": {}}, "node_errors": {}});
    let nodes = |kind: &str, input: &str| {
        json!({"error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation"},
            "node_errors": {"4": {"class_type": "CheckpointLoaderSimple", "errors": [{"type": kind,
                "message": "Value not in list", "details": "ckpt_name: 'x.safetensors' not in []",
                "extra_info": {"input_name": input}}]}}})
    };
    for (status, body, class, said) in [
        (400, error("invalid_prompt"), InvalidRequest, "invalid_prompt"),
        (
            400,
            error("prompt_no_outputs"),
            InvalidRequest,
            "prompt_no_outputs",
        ),
        (400, error("no_prompt"), InvalidRequest, "no_prompt"),
        (
            400,
            error("invalid_prompt_id"),
            InvalidRequest,
            "invalid_prompt_id",
        ),
        (
            400,
            json!({"error": "no prompt", "node_errors": []}),
            InvalidRequest,
            "no prompt",
        ),
        (
            400,
            nodes("value_smaller_than_min", "width"),
            InvalidRequest,
            "Value not in list: ckpt_name",
        ),
        (
            400,
            nodes("value_not_in_list", "ckpt_name"),
            ModelGone,
            "Value not in list: ckpt_name",
        ),
        (401, json!({"message": "no key"}), Auth, "no key"),
        (403, json!({}), Auth, "403"),
        (402, json!({}), Quota, "402"),
        (413, json!({}), InvalidRequest, "413"),
        (
            500,
            json!({"error": "CUDA out of memory"}),
            Overloaded,
            "out of memory",
        ),
        (503, json!({}), Overloaded, "503"),
    ] {
        let reply = Reply::json(status, &body);
        let fake = Script::new()
            .with(|answers| answers.prompt = vec![reply])
            .start()
            .await;
        let (outcome, handles) = draw(&fake).await;
        let error = has_ended(outcome);
        assert_eq!((error.class, handles.len()), (class, 0), "{error}");
        assert!(error.details.contains(said), "{error}");
    }
    let busy = Reply::json(429, &json!({})).with("retry-after", "7");
    let fake = Script::new()
        .with(|answers| answers.prompt = vec![busy])
        .start()
        .await;
    let error = has_ended(draw(&fake).await.0);
    assert_eq!(
        (error.class, error.retry_after),
        (RateLimited, Some(Duration::from_secs(7)))
    );
}

#[tokio::test]
async fn every_ending_without_a_picture_has_its_class() {
    use ErrorClass::*;
    let id = Uuid::nil().to_string();
    let failed = |kind: &str, message: &str| {
        ended(
            &id,
            json!([["execution_error", {"node_type": "KSampler", "exception_type": kind, "exception_message": message,
            "traceback": ["/home/operator/secret"]}]]),
        )
    };
    let nothing = json!({id.as_str(): {"outputs": {}, "status": {"status_str": "success", "completed": true, "messages": []}}});
    for (history, class, said) in [
        (
            failed("torch.OutOfMemoryError", "Allocation on device"),
            Overloaded,
            "OutOfMemory",
        ),
        (
            failed("ValueError", "cannot draw a paper boat"),
            InvalidRequest,
            "ValueError: cannot draw ***",
        ),
        (
            ended(&id, json!([["execution_interrupted", {}]])),
            BadOutput,
            "stopped",
        ),
        (ended(&id, json!([])), InvalidRequest, "does not say why"),
        (nothing, BadOutput, "without a picture"),
        // Restarted after it had accepted: to be asked for anew.
        (json!({}), Overloaded, "has forgotten"),
    ] {
        let reply = Reply::json(200, &history);
        let fake = Script::new()
            .with(|answers| *answers.history.last_mut().unwrap() = reply)
            .start()
            .await;
        let (outcome, handles) = draw(&fake).await;
        let error = has_ended(outcome);
        assert_eq!((error.class, handles.len()), (class, 1), "{error}");
        assert!(
            error.details.contains(said) && !error.details.contains("operator"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn faults_while_waiting_are_ridden_out() {
    let fake = Script::new()
        .with(|answers| {
            let last = answers.history.pop().unwrap();
            answers.history.extend([
                Reply::HangUp,
                Reply::of(502, "text/html", "<html>"),
                Reply::of(200, "text/html", "<html>"),
                Reply::json(429, &json!({})),
                last,
            ]);
            answers.view = vec![
                Reply::HangUp,
                Reply::of(503, "text/plain", ""),
                Reply::of(200, "image/png", png()),
            ];
        })
        .start()
        .await;
    draw(&fake).await.0.unwrap();
    assert_eq!(times(&fake, "POST", "/prompt"), 1);
}

#[tokio::test]
async fn a_key_that_is_refused_while_waiting_does_not_end_it() {
    let fake = Script::new()
        .with(|answers| *answers.history.last_mut().unwrap() = Reply::json(401, &json!({})))
        .start()
        .await;
    assert_eq!(goes_on(draw(&fake).await.0).class, ErrorClass::Auth);
}

#[tokio::test]
async fn a_file_that_is_not_given_out_now_is_asked_for_again() {
    for status in [401, 403] {
        let fake = Script::new()
            .with(|answers| answers.view = vec![Reply::json(status, &json!({}))])
            .start()
            .await;
        let error = goes_on(draw(&fake).await.0);
        assert!(error.details.contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn at_the_deadline_the_picture_stays_at_the_server_and_is_asked_for_again() {
    let id = Uuid::nil().to_string();
    let fake = Script::new()
        .with(|answers| {
            answers.history = vec![Reply::json(200, &json!({}))];
            answers.queue.push(Reply::json(200, &queue(&[&id], &[])));
        })
        .start()
        .await;
    let (prompt, spec) = (Prompt::new("a paper boat".into()), spec());
    let soon = Instant::now() + Duration::from_millis(600);
    let call = Call::unwatched(&prompt, &spec, soon);
    let error = goes_on(provider(&fake.url).draw(&call).await);
    assert_eq!(error.class, ErrorClass::TimedOut, "{error}");
    assert_eq!(
        times(&fake, "POST", "/"),
        times(&fake, "POST", "/prompt"),
        "nothing is stopped"
    );

    let later = Script::new().with(|answers| answers.history = vec![Reply::json(200, &done(&id))]);
    let fake = later.start().await;
    assert!(imaging::inspect(&resume(&fake, &id).await.unwrap().bytes).is_ok());
}

#[tokio::test]
async fn another_picture_is_never_stopped_in_place_of_ours() {
    let fake = Script::new()
        .with(|answers| answers.queue = vec![Reply::json(200, &queue(&["another"], &["ours"]))])
        .start()
        .await;
    let provider = provider(&fake.url);
    provider.cancel("ours").await;
    provider.cancel("no/handle").await;
    assert_eq!(
        (times(&fake, "POST", "/queue"), times(&fake, "POST", "/interrupt")),
        (1, 0)
    );
}

#[tokio::test]
async fn a_server_that_is_gone_is_asked_again() {
    // The fake is there for the acceptance and silent from then on.
    let silent = || Script::new().with(|answers| *answers.history.last_mut().unwrap() = Reply::Silence);
    let error = goes_on(draw(&silent().start().await).await.0);
    assert_eq!(error.class, ErrorClass::Network, "{error}");

    let fake = silent()
        .with(|answers| answers.history = vec![Reply::Silence])
        .start()
        .await;
    let error = goes_on(resume(&fake, "h-1").await);
    assert_eq!(error.class, ErrorClass::Network, "{error}");
}
