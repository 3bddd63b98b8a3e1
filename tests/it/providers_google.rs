//! Packages that name Google's or Stability's models end in true pictures, drawn by stand-ins on loopback.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use generative_ai_worker::imaging;
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

use crate::harness::files_below;
use crate::harness::picture::{jpeg, photo, png};
use crate::harness::replica::Replica;
use crate::harness::stack::{Job, Stack, icon, logo, with};

const GEMINI_KEY: &str = "AIzaTest-4f1c9a7e2b";
const STABILITY_KEY: &str = "sk-stability-4f1c9a7e2b";
const TOKEN: &str = "ya29.test-4f1c9a7e2b";
const PRIVATE_KEY: &str = include_str!("../../src/provider/services/imagen/auth/test_key.pem");

/// Answers as Gemini, Vertex AI, Google's token endpoint and Stability do.
fn answer(request: &Request) -> ResponseTemplate {
    let path = request.url.path();
    let header = |name: &str| match request.headers.get(name) {
        Some(value) => value.to_str().unwrap().to_owned(),
        None => String::new(),
    };
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let bearer = header("authorization");
    if path == "/token" {
        return json(json!({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}));
    }
    let prompt = String::from_utf8_lossy(&request.body).into_owned();
    if prompt.contains("forbidden") {
        return json(json!({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}));
    }
    if path.ends_with(":generateContent")
        && (header("x-goog-api-key") == GEMINI_KEY || bearer == format!("Bearer {TOKEN}"))
    {
        // What Gemini sends is a JPEG as often as not.
        let picture = BASE64_STANDARD.encode(jpeg(&photo(640, 360)));
        return json(json!({
            "candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": [
                {"text": "Here it is."}, {"inlineData": {"mimeType": "image/jpeg", "data": picture}}]}}],
            "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 1120,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]},
            "responseId": "resp-1"}));
    }
    if path.starts_with("/v2beta/stable-image/generate/") && bearer == format!("Bearer {STABILITY_KEY}") {
        let picture = BASE64_STANDARD.encode(png(&photo(640, 360)));
        return json(json!({"image": picture, "finish_reason": "SUCCESS", "seed": 3}));
    }
    ResponseTemplate::new(401)
}

struct Studio {
    stack: Stack,
    services: MockServer,
    replica: Replica,
}

impl Studio {
    async fn start() -> Self {
        let stack = Stack::start().await;
        let services = MockServer::start().await;
        wiremock::Mock::given(wiremock::matchers::any())
            .respond_with(answer)
            .mount(&services)
            .await;
        let url = services.uri();
        let file = stack.path("google.json");
        let account = json!({"type": "service_account", "private_key": PRIVATE_KEY, "private_key_id": "key-1",
            "client_email": "worker@p.iam.gserviceaccount.com", "token_uri": format!("{url}/token")});
        std::fs::write(&file, account.to_string()).unwrap();
        let replica = stack
            .replica(&[
                ("IMAGE_PROVIDER", "gemini"),
                ("GEMINI_API_KEY", GEMINI_KEY),
                ("GEMINI_BASE_URL", &url),
                ("GOOGLE_CLOUD_PROJECT_ID", "my-project"),
                ("GOOGLE_APPLICATION_CREDENTIALS", file.to_str().unwrap()),
                ("VERTEX_BASE_URL", &url),
                ("STABILITY_API_KEY", STABILITY_KEY),
                ("STABILITY_BASE_URL", &url),
            ])
            .await;
        Self {
            stack,
            services,
            replica,
        }
    }

    /// Has a job done and returns it with its id.
    async fn done(&self, package: impl FnOnce(i32) -> Value) -> (i32, Job) {
        let job_id = self.stack.job().await;
        self.stack.push(&package(job_id)).await;
        (job_id, self.stack.ended(job_id).await)
    }

