//! The provider against fakes on loopback.

use super::*;
use crate::failure::ErrorClass::{
    Ambiguous, Auth, BadOutput, InvalidRequest, ModelGone, Moderation, Overloaded, Quota, RateLimited,
};
use crate::provider::suite::{self, Asked, Reply, Subject, answers, bought};
use crate::provider::wire::polling::tests::{PNG, png};
use crate::provider::{CheckedSpec, CostBasis};

const MODEL: &str = "qwen-image-3.0";

fn good(asked: &Asked) -> Reply {
    if asked.method == "GET" {
        return png();
    }
    let content = json!([{"image": format!("{}/result.png?Expires=1", asked.origin)}]);
    let choices = json!([{"finish_reason": "stop", "message": {"role": "assistant", "content": content}}]);
    let answer = json!({"output": {"choices": choices}, "usage": {"image_count": 1, "width": 1360, "height": 768},
        "request_id": "d0250a3d-b07f-49e1-bdc8-6793f4929xxx"});
    Reply::json(200, &answer)
}

fn subject() -> Subject {
    let spec = CheckedSpec {
        model: MODEL.into(),
        size: Some("16:9".into()),
        seed: Some(7),
        ..CheckedSpec::default()
    };
    Subject {
        options: &[("negative prompt", "\"negative_prompt\":\"blurry unicorns\"")],
        ..Subject::keyed(&ACCESS, "sk-0123456789abcdef", spec, good)
    }
}

#[tokio::test]
async fn what_every_provider_has_to_get_right() {
    suite::run(&subject()).await;
}

#[tokio::test]
async fn a_request_has_pixels_for_a_shape_and_no_watermark() {
    let (path, body, drawn) = bought(subject(), MODEL, "16:9").await;
    let messages = json!([{"role": "user", "content": [{"text": suite::PROMPT}]}]);
    let expected = json!({"model": MODEL, "input": {"messages": messages},
        "parameters": {"n": 1, "watermark": false, "size": "1360*768", "seed": 7}});
    assert_eq!((path.trim_start_matches('/'), body), (PATH, expected));
    let cost = drawn.cost.unwrap();
    assert_eq!((cost.usd, cost.basis), (0.03, CostBasis::Estimated));
    assert_eq!(
        drawn.request_id.as_deref(),
        Some("d0250a3d-b07f-49e1-bdc8-6793f4929xxx")
    );
    assert_eq!(&drawn.bytes[..], PNG);
}

#[tokio::test]
async fn each_answer_means_what_the_service_means_by_it_with_200_too() {
    let mut rows = Vec::new();
    for (status, code, class) in [
        (400, "DataInspectionFailed", Moderation),
        (400, "InvalidParameter", InvalidRequest),
        (401, "InvalidApiKey", Auth),
        (400, "Arrearage", Quota),
        (403, "AllocationQuota.FreeTierOnly", Quota),
        (403, "AccessDenied", Auth),
        (404, "ModelNotFound", ModelGone),
        (429, "Throttling.RateQuota", RateLimited),
        (500, "InternalError.Algo", Overloaded),
        (500, "RequestTimeOut", Ambiguous),
    ] {
        let body = json!({"code": code, "message": "x", "request_id": "r-1"});
        rows.push((Reply::json(status, &body), class));
        rows.push((Reply::json(200, &body), class));
    }
    let silent = json!({"output": {"choices": [{"message": {"content": [{"text": "no"}]}}]}});
    rows.push((Reply::json(200, &silent), BadOutput));
    answers(&subject(), rows).await;
}
