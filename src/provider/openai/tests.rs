//! The provider against servers on loopback: the request as sent, each answer it may get.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::failure::Failure;
use crate::http_client::install_tls;
use crate::http_client::tests::{in_minutes, one_connection, until_closed};
use crate::work_package::ImageType;

const KEY: &str = "sk-test-0123456789abcdef";
const PROMPT: &str = "A secret dragon over the harbour, \"quoted\"\nand on two lines";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot looked at here";

fn provider(base_url: Url) -> OpenAi {
    install_tls();
    OpenAi::new(OpenAiSettings {
        api_key: Some(KEY.into()),
        base_url,
        organization: Some("org-1".into()),
        project: Some("proj-1".into()),
    })
    .unwrap()
}

fn spec() -> CheckedSpec {
    CheckedSpec {
        model: "gpt-image-2".into(),
        size: Some("2048x1152".into()),
        quality: Some("medium".into()),
        seed: None,
    }
}

fn prompt() -> Prompt {
    Prompt::new(PROMPT.into())
}

fn picture() -> Value {
    json!({"created": 1_795_300_000, "output_format": "png", "size": "2048x1152", "quality": "medium",
        "data": [{"b64_json": BASE64_STANDARD.encode(PNG)}],
        "usage": {"input_tokens": 23, "output_tokens": 1584, "total_tokens": 1607,
            "input_tokens_details": {"text_tokens": 23, "image_tokens": 0},
            "output_tokens_details": {"text_tokens": 0, "image_tokens": 1584}}})
}

fn error(kind: &str, code: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
}

/// The outcome of one call to a server that always answers `answer`, and how often it was asked.
async fn outcome_of(answer: ResponseTemplate) -> Result<DrawnImage, ProviderError> {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(answer)
        .expect(1)
        .mount(&server)
        .await;
    let base = Url::parse(&format!("{}/v1", server.uri())).unwrap();
    let outcome = provider(base).draw(&prompt(), &spec(), in_minutes(5)).await;
    server.verify().await;
    outcome
}

async fn error_of(answer: ResponseTemplate) -> ProviderError {
    let error = outcome_of(answer).await.unwrap_err();
    keeps_secrets(&error);
    error
}

