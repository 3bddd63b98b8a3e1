//! What is asked beside the drawing: how far it is, and to stop it.

use std::sync::Mutex as StdMutex;

use super::*;

#[derive(Default)]
struct Seen(StdMutex<Vec<f32>>);

#[async_trait]
impl Watch for Seen {
    async fn accepted(&self, _: &str) {}
    fn progress(&self, fraction: f32) {
        self.0.lock().unwrap().push(fraction);
    }
}

#[tokio::test]
async fn progress_is_passed_on_where_it_is_ours_and_its_errors_are_not() {
    let ours = Uuid::nil().to_string();
    let looks = StdMutex::new(vec![
        Reply::json(200, &json!({"progress": 0.75, "current_task": ours})),
        Reply::json(200, &json!({"progress": 0.9, "current_task": "another"})),
        Reply::of(500, "text/html", "<html>"),
        Reply::HangUp,
        Reply::json(200, &json!({"progress": 0.5})),
    ]);
    let (done, drawn) = (Arc::new(tokio::sync::Notify::new()), Seen::default());
    // Drawn by a server that answers when all looks are used up.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let told = done.clone();
    let progress = Fake::start(move |_| {
        let mut looks = looks.lock().unwrap();
        // The last answer has been heard by the time of the next question.
        looks.pop().unwrap_or_else(|| {
            told.notify_one();
            Reply::HangUp
        })
    })
    .await;
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let target = progress.url.clone();
    // A gate in front of both: the drawing waits, everything else goes to the fake.
    let gate = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (done, target) = (done.clone(), target.clone());
            tokio::spawn(async move {
                let mut first = [0; 5];
                stream.peek(&mut first).await.unwrap();
                if first.starts_with(b"POST") {
                    done.notified().await;
                    let body = good().to_string();
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    use tokio::io::{AsyncReadExt, AsyncWriteExt};
                    let mut request = vec![0; 4096];
                    let _ = stream.read(&mut request).await.unwrap();
                    stream.write_all((head + &body).as_bytes()).await.unwrap();
                    let _ = stream.read(&mut request).await;
                } else {
                    let to = (target.host_str().unwrap().to_owned(), target.port().unwrap());
                    let mut behind = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                }
            });
        }
    });
    let prompt = Prompt::new("a boat".into());
    let spec = spec();
    let call = Call {
        is_brief: false,
        may_be_forgotten: true,
        watch: &drawn,
        ..Call::unwatched(&prompt, &spec, in_minutes(5))
    };
    let provider = Automatic1111 {
        pace: Duration::from_millis(50),
        ..provider(&url)
    };
    provider.draw(&call).await.unwrap();
    assert_eq!(*drawn.0.lock().unwrap(), [0.5, 0.75]);
    gate.abort();
}

/// Waits until the fake has been asked for this.
async fn asked_for(fake: &Fake, path: &str) -> usize {
    for _ in 0..200 {
        if let Some(at) = fake.asked().iter().position(|asked| asked.path.starts_with(path)) {
            return at;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} was never asked for: {:?}", fake.asked());
}

#[tokio::test]
async fn at_the_deadline_the_server_is_told_to_stop_what_it_draws_for_us() {
    for (current, stops) in [
        (Some(Uuid::nil().to_string()), true),
        (Some("another".into()), false),
        (None, true),
    ] {
        let progress = json!({"progress": 0.5, "current_task": current});
        let fake = Fake::start(move |_| Reply::json(200, &progress)).await;
        let provider = provider(&fake.url);
        provider.cancel(&Uuid::nil().to_string()).await;
        let interrupts = fake
            .asked()
            .iter()
            .filter(|asked| asked.path == "/sdapi/v1/interrupt")
            .count();
        assert_eq!(interrupts, usize::from(stops));
    }

    // One that never answers: the deadline is kept, and then it is told.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let aside = Fake::start(|_| Reply::json(200, &json!({"progress": 0.5}))).await;
    let target = (
        aside.url.host_str().unwrap().to_owned(),
        aside.url.port().unwrap(),
    );
    let gate = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 24];
            stream.peek(&mut first).await.unwrap();
            if first.starts_with(b"POST /sdapi/v1/txt2img") {
                held.push(stream);
            } else {
                let mut behind = tokio::net::TcpStream::connect(target.clone()).await.unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut behind).await;
                });
            }
        }
    });
    let (prompt, spec) = (Prompt::new("a boat".into()), spec());
    let call = Call::unwatched(&prompt, &spec, Instant::now() + Duration::from_millis(300));
    let begun = Instant::now();
    let error = provider(&url)
        .draw(&call)
        .await
        .map_err(suite::ended)
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::TimedOut, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(1));
    asked_for(&aside, "/sdapi/v1/interrupt").await;
    gate.abort();
}
