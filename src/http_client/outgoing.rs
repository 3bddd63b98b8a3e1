//! A request, described step by step: method, path and query, headers, a body in JSON or a form, files.

use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::pieces::{Attachment, Pieces};
use super::{HttpClient, HttpFault};

/// A request to the service that an [`HttpClient`] is bound to.
#[derive(Debug)]
pub struct Outgoing {
    method: Method,
    target: Target,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    content: Option<Content>,
    attachments: Vec<Attachment>,
}

#[derive(Debug)]
enum Content {
    Json(Result<Vec<u8>, HttpFault>),
    Form {
        fields: Value,
        /// The name of each attachment.
        files: &'static str,
    },
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
            content: None,
            attachments: Vec::new(),
        }
    }

    /// Posts `body` as JSON to `path`, as [`Outgoing::get`] takes it. [`super::Inline`] stands for attachments in it.
    #[must_use]
    pub fn post_json<B: Serialize + ?Sized>(path: impl Into<String>, body: &B) -> Self {
        let bytes = serde_json::to_vec(body)
            .map_err(|_| HttpFault::NotSent("the request cannot be written as JSON".into()));
        Self::post(path, Content::Json(bytes))
    }

    /// Posts a form (`multipart/form-data`) to `path`, as [`Outgoing::get`] takes it: of the texts and numbers in `fields`, which
    /// become an object of JSON, and of the attachments, each of which is called `files`.
    #[must_use]
    pub fn post_form<B: Serialize + ?Sized>(
        path: impl Into<String>,
        fields: &B,
        files: &'static str,
    ) -> Self {
        let fields = serde_json::to_value(fields).unwrap_or_default();
        Self::post(path, Content::Form { fields, files })
    }

    fn post(path: impl Into<String>, content: Content) -> Self {
        Self {
            method: Method::POST,
            content: Some(content),
            ..Self::get(path)
        }
    }

    /// Sends these files too.
    #[must_use]
    pub fn carrying(self, attachments: Vec<Attachment>) -> Self {
        Self { attachments, ..self }
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
        if let Some(content) = self.content {
            let (kind, pieces) = content.into_pieces(self.attachments)?;
            let (length, body) = pieces.into_body();
            request.headers_mut().insert(CONTENT_TYPE, kind);
            if body.as_bytes().is_none() {
                // Some services take no body whose length is not told.
                request.headers_mut().insert(CONTENT_LENGTH, length.into());
            }
            *request.body_mut() = Some(body);
        }
        Ok(request)
    }
}

impl Content {
    fn into_pieces(self, attachments: Vec<Attachment>) -> Result<(HeaderValue, Pieces), HttpFault> {
        match self {
            Self::Json(json) => {
                let kind = HeaderValue::from_static("application/json");
                Ok((kind, Pieces::of_json(json?, &attachments)))
            }
            Self::Form { fields, files } => {
                // New for each request, so that nobody can write a value that ends its field.
                let boundary = Uuid::new_v4().simple().to_string();
                let kind = HeaderValue::from_str(&format!("multipart/form-data; boundary={boundary}"));
                let kind = kind.map_err(|_| HttpFault::NotSent("the boundary is no header value".into()))?;
                let fields = fields.as_object().into_iter().flatten().map(|(name, value)| {
                    let text = value.as_str().map(str::to_owned);
                    (name.as_str(), text.unwrap_or_else(|| value.to_string()))
                });
                Ok((kind, Pieces::of_form(&boundary, fields, files, attachments)))
            }
        }
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
