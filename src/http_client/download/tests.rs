//! Where result URLs may lead, and what is made of servers that misbehave. Only loopback names are ever reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;
use crate::http_client::install_tls;
use crate::http_client::tests::{in_minutes, until_closed};

const PICTURE: &[u8] = b"not looked at here";

fn downloads(allow_private: bool) -> Downloads {
    install_tls();
    Downloads::new(allow_private).unwrap().with_cap(1000)
}

/// Whether a URL may be asked, without asking it.
fn judge(downloads: &Downloads, url: &Url) -> Result<(), DownloadFault> {
    match downloads.client_for(url) {
        Ok(_) => Ok(()),
        Err(Trouble::Lasting(fault)) => Err(fault),
        Err(_) => panic!("{url} is refused for good, or not at all"),
    }
}

async fn fetch(url: &str) -> Result<Bytes, DownloadFault> {
    downloads(true).fetch(url, in_minutes(1)).await
}

/// A server that answers each connection's first request with the next of these, and the last of them for ever.
async fn scripted(answers: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    let count = answers.len() as u64;
    for (index, answer) in answers.into_iter().enumerate() {
        let is_last = index as u64 + 1 == count;
        let mock = Mock::given(any()).respond_with(answer);
        let mock = if is_last { mock } else { mock.up_to_n_times(1) };
        mock.mount(&server).await;
    }
    server
}

fn status(status: u16) -> ResponseTemplate {
    ResponseTemplate::new(status)
}

fn picture() -> ResponseTemplate {
    status(200).set_body_bytes(PICTURE)
}

async fn asked(server: &MockServer) -> usize {
    server.received_requests().await.unwrap().len()
}

#[tokio::test]
async fn a_picture_is_fetched_without_credentials() {
    let server = scripted(vec![picture()]).await;
    let bytes = fetch(&format!("{}/a.png?sig=1", server.uri())).await.unwrap();
    assert_eq!(&bytes[..], PICTURE);
    let requests = server.received_requests().await.unwrap();
    let names: Vec<&str> = requests[0].headers.keys().map(|name| name.as_str()).collect();
    for name in names {
        assert!(["host", "accept", "user-agent"].contains(&name), "{name}");
    }
}

#[tokio::test]
async fn a_data_uri_is_decoded_without_asking_anybody() {
    let bytes = downloads(false)
        .fetch("data:image/png;base64,aGVsbG8h", Instant::now())
        .await;
    assert_eq!(&bytes.unwrap()[..], b"hello!");
}

#[tokio::test]
async fn what_is_not_https_is_refused() {
    let server = scripted(vec![picture()]).await;
    let plain = server.uri().replace("127.0.0.1", "localhost");
    for url in [
        plain.as_str(),
        "http://example.invalid/a.png",
        "ftp://example.invalid/a.png",
        "file:///etc/passwd",
        "blob:https://example.invalid/1",
        "javascript:alert(1)",
        "https://me:secret@example.invalid/a.png",
        "/relative.png",
        "",
    ] {
        let fault = downloads(false).fetch(url, in_minutes(1)).await.unwrap_err();
        assert!(matches!(fault, DownloadFault::Refused(_)), "{url}: {fault}");
        assert!(!fault.to_string().contains("secret"), "{fault}");
        assert_eq!(fault.class(), ErrorClass::BadOutput);
    }
    assert_eq!(asked(&server).await, 0);
}

#[test]
fn addresses_in_urls_are_judged_in_every_way_of_writing() {
    let downloads = downloads(false);
    for host in [
        "127.0.0.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "10.1.2.3",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
    ] {
        let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
        let fault = judge(&downloads, &url).unwrap_err();
        assert!(fault.to_string().contains("its host has "), "{host}: {fault}");
    }
    for host in ["8.8.8.8", "[2606:4700::1111]", "example.invalid"] {
        let url = Url::parse(&format!("https://{host}/a.png")).unwrap();
        assert_eq!(judge(&downloads, &url), Ok(()), "{host}");
    }
}

