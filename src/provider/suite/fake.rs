//! A service on loopback that answers by script, below HTTP where a case needs it, and keeps what it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

const MIB: usize = 1024 * 1024;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Scheme, host and port of this fake, for answers that hold addresses.
    pub(crate) origin: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as JSON, `Null` where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One answer, or what comes in place of one.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Whole(Whole),
    /// The connection is closed without a byte.
    HangUp,
    /// Nothing comes, and the clock of the test is paused, so that it runs to the next deadline at once.
    Silence,
    /// Half of this, then as [`Reply::Silence`].
    Stalled(Whole),
    /// Half of this, then the end of the connection. `false`: without a Content-Length that would tell.
    CutOff(Whole, bool),
    /// Status 200 and up to 200 MiB that never make an answer.
    Flood,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string())
    }

    pub(crate) fn of(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self::Whole(Whole {
            status,
            headers: vec![("content-type".to_owned(), content_type.to_owned())],
            body: body.into(),
        })
    }

    /// The same with another header, where it is a whole answer.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        if let Self::Whole(whole) = &mut self {
            whole.headers.retain(|(known, _)| known != name);
            whole.headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

type Script = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A running fake. Ends when dropped, connections included, and lets a paused clock run again.
pub(crate) struct Fake {
    /// `http://127.0.0.1:<port>/`
    pub(crate) url: Url,
    asked: Arc<Mutex<Vec<Asked>>>,
    flooded: Arc<AtomicUsize>,
    paused: Arc<Mutex<bool>>,
    accepting: JoinHandle<()>,
}

impl Fake {
    /// Starts one; `script` says what it answers to each request.
    pub(crate) async fn start(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let flooded = Arc::new(AtomicUsize::new(0));
        let paused = Arc::new(Mutex::new(false));
        let script: Arc<Script> = Arc::new(script);
        let serving = Serving {
            origin: url.as_str().trim_end_matches('/').to_owned(),
            script,
            asked: asked.clone(),
            flooded: flooded.clone(),
            paused: paused.clone(),
        };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serving.clone().serve(stream));
            }
        });
        Self {
            url,
            asked,
            flooded,
            paused,
            accepting,
        }
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many MiB of a flood somebody has taken.
    pub(crate) fn flooded_mib(&self) -> usize {
        self.flooded.load(Ordering::Relaxed)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.accepting.abort();
        if *self.paused.lock().unwrap() {
            tokio::time::resume();
        }
    }
}

#[derive(Clone)]
struct Serving {
    origin: String,
    script: Arc<Script>,
    asked: Arc<Mutex<Vec<Asked>>>,
    flooded: Arc<AtomicUsize>,
    paused: Arc<Mutex<bool>>,
}

impl Serving {
    /// One request for each connection: whoever wants more connects again.
    async fn serve(self, mut stream: TcpStream) {
        let Some(asked) = read_request(&mut stream, &self.origin).await else {
            return;
        };
        let reply = (self.script)(&asked);
        self.asked.lock().unwrap().push(asked);
        match reply {
            Reply::Whole(whole) => {
                let length = whole.body.len();
                send(&mut stream, &whole, Some(length), length).await;
                // Closing with unread bytes would reset the connection, and with it the answer.
                let _ = stream.shutdown().await;
                until_closed(stream).await;
            }
            Reply::HangUp => {}
            Reply::Silence => {
                self.pause();
                until_closed(stream).await;
            }
            Reply::Stalled(whole) => {
                let length = whole.body.len();
                send(&mut stream, &whole, Some(length), length / 2).await;
                // The head is to arrive while the clock still runs.
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.pause();
                until_closed(stream).await;
            }
            Reply::CutOff(whole, is_declared) => {
                let length = whole.body.len();
                send(&mut stream, &whole, is_declared.then_some(length), length / 2).await;
            }
            Reply::Flood => self.flood(stream).await,
        }
    }

    fn pause(&self) {
        let mut paused = self.paused.lock().unwrap();
        if !*paused {
            tokio::time::pause();
            *paused = true;
        }
    }

    async fn flood(&self, mut stream: TcpStream) {
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 209715200\r\n\r\n{\"a\":\"";
        let block = vec![b'A'; MIB];
        if stream.write_all(head).await.is_err() {
            return;
        }
        while self.flooded_mib() < 200 && stream.write_all(&block).await.is_ok() {
            self.flooded.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flooded_mib(&self) -> usize {
        self.flooded.load(Ordering::Relaxed)
    }
}

async fn send(stream: &mut TcpStream, whole: &Whole, declared: Option<usize>, sent: usize) {
    let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", whole.status);
    for (name, value) in &whole.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = declared.filter(|_| whole.status != 204) {
        head.push_str(&format!("content-length: {length}\r\n"));
    }
    head.push_str("\r\n");
    // Whoever asked may be gone by now.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&whole.body[..sent]).await;
    let _ = stream.flush().await;
}

async fn until_closed(mut stream: TcpStream) {
    let mut buffer = [0; 64];
    while matches!(stream.read(&mut buffer).await, Ok(read) if read > 0) {}
}

/// `None` when the other side closes before its request is whole.
async fn read_request(stream: &mut TcpStream, origin: &str) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    let body_at = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        bytes.extend_from_slice(read_some(stream, &mut buffer).await?);
    };
    let head = String::from_utf8_lossy(&bytes[..body_at]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted);
    let length: usize = header("content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let is_chunked = header("transfer-encoding").is_some();
    while bytes.len() < body_at + length || (is_chunked && !bytes.ends_with(b"\r\n0\r\n\r\n")) {
        bytes.extend_from_slice(read_some(stream, &mut buffer).await?);
    }
    Some(Asked {
        method: first.next()?.to_owned(),
        path: first.next()?.to_owned(),
        headers,
        body: Bytes::copy_from_slice(&bytes[body_at..]),
        origin: origin.to_owned(),
    })
}

async fn read_some<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match stream.read(buffer).await {
        Ok(0) | Err(_) => None,
        Ok(read) => Some(&buffer[..read]),
    }
}
