//! A job goes on with the trace of its package: what it does is told to a collector where there is one, and whoever is called for it is told
//! which trace it is. Nothing of that holds a job up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::collector::{Collector, Span};
use crate::harness::openai::{KEY, OpenAi, small_picture};
use crate::harness::receiver::Receiver;
use crate::harness::replica::Replica;
use crate::harness::stack::{Stack, logo, with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PRODUCER: &str = "00f067aa0ba902b7";
/// OTLP's numbers of kinds of spans.
const CLIENT: i32 = 3;
const CONSUMER: i32 = 5;

fn traced(package: Value) -> Value {
    with(package, "traceparent", format!("00-{TRACE}-{PRODUCER}-01"))
}

async fn replica(stack: &Stack, openai: &OpenAi, receiver: &Receiver, more: &[(&str, &str)]) -> Replica {
    let (openai, receiver) = (openai.variables(), receiver.variables());
    let own = openai.iter().chain(&receiver);
    let mut variables: Vec<(&str, &str)> = own.map(|(name, value)| (&**name, &**value)).collect();
    variables.extend(more);
    stack.replica(&variables).await
}

/// The trace that lines about a job name, each of which has to.
fn trace_in_log(replica: &Replica, job_id: i32) -> Option<String> {
    let lines = replica.log();
    let of_job: Vec<Value> = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["span"]["job.id"] == job_id)
        .collect();
    let done = format!("job {job_id} is done");
    let is_done = |line: &Value| line["message"].as_str().unwrap().starts_with(&done);
    assert!(of_job.iter().any(is_done), "{lines}");
    let ids: Vec<Option<&str>> = of_job
        .iter()
        .map(|line| line["span"]["trace_id"].as_str())
        .collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{lines}");
    ids[0].map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_does_is_part_of_the_trace_of_its_package() {
    let stack = Stack::start().await;
    let (collector, receiver) = (Collector::start().await, Receiver::start().await);
    let openai = OpenAi::start(small_picture()).await;
    let url = collector.url();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*url),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=heron%204471"),
    ];
    let mut replica = replica(&stack, &openai, &receiver, &variables).await;
    let jobs = stack.jobs(2).await;
    let package = with(traced(logo(jobs[0])), "callbackUrl", receiver.url("/done"));
    stack.push(&package).await;
    let post = receiver.told(&stack, "/done", 1).await.remove(0);
    stack.push(&with(logo(jobs[1]), "imageSize", "1x1")).await;
    stack.ended(jobs[1]).await;
    stack.idle().await;
    stack.outbox_has("state = 'delivered'", 1).await;
    // The last ones are sent before it ends.
    replica.terminate();
    assert!(replica.exit().await.success());

    let spans = collector.spans().await;
    let of_job: Vec<&Span> = spans.iter().filter(|span| span.trace_id == TRACE).collect();
    let named: BTreeMap<&str, &Span> = of_job.iter().map(|span| (&*span.name, *span)).collect();
    let names: Vec<&str> = named.keys().copied().collect();
    let expected = [
        "POST callback",
        "begin",
        "draw",
        "generate_content gpt-image-2",
        "prepare",
        "process generative-ai",
        "record",
        "settle",
        "store",
    ];
    assert_eq!(names, expected);
    assert_eq!(of_job.len(), expected.len(), "each once");
    let process = named["process generative-ai"];
    assert_eq!(
        (&*process.parent, process.kind, process.status),
        (PRODUCER, CONSUMER, 0)
    );
    assert_eq!(process.attribute("job.id"), Some(&*jobs[0].to_string()));
    assert_eq!(process.attribute("work.type"), Some("collection-image"));
    for name in [
        "POST callback",
        "begin",
        "draw",
        "prepare",
        "record",
        "settle",
        "store",
    ] {
        assert_eq!(named[name].parent, process.id, "{name}");
    }
    let call = named["generate_content gpt-image-2"];
    assert_eq!((&call.parent, call.kind), (&named["draw"].id, CLIENT));
    assert_eq!(call.attribute("gen_ai.provider.name"), Some("openai"));
    let told = |span: &Span| Some(format!("00-{TRACE}-{}-01", span.id));
    assert_eq!(openai.calls()[0].traceparent, told(call));
    let callback = named["POST callback"];
    assert_eq!(
        post.headers["traceparent"].to_str().unwrap(),
        told(callback).unwrap()
    );
    assert_eq!(trace_in_log(&replica, jobs[0]).as_deref(), Some(TRACE));

    // A package without one begins a trace of its own.
    let refused = spans
        .iter()
        .find(|span| span.attribute("job.id") == Some(&*jobs[1].to_string()));
    let refused = refused.unwrap();
    assert!(refused.parent.is_empty() && refused.trace_id != TRACE);
    assert_eq!(
        (refused.status, refused.attribute("error.type")),
        (2, Some("invalid_request"))
    );

    let requests = collector.requests().await;
    for request in &requests {
        assert_eq!(request.headers["api-key"], "heron 4471");
        let holds = |text: &str| {
            request
                .body
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        };
        assert!(
            !holds("paper boat") && !holds(KEY) && !holds("/done"),
            "no prompt, no key, no URL"
        );
    }
    assert!(!replica.log().contains("heron 4471"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_trace_of_a_package_is_passed_on_as_it_came() {
    let stack = Stack::start().await;
    let receiver = Receiver::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let mut victim = replica(&stack, &openai, &receiver, &[("FAULT_POINT", "recorded:1")]).await;
    let jobs = stack.jobs(3).await;
    let first = traced(logo(jobs[0]));
    stack
        .push(&with(first.clone(), "callbackUrl", receiver.url("/traced")))
        .await;
    victim.exit().await;
    // Another one tells of the end.
    let replica = replica(&stack, &openai, &receiver, &[]).await;
    let post = receiver.told(&stack, "/traced", 1).await.remove(0);
    assert_eq!(
        post.headers["traceparent"].to_str().unwrap(),
        first["traceparent"]
    );
    stack
        .push(&with(logo(jobs[1]), "callbackUrl", receiver.url("/plain")))
        .await;
    let post = receiver.told(&stack, "/plain", 1).await.remove(0);
    assert!(!post.headers.contains_key("traceparent"));
    stack.push(&traced(logo(jobs[2]))).await;
    stack.ended(jobs[2]).await;
    stack.idle().await;
    let told: Vec<Option<String>> = openai.calls().into_iter().map(|call| call.traceparent).collect();
    let known = first["traceparent"].as_str().map(str::to_owned);
    assert_eq!(told, [known.clone(), None, known]);
    assert_eq!(trace_in_log(&replica, jobs[1]), None);
    assert_eq!(trace_in_log(&replica, jobs[2]).as_deref(), Some(TRACE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_or_silent_holds_up_no_job_and_no_stop() {
    let stack = Stack::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let urls = [&silent, &down].map(|listener| format!("http://{}", listener.local_addr().unwrap()));
    drop(down);
    for url in &urls {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
            // Spans by the hundred, and room for few.
            ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "300000"),
            ("IMAGE_PROVIDER", "blank"),
        ];
        let mut replica = stack.replica(&variables).await;
        let jobs = stack.push_logos(100).await;
        stack.each_done_once(&jobs).await;
        stack.idle().await;
        if *url == urls[1] {
            replica.said("takes no spans").await;
            assert_eq!(replica.times_said("takes no spans"), 1, "once for each outage");
        }
        replica.terminate();
        assert!(replica.exit().await.success());
    }
}

/// A collector that closes each connection after an answer, without a word, as many do with those that are idle.
async fn closing_collector() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            loop {
                let text = String::from_utf8_lossy(&request).to_lowercase();
                let head = text.find("\r\n\r\n");
                let length = text
                    .split_once("content-length: ")
                    .and_then(|(_, rest)| rest.split_once("\r\n")?.0.parse::<usize>().ok());
                if let (Some(head), Some(length)) = (head, length)
                    && request.len() >= head + 4 + length
                {
                    break;
                }
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            if !request.is_empty() {
                count.fetch_add(1, Ordering::Relaxed);
                let answer =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        }
    });
    (url, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_closes_connections_between_batches_gets_each_batch() {
    let stack = Stack::start().await;
    let (url, taken) = closing_collector().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("IMAGE_PROVIDER", "blank"),
    ];
    let replica = stack.replica(&variables).await;
    for batch in 1..=4 {
        let jobs = stack.push_logos(1).await;
        stack.each_done_once(&jobs).await;
        stack
            .until("its spans are taken", async || {
                (taken.load(Ordering::Relaxed) >= batch).then_some(())
            })
            .await;
    }
    assert_eq!(replica.times_said("takes no spans"), 0, "{}", replica.log());
}
