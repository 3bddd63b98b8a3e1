//! Whoever reaches the port for operators takes neither its descriptors, its memory nor its answers from probes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::operator::Operator;
use crate::harness::replica::Replica;
use crate::harness::stack::Stack;

const CROWD: usize = 1_132;
/// Connections that a replica serves at once, and as many descriptors as it may open meanwhile for other reasons.
const MOST_DESCRIPTORS: usize = 64 + 40;
/// A probe's own patience, as the manifests set it.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

async fn connect(address: &str) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// What comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset has been closed as well.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

async fn is_alive_for_a_probe(operator: &Operator) {
    let (status, _) = tokio::time::timeout(PROBE_PATIENCE, operator.get("/healthz"))
        .await
        .expect("a probe is answered while others are silent");
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_headers_on_a_thousand_connections_do_not_kill_the_pod() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    let before = replica.descriptors();
    let mut crowd = Vec::with_capacity(CROWD);
    for _ in 0..CROWD {
        let mut stream = connect(operator.address()).await;
        let _ = stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-half: ")
            .await;
        crowd.push(stream);
    }
    for _ in 0..5 {
        is_alive_for_a_probe(&operator).await;
    }
    let open = replica.descriptors() - before;
    assert!(open <= MOST_DESCRIPTORS, "{open} descriptors");
    // Those that were let in are closed without ever having asked.
    for stream in &mut crowd {
        assert!(!rest(stream).await.contains("200"));
    }
    let jobs = stack.push_logos(1).await;
    stack.all_done_once(&jobs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_headers_are_refused_and_cost_no_memory() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    is_alive_for_a_probe(&operator).await;
    let before_kib = replica.peak_memory_kib();
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}",
        "a".repeat(300_000)
    );
    let mut crowd = Vec::new();
    for _ in 0..500 {
        let mut stream = connect(operator.address()).await;
        // The server may close it before all of it is written.
        let _ = stream.write_all(long.as_bytes()).await;
        crowd.push(stream);
    }
    is_alive_for_a_probe(&operator).await;
    let said = rest(crowd.last_mut().unwrap()).await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
    let more_kib = replica.peak_memory_kib() - before_kib;
    assert!(more_kib < 16 * 1024, "{more_kib} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_good_for_one_answer() {
    let stack = Stack::start().await;
    let replica: Replica = stack.replica(&[]).await;
    let operator = Operator::of(&replica).await;
    let mut stream = connect(operator.address()).await;
    let twice = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    stream.write_all(twice.as_bytes()).await.unwrap();
    let said = rest(&mut stream).await;
    assert_eq!(said.matches("HTTP/1.1 200 OK").count(), 1, "{said}");
    assert!(said.contains("connection: close"), "{said}");
}