#[tokio::test]
async fn where_private_addresses_are_allowed_metadata_services_are_not() {
    for host in [
        "169.254.169.254",
        "0xa9fea9fe",
        "2852039166",
        "169.254.170.2",
        "100.100.100.200",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
    ] {
        let url = format!("http://{host}/latest/meta-data/");
        let fault = fetch(&url).await.unwrap_err();
        assert!(
            matches!(&fault, DownloadFault::Refused(why) if why.ends_with("which is never asked")),
            "{host}: {fault}"
        );
    }
    let server = scripted(vec![
        status(302).insert_header("location", "http://169.254.169.254/x"),
    ])
    .await;
    let fault = fetch(&server.uri()).await.unwrap_err();
    assert!(fault.to_string().contains("never asked"), "{fault}");
    let allowed = Url::parse("http://10.0.0.1/a.png").unwrap();
    assert_eq!(judge(&downloads(true), &allowed), Ok(()));
}

#[tokio::test]
async fn a_name_of_this_machine_is_refused_before_it_is_reached() {
    let listener = TcpListener::bind(("localhost", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("https://localhost:{port}/a.png?sig=hidden");
    let begun = Instant::now();
    let fault = downloads(false).fetch(&url, in_minutes(1)).await.unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the picture's address is not fetched: its host has a name of this machine; ALLOW_PRIVATE_RESULT_URLS=true allows that"
    );
    assert!(begun.elapsed() < Duration::from_secs(10), "it is not tried again");
    let nobody = std::future::poll_fn(|context| listener.poll_accept(context).map(|_| ()));
    assert!(futures_util::poll!(std::pin::pin!(nobody)).is_pending());
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    for (hops, is_fetched) in [(3, true), (4, false)] {
        let server = MockServer::start().await;
        for hop in 0..hops {
            let target = format!("/{}", hop + 1);
            Mock::given(path(format!("/{hop}")))
                .respond_with(status(302).insert_header("location", target.as_str()))
                .mount(&server)
                .await;
        }
        Mock::given(path(format!("/{hops}")))
            .respond_with(picture())
            .mount(&server)
            .await;
        let fetched = fetch(&format!("{}/0", server.uri())).await;
        assert_eq!(fetched.is_ok(), is_fetched, "{fetched:?}");
    }
}

#[tokio::test]
async fn the_target_of_a_redirect_is_judged_like_the_url_itself() {
    // The client that allows private addresses allows them anywhere: what it refuses in a target is the scheme.
    for target in [
        "ftp://localhost/a",
        "file:///etc/passwd",
        "https://me:pw@localhost/a",
    ] {
        let server = scripted(vec![status(307).insert_header("location", target)]).await;
        let fault = fetch(&server.uri()).await.unwrap_err();
        assert!(matches!(fault, DownloadFault::Refused(_)), "{target}: {fault}");
        assert_eq!(asked(&server).await, 1);
    }
    let server = scripted(vec![status(302)]).await;
    assert_eq!(fetch(&server.uri()).await, Err(DownloadFault::Answered(302)));
}

#[tokio::test]
async fn failures_that_pass_are_tried_again() {
    for failure in [500, 502, 503, 504, 404, 408, 429] {
        let server = scripted(vec![status(failure), status(failure), picture()]).await;
        assert_eq!(&fetch(&server.uri()).await.unwrap()[..], PICTURE, "{failure}");
        assert_eq!(asked(&server).await, 3);
    }
}

#[tokio::test]
async fn a_status_that_lasts_ends_at_once() {
    for lasting in [204, 206, 304, 400, 401, 403, 410, 451] {
        let server = scripted(vec![status(lasting)]).await;
        let fault = fetch(&server.uri()).await.unwrap_err();
        assert_eq!(fault, DownloadFault::Answered(lasting));
        assert_eq!(fault.class(), ErrorClass::BadOutput);
        assert_eq!(asked(&server).await, 1);
    }
}

/// Serves one connection after the other, with time that only timers move.
async fn connections<F, R>(serve: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            serve(counted.fetch_add(1, Ordering::Relaxed), stream).await;
        }
    });
    (url, count)
}

