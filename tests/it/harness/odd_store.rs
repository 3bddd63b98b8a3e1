//! A store in this process that speaks as S3, Google or Azure do and keeps objects in memory, with whims of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use generative_ai_worker::storage::{S3Settings, StorageSettings};
use hyper::StatusCode;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// A running store. Whatever is asked without keys is asked by the public.
pub(crate) struct OddStore {
    server: MockServer,
    objects: Objects,
}

/// What a store says instead of obeying; `None`: it obeys.
pub(crate) type Whim = fn(&Asked<'_>) -> Option<ResponseTemplate>;

/// One request, as far as whims go by it.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a str,
    /// `/<bucket>/<key>`
    pub(crate) path: &'a str,
    pub(crate) is_public: bool,
    pub(crate) is_there: bool,
}

impl OddStore {
    pub(crate) async fn start(whim: Whim) -> Self {
        super::use_ring();
        let server = MockServer::start().await;
        let objects = Objects::default();
        let kept = Arc::clone(&objects);
        Mock::given(any())
            .respond_with(move |request: &Request| answer(request, &kept, whim))
            .mount(&server)
            .await;
        Self { server, objects }
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn address(&self) -> String {
        self.server.uri()
    }

    /// Settings that reach it as an S3 service with the bucket `pictures`.
    pub(crate) fn settings(&self) -> StorageSettings {
        StorageSettings {
            url: Some("s3://pictures".into()),
            s3: S3Settings {
                endpoint: Some(self.address()),
                access_key_id: Some("id".into()),
                secret_access_key: Some("secret".to_owned().into()),
                ..S3Settings::default()
            },
            ..StorageSettings::default()
        }
    }

    /// A cache in front of one bucket, as a domain of its own shows it to everybody.
    pub(crate) async fn domain(&self, bucket: &str) -> MockServer {
        let domain = MockServer::start().await;
        let (kept, bucket) = (Arc::clone(&self.objects), bucket.to_owned());
        Mock::given(any())
            .respond_with(move |request: &Request| {
                let objects = kept.lock().unwrap();
                match objects.get(&format!("/{bucket}{}", request.url.path())) {
                    Some(bytes) => ResponseTemplate::new(200).set_body_bytes(bytes.clone()),
                    None => ResponseTemplate::new(404),
                }
            })
            .mount(&domain)
            .await;
        domain
    }

    /// Paths of what it keeps.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    /// Methods of the requests with keys, in their order.
    pub(crate) async fn methods(&self) -> Vec<String> {
        let requests = self.server.received_requests().await.unwrap();
        let with_keys = requests.iter().filter(|request| !is_public(request));
        with_keys.map(|request| request.method.to_string()).collect()
    }
}

/// A refusal as S3, Google and Azure write them.
pub(crate) fn refusal(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_string(format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"
    ))
}

/// A path as it was before `%2F` and the like: Google's client writes all but letters and digits of a key so.
fn decoded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        decoded.push(char::from(u8::from_str_radix(&part[..2], 16).unwrap()));
        decoded.push_str(&part[2..]);
    }
    decoded
}

fn is_public(request: &Request) -> bool {
    !request.headers.contains_key("authorization")
}

fn answer(request: &Request, objects: &Objects, whim: Whim) -> ResponseTemplate {
    let mut objects = objects.lock().unwrap();
    let path = decoded(request.url.path());
    let (method, path) = (request.method.as_str(), path.as_str());
    let asked = Asked {
        method,
        path,
        is_public: is_public(request),
        is_there: objects.contains_key(path),
    };
    if let Some(instead) = whim(&asked) {
        return instead;
    }
    let done = |status: StatusCode| {
        ResponseTemplate::new(status.as_u16())
            .insert_header("etag", "\"1\"")
            .insert_header("last-modified", "Wed, 21 Oct 2015 07:28:00 GMT")
    };
    match method {
        "PUT" => {
            objects.insert(path.to_owned(), request.body.clone());
            // Azure insists on 201, S3 and Google on any success.
            done(StatusCode::CREATED)
        }
        "GET" | "HEAD" => match objects.get(path) {
            Some(bytes) => done(StatusCode::OK).set_body_bytes(bytes.clone()),
            None => refusal(404, "NoSuchKey"),
        },
        "DELETE" => {
            objects.remove(path);
            // Azure answers 202, S3 and Google 204.
            done(StatusCode::ACCEPTED)
        }
        _ => refusal(405, "MethodNotAllowed"),
    }
}
