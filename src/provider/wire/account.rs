//! Whether a service accepts a key, asked by the one call that each service answers for free. Buys nothing.
//!
//! Services without such a call are not asked.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDate;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::http_client::{Downloads, HttpClient, Outgoing};
use crate::provider::ImageProvider;
use crate::provider::wire::json;

const PATIENCE: Duration = Duration::from_secs(10);

/// A question that costs nothing.
#[derive(Clone, Debug)]
pub struct AccountQuestion {
    base_url: Url,
    path: &'static str,
    /// With the key, where there is one.
    headers: HeaderMap,
}

/// What a service says of a key.
#[derive(Clone, Debug, PartialEq)]
pub enum AccountAnswer {
    /// It accepts it.
    Accepted(Account),
    /// It does not.
    Refused(u16),
    /// It says something else, or nothing; nothing of the key is in the text.
    Unclear(String),
}

/// What a service says beside that it accepts a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Credits that are left, where it says so.
    pub credits: Option<f64>,
    /// Models that it is going to shut down, each with its first day without an answer, where it says so.
    pub ends: Vec<(String, NaiveDate)>,
}

impl AccountQuestion {
    pub(in crate::provider) fn new(base_url: Url, path: &'static str, headers: HeaderMap) -> Self {
        Self {
            base_url,
            path,
            headers,
        }
    }

    /// Asks.
    pub async fn ask(&self) -> AccountAnswer {
        let unclear = |error: &dyn std::fmt::Display| AccountAnswer::Unclear(error.to_string());
        let client = match HttpClient::new(&self.base_url) {
            Ok(client) => client,
            Err(error) => return unclear(&error),
        };
        let asking = Outgoing::get(self.path).headers(self.headers.clone());
        match client.send(asking, Instant::now() + PATIENCE).await {
            Ok(answer) if answer.status.is_success() => AccountAnswer::Accepted(Account::read(&answer.body)),
            Ok(answer) => match answer.status.as_u16() {
                status @ (401 | 403) => AccountAnswer::Refused(status),
                status => unclear(&format!("GET {} answers {status}", client.url(self.path).path())),
            },
            Err(fault) => unclear(&fault),
        }
    }
}

impl Account {
    /// Source: Black Forest Labs, "Get credits"; Stability AI, "Account balance"; OpenAI API reference, "The model object",
    /// `shutdown_date`.
    fn read(body: &[u8]) -> Self {
        let body = json::parse(body).unwrap_or_default();
        let models = body.get("data").and_then(Value::as_array);
        let end = |model: &Value| {
            let text = |name: &str| model.get(name)?.as_str().map(str::to_owned);
            Some((text("id")?, text("shutdown_date")?.parse().ok()?))
        };
        Self {
            credits: body.get("credits").and_then(Value::as_f64),
            ends: models.into_iter().flatten().filter_map(end).collect(),
        }
    }
}

/// What an operator has said about one service, read and checked.
pub trait ServiceSettings: fmt::Debug + Send + Sync {
    /// Makes the provider, configured or not; sends nothing.
    ///
    /// # Errors
    /// When the settings cannot be used. No secret is repeated.
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>>;

    /// What the service answers for free about the account; `None` where it does not, or has no address.
    fn question(&self) -> Option<AccountQuestion> {
        None
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::{header, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::http_client::install_tls;
    use crate::provider::services::{bfl, openai};
    use crate::provider::suite;

    #[test]
    fn ends_of_models_are_read_where_a_service_names_them() {
        let body = br#"{"data":[{"id":"a","shutdown_date":"2027-01-02"},{"id":"b","shutdown_date":null},{"id":"c"},7]}"#;
        let ends = vec![("a".to_owned(), NaiveDate::from_ymd_opt(2027, 1, 2).unwrap())];
        assert_eq!(Account::read(body).ends, ends);
        assert_eq!(Account::read(b"no JSON"), Account::default());
    }

    #[tokio::test]
    async fn a_key_is_asked_about_where_it_belongs_and_the_answer_is_told_without_it() {
        install_tls();
        let server = MockServer::start().await;
        let base_url: Url = server.uri().parse().unwrap();
        Mock::given(method("GET"))
            .and(path("/credits"))
            .and(header("x-key", "k1"))
            .respond_with(ResponseTemplate::new(200).set_body_string("{\"credits\": 12.5}"))
            .mount(&server)
            .await;
        Mock::given(path("/credits"))
            .respond_with(ResponseTemplate::new(403).set_body_string("k2 is wrong"))
            .mount(&server)
            .await;
        let ask = async |key: &str| {
            let settings = suite::settings(&bfl::ACCESS, &base_url, key);
            settings.question().unwrap().ask().await
        };
        let AccountAnswer::Accepted(account) = ask(" k1\n").await else {
            panic!("it is not accepted");
        };
        assert_eq!((account.credits, account.ends), (Some(12.5), vec![]));
        assert_eq!(ask("k2").await, AccountAnswer::Refused(403));
        let settings = suite::settings(&openai::ACCESS, &base_url, "k1");
        let answer = settings.question().unwrap().ask().await;
        assert_eq!(
            answer,
            AccountAnswer::Unclear("GET /models answers 404".to_owned())
        );
    }
}
