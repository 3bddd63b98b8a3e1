//! Answers that are no answers: silence, fragments, floods, pages of a proxy, redirects.

use tokio::io::AsyncWriteExt;

use super::*;
use crate::http_client::tests::{one_connection, until_closed};

#[tokio::test]
async fn answers_that_are_not_json_are_judged_by_their_status() {
    let html = "<html><head><title>502 Bad Gateway</title></head><body>x</body></html>";
    for (status, body, class, said) in [
        (502, html, ErrorClass::Overloaded, "an HTML page titled"),
        (200, html, ErrorClass::BadOutput, "a page of HTML"),
        (503, "", ErrorClass::Overloaded, "without an explanation"),
        (200, "", ErrorClass::BadOutput, "the answer is empty"),
        (429, "slow down", ErrorClass::RateLimited, "\"slow down\""),
        (
            200,
            "Service started",
            ErrorClass::BadOutput,
            "not the JSON that was expected",
        ),
        (204, "", ErrorClass::BadOutput, "the answer is empty"),
    ] {
        let error = error_of(ResponseTemplate::new(status).set_body_string(body)).await;
        assert_eq!(error.class, class, "{error}");
        assert!(error.details.contains(said), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_key() {
    let other = MockServer::start().await;
    Mock::given(wiremock::matchers::any())
        .respond_with(ResponseTemplate::new(200).set_body_json(picture()))
        .expect(0)
        .mount(&other)
        .await;
    let target = format!("{}/elsewhere?sig=hidden", other.uri());
    for status in [301, 302, 307, 308] {
        let answer = ResponseTemplate::new(status).insert_header("location", target.as_str());
        let error = error_of(answer).await;
        assert_eq!(error.class, ErrorClass::Network);
        assert!(
            error.details.contains(&format!("{}/elsewhere,", other.uri())),
            "{error}"
        );
    }
    other.verify().await;
}

#[tokio::test]
async fn silence_until_the_deadline_is_ambiguous() {
    let (base, server) = one_connection(|stream| async move {
        tokio::time::pause();
        until_closed(stream).await;
    })
    .await;
    let error = provider(base)
        .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Ambiguous);
    assert_eq!(
        error.details,
        "POST /v1/images/generations: no answer before the deadline"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_picture_that_breaks_off_is_ambiguous() {
    let body = picture().to_string();
    for length_header in [
        format!("content-length: {}\r\n", body.len()),
        "connection: close\r\n".into(),
    ] {
        let half = body[..body.len() / 2].to_owned();
        let (base, server) = one_connection(move |mut stream| async move {
            let head = format!("HTTP/1.1 200 OK\r\nx-request-id: req_9\r\n{length_header}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(half.as_bytes()).await.unwrap();
        })
        .await;
        let error = provider(base)
            .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
            .await
            .map_err(suite::ended)
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Ambiguous, "{error}");
        assert_eq!(error.request_id.as_deref(), Some("req_9"));
        assert!(error.details.contains("broke off"), "{error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_at_the_cap() {
    const MIB: usize = 1024 * 1024;
    let (base, server) = one_connection(|mut stream| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n{\"data\":[{\"b64_json\":\"";
        stream.write_all(head).await.unwrap();
        let block = vec![b'A'; MIB];
        let mut sent = 0;
        while sent < 200 && stream.write_all(&block).await.is_ok() {
            sent += 1;
        }
        sent
    })
    .await;
    let error = provider(base)
        .draw(&Call::unwatched(&prompt(), &spec(), in_minutes(5)))
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::BadOutput, "{error}");
    assert!(error.details.contains("more than 47185920 bytes"), "{error}");
    // What is above the cap fits into the buffers of the two sockets.
    let sent_mib = server.await.unwrap();
    assert!(sent_mib < 100, "{sent_mib} MiB were taken");
}
