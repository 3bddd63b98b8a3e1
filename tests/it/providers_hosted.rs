//! Packages for services of a few makers, each behind one key, end in true pictures, drawn by stand-ins on loopback.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use generative_ai_worker::imaging;
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

use crate::harness::files_below;
use crate::harness::picture::{photo, png};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo, with};

const KEY: &str = "key-of-all-4f1c9a7e2b";

/// Answers as each service does, told apart by what stands first in the path.
fn answer(request: &Request) -> ResponseTemplate {
    let path = request.url.path();
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    if path == "/result.png" {
        return ResponseTemplate::new(200).set_body_raw(png(&photo(640, 360)), "image/png");
    }
    let headers = ["authorization", "api-key"];
    let values = headers
        .iter()
        .filter_map(|name| request.headers.get(*name)?.to_str().ok());
    if !values.into_iter().any(|value| value.ends_with(KEY)) {
        return ResponseTemplate::new(401);
    }
    let prompt = String::from_utf8_lossy(&request.body).into_owned();
    let picture = BASE64_STANDARD.encode(png(&photo(640, 360)));
    let data = json!([{"b64_json": picture}]);
    match (path, prompt.contains("forbidden")) {
        ("/openrouter/images", false) => json(json!({"data": data, "usage": {"cost": 0.0123}})),
        ("/xai/images/generations", false) => json(json!({"data": data})),
        ("/xai/images/generations", true) => {
            json(json!({"data": [{"b64_json": "", "respect_moderation": false}]}))
        }
        ("/bedrock/model/stability.stable-image-core-v1:1/invoke", false) => {
            json(json!({"images": [picture], "seeds": [1], "finish_reasons": [null]}))
        }
        ("/bedrock/model/stability.stable-image-core-v1:1/invoke", true) => {
            json(json!({"images": [""], "seeds": [], "finish_reasons": ["Filter reason: prompt"]}))
        }
        ("/foundry/mai/v1/images/generations", false) => json(json!({"data": data})),
        ("/ark/images/generations", false) => json(json!({"data": data, "usage": {"generated_images": 1}})),
        ("/qwen/services/aigc/multimodal-generation/generation", false) => {
            let host = request.headers.get("host").unwrap().to_str().unwrap();
            let content = json!([{"image": format!("http://{host}/result.png")}]);
            json(json!({"output": {"choices": [{"message": {"content": content}}]}, "request_id": "r-1"}))
        }
        ("/qwen/services/aigc/multimodal-generation/generation", true) => {
            json(json!({"code": "DataInspectionFailed", "message": "no", "request_id": "r-2"}))
        }
        _ => ResponseTemplate::new(404),
    }
}

async fn start() -> (Stack, MockServer, Replica) {
    let stack = Stack::start().await;
    let services = MockServer::start().await;
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(answer)
        .mount(&services)
        .await;
    let at = |name: &str| format!("{}/{name}", services.uri());
    let variables = [
        ("IMAGE_PROVIDER", "xai".to_owned()),
        ("ALLOW_PRIVATE_RESULT_URLS", "true".to_owned()),
        ("OPENROUTER_API_KEY", KEY.to_owned()),
        ("OPENROUTER_BASE_URL", at("openrouter")),
        ("XAI_API_KEY", KEY.to_owned()),
        ("XAI_BASE_URL", at("xai")),
        ("AWS_BEARER_TOKEN_BEDROCK", KEY.to_owned()),
        ("BEDROCK_BASE_URL", at("bedrock")),
        ("AZURE_FOUNDRY_API_KEY", KEY.to_owned()),
        ("AZURE_FOUNDRY_BASE_URL", at("foundry")),
        ("ARK_API_KEY", KEY.to_owned()),
        ("SEEDREAM_BASE_URL", at("ark")),
        ("DASHSCOPE_API_KEY", KEY.to_owned()),
        ("QWEN_BASE_URL", at("qwen")),
    ];
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let replica = stack.replica(&variables).await;
    (stack, services, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_ends_in_a_true_picture_with_its_model_and_cost() {
    let (stack, _services, replica) = start().await;
    for (provider, model, usd, basis) in [
        (
            "openrouter",
            "bytedance-seed/seedream-4.5",
            Some(0.0123),
            Some("reported"),
        ),
        ("xai", "grok-imagine-image", Some(0.02), Some("estimated")),
        (
            "bedrock",
            "stability.stable-image-core-v1:1",
            Some(0.04),
            Some("estimated"),
        ),
        ("azureFoundry", "MAI-Image-2.6", None, None),
        ("seedream", "seedream-5-0-260128", Some(0.035), Some("estimated")),
        ("qwen", "qwen-image-3.0", Some(0.03), Some("estimated")),
    ] {
        let job_id = stack.job().await;
        stack.push(&with(logo(job_id), "imageProvider", provider)).await;
        let job = stack.ended(job_id).await;
        assert_eq!((job.progress, &job.error), (Some(100), &None), "{provider}");
        let url = job.data["imageUrl"].as_str().unwrap().to_owned();
        let files = files_below(stack.pictures.path());
        let (_, bytes) = files
            .iter()
            .find(|(path, _)| url.ends_with(path.as_str()))
            .unwrap();
        let inspected = imaging::inspect(bytes).unwrap();
        assert_eq!(
            (inspected.width_px, inspected.height_px),
            (640, 360),
            "{provider}"
        );
        let query = "SELECT provider, model, cost_usd, cost_basis FROM generative_ai.jobs WHERE job_id = $1";
        let row = stack.sql(query, &[&job_id]).await.remove(0);
        let found: (String, String, Option<f64>, Option<String>) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        assert_eq!((&*found.0, &*found.1), (provider, model));
        assert_eq!((found.2, found.3.as_deref()), (usd, basis), "{provider}");
        let query = "SELECT count(*) FROM generative_ai.provider_calls WHERE job_id = $1";
        assert_eq!(
            stack.sql(query, &[&job_id]).await[0].get::<_, i64>(0),
            1,
            "{provider}"
        );
    }
    let log = replica.log();
    assert!(
        !log.contains(KEY) && !log.contains("paper boat"),
        "the log holds a secret"
    );
    stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_refuses_with_200_is_told_and_not_bought_again() {
    let (stack, services, _replica) = start().await;
    for provider in ["xai", "bedrock", "qwen"] {
        let job_id = stack.job().await;
        let package = with(logo(job_id), "imageProvider", provider);
        stack.push(&with(package, "prompt", "a forbidden thing")).await;
        let error = stack.ended(job_id).await.error.unwrap();
        let start = format!("{provider} refused this prompt under its content policy");
        assert!(error.starts_with(&start), "{error}");
    }
    assert_eq!(
        services.received_requests().await.unwrap().len(),
        3,
        "each asked once"
    );
}
