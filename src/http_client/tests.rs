//! Servers that misbehave below HTTP, and what the client makes of them.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::failure::ErrorClass;

/// Serves one connection on loopback: `serve` gets it once a whole request with a body has been read.
pub(crate) async fn one_connection<F, R>(serve: F) -> (Url, JoinHandle<R::Output>)
where
    F: FnOnce(TcpStream) -> R + Send + 'static,
    R: Future + Send,
    R::Output: Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = base_of(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        serve(stream).await
    });
    (url, server)
}

pub(crate) fn base_of(address: SocketAddr) -> Url {
    Url::parse(&format!("http://{address}/v1")).unwrap()
}

/// Reads until as much body has come as Content-Length says.
async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length: usize = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next())
                .map_or(0, |number| number.parse().unwrap());
            if body.len() >= length {
                return;
            }
        }
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the client closed before its request was whole");
        request.extend_from_slice(&buffer[..read]);
    }
}

/// Keeps the connection open until the client closes it.
pub(crate) async fn until_closed(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

pub(crate) fn in_minutes(minutes: u64) -> Instant {
    Instant::now() + Duration::from_secs(60 * minutes)
}

async fn post(base: &Url, deadline: Instant) -> Result<Answer, HttpFault> {
    install_tls();
    let client = HttpClient::new(base).unwrap().with_body_cap(1000);
    client
        .send(
            Outgoing::post_json("images", &serde_json::json!({"a": 1})),
            deadline,
        )
        .await
}

#[tokio::test]
async fn a_service_that_is_not_there_is_a_network_fault() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = base_of(listener.local_addr().unwrap());
    drop(listener);
    let fault = post(&base, in_minutes(1)).await.unwrap_err();
    assert_eq!(fault.class(), ErrorClass::Network, "{fault}");
    assert!(!fault.to_string().contains("/v1"), "{fault}");
}

#[tokio::test]
async fn a_failed_tls_handshake_is_a_network_fault() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut base = base_of(listener.local_addr().unwrap());
    base.set_scheme("https").unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"this is not TLS at all\r\n").await.unwrap();
        until_closed(stream).await;
    });
    let fault = post(&base, in_minutes(1)).await.unwrap_err();
    assert_eq!(fault.class(), ErrorClass::Network, "{fault}");
    server.await.unwrap();
}

#[tokio::test]
async fn a_connection_closed_after_the_request_is_ambiguous() {
    let (base, server) = one_connection(|stream| async move { drop(stream) }).await;
    let fault = post(&base, in_minutes(1)).await.unwrap_err();
    assert_eq!(fault.class(), ErrorClass::Ambiguous, "{fault}");
    server.await.unwrap();
}

#[tokio::test]
async fn silence_until_the_deadline_is_ambiguous() {
    let (base, server) = one_connection(|stream| async move {
        tokio::time::pause();
        until_closed(stream).await;
    })
    .await;
    let fault = post(&base, in_minutes(5)).await.unwrap_err();
    assert_eq!(fault, HttpFault::NoAnswer("no answer before the deadline".into()));
    assert_eq!(fault.class(), ErrorClass::Ambiguous);
    server.await.unwrap();
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = base_of(listener.local_addr().unwrap());
    let fault = post(&base, Instant::now()).await.unwrap_err();
    assert_eq!(fault.class(), ErrorClass::TimedOut);
    let nobody = std::future::poll_fn(|context| listener.poll_accept(context).map(|_| ()));
    assert!(futures_util::poll!(std::pin::pin!(nobody)).is_pending());
}