#[tokio::test]
async fn a_cut_connection_is_tried_again() {
    let (url, count) = connections(|number, mut stream| async move {
        let head: &[u8] = match number {
            0 => return,
            1 => b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\nhalf",
            2 => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
            _ => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole",
        };
        let _ = stream.write_all(head).await;
    })
    .await;
    assert_eq!(&fetch(&url).await.unwrap()[..], b"whole");
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn what_does_not_pass_until_the_deadline_is_out_of_time() {
    let server = scripted(vec![status(503)]).await;
    let deadline = Instant::now() + Duration::from_millis(700);
    let fault = downloads(true).fetch(&server.uri(), deadline).await.unwrap_err();
    assert_eq!(fault, DownloadFault::OutOfTime("503".to_owned()));
    assert_eq!(fault.class(), ErrorClass::TimedOut);
    assert!(asked(&server).await > 1);
    let late = downloads(true).fetch(&server.uri(), Instant::now()).await;
    assert!(matches!(late, Err(DownloadFault::OutOfTime(_))), "{late:?}");
}

#[tokio::test]
async fn a_file_that_stays_missing_has_expired() {
    let server = scripted(vec![status(404)]).await;
    let downloads = Downloads {
        lag: Duration::from_millis(400),
        ..downloads(true)
    };
    let fault = downloads.fetch(&server.uri(), in_minutes(1)).await;
    assert_eq!(fault, Err(DownloadFault::Answered(404)));
    assert!(asked(&server).await > 1);
}

#[tokio::test]
async fn silence_is_not_awaited_for_long() {
    let (url, count) = connections(|number, mut stream| async move {
        if number == 0 {
            tokio::time::pause();
            until_closed(stream).await;
            tokio::time::resume();
        } else {
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await;
        }
    })
    .await;
    assert_eq!(&fetch(&url).await.unwrap()[..], b"ok");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_picture_at_the_cap_is_fetched_and_one_byte_more_is_not() {
    for (length, expected) in [(1000, None), (1001, Some(DownloadFault::TooLarge(1000)))] {
        let server = scripted(vec![status(200).set_body_bytes(vec![b'x'; length])]).await;
        assert_eq!(fetch(&server.uri()).await.err(), expected);
        assert_eq!(asked(&server).await, 1);
    }
}

#[tokio::test]
async fn an_endless_picture_is_cut_off_at_the_cap() {
    let (url, _) = connections(|_, mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    assert_eq!(fetch(&url).await, Err(DownloadFault::TooLarge(1000)));
}

/// A file as a reference image is fetched, by one that may hold little.
async fn file(downloads: &Downloads, url: &str, cap: usize) -> Result<Bytes, DownloadFault> {
    let mut hold = SharedHold::of(cap);
    downloads
        .fetch_file(&url.parse().unwrap(), cap, &mut hold, in_minutes(1))
        .await
}

#[tokio::test]
async fn a_file_that_is_not_there_is_not_waited_for_and_one_that_may_come_is_asked_for_three_times() {
    for (answers, expected, times) in [
        (vec![picture()], Ok(Bytes::from_static(PICTURE)), 1),
        (vec![status(503), picture()], Ok(Bytes::from_static(PICTURE)), 2),
        (
            vec![status(503)],
            Err(DownloadFault::OutOfTime("503".to_owned())),
            3,
        ),
        (vec![status(404)], Err(DownloadFault::Answered(404)), 1),
        (vec![status(410)], Err(DownloadFault::Answered(410)), 1),
    ] {
        let server = scripted(answers).await;
        assert_eq!(file(&downloads(true), &server.uri(), 1000).await, expected);
        assert_eq!(asked(&server).await, times);
    }
    let server = scripted(vec![picture()]).await;
    let fault = file(&downloads(true), &server.uri(), PICTURE.len() - 1).await;
    assert_eq!(fault, Err(DownloadFault::TooLarge(PICTURE.len() - 1)));
    let fault = file(&downloads(false), &server.uri(), 1000).await.unwrap_err();
    assert!(matches!(fault, DownloadFault::Refused(_)), "{fault}");
    assert_eq!(asked(&server).await, 1, "nobody is asked where nobody may be led");
}