/// Neither the key nor the prompt reach the log, the job row or the dead letter.
#[track_caller]
fn keeps_secrets(error: &ProviderError) {
    let failure = Failure::from(error.clone());
    for text in [
        &error.details,
        &format!("{error:?}"),
        &failure.message,
        &format!("{failure:?}"),
    ] {
        for secret in ["0123456789abcdef", "dragon", "harbour", "two lines"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[tokio::test]
async fn a_picture_comes_back_with_its_cost_and_request_id() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/images/generations"))
        .and(header("authorization", format!("Bearer {KEY}").as_str()))
        .and(header("openai-organization", "org-1"))
        .and(header("openai-project", "proj-1"))
        .and(header("content-type", "application/json"))
        .respond_with(
            ResponseTemplate::new(200)
                .insert_header("x-request-id", "req_4Hq")
                .set_body_json(picture()),
        )
        .expect(2)
        .mount(&server)
        .await;
    for base in [format!("{}/v1", server.uri()), format!("{}/v1/", server.uri())] {
        let provider = provider(Url::parse(&base).unwrap());
        let drawn = provider.draw(&prompt(), &spec(), in_minutes(5)).await.unwrap();
        assert_eq!(&drawn.bytes[..], PNG);
        assert_eq!(drawn.source, DigitalSource::TrainedModel);
        assert_eq!(drawn.request_id.as_deref(), Some("req_4Hq"));
        assert_eq!(drawn.usage, Some(picture()["usage"].clone()));
        assert!((drawn.cost_usd.unwrap() - 0.047_635).abs() < 1e-9);
    }
    let requests = server.received_requests().await.unwrap();
    assert_eq!(
        requests[0].body_json::<Value>().unwrap(),
        json!({"model": "gpt-image-2", "prompt": PROMPT, "n": 1, "size": "2048x1152", "quality": "medium",
            "output_format": "png", "moderation": "auto"})
    );
}

#[tokio::test]
async fn a_picture_without_usage_has_no_cost() {
    let mut body = picture();
    body["usage"] = Value::Null;
    let drawn = outcome_of(ResponseTemplate::new(200).set_body_json(body))
        .await
        .unwrap();
    assert_eq!(
        (drawn.cost_usd, drawn.usage, drawn.request_id),
        (None, None, None)
    );
}

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
        (
            200,
            json!({"data": [{"url": "https://x.invalid/a.png"}]}),
            BadOutput,
        ),
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
async fn answers_that_are_not_json_are_judged_by_their_status() {
    let html = "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>";
    for (status, body, class, said) in [
        (502, html, ErrorClass::Overloaded, "an HTML page titled"),
        (200, html, ErrorClass::BadOutput, "a page of HTML"),
        (503, "", ErrorClass::Overloaded, "without an explanation"),
        (200, "", ErrorClass::BadOutput, "the answer is empty"),
        (429, "slow down", ErrorClass::RateLimited, "\"slow down\""),
        (
            200,
            "Service started",
            ErrorClass::BadOutput,
            "not the JSON that was expected",
        ),
        (204, "", ErrorClass::BadOutput, "the answer is empty"),
    ] {
        let error = error_of(ResponseTemplate::new(status).set_body_string(body)).await;
        assert_eq!(error.class, class, "{error}");
        assert!(error.details.contains(said), "{error}");
    }
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
    let error = provider.draw(&prompt, &spec(), in_minutes(5)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest, "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let other = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_body_json(picture()))
        .expect(0)
        .mount(&other)
        .await;
    let target = format!("{}/elsewhere?sig=hidden", other.uri());
    for status in [301, 302, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("location", target.as_str());
        let error = error_of(answer).await;
        assert_eq!(error.class, ErrorClass::Network);
        assert!(
            error.details.contains(&format!("{}/elsewhere,", other.uri())),
            "{error}"
        );
    }
    other.verify().await;
}

#[tokio::test]
async fn silence_until_the_deadline_is_ambiguous() {
    let (base, server) = one_connection(|stream| async move {
        tokio::time::pause();
        until_closed(stream).await;
    })
    .await;
    let error = provider(base)
        .draw(&prompt(), &spec(), in_minutes(5))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Ambiguous);
    assert_eq!(
        error.details,
        "POST /v1/images/generations: no answer before the deadline"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_picture_that_breaks_off_is_ambiguous() {
    let body = picture().to_string();
    for length_header in [
        format!("content-length: {}\r\n", body.len()),
        "connection: close\r\n".into(),
    ] {
        let half = body[..body.len() / 2].to_owned();
        let (base, server) = one_connection(move |mut stream| async move {
            let head = format!("HTTP/1.1 200 OK\r\nx-request-id: req_9\r\n{length_header}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
        })
        .await;
        let error = provider(base)
            .draw(&prompt(), &spec(), in_minutes(5))
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
        assert_eq!(error.request_id.as_deref(), Some("req_9"));
        assert!(error.details.contains("broke off"), "{error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_at_the_cap() {
    const MIB: usize = 1024 * 1024;
    let (base, server) = one_connection(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n{\"data\":[{\"b64_json\":\"";
        stream.write_all(head).await.unwrap();
        let block = vec![b'A'; MIB];
        let mut sent = 0;
        while sent < 200 && stream.write_all(&block).await.is_ok() {
            sent += 1;
        }
        sent
    })
    .await;
    let error = provider(base)
        .draw(&prompt(), &spec(), in_minutes(5))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert!(error.details.contains("more than 67108864 bytes"), "{error}");
    // What is above the cap fits into the buffers of the two sockets.
    let sent_mib = server.await.unwrap();
    assert!(sent_mib < 100, "{sent_mib} MiB were taken");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_not_sent() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .respond_with(ResponseTemplate::new(200).set_body_json(picture()))
        .expect(1)
        .mount(&server)
        .await;
    let provider = provider(Url::parse(&server.uri()).unwrap());
    let prompt = |length| Prompt::new("é".repeat(length));
    provider
        .draw(&prompt(32_000), &spec(), in_minutes(5))
        .await
        .unwrap();
    let error = provider
        .draw(&prompt(32_001), &spec(), in_minutes(5))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidRequest);
    assert!(
        error
            .details
            .contains("32001 characters, gpt-image-2 takes at most 32000"),
        "{error}"
    );
    server.verify().await;
}

#[tokio::test]
async fn without_a_key_every_request_is_refused_and_nothing_is_sent() {
    install_tls();
    for api_key in [None, Some(""), Some(" \n")] {
        let provider = OpenAi::new(OpenAiSettings {
            api_key: api_key.map(SecretString::from),
            base_url: Url::parse("http://127.0.0.1:9/v1").unwrap(),
            organization: None,
            project: None,
        })
        .unwrap();
        let unsupported = provider.check(&ImageSpec::default()).unwrap_err();
        assert_eq!(unsupported.class, ErrorClass::Auth);
        assert!(
            unsupported
                .message
                .starts_with("openai is not configured on this service: OPENAI_API_KEY is not set. "),
            "{unsupported}"
        );
        let error = provider
            .draw(&prompt(), &spec(), in_minutes(5))
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Auth);
    }
}

#[test]
fn a_request_is_checked_against_the_table_before_the_key() {
    install_tls();
    let base = Url::parse("http://127.0.0.1:9/v1").unwrap();
    let checked = provider(base.clone()).check(&ImageSpec {
        image_type: ImageType::Icon,
        ..ImageSpec::default()
    });
    assert_eq!(checked.unwrap().size.as_deref(), Some("1024x1024"));
    let ended = ImageSpec {
        model: Some("gpt-image-1".into()),
        ..ImageSpec::default()
    };
    assert_eq!(
        provider(base).check(&ended).unwrap_err().class,
        ErrorClass::ModelGone
    );
}

#[test]
fn values_that_no_header_can_carry_are_named_but_not_repeated() {
    install_tls();
    let error = OpenAi::new(OpenAiSettings {
        api_key: Some("sk-first\nsecond".into()),
        base_url: Url::parse("https://api.openai.com/v1").unwrap(),
        organization: None,
        project: None,
    })
    .unwrap_err();
    let text = format!("{error:#} {error:?}");
    assert!(text.starts_with("OPENAI_API_KEY: "), "{text}");
    assert!(!text.contains("first") && !text.contains("second"), "{text}");
    let settings = provider(Url::parse("http://127.0.0.1:9/").unwrap());
    assert!(!format!("{settings:?}").contains("0123456789"), "{settings:?}");
}
