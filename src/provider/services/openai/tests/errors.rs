//! Every error that the service explains: its class, its wait, and what is repeated of it.

use std::time::Duration;

use super::*;
use crate::provider::suite::Fake;
use crate::provider::suite::shapes::gzip;

#[tokio::test]
async fn every_documented_error_has_its_class() {
    use ErrorClass::*;
    const USER: &str = "image_generation_user_error";
    const REQUEST: &str = "invalid_request_error";
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    for (status, body, class) in [
        (
            400,
            error(USER, "moderation_blocked", "safety_violations=[violence]"),
            Moderation,
        ),
        (
            400,
            error(REQUEST, "content_policy_violation", "refused"),
            Moderation,
        ),
        (
            400,
            json!({"error": {"message": "x", "type": USER, "code": null,
                "moderation_details": {"moderation_stage": "output", "categories": ["violence"]}}}),
            Moderation,
        ),
        (
            400,
            json!({"error": {"message": "rejected by our safety system", "type": REQUEST}}),
            Moderation,
        ),
        (
            400,
            json!({"error": {"message": "Unknown parameter: 'x'. See our content policy.", "type": REQUEST,
                "param": "x", "code": "unknown_parameter"}}),
            InvalidRequest,
        ),
        (
            400,
            json!({"error": {"message": "see our content policy", "type": REQUEST, "param": "size", "code": "new"}}),
            InvalidRequest,
        ),
        (400, error(REQUEST, "invalid_value", "x"), InvalidRequest),
        (400, error(REQUEST, "never_seen", "x"), InvalidRequest),
        (400, error(REQUEST, "billing_hard_limit_reached", "x"), Quota),
        (
            400,
            json!({"error": "Billing hard limit has been reached"}),
            Quota,
        ),
        (401, error(REQUEST, "invalid_api_key", "x"), Auth),
        (402, json!({"detail": "pay"}), Quota),
        (
            403,
            error(REQUEST, "unsupported_country_region_territory", "x"),
            Auth,
        ),
        (
            403,
            json!({"error": {"message": "must be verified; content policy", "type": REQUEST}}),
            Auth,
        ),
        (404, error(REQUEST, "model_not_found", "x"), ModelGone),
        (
            404,
            json!({"error": {"message": "The model `x` has been deprecated", "type": REQUEST}}),
            ModelGone,
        ),
        (404, json!({"detail": "Not Found"}), InvalidRequest),
        (405, json!({"errors": ["no"]}), InvalidRequest),
        (408, json!({}), Ambiguous),
        (409, json!({}), Overloaded),
        (410, json!({}), ModelGone),
        (413, json!({"message": "large"}), InvalidRequest),
        (
            422,
            json!({"detail": [{"loc": ["body"], "msg": "bad", "type": "x"}]}),
            InvalidRequest,
        ),
        (
            429,
            error("requests", "rate_limit_exceeded", "Limit: 5/1min"),
            RateLimited,
        ),
        (
            429,
            error(
                "requests",
                "rate_limit_exceeded",
                "images per minute. Limit: 0/1min.",
            ),
            Quota,
        ),
        (429, error("rate_limit_error", "slow_down", "x"), RateLimited),
        (
            429,
            json!({"error": {"message": quota, "code": 429}}),
            RateLimited,
        ),
        (
            429,
            error("insufficient_quota", "insufficient_quota", quota),
            Quota,
        ),
        (
            429,
            error("insufficient_quota", "credit_balance_exhausted", "x"),
            Quota,
        ),
        (429, error("x", "organization_spend_limit_exceeded", "x"), Quota),
        (429, error("x", "project_spend_limit_exceeded", "x"), Quota),
        (429, error("x", "organization_usage_limit_exceeded", "x"), Quota),
        (429, error("x", "billing_not_active", "x"), Quota),
        (499, json!({}), Ambiguous),
        (500, error("server_error", "server_error", "x"), Overloaded),
        (502, json!("bad gateway"), Overloaded),
        (
            503,
            error("service_unavailable_error", "server_is_overloaded", "x"),
            Overloaded,
        ),
        (504, json!({}), Ambiguous),
        (504, error("server_error", "server_error", "x"), Ambiguous),
        (524, json!({}), Ambiguous),
        (529, json!({}), Overloaded),
        (599, json!({}), Overloaded),
        (200, error(USER, "moderation_blocked", "x"), Moderation),
        (200, error("server_error", "never_seen", "x"), Overloaded),
        (
            200,
            json!({"created": 1, "error": {"message": "filtered"}}),
            BadOutput,
        ),
        (
            200,
            json!({"error": {"message": "against our content policy"}}),
            Moderation,
        ),
        (200, json!({"data": []}), BadOutput),
        (200, json!({"data": [{"b64_json": "?rubbish?"}]}), BadOutput),
        (202, json!({"id": "later"}), BadOutput),
    ] {
        let error = error_of(ResponseTemplate::new(status).set_body_json(&body)).await;
        assert_eq!(error.class, class, "{status} {body}");
        assert!(
            error.details.starts_with("POST /v1/images/generations: "),
            "{error}"
        );
        assert!(error.details.contains(&status.to_string()), "{error}");
    }
}

#[tokio::test]
async fn an_error_names_status_code_field_and_request() {
    let body = json!({"error": {"message": "Unknown parameter: 'style'.", "type": "invalid_request_error",
        "param": "style", "code": "unknown_parameter"}});
    let answer = ResponseTemplate::new(400)
        .insert_header("x-request-id", "req_7")
        .set_body_json(body);
    let error = error_of(answer).await;
    assert_eq!(error.request_id.as_deref(), Some("req_7"));
    assert_eq!(
        error.to_string(),
        "openai: POST /v1/images/generations: 400 Bad Request, code unknown_parameter, type invalid_request_error, \
         param style, request req_7: \"Unknown parameter: 'style'.\""
    );
}

