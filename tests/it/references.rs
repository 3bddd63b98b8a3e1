//! Pictures that are made from others: these are fetched and looked at before anything is spent, and each service gets them as it takes
//! them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::harness::hostile::noise;
use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::picture::{bomb, jpeg, photo, png};
use crate::harness::polled::Polled;
use crate::harness::replica::{Replica, measured};
use crate::harness::stack::{Stack, logo, with};

const KEY: &str = "key-of-all-4f1c9a7e2b";
/// Stands in the address of a picture, and nowhere else.
const SIGNATURE: &str = "hunter2-4f1c9a7e2b";
const PRIVATE_KEY: &str = include_str!("../../src/provider/services/imagen/auth/test_key.pem");
const STORED: &str = "ypGenAi/group/7/earlier.jpg";
const CALLS: &str = "SELECT count(*) FROM generative_ai.provider_calls";

fn fetched() -> Vec<u8> {
    png(&photo(31, 17))
}

fn stored() -> Vec<u8> {
    jpeg(&photo(40, 30))
}

/// Where pictures are that others have put there.
async fn files() -> MockServer {
    let server = MockServer::start().await;
    for (name, body) in [
        ("/a.png", fetched()),
        // Whatever they say that they are.
        (
            "/vector.png",
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>".to_vec(),
        ),
        ("/page.png", b"<!doctype html><title>Sign in</title>".to_vec()),
        ("/half.png", fetched()[..99].to_vec()),
        ("/bomb.png", bomb(9_000, 100)),
        ("/large.png", vec![0; 10_000_001]),
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "image/png");
        Mock::given(path(name)).respond_with(answer).mount(&server).await;
    }
    let to_metadata = ResponseTemplate::new(302).insert_header("location", "http://169.254.169.254/latest/");
    Mock::given(path("/elsewhere.png"))
        .respond_with(to_metadata)
        .mount(&server)
        .await;
    server
}

fn address(files: &MockServer, name: &str) -> String {
    format!("{}/{name}?sig={SIGNATURE}", files.uri())
}

/// Puts a picture where an earlier job may have stored it.
fn store(stack: &Stack) {
    let file = stack.pictures.path().join(STORED);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, stored()).unwrap();
}

/// Answers as each service does that takes pictures, told apart by what stands first in the path.
fn answer(request: &Request) -> ResponseTemplate {
    let place = request.url.path();
    let at = |place: &str| format!("http://{}{place}", request.headers["host"].to_str().unwrap());
    let json = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    let picture = BASE64_STANDARD.encode(png(&photo(64, 36)));
    let data = json!({"data": [{"b64_json": picture}]});
    match place {
        "/result.png" => ResponseTemplate::new(200).set_body_raw(png(&photo(64, 36)), "image/png"),
        "/token" => json(json!({"access_token": KEY, "expires_in": 3599, "token_type": "Bearer"})),
        "/openai/images/edits"
        | "/azure/openai/v1/images/edits"
        | "/openrouter/images"
        | "/xai/images/edits" => json(data),
        "/ark/images/generations" => json(data),
        "/bfl/flux-2-pro" => json(json!({"id": "order-1", "polling_url": at("/bfl/get_result?id=order-1")})),
        "/bfl/get_result" => {
            json(json!({"id": "order-1", "status": "Ready", "result": {"sample": at("/result.png")}}))
        }
        "/fal/fal-ai/nano-banana/edit" => json(json!({"request_id": "order-2"})),
        "/fal/fal-ai/nano-banana/requests/order-2/status" => json(json!({"status": "COMPLETED"})),
        "/fal/fal-ai/nano-banana/requests/order-2" => json(json!({"images": [{"url": at("/result.png")}]})),
        "/replicate/models/black-forest-labs/flux-2-pro/predictions" => {
            json(json!({"id": "order-3", "status": "succeeded", "output": at("/result.png")}))
        }
        _ if place.ends_with(":generateContent") => {
            let parts = json!([{"inlineData": {"mimeType": "image/png", "data": picture}}]);
            json(
                json!({"candidates": [{"finishReason": "STOP", "content": {"role": "model", "parts": parts}}]}),
            )
        }
        _ => ResponseTemplate::new(404),
    }
}

async fn services() -> MockServer {
    let services = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&services).await;
    services
}