    /// Provider, model, cost and basis that the ledger has for a job.
    async fn ledger(&self, job_id: i32) -> (String, String, f64, String) {
        let query = "SELECT provider, model, cost_usd, cost_basis FROM generative_ai.jobs WHERE job_id = $1";
        let row = self.stack.sql(query, &[&job_id]).await.remove(0);
        (row.get(0), row.get(1), row.get(2), row.get(3))
    }

    /// The bytes behind the URL of a job's picture.
    fn picture(&self, job: &Job) -> Vec<u8> {
        let url = job.data["imageUrl"].as_str().unwrap();
        let files = files_below(self.stack.pictures.path());
        let found = files.iter().find(|(path, _)| url.ends_with(path.as_str()));
        found.unwrap().1.clone()
    }

    async fn paths(&self) -> Vec<String> {
        let requests = self.services.received_requests().await.unwrap();
        requests
            .iter()
            .map(|request| request.url.path().to_owned())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_ends_in_a_true_picture_with_its_model_and_cost() {
    let studio = Studio::start().await;
    for (provider, model, drawn, usd, basis) in [
        ("gemini", None, "gemini-nano-banana-2.1", 0.033_615, "computed"),
        (
            "imagen",
            Some("imagen-4.0-generate-001"),
            "gemini-nano-banana-2.1",
            0.033_615,
            "computed",
        ),
        (
            "imagen",
            Some("imagen-4.0-ultra-generate-001"),
            "gemini-nano-banana-2.1",
            0.033_615,
            "computed",
        ),
        ("stability", None, "core", 0.03, "estimated"),
    ] {
        let package = |job_id| {
            let package = with(logo(job_id), "imageProvider", provider);
            with(package, "imageModel", model)
        };
        let (job_id, job) = studio.done(package).await;
        assert_eq!((job.progress, &job.error), (Some(100), &None), "{provider}");
        let inspected = imaging::inspect(&studio.picture(&job)).unwrap();
        assert_eq!((inspected.width_px, inspected.height_px), (640, 360));
        let (found_provider, found_model, cost, found_basis) = studio.ledger(job_id).await;
        assert_eq!((&*found_provider, &*found_model), (provider, drawn));
        assert!((cost - usd).abs() < 1e-9, "{provider}: {cost}");
        assert_eq!(found_basis, basis);
    }
    assert_eq!(
        studio.paths().await,
        [
            "/v1beta/models/gemini-nano-banana-2.1:generateContent",
            "/token",
            "/v1/projects/my-project/locations/global/publishers/google/models/gemini-nano-banana-2.1:generateContent",
            "/v1/projects/my-project/locations/global/publishers/google/models/gemini-nano-banana-2.1:generateContent",
            "/v2beta/stable-image/generate/core",
        ]
    );
    studio.stack.idle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn icons_of_a_model_that_has_ended_are_drawn_and_its_end_is_told_once() {
    let studio = Studio::start().await;
    for _ in 0..3 {
        let package = |job_id| {
            let package = with(icon(job_id), "imageProvider", "imagen");
            with(package, "imageModel", "imagen-3.0-generate-002")
        };
        let (_, job) = studio.done(package).await;
        assert_eq!(job.error, None);
        let inspected = imaging::inspect(&studio.picture(&job)).unwrap();
        assert_eq!((inspected.width_px, inspected.height_px), (400, 225));
    }
    let told =
        "imagen-3.0-generate-002 has been shut down by Google; gemini-nano-banana-2.1 draws in its place";
    assert_eq!(studio.replica.times_said(told), 1);
    let log = studio.replica.log();
    for secret in [GEMINI_KEY, STABILITY_KEY, TOKEN, "paper boat"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_google_refuses_fails_for_good_and_says_so() {
    let studio = Studio::start().await;
    let (_, job) = studio
        .done(|job_id| with(logo(job_id), "prompt", "a forbidden thing"))
        .await;
    let error = job.error.unwrap();
    assert!(
        error.starts_with("gemini refused this prompt under its content policy"),
        "{error}"
    );
    assert_eq!(studio.paths().await.len(), 1, "asked once");
}
