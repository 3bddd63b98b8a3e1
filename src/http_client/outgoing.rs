//! A request, described step by step: method, path and query, headers, a body in JSON or a form.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use super::{HttpClient, HttpFault};

/// A request to the service that an [`HttpClient`] is bound to.
#[derive(Debug)]
pub struct Outgoing {
    method: Method,
    target: Target,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Option<Result<Body, HttpFault>>,
}

#[derive(Debug)]
struct Body {
    kind: HeaderValue,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Target {
    /// Below the base URL.
    Path(String),
    /// As it is; sent only where it has the base URL's origin.
    Url(Url),
}

impl Outgoing {
    /// Asks for what is at this very address, which has to be of the service's own origin.
    #[must_use]
    pub fn get_url(url: Url) -> Self {
        Self {
            target: Target::Url(url),
            ..Self::get("")
        }
    }

    /// Asks for what is at `path` (without a slash at its beginning) below the base URL.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target: Target::Path(path.into()),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
        }
    }

    /// Posts `body` as JSON to `path`, as [`Outgoing::get`] takes it.
    #[must_use]
    pub fn post_json<B: Serialize + ?Sized>(path: impl Into<String>, body: &B) -> Self {
        let bytes = serde_json::to_vec(body)
            .map_err(|_| HttpFault::NotSent("the request cannot be written as JSON".into()));
        let kind = HeaderValue::from_static("application/json");
        Self::post(path, bytes.map(|bytes| Body { kind, bytes }))
    }

    /// Posts a form (`multipart/form-data`) with these fields to `path`, as [`Outgoing::get`] takes it.
    #[must_use]
    pub fn post_form(path: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        // New for each request, so that nobody can write a value that ends its field.
        let boundary = Uuid::new_v4().simple().to_string();
        let mut text = String::new();
        for (name, value) in fields {
            text.push_str(&format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            ));
        }
        text.push_str(&format!("--{boundary}--\r\n"));
        let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
        let kind = kind.map_err(|_| HttpFault::NotSent("the boundary is no header value".into()));
        let bytes = text.into_bytes();
        Self::post(path, kind.map(|kind| Body { kind, bytes }))
    }

    fn post(path: impl Into<String>, body: Result<Body, HttpFault>) -> Self {
        Self {
            method: Method::POST,
            body: Some(body),
            ..Self::get(path)
        }
    }

    /// Where it goes, below the base URL.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.target {
            Target::Path(path) => path,
            Target::Url(url) => url.path(),
        }
    }

    /// Adds a part of the query; `value` is escaped.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Sends these headers too.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers.extend(headers);
        self
    }

    pub(super) fn into_request(self, client: &HttpClient) -> Result<reqwest::Request, HttpFault> {
        let mut url = match self.target {
            Target::Path(path) => client.url(&path),
            Target::Url(url) => url,
        };
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(self.query);
        }
        let mut request = reqwest::Request::new(self.method, url);
        *request.headers_mut() = self.headers;
        if let Some(body) = self.body {
            let Body { kind, bytes } = body?;
            request.headers_mut().insert(CONTENT_TYPE, kind);
            *request.body_mut() = Some(bytes.into());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http_client::install_tls;

    #[test]
    fn a_query_is_escaped_and_a_body_is_json() {
        install_tls();
        let client = HttpClient::new(&Url::parse("http://127.0.0.1:9/api").unwrap()).unwrap();
        let asking = Outgoing::get("view").query("filename", "a b&c/../d.png");
        let request = asking.into_request(&client).unwrap();
        assert_eq!(
            (request.method().as_str(), request.url().as_str()),
            ("GET", "http://127.0.0.1:9/api/view?filename=a+b%26c%2F..%2Fd.png")
        );
        let request = Outgoing::post_json("prompt", &json!({"a": 1}))
            .into_request(&client)
            .unwrap();
        assert_eq!(request.headers()["content-type"], "application/json");
        assert_eq!(request.body().unwrap().as_bytes().unwrap(), b"{\"a\":1}");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:9/api/prompt");
    }
}