/// A replica that reaches all of them.
async fn replica_of(stack: &Stack, services: &MockServer) -> Replica {
    let at = |name: &str| format!("{}/{name}", services.uri());
    let google = stack.path("google.json");
    let account = json!({"type": "service_account", "private_key": PRIVATE_KEY, "private_key_id": "key-1",
        "client_email": "worker@p.iam.gserviceaccount.com", "token_uri": at("token")});
    std::fs::write(&google, account.to_string()).unwrap();
    let mut variables = vec![
        ("IMAGE_PROVIDER", "openai".to_owned()),
        ("ALLOW_PRIVATE_RESULT_URLS", "true".to_owned()),
        ("OPENAI_BASE_URL", at("openai")),
        ("AZURE_OPENAI_API_BASE", at("azure")),
        ("AZURE_OPENAI_API_VERSION", "v1".to_owned()),
        ("AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME", "gpt-image-2".to_owned()),
        ("REPLICATE_BASE_URL", at("replicate")),
        ("FLUX_PRO_MODEL_NAME", "black-forest-labs/flux-2-pro".to_owned()),
        ("BFL_BASE_URL", at("bfl")),
        ("FAL_BASE_URL", at("fal")),
        ("GEMINI_BASE_URL", at("gemini")),
        ("GOOGLE_CLOUD_PROJECT_ID", "my-project".to_owned()),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            google.to_str().unwrap().to_owned(),
        ),
        ("VERTEX_BASE_URL", at("vertex")),
        ("OPENROUTER_BASE_URL", at("openrouter")),
        ("XAI_BASE_URL", at("xai")),
        ("ARK_BASE_URL", at("ark")),
    ];
    let keys = [
        "OPENAI_API_KEY",
        "AZURE_OPENAI_API_KEY",
        "REPLICATE_API_TOKEN",
        "BFL_API_KEY",
        "FAL_KEY",
        "GEMINI_API_KEY",
        "OPENROUTER_API_KEY",
        "XAI_API_KEY",
        "ARK_API_KEY",
    ];
    variables.extend(keys.map(|name| (name, KEY.to_owned())));
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    stack.replica(&variables).await
}

