//! The operators' page, as a browser or a script asks for it.

use reqwest::header::{ACCEPT, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::replica::Replica;
use super::use_ring;

/// The page of one replica. Follows no redirect.
pub(crate) struct Page {
    base: String,
    client: reqwest::Client,
    cookie: Option<String>,
}

/// What came of a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) location: Option<String>,
    pub(crate) cookie: Option<String>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let text = |name| {
            let value = response.headers().get(name)?;
            Some(value.to_str().unwrap().to_owned())
        };
        Self {
            status: response.status(),
            location: text(LOCATION),
            cookie: text(SET_COOKIE),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Says what was there instead.
    #[track_caller]
    pub(crate) fn has(&self, words: &str) -> &Self {
        assert!(
            self.text().contains(words),
            "{words:?} is missing in {}",
            self.text()
        );
        self
    }

    #[track_caller]
    pub(crate) fn is(&self, status: u16) -> &Self {
        let body = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{body}");
        self
    }
}

impl Page {
    /// Of a replica that serves it on a port of its own choice.
    pub(crate) async fn of(replica: &Replica) -> Self {
        use_ring();
        replica.said("serving the operators' page").await;
        let log = replica.log();
        let line = log.lines().find(|line| line.contains("dashboard_addr")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        Self {
            base: format!("http://{}", line["dashboard_addr"].as_str().unwrap()),
            client: reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()
                .unwrap(),
            cookie: None,
        }
    }

    /// The same, by a session.
    pub(crate) fn with(&self, cookie: Option<&str>) -> Self {
        Self {
            base: self.base.clone(),
            client: self.client.clone(),
            cookie: cookie.map(|cookie| cookie.split(';').next().unwrap().to_owned()),
        }
    }

    /// `http://127.0.0.1:<port>`
    pub(crate) fn origin(&self) -> &str {
        &self.base
    }

    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.cookie {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(self.request(request).send().await.unwrap()).await
    }

    pub(crate) fn getting(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.base))
    }

    pub(crate) fn posting(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.base))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.getting(path)).await
    }

    pub(crate) async fn get_as_browser(&self, path: &str) -> Answer {
        let request = self.getting(path);
        self.send(request.header(ACCEPT, "text/html,application/xhtml+xml"))
            .await
    }

    pub(crate) async fn post(&self, path: &str) -> Answer {
        self.send(self.posting(path)).await
    }

    /// A form, as a browser sends it.
    pub(crate) async fn post_form(&self, path: &str, form: &str) -> Answer {
        let request = self.posting(path);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(form.to_owned())).await
    }
}