#[tokio::test]
async fn a_dripping_body_ends_at_the_deadline() {
    let (base, server) = one_connection(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n")
            .await
            .unwrap();
        tokio::time::pause();
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    let answer = post(&base, in_minutes(1)).await.unwrap();
    assert_eq!(
        answer.end,
        BodyEnd::Cut("not complete before the deadline".into())
    );
    server.await.unwrap();
}

#[tokio::test]
async fn the_explanation_of_an_error_is_not_awaited_for_long() {
    let (base, server) = one_connection(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 503 x\r\ncontent-length: 900\r\n\r\nsorry")
            .await
            .unwrap();
        tokio::time::pause();
        until_closed(stream).await;
    })
    .await;
    let begun = Instant::now();
    let answer = post(&base, in_minutes(60)).await.unwrap();
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, &b"sorry"[..]));
    assert!(begun.elapsed() < Duration::from_secs(60));
    server.await.unwrap();
}

#[tokio::test]
async fn a_body_at_the_limit_is_whole_and_one_byte_more_is_too_large() {
    for (length, end) in [(1000, BodyEnd::Whole), (1001, BodyEnd::TooLarge(1000))] {
        let (base, server) = one_connection(move |mut stream| async move {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            // The client may have hung up by now.
            let _ = stream.write_all(&vec![b'x'; length]).await;
        })
        .await;
        let answer = post(&base, in_minutes(1)).await.unwrap();
        assert_eq!(answer.end, end);
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_shortened_body_is_cut() {
    let (base, server) = one_connection(|mut stream| async move {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nhalf")
            .await
            .unwrap();
    })
    .await;
    let answer = post(&base, in_minutes(1)).await.unwrap();
    assert!(matches!(answer.end, BodyEnd::Cut(_)), "{:?}", answer.end);
    server.await.unwrap();
}

#[tokio::test]
async fn a_redirect_is_named_and_not_followed() {
    let (base, server) = one_connection(|mut stream| async move {
        stream
            .write_all(
                b"HTTP/1.1 307 x\r\nlocation: https://me:pw@other.invalid/p?sig=1#f\r\ncontent-length: 0\r\n\r\n",
            )
            .await
            .unwrap();
    })
    .await;
    let fault = post(&base, in_minutes(1)).await.unwrap_err();
    assert!(
        fault
            .to_string()
            .contains("307 with a redirect to https://other.invalid/p,"),
        "{fault}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_request_to_another_origin_is_not_sent() {
    install_tls();
    let client = HttpClient::new(&Url::parse("http://127.0.0.1:9/v1").unwrap()).unwrap();
    let request = reqwest::Request::new(Method::GET, Url::parse("http://127.0.0.1:10/v1").unwrap());
    let fault = client.exchange(request, in_minutes(1)).await.unwrap_err();
    assert!(
        matches!(&fault, HttpFault::NotSent(why) if why.contains("configured")),
        "{fault}"
    );
}

#[test]
fn paths_go_below_the_base_with_or_without_its_slash() {
    install_tls();
    for base in ["http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1/"] {
        let client = HttpClient::new(&Url::parse(base).unwrap()).unwrap();
        assert_eq!(
            client.url("images/generations").as_str(),
            "http://127.0.0.1:9/v1/images/generations"
        );
    }
}

#[test]
fn a_base_url_with_more_than_an_address_is_refused_without_repeating_it() {
    install_tls();
    for base in [
        "ftp://x.invalid/",
        "https://me:pw@x.invalid/",
        "https://x.invalid/?key=pw",
        "https://x.invalid/#pw",
    ] {
        let error = HttpClient::new(&Url::parse(base).unwrap()).unwrap_err();
        assert!(!format!("{error:#}").contains("pw"), "{error:#}");
    }
}

#[test]
fn no_proxy_is_asked_for_what_only_this_machine_reaches() {
    for (url, is_near) in [
        ("http://127.0.0.1:9/", true),
        ("http://localhost/", true),
        ("http://[::1]/", true),
        ("http://metadata.google.internal/", true),
        ("http://169.254.169.254/", true),
        ("https://api.openai.com/", false),
        ("https://metadata.google.internal.example.org/", false),
    ] {
        assert_eq!(is_loopback(&Url::parse(url).unwrap()), is_near, "{url}");
    }
}
