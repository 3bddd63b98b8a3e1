//! An S3 service in this process: objects in a directory, requests checked by signature and remembered.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use generative_ai_worker::storage::{S3Settings, StorageSettings};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The one pair of keys that the server accepts.
pub(crate) const ACCESS_KEY_ID: &str = "AKIATESTTESTTEST";
pub(crate) const SECRET_ACCESS_KEY: &str = "correct-horse-battery-staple";

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct SeenRequest {
    pub(crate) method: Method,
    /// `/<bucket>/<key>`
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

/// A running server on loopback with one bucket. Ends when dropped, connections included.
pub(crate) struct S3Server {
    bucket: String,
    port: u16,
    directory: TempDir,
    requests: Arc<Mutex<Vec<SeenRequest>>>,
    outage: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl S3Server {
    /// Starts a server with an empty bucket, whose name takes 3 characters or more.
    pub(crate) async fn start(bucket: &str) -> Self {
        super::use_ring();
        let directory = super::temporary_directory();
        std::fs::create_dir(directory.path().join(bucket)).unwrap();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(directory.path()).unwrap());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY_ID, SECRET_ACCESS_KEY));
        let service = builder.build();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let outage = Arc::new(AtomicUsize::new(0));
        let (seen, failing) = (Arc::clone(&requests), Arc::clone(&outage));
        let only_bucket = format!("/{bucket}");
        let handle = move |request: Request<Incoming>| {
            seen.lock().unwrap().push(SeenRequest {
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                headers: request.headers().clone(),
            });
            let fails = failing
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            let is_there = request.uri().path().strip_prefix(&only_bucket);
            let is_there = is_there.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let service = service.clone();
            async move {
                if fails {
                    return refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown");
                }
                if !is_there {
                    // s3s-fs would make the bucket.
                    return refusal(StatusCode::NOT_FOUND, "NoSuchBucket");
                }
                match service.call(request.map(s3s::Body::from)).await {
                    Ok(response) => response,
                    Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
                }
            }
        };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // dropped with this task, and they with it
            while let Ok((stream, _)) = listener.accept().await {
                let handle = handle.clone();
                let service = service_fn(move |request| {
                    let response = handle(request);
                    async { Ok::<_, Infallible>(response.await) }
                });
                connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            bucket: bucket.to_owned(),
            port,
            directory,
            requests,
            outage,
            accepting,
        }
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The variables that have a replica store its pictures here, in the bucket `pictures`, at [`Self::endpoint`].
    pub(crate) fn variables<'a>(&self, endpoint: &'a str) -> [(&'static str, &'a str); 4] {
        [
            ("STORAGE_URL", "s3://pictures"),
            ("S3_ENDPOINT", endpoint),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ]
    }

    /// Settings that reach this server with the keys that it accepts.
    pub(crate) fn settings(&self) -> StorageSettings {
        StorageSettings {
            s3: S3Settings {
                bucket: Some(self.bucket.clone()),
                endpoint: Some(self.endpoint()),
                access_key_id: Some(ACCESS_KEY_ID.into()),
                secret_access_key: Some(SECRET_ACCESS_KEY.to_owned().into()),
                ..S3Settings::default()
            },
            ..StorageSettings::default()
        }
    }

    /// Key and bytes of every object in the bucket.
    pub(crate) fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        super::files_below(&self.directory.path().join(&self.bucket))
    }

    /// Every request since the start.
    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Answers the next `count` requests with 503.
    pub(crate) fn fail_next(&self, count: usize) {
        self.outage.store(count, Ordering::SeqCst);
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn refusal(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>");
    let mut response = Response::new(s3s::Body::from(body));
    *response.status_mut() = status;
    response
}
