//! What is asked of the server, and what makes a second asking needless.

use super::*;

#[tokio::test]
async fn a_workflow_is_queued_under_our_id_and_its_picture_fetched_without_the_workflow() {
    let fake = Script::new().start().await;
    let (drawn, handles) = draw(&fake).await;
    let drawn = drawn.unwrap();
    assert!(imaging::inspect(&drawn.bytes).is_ok());
    assert!(String::from_utf8_lossy(&png()).contains("paper boat"));
    assert!(!String::from_utf8_lossy(&drawn.bytes).contains("paper boat"));
    let id = Uuid::nil().to_string();
    assert_eq!(
        (handles, drawn.request_id.as_deref()),
        (vec![id.clone()], Some(&*id))
    );

    let asked = fake.asked();
    let lines: Vec<String> = asked
        .iter()
        .map(|asked| format!("{} {}", asked.method, asked.path))
        .collect();
    let history = format!("GET /history/{id}");
    assert_eq!(
        lines,
        [
            &*history,
            "GET /queue",
            &*history,
            "POST /prompt",
            &*history,
            "GET /view?filename=a+b.png&subfolder=s&type=output",
        ]
    );
    for asked in &asked {
        assert_eq!(asked.header("x-api-key"), Some(KEY));
        assert_eq!(asked.header("origin"), None);
    }
    let body = asked[3].json();
    assert_eq!(
        (&body["prompt_id"], &body["client_id"]),
        (&json!(id), &json!("generative-ai-worker"))
    );
    let workflow = &body["prompt"];
    assert_eq!(workflow["6"]["inputs"]["text"], "a paper boat");
    assert_eq!(workflow["3"]["inputs"]["seed"], 7);
    assert_eq!(workflow["4"]["inputs"]["ckpt_name"], "x.safetensors");
    assert_eq!(
        workflow["5"]["inputs"],
        json!({"width": 1344, "height": 768, "batch_size": 1})
    );
    let file = workflow["9"]["inputs"]["filename_prefix"].as_str().unwrap();
    assert!(file.starts_with(&id) && file.len() > id.len(), "{file}");
}

#[tokio::test]
async fn an_older_server_is_asked_by_the_id_that_it_gave() {
    let id = "4d1c-its-own";
    let script = Script::new().with(|answers| {
        answers.prompt = vec![Reply::json(200, &json!({"prompt_id": id}))];
        *answers.history.last_mut().unwrap() = Reply::json(200, &done(id));
    });
    let fake = script.start().await;
    let (drawn, handles) = draw(&fake).await;
    drawn.unwrap();
    assert_eq!(handles, [id]);
    assert_eq!(times(&fake, "GET", "/history/4d1c-its-own"), 1);
}

#[tokio::test]
async fn what_an_earlier_attempt_has_begun_is_not_begun_again() {
    let id = Uuid::nil().to_string();
    let cases = [
        (
            "drawn",
            Script::new().with(|answers| answers.history = vec![Reply::json(200, &done(&id))]),
        ),
        (
            "running",
            Script::new().with(|answers| {
                answers.history.remove(0);
                answers.queue = vec![Reply::json(200, &queue(&[&id], &[]))];
            }),
        ),
        (
            "pending",
            Script::new().with(|answers| {
                answers.history.remove(0);
                answers.queue = vec![Reply::json(200, &queue(&["other"], &[&id]))];
            }),
        ),
        // Ended between the two questions.
        (
            "just drawn",
            Script::new().with(|answers| _ = answers.history.remove(0)),
        ),
    ];
    for (name, script) in cases {
        let fake = script.start().await;
        draw(&fake).await.0.unwrap();
        assert_eq!(times(&fake, "POST", "/prompt"), 0, "{name}");
    }
}

#[tokio::test]
async fn an_earlier_attempt_that_failed_is_forgotten_before_another_is_made() {
    let id = Uuid::nil().to_string();
    let success = Reply::json(200, &done(&id));
    let failed = Reply::json(200, &ended(&id, json!([["execution_interrupted", {}]])));
    let cases = [
        (
            "failed",
            Script::new().with(|answers| answers.history = vec![failed, success.clone()]),
        ),
        (
            "its file is gone",
            Script::new().with(|answers| {
                answers.history = vec![success.clone()];
                answers.view = vec![
                    Reply::of(403, "text/plain", "no"),
                    Reply::of(200, "image/png", png()),
                ];
            }),
        ),
        (
            "its file is no picture",
            Script::new().with(|answers| {
                answers.history = vec![success];
                answers.view = vec![
                    Reply::of(200, "text/html", "<html>"),
                    Reply::of(200, "image/png", png()),
                ];
            }),
        ),
    ];
    for (name, script) in cases {
        let fake = script.start().await;
        draw(&fake).await.0.unwrap();
        let posts: Vec<Asked> = fake
            .asked()
            .into_iter()
            .filter(|asked| asked.method == "POST")
            .collect();
        assert_eq!(
            posts.iter().map(|asked| &*asked.path).collect::<Vec<_>>(),
            ["/history", "/prompt"],
            "{name}"
        );
        assert_eq!(posts[0].json(), json!({"delete": [id]}));
    }
}

