//! Deployments and servers of one's own: each name ends in a true picture, and what is free is not in the ledger.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::files_below;
use crate::harness::picture::{photo, png, with_png_chunk};
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, icon, logo, with};

const NAMES: [&str; 4] = ["azureOpenai", "openaiCompatible", "automatic1111", "comfyui"];
const PROMPT: &str = "heron-4471 over a frozen lake <lora:evil:1>";

/// A picture that nobody can fetch from here but a proxy.
const ELSEWHERE: &str = "http://pictures.invalid/a.png";

#[derive(Default)]
struct State {
    /// Method and path of each request, and its body.
    asked: Vec<(String, Value)>,
    /// Ids that ComfyUI has been given.
    queued: Vec<String>,
    is_open: bool,
}

/// All four services behind one address. Ends when dropped.
struct Services {
    port: u16,
    state: Arc<Mutex<State>>,
    accepting: JoinHandle<()>,
}

impl Services {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            is_open: true,
            ..State::default()
        }));
        let seen = state.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let seen = seen.clone();
                let service = service_fn(move |request| answer(request, seen.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            port,
            state,
            accepting,
        }
    }

    async fn replica(&self, stack: &Stack) -> Replica {
        self.replica_with(stack, &[]).await
    }

    async fn replica_with(&self, stack: &Stack, own: &[(&str, &str)]) -> Replica {
        let at = |path: &str| format!("http://127.0.0.1:{}/{path}", self.port);
        let variables = [
            ("AZURE_OPENAI_API_BASE", at("azure")),
            ("AZURE_OPENAI_API_KEY", "azure-key-5be1".to_owned()),
            ("AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME", "pictures".to_owned()),
            ("OPENAI_COMPATIBLE_BASE_URL", at("compatible/v1")),
            ("OPENAI_COMPATIBLE_MODEL", "sdxl".to_owned()),
            ("AUTOMATIC1111_BASE_URL", at("a1111")),
            ("AUTOMATIC1111_API_KEY", "worker:hunter2".to_owned()),
            ("COMFYUI_BASE_URL", at("comfyui")),
        ];
        let variables = variables.iter().map(|(name, value)| (*name, &**value));
        let variables: Vec<(&str, &str)> = variables.chain(own.iter().copied()).collect();
        stack.replica(&variables).await
    }

    fn asked(&self, line: &str) -> Vec<Value> {
        let state = self.state.lock().unwrap();
        let matching = state.asked.iter().filter(|(asked, _)| asked.starts_with(line));
        matching.map(|(_, body)| body.clone()).collect()
    }

    /// Whether ComfyUI and AUTOMATIC1111 finish what they have been given.
    fn set_open(&self, is_open: bool) {
        self.state.lock().unwrap().is_open = is_open;
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// As these servers write them: with the prompt beside the pixels.
fn told() -> Vec<u8> {
    with_png_chunk(
        &png(&photo(640, 480)),
        b"tEXt",
        b"parameters\0heron-4471 over a frozen lake",
    )
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let line = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let path = line.split(['?', ' ']).nth(1).unwrap();
    let is_open = {
        let mut state = state.lock().unwrap();
        state.asked.push((line.clone(), body.clone()));
        state.is_open
    };
    if path == "/a1111/sdapi/v1/txt2img" && !is_open {
        return std::future::pending().await;
    }
    let mut state = state.lock().unwrap();
    let entries = |ids: &[String]| ids.iter().map(|id| json!([1, id])).collect::<Value>();
    let answer = match path {
        "/azure/openai/v1/images/generations" => {
            json!({"created": 1, "data": [{"b64_json": BASE64_STANDARD.encode(told())}]})
        }
        "/compatible/v1/images/generations" if body["model"] == "elsewhere" => {
            json!({"data": [{"url": ELSEWHERE}]})
        }
        "/compatible/v1/images/generations" => json!({"data": [{"url": "/compatible/files/a.png"}]}),
        "/a1111/sdapi/v1/txt2img" => json!({"images": [BASE64_STANDARD.encode(told())], "info": "{}"}),
        "/a1111/sdapi/v1/progress" => {
            let mut all = state.asked.iter().rev();
            let drawn = all.find(|(line, _)| line.ends_with("/txt2img"));
            json!({"progress": 0.5, "current_task": drawn.map(|(_, body)| body["force_task_id"].clone())})
        }
        "/comfyui/prompt" => {
            let id = body["prompt_id"].as_str().unwrap().to_owned();
            state.queued.push(id.clone());
            json!({"prompt_id": id, "number": 1, "node_errors": {}})
        }
        "/comfyui/queue" => json!({"queue_running": entries(&state.queued), "queue_pending": []}),
        // The latter as proxies are asked.
        "/compatible/files/a.png" | "/comfyui/view" | ELSEWHERE => {
            return Ok(Response::new(Full::new(told().into())));
        }
        history => match history.strip_prefix("/comfyui/history/") {
            Some(id) if state.is_open && state.queued.iter().any(|queued| queued == id) => {
                let image = json!({"filename": "a.png", "subfolder": "", "type": "output"});
                json!({id: {"outputs": {"9": {"images": [image]}}, "status": {"status_str": "success", "completed": true}}})
            }
            _ => json!({}),
        },
    };
    Ok(Response::new(Full::new(answer.to_string().into())))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_ends_in_a_true_picture_that_does_not_tell_the_prompt() {
    let stack = Stack::start().await;
    let services = Services::start().await;
    let _replica = services.replica(&stack).await;
    for name in NAMES {
        for package in [logo, icon] {
            let job_id = stack.job().await;
            let package = with(with(package(job_id), "imageProvider", name), "prompt", PROMPT);
            stack.push(&package).await;
            let job = stack.ended(job_id).await;
            assert_eq!((job.progress, job.error), (Some(100), None), "{name}");
            let query = "SELECT object_keys, provider FROM generative_ai.jobs WHERE job_id = $1";
            let row = stack.sql(query, &[&job_id]).await.remove(0);
            let (keys, provider): (Vec<String>, String) = (row.get(0), row.get(1));
            assert_eq!(provider, name);
            let object = &files_below(stack.pictures.path())[&keys[0]];
            let picture = image::load_from_memory(object).unwrap();
            let is_icon = keys[0].ends_with("-icon.png");
            assert_eq!(picture.width(), if is_icon { 400 } else { 640 }, "{name}");
            assert!(!String::from_utf8_lossy(object).contains("heron"), "{name}");
            let calls = "SELECT count(*) FROM generative_ai.provider_calls WHERE job_id = $1";
            let calls: i64 = stack.sql(calls, &[&job_id]).await[0].get(0);
            let is_free = matches!(name, "automatic1111" | "comfyui");
            assert_eq!(
                calls,
                i64::from(!is_free),
                "{name}: what is free is not in the ledger"
            );
        }
    }
    assert_eq!(stack.count("SELECT count(*) FROM images").await, 8);
    let prompts = [
        services.asked("POST /azure")[0]["prompt"].clone(),
        services.asked("POST /compatible")[0]["prompt"].clone(),
        services.asked("POST /a1111/sdapi/v1/txt2img")[0]["prompt"].clone(),
        services.asked("POST /comfyui/prompt")[0]["prompt"]["6"]["inputs"]["text"].clone(),
    ];
    let prompts = prompts.map(|prompt| prompt.as_str().unwrap().to_owned());
    assert!(
        prompts[0].contains(PROMPT) && prompts[0].contains("Do not add text"),
        "{prompts:?}"
    );
    for prompt in &prompts[1..] {
        assert_eq!(prompt.trim(), "heron-4471 over a frozen lake");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_while_comfyui_draws_does_not_have_it_drawn_twice() {
    let stack = Stack::start().await;
    let services = Services::start().await;
    services.set_open(false);
    let mut first = services.replica(&stack).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageProvider", "comfyui")).await;
    stack
        .until("the workflow is queued", async || {
            (!services.asked("POST /comfyui/prompt").is_empty()).then_some(())
        })
        .await;
    first.kill();
    let _second = services.replica(&stack).await;
    let looks = services.asked("GET /comfyui/history").len();
    stack
        .until("the second replica asks for it", async || {
            (services.asked("GET /comfyui/history").len() > looks).then_some(())
        })
        .await;
    services.set_open(true);
    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
    assert_eq!(services.asked("POST /comfyui/prompt").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_deadline_of_an_attempt_the_server_is_told_to_stop() {
    let stack = Stack::start().await;
    let services = Services::start().await;
    services.set_open(false);
    let variables = [("JOB_TIMEOUT", "2s"), ("MAX_ATTEMPTS", "1")];
    let _replica = services.replica_with(&stack, &variables).await;
    let job_id = stack.job().await;
    stack
        .push(&with(logo(job_id), "imageProvider", "automatic1111"))
        .await;
    let error = stack.ended(job_id).await.error.unwrap();
    assert!(error.contains("did not answer in time"), "{error}");
    let stopped = || services.asked("POST /a1111/sdapi/v1/interrupt").len();
    stack
        .until("the server is told", async || (stopped() > 0).then_some(()))
        .await;
    stack.idle().await;
    assert_eq!(
        (stopped(), services.asked("POST /a1111/sdapi/v1/txt2img").len()),
        (1, 1)
    );
    let calls = "SELECT count(*) FROM generative_ai.provider_calls";
    assert_eq!(stack.count(calls).await, 0, "what is free is not in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comfyui_draws_longer_than_an_attempt_lasts_is_used_by_the_next() {
    let stack = Stack::start().await;
    let services = Services::start().await;
    services.set_open(false);
    let variables = [("JOB_TIMEOUT", "1s"), ("RETRY_BASE_DELAY", "100ms")];
    let _replica = services.replica_with(&stack, &variables).await;
    let job_id = stack.job().await;
    stack.push(&with(logo(job_id), "imageProvider", "comfyui")).await;
    // More often than one attempt asks in a second.
    stack
        .until("the next attempt asks for it", async || {
            (services.asked("GET /comfyui/history").len() > 8).then_some(())
        })
        .await;
    services.set_open(true);
    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
    assert_eq!(services.asked("POST /comfyui/prompt").len(), 1);
    assert_eq!(services.asked("POST /comfyui/interrupt").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_its_settings_says_which_variable_is_missing() {
    let stack = Stack::start().await;
    let _replica = stack.replica(&[]).await;
    for (name, variable) in NAMES.into_iter().zip([
        "AZURE_OPENAI_API_DALLE_DEPLOYMENT_NAME",
        "OPENAI_COMPATIBLE_BASE_URL",
        "AUTOMATIC1111_BASE_URL",
        "COMFYUI_BASE_URL",
    ]) {
        let job_id = stack.job().await;
        let package = with(
            with(logo(job_id), "imageProvider", name),
            "imageModel",
            match name {
                "azureOpenai" => "",
                _ => "any",
            },
        );
        stack.push(&package).await;
        let error = stack.ended(job_id).await.error.unwrap();
        assert!(error.contains(variable), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_is_used_for_pictures_as_for_services() {
    let stack = Stack::start().await;
    let services = Services::start().await;
    let proxy = format!("http://127.0.0.1:{}", services.port);
    let own = [
        ("http_proxy", proxy.as_str()),
        ("ALLOW_PRIVATE_RESULT_URLS", "true"),
        ("OPENAI_COMPATIBLE_MODEL", "elsewhere"),
    ];
    let _replica = services.replica_with(&stack, &own).await;
    let job_id = stack.job().await;
    stack
        .push(&with(logo(job_id), "imageProvider", "openaiCompatible"))
        .await;
    let job = stack.ended(job_id).await;
    assert_eq!((job.progress, job.error), (Some(100), None));
    assert_eq!(services.asked("POST /compatible").len(), 1);
    assert_eq!(services.asked(&format!("GET {ELSEWHERE}")).len(), 1);
}