#[tokio::test]
async fn moderation_details_stay_with_the_operator() {
    let body = json!({"error": {"message": "blocked", "type": "image_generation_user_error",
        "code": "moderation_blocked", "moderation_details": {"moderation_stage": "input", "categories": ["hate"]}}});
    let error = error_of(ResponseTemplate::new(400).set_body_json(body)).await;
    assert!(
        error.details.contains("\"moderation_stage\":\"input\""),
        "{error}"
    );
    assert!(!Failure::from(error).message.contains("hate"));
}

#[tokio::test]
async fn the_wait_that_openai_asks_for_is_passed_on() {
    let limited = error("requests", "rate_limit_exceeded", "Please try again in 12s.");
    let answer = |status: u16| ResponseTemplate::new(status).set_body_json(&limited);
    let plain = |status: u16| ResponseTemplate::new(status).set_body_json(json!({}));
    for (answer, class, wait_ms) in [
        (
            answer(429).insert_header("retry-after-ms", "350"),
            ErrorClass::RateLimited,
            Some(350),
        ),
        (
            answer(429).insert_header("retry-after", "2"),
            ErrorClass::RateLimited,
            Some(2000),
        ),
        (answer(429), ErrorClass::RateLimited, Some(12_000)),
        (
            plain(429).insert_header("x-ratelimit-reset-images", "1s"),
            ErrorClass::RateLimited,
            Some(1000),
        ),
        (
            plain(503).insert_header("x-ratelimit-reset-images", "1s"),
            ErrorClass::Overloaded,
            None,
        ),
        (
            plain(503).insert_header("retry-after", "7"),
            ErrorClass::Overloaded,
            Some(7000),
        ),
        (
            plain(401).insert_header("retry-after", "7"),
            ErrorClass::Auth,
            None,
        ),
        (plain(429), ErrorClass::RateLimited, None),
    ] {
        let error = error_of(answer).await;
        let expected = (class, wait_ms.map(Duration::from_millis));
        assert_eq!((error.class, error.retry_after), expected, "{error}");
    }
}

#[tokio::test]
async fn x_should_retry_overrules_the_status_but_not_the_code() {
    let answer = |status: u16, body: Value, should: &str| {
        ResponseTemplate::new(status)
            .set_body_json(body)
            .insert_header("x-should-retry", should)
    };
    let limited = error("requests", "rate_limit_exceeded", "x");
    for (answer, class) in [
        (answer(400, json!({}), "true"), ErrorClass::Overloaded),
        (answer(500, json!({}), "false"), ErrorClass::InvalidRequest),
        (answer(429, json!({}), "false"), ErrorClass::Quota),
        (answer(429, json!({}), "true"), ErrorClass::RateLimited),
        (answer(504, json!({}), "true"), ErrorClass::Ambiguous),
        (
            answer(400, error("x", "moderation_blocked", "x"), "true"),
            ErrorClass::Moderation,
        ),
        (answer(500, json!({}), "maybe"), ErrorClass::Overloaded),
    ] {
        assert_eq!(error_of(answer).await.class, class);
    }
    let error = error_of(answer(429, limited, "false")).await;
    assert_eq!(error.class, ErrorClass::RateLimited);
    assert!(error.retry_after.unwrap() >= Duration::from_secs(10));
}

#[tokio::test]
async fn an_answer_that_repeats_key_and_prompt_does_not_pass_them_on() {
    let echo = format!("Incorrect API key {KEY} for prompt: {PROMPT}");
    let cut_echo = format!("{{\"broken\":{},", Value::from(echo.as_str()));
    for (status, body) in [
        (
            401,
            error("invalid_request_error", "invalid_api_key", &echo).to_string(),
        ),
        (400, error(&echo, &echo, &echo).to_string()),
        (400, json!({"detail": [{"msg": echo}], "input": echo}).to_string()),
        (500, json!({"unknown": {"shape": echo}}).to_string()),
        (500, echo.clone()),
        (500, format!("<html><title>{echo}</title></html>")),
        (500, cut_echo.clone()),
        (200, cut_echo),
        (200, json!({"error": echo}).to_string()),
        (200, json!({"data": [{"b64_json": echo}]}).to_string()),
        (200, json!({"data": echo}).to_string()),
    ] {
        let answer = ResponseTemplate::new(status)
            .insert_header("x-request-id", KEY)
            .set_body_string(body);
        // `error_of` looks for both in everything that leaves the provider.
        let error = error_of(answer).await;
        assert_eq!(error.request_id, None);
    }
}

#[tokio::test]
async fn a_prompt_that_quotes_phrases_does_not_change_the_class() {
    let prompt_text = "a poster about our safety system and its content policy";
    let body =
        json!({"error": {"message": format!("Cannot draw {prompt_text}"), "type": "invalid_request_error"}});
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(400).set_body_json(body))
        .mount(&server)
        .await;
    let provider = provider(Url::parse(&server.uri()).unwrap());
    let prompt = Prompt::new(prompt_text.into());
    let error = provider
        .draw(&Call::unwatched(&prompt, &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest, "{error}");
}

#[tokio::test]
async fn an_error_is_read_in_whatever_it_is_encoded() {
    let body = error("insufficient_quota", "insufficient_quota", "x").to_string();
    let reply = Reply::of(429, "application/json", gzip(body.as_bytes())).with("content-encoding", "gzip");
    let fake = Fake::start(move |_| reply.clone()).await;
    let refused = provider(fake.url.clone())
        .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(refused.class, ErrorClass::Quota, "{refused}");
}