#[tokio::test]
async fn an_acceptance_that_was_lost_is_made_up_for_by_looking() {
    for lost in [
        Reply::HangUp,
        Reply::of(200, "text/html", "<html>"),
        Reply::json(200, &json!({"prompt_id": "../../etc"})),
    ] {
        let fake = Script::new()
            .with(|answers| answers.prompt = vec![lost])
            .start()
            .await;
        let (drawn, handles) = draw(&fake).await;
        drawn.unwrap();
        assert_eq!((times(&fake, "POST", "/prompt"), handles.len()), (1, 1));
    }
    let never = Script::new().with(|answers| {
        answers.prompt = vec![Reply::HangUp];
        answers.history = vec![Reply::json(200, &json!({}))];
    });
    let (outcome, handles) = draw(&never.start().await).await;
    assert_eq!(
        (has_ended(outcome).class, handles.len()),
        (ErrorClass::Ambiguous, 0)
    );
}

#[tokio::test]
async fn a_picture_is_asked_for_again_by_its_handle() {
    let script = Script::new().with(|answers| {
        answers.history = vec![Reply::json(200, &json!({})), Reply::json(200, &done("h-1"))];
        answers.queue = vec![Reply::json(200, &queue(&["h-1"], &[]))];
    });
    let fake = script.start().await;
    assert!(imaging::inspect(&resume(&fake, "h-1").await.unwrap().bytes).is_ok());
    assert_eq!(times(&fake, "POST", "/"), 0);

    // Restarted: what it knew is gone.
    let fake = Script::new()
        .with(|answers| answers.history = vec![Reply::json(200, &json!({}))])
        .start()
        .await;
    let error = has_ended(resume(&fake, "h-1").await);
    assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
    let error = has_ended(resume(&fake, "../view").await);
    assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
    assert_eq!(times(&fake, "POST", "/"), 0);

    let id = Uuid::from_u128(7);
    assert_eq!(provider(&fake.url).handle_of(id), Some(id.to_string()));
}

#[test]
fn a_request_is_checked_before_it_is_sent() {
    let base = suite::nowhere();
    let check = |change: fn(&mut ImageSpec)| {
        let mut spec = ImageSpec::default();
        change(&mut spec);
        provider(&base).check(&spec)
    };
    let checked = check(|spec| spec.seed = Some(7)).unwrap();
    assert_eq!(
        (&*checked.model, checked.size.as_deref(), checked.seed),
        (DEFAULT_CHECKPOINT, Some("1344x768"), Some(7))
    );
    assert_eq!(check(|spec| spec.model = Some("y".into())).unwrap().model, "y");
    let own = |workflow: &str, spec: &ImageSpec| {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        std::fs::write(file.path(), workflow).unwrap();
        let path = file.path().to_string_lossy();
        built(&suite::settings_with(&ACCESS, &base, KEY, &[(WORKFLOW, &path)])).check(spec)
    };
    let fixed = r#"{"1":{"class_type":"A","inputs":{"text":"{{prompt}}"}}}"#;
    let checked = own(
        fixed,
        &ImageSpec {
            seed: Some(7),
            ..ImageSpec::default()
        },
    )
    .unwrap();
    assert_eq!((checked.size, checked.seed), (None, None));
    let with_size = ImageSpec {
        size: Some("512x512".into()),
        ..ImageSpec::default()
    };
    let with_model = ImageSpec {
        model: Some("y".into()),
        ..ImageSpec::default()
    };
    for refused in [
        check(|spec| spec.model = Some("a\nb".into())),
        check(|spec| spec.size = Some("1001x1000".into())),
        check(|spec| spec.quality = Some("high".into())),
        check(|spec| spec.seed = Some(-1)),
        own(fixed, &with_size),
        own(fixed, &with_model),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(refused.class, ErrorClass::InvalidRequest);
        assert!(
            refused.message.contains("use ") || refused.message.contains("leave "),
            "{refused}"
        );
    }
    let unset = built(&suite::read(&ACCESS, &[("COMFYUI_API_KEY", KEY)]).unwrap());
    let refused = unset.check(&ImageSpec::default()).unwrap_err();
    assert_eq!(refused.class, ErrorClass::Auth);
    assert!(
        refused.message.contains("COMFYUI_BASE_URL is not set"),
        "{refused}"
    );
    let settings = suite::settings(&ACCESS, &base, KEY);
    assert!(!format!("{settings:?}").contains("0123456789"));
}