/// Whether a request holds a file, as it is or as base64.
fn holds(request: &Request, file: &[u8]) -> bool {
    let encoded = BASE64_STANDARD.encode(file);
    [file, encoded.as_bytes()]
        .iter()
        .any(|form| request.body.windows(form.len()).any(|window| window == *form))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_service_gets_the_pictures_that_a_package_names_and_their_addresses_stay_a_secret() {
    let stack = Stack::start().await;
    let (files, services) = (files().await, services().await);
    let replica = replica_of(&stack, &services).await;
    store(&stack);
    let references = json!([address(&files, "a.png"), STORED]);
    for (provider, model) in [
        ("openai", ""),
        ("azureOpenai", ""),
        ("gemini", ""),
        ("imagen", ""),
        ("bfl", ""),
        ("fal", "fal-ai/nano-banana"),
        ("flux", ""),
        ("openrouter", ""),
        ("xai", ""),
        ("seedream", ""),
    ] {
        let before = services.received_requests().await.unwrap().len();
        let job_id = stack.job().await;
        let package = with(with(logo(job_id), "imageProvider", provider), "imageModel", model);
        stack
            .push(&with(package, "referenceImages", references.clone()))
            .await;
        let job = stack.ended(job_id).await;
        assert_eq!((job.progress, job.error), (Some(100), None), "{provider}");
        let asked = services.received_requests().await.unwrap().split_off(before);
        let bought: Vec<&Request> = asked
            .iter()
            .filter(|asked| asked.method.as_str() == "POST" && asked.url.path() != "/token")
            .collect();
        assert_eq!(bought.len(), 1, "{provider}");
        assert!(
            holds(bought[0], &fetched()) && holds(bought[0], &stored()),
            "{provider}"
        );
        let query = "SELECT package FROM generative_ai.jobs WHERE job_id = $1";
        assert_eq!(
            stack.sql(query, &[&job_id]).await[0].get::<_, String>(0),
            "",
            "{provider}"
        );
    }
    stack.idle().await;
    assert_eq!(stack.count(CALLS).await, 10);
    for request in files.received_requests().await.unwrap() {
        assert!(request.headers.get("authorization").is_none());
    }
    let dump = "SELECT count(*) FROM generative_ai.jobs AS job, generative_ai.provider_calls AS call
        WHERE job::text LIKE '%hunter2%' OR call::text LIKE '%hunter2%'";
    assert_eq!(stack.count(dump).await, 0);
    let log = replica.log();
    assert!(
        !log.contains("hunter2") && !log.contains("paper boat"),
        "the log holds a secret"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_refused_before_anything_is_spent() {
    let stack = Stack::start().await;
    let (files, services) = (files().await, services().await);
    let replica = replica_of(&stack, &services).await;
    store(&stack);
    let from = |references: Value| with(json!({}), "referenceImages", references);
    let of = |name: &str| from(json!([address(&files, name)]));
    let nine = vec![address(&files, "a.png"); 9];
    let rows = [
        (
            of("gone.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is not there: its address answers 404; use one that \
            everybody can open",
        ),
        (
            of("vector.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is an SVG drawing; gpt-image-2 takes PNG, JPEG or WebP",
        ),
        (
            of("page.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is an HTML page; gpt-image-2 takes PNG, JPEG or WebP",
        ),
        (
            of("half.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is cut off: ",
        ),
        (
            of("bomb.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is 9000 × 100 pixels large; at most 8192 on each side",
        ),
        (
            of("large.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) has more than 10 MB; use a smaller one",
        ),
        (
            of("elsewhere.png"),
            "invalid_package",
            "Reference image 1 (127.0.0.1) is not fetched: its host has the address of a \
            cloud's metadata service, which is never asked",
        ),
        (
            from(json!([STORED, "ypGenAi/group/7/none.png"])),
            "invalid_package",
            "Reference image 2 (ypGenAi/group/7/none.png) is not \
            in the store of this service; use the key of a picture that is",
        ),
        (
            from(json!(["other/group/7/a.png"])),
            "invalid_package",
            "referenceImages: number 1 is something else; one of the https \
            URLs and keys",
        ),
        (
            from(json!(["ypGenAi/../a.png"])),
            "invalid_package",
            "referenceImages: number 1 is something else",
        ),
        (
            from(json!(vec![STORED; 17])),
            "invalid_package",
            "referenceImages: 17 were found; at most 16 are accepted",
        ),
        (
            with(from(json!(nine)), "imageProvider", "bfl"),
            "invalid_request",
            "Too many reference images for flux-2-pro: 9; use at \
            most 8",
        ),
        (
            with(of("a.png"), "imageProvider", "builtin"),
            "invalid_request",
            "Reference images are not supported for builtin's builtin; \
            leave them out",
        ),
        (
            with(of("a.png"), "moderation", "low"),
            "invalid_request",
            "Image moderation is not supported for openai's gpt-image-2 with \
            reference images; leave it out",
        ),
    ];
    for (fields, class, said) in rows {
        let job_id = stack.job().await;
        let mut package = logo(job_id);
        package
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        stack.push(&package).await;
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(error.starts_with(said), "{error}\nand not\n{said}");
        let query = "SELECT error_class FROM generative_ai.dead_packages WHERE job_id = $1";
        assert_eq!(
            stack.sql(query, &[&job_id]).await[0].get::<_, String>(0),
            class,
            "{said}"
        );
    }
    assert_eq!(stack.count(CALLS).await, 0);
    assert_eq!(services.received_requests().await.unwrap().len(), 0);
    assert!(!replica.log().contains("hunter2"), "the log holds a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_private_addresses() {
    let stack = Stack::start().await;
    let files = files().await;
    let openai = OpenAi::start(small_picture()).await;
    let _replica = stack.replica_of(&openai, &[]).await;
    let secure = files.uri().replace("http://", "https://");
    for (url, said) in [
        (
            format!("{secure}/a.png?sig={SIGNATURE}"),
            "Reference image 1 (127.0.0.1) is not fetched: its host has a loopback address; ALLOW_PRIVATE_RESULT_URLS=true allows that",
        ),
        (
            address(&files, "a.png"),
            "Reference image 1 (127.0.0.1) is not fetched: it begins with http, not https",
        ),
    ] {
        let job_id = stack.job().await;
        stack
            .push(&with(logo(job_id), "referenceImages", json!([url])))
            .await;
        assert_eq!(stack.ended(job_id).await.error.unwrap(), said);
    }
    assert_eq!(
        (
            openai.calls().len(),
            files.received_requests().await.unwrap().len()
        ),
        (0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_costs_the_job_an_attempt_and_the_provider_nothing() {
    let stack = Stack::start().await;
    let files = MockServer::start().await;
    let away = Mock::given(any())
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(3);
    away.mount(&files).await;
    let there = ResponseTemplate::new(200).set_body_bytes(fetched());
    Mock::given(any()).respond_with(there).mount(&files).await;
    let openai = OpenAi::start(small_picture()).await;
    let private = ("ALLOW_PRIVATE_RESULT_URLS", "true");
    let replica = stack.replica_of(&openai, &[private]).await;
    let job_id = stack.job().await;
    stack
        .push(&with(
            logo(job_id),
            "referenceImages",
            json!([address(&files, "a.png")]),
        ))
        .await;
    assert_eq!(stack.ended(job_id).await.error, None);
    assert_eq!(
        (
            openai.calls().len(),
            files.received_requests().await.unwrap().len()
        ),
        (1, 4)
    );
    let attempts = "SELECT attempts::int8 FROM generative_ai.jobs";
    assert_eq!((stack.count(attempts).await, stack.count(CALLS).await), (1, 1));
    let shut: bool =
        redis::AsyncCommands::exists(&mut stack.redis().await, "{generative-ai}:provider:openai")
            .await
            .unwrap();
    assert!(!shut, "the provider has done nothing wrong");
    assert!(!replica.log().contains("hunter2"), "the log holds a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_package_twice_buys_once_and_one_with_other_pictures_starts_a_failed_job_again() {
    let stack = Stack::start().await;
    let files = files().await;
    let refusal =
        json!({"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"});
    let openai = OpenAi::start(small_picture()).await;
    let private = ("ALLOW_PRIVATE_RESULT_URLS", "true");
    let _replica = stack.replica_of(&openai, &[private]).await;
    let job_id = stack.job().await;
    let package = with(logo(job_id), "referenceImages", json!([address(&files, "a.png")]));
    openai.then(Reply::Error(400, refusal, vec![]));
    stack.push(&package).await;
    assert!(stack.ended(job_id).await.error.is_some());
    stack.push(&package).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 1, "the same gets the same answer");
    let corrected = with(
        package,
        "referenceImages",
        json!([address(&files, "a.png"), address(&files, "a.png")]),
    );
    for _ in 0..2 {
        stack.push(&corrected).await;
    }
    stack
        .until("the job has its picture", async || {
            let job = stack.job_row(job_id).await;
            job.data.get("imageId").is_some().then_some(())
        })
        .await;
    stack.push(&corrected).await;
    stack.idle().await;
    assert_eq!(openai.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_order_is_followed_without_the_pictures_that_it_was_made_for() {
    let stack = Stack::start().await;
    let files = files().await;
    let polled = Polled::start().await;
    let private = ("ALLOW_PRIVATE_RESULT_URLS", "true");
    let mut victim = polled.replica(&stack, &[private]).await;
    let job_id = stack.job().await;
    let package = with(logo(job_id), "referenceImages", json!([address(&files, "a.png")]));
    stack.push(&with(package, "imageProvider", "bfl")).await;
    polled.looked_at().await;
    victim.kill();
    let fetched = files.received_requests().await.unwrap().len();
    let other = polled.replica(&stack, &[private]).await;
    other.said("asking again for a picture that is being made").await;
    polled.finish();
    stack.all_done_once(&[job_id]).await;
    assert_eq!((polled.orders(), stack.count(CALLS).await), (1, 1));
    let again = files.received_requests().await.unwrap().len();
    assert_eq!((fetched, again), (1, 1), "nothing is fetched again");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_pictures_of_many_jobs_are_in_memory_by_turns_and_no_longer_than_until_they_are_sent() {
    let stack = Stack::start().await;
    let files = MockServer::start().await;
    let large = noise(1_800, 1_600);
    assert!((8_000_000..10_000_000).contains(&large.len()), "{}", large.len());
    let there = ResponseTemplate::new(200).set_body_bytes(large);
    Mock::given(any()).respond_with(there).mount(&files).await;
    let openai = OpenAi::start(small_picture()).await;
    openai.close();
    let variables = [
        ("ALLOW_PRIVATE_RESULT_URLS", "true"),
        ("WORKER_CONCURRENCY", "10"),
    ];
    let replica = stack.replica_of(&openai, &variables).await;
    let jobs = stack.jobs(6).await;
    for job_id in &jobs {
        let references = json!([address(&files, "1.png"), address(&files, "2.png")]);
        stack
            .push(&with(logo(*job_id), "referenceImages", references))
            .await;
    }
    // None is answered before all are sent, so whoever waits for an answer holds nothing that others need.
    openai.called(6).await;
    openai.open();
    stack.all_done_once(&jobs).await;
    let peak = replica.peak_memory_kib();
    measured(&format!(
        "| two reference images of {} MB each, six jobs at once | | {} |",
        8,
        peak / 1024
    ));
    assert!(peak < 128 * 1024, "{peak} KiB");
}
