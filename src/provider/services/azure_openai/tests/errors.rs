//! Every error that Azure is known to answer with: its class and its wait.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn every_known_error_has_its_class() {
    use ErrorClass::*;
    let error = |code: &str, message: &str| json!({"error": {"code": code, "message": message}});
    let inner = |name: &str, inner: Value| json!({"error": {"code": "BadRequest", "message": "x", "param": null, name: inner}});
    let blocked = "Your resource has been temporarily blocked because we detected behavior that may violate our content policy.";
    let violation = json!({"code": "ResponsibleAIPolicyViolation"});
    let verdict = json!({"content_filter_result": {"hate": {"filtered": true}}});
    let verdicts = json!({"content_filter_results": {"hate": {"filtered": true}}});
    for (status, body, class) in [
        (
            400,
            error(
                "contentFilter",
                "Your task failed as a result of our safety system.",
            ),
            Moderation,
        ),
        (400, error("content_filter", "x"), Moderation),
        (400, error("content_policy_violation", "x"), Moderation),
        (400, error("moderation_blocked", "x"), Moderation),
        (400, inner("innererror", violation.clone()), Moderation),
        (400, inner("inner_error", violation.clone()), Moderation),
        (400, inner("innererror", verdict), Moderation),
        (400, inner("inner_error", verdicts), Moderation),
        (400, inner("innererror", json!({"code": "Other"})), InvalidRequest),
        (400, error("imageGenerationUserError", "x"), InvalidRequest),
        (400, error("invalid_request_error", "x"), InvalidRequest),
        (400, error("BadRequest", "unknown size"), InvalidRequest),
        (
            401,
            error(
                "401",
                "Access denied due to invalid subscription key or wrong API endpoint.",
            ),
            Auth,
        ),
        (401, json!({"statusCode": 401, "message": "Unauthorized"}), Auth),
        (403, error("Forbidden", blocked), Auth),
        (403, error("content_filter", blocked), Auth),
        (403, inner("innererror", violation.clone()), Auth),
        (
            403,
            error(
                "403",
                "Public access is disabled. Please configure private endpoint.",
            ),
            Auth,
        ),
        (
            404,
            error(
                "DeploymentNotFound",
                "The API deployment for this resource does not exist.",
            ),
            ModelGone,
        ),
        (404, error("404", "Resource not found"), ModelGone),
        (410, error("410", "retired"), ModelGone),
        (408, error("408", "The operation was timeout."), Ambiguous),
        (
            429,
            error("429", "Requests have exceeded call rate limit."),
            RateLimited,
        ),
        (429, error("RateLimitReached", "x"), RateLimited),
        (429, error("insufficient_quota", "x"), Quota),
        (500, error("InternalServerError", "x"), Overloaded),
        (502, json!({}), Overloaded),
        (503, error("503", "x"), Overloaded),
        (504, json!({}), Ambiguous),
        (
            200,
            json!({"created": 1, "error": {"code": "contentFilter", "message": "x"}}),
            Moderation,
        ),
        (
            200,
            json!({"created": 1, "error": {"code": "BadRequest", "inner_error": violation}}),
            Moderation,
        ),
        (
            200,
            json!({"created": 1, "error": {"code": "500", "message": "x"}}),
            BadOutput,
        ),
        (
            200,
            json!({"data": [{"content_filter_results": {"hate": {"filtered": true}}}]}),
            Moderation,
        ),
        (
            200,
            json!({"data": [], "prompt_filter_results": {"hate": {"filtered": true}}}),
            Moderation,
        ),
        (200, json!({"data": [{"revised_prompt": "x"}]}), BadOutput),
        (200, json!({"data": []}), BadOutput),
    ] {
        let error = outcome_of(Reply::json(status, &body)).await.unwrap_err();
        assert_eq!(error.class, class, "{status} {body}");
        assert!(
            error.details.starts_with("POST /openai/v1/images/generations: ")
                && error.provider == ACCESS.name,
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_wait_that_azure_asks_for_is_passed_on() {
    let limited = json!({"error": {"code": "429", "message": "Try again in 12 seconds."}});
    for (header, wait_ms) in [
        (("retry-after-ms", "350"), 350),
        (("retry-after", "7"), 7000),
        (("x-other", "1"), 12_000),
    ] {
        let reply = Reply::json(429, &limited).with(header.0, header.1);
        let error = outcome_of(reply).await.unwrap_err();
        let expected = (ErrorClass::RateLimited, Some(Duration::from_millis(wait_ms)));
        assert_eq!((error.class, error.retry_after), expected);
    }
    let bare = Reply::json(429, &json!({})).with("x-ratelimit-reset-requests", "6m0s");
    let error = outcome_of(bare).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(360)));
}
