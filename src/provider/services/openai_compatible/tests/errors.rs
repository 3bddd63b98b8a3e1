//! Errors in the shapes that many servers have.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn every_shape_of_an_error_has_its_class() {
    use ErrorClass::*;
    for (status, body, class) in [
        (
            400,
            json!({"error": {"message": "x", "type": "budget_exceeded", "code": "400"}}),
            Quota,
        ),
        (
            429,
            json!({"error": {"message": "x", "type": null, "code": "budget_exceeded"}}),
            Quota,
        ),
        (
            429,
            json!({"error": {"message": "x", "type": "throttling_error", "code": "429"}}),
            RateLimited,
        ),
        (
            400,
            json!({"error": {"message": "x", "code": "content_policy_violation"}}),
            Moderation,
        ),
        (400, json!({"error": "rejected by our safety system"}), Moderation),
        (400, json!({"detail": "bad size"}), InvalidRequest),
        (
            422,
            json!({"detail": [{"loc": ["body", "size"], "msg": "bad", "type": "x"}]}),
            InvalidRequest,
        ),
        (400, json!({"message": "bad"}), InvalidRequest),
        (400, json!({"errors": ["bad"]}), InvalidRequest),
        (
            401,
            json!({"error": {"code": 401, "message": "invalid key", "type": ""}}),
            Auth,
        ),
        (
            404,
            json!({"error": {"message": "The model `x` does not exist", "code": null}}),
            ModelGone,
        ),
        (404, json!({"detail": "Not Found"}), InvalidRequest),
        (
            500,
            json!({"error": {"code": 500, "message": "rpc error", "type": ""}}),
            Overloaded,
        ),
        (503, json!({"detail": "model not ready"}), Overloaded),
        (504, json!({}), Ambiguous),
        (
            200,
            json!({"data": [{"url": "", "respect_moderation": false}]}),
            Moderation,
        ),
        (200, json!({"error": "broken"}), BadOutput),
        (200, json!({"data": [{"url": "http://"}]}), BadOutput),
    ] {
        let error = outcome_of(Reply::json(status, &body)).await.unwrap_err();
        assert_eq!(error.class, class, "{status} {body}: {error}");
    }
    let limited = Reply::json(429, &json!({})).with("retry-after", "7");
    let error = outcome_of(limited).await.unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
}
