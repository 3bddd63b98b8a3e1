//! What an operator's tools get from a replica over HTTP.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::Value;

use super::replica::Replica;
use super::stack::Stack;
use super::use_ring;

/// Asks one replica.
pub(crate) struct Operator {
    base: String,
    client: reqwest::Client,
}

/// Values of `/metrics` by name and labels, as they are written there.
pub(crate) struct Scrape {
    pub(crate) text: String,
    values: BTreeMap<String, f64>,
}

impl Operator {
    /// Of a replica that serves on a port of its own choice.
    pub(crate) async fn of(replica: &Replica) -> Self {
        use_ring();
        replica.said("serving /healthz").await;
        let log = replica.log();
        let line = log.lines().find(|line| line.contains("http_addr")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        Self {
            base: format!("http://{}", line["http_addr"].as_str().unwrap()),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// `127.0.0.1:<port>`
    pub(crate) fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self
            .client
            .get(format!("{}{path}", self.base))
            .send()
            .await
            .unwrap();
        (answer.status(), answer.text().await.unwrap())
    }

    pub(crate) async fn is_served(&self) -> bool {
        self.client
            .get(format!("{}/healthz", self.base))
            .send()
            .await
            .is_ok()
    }

    /// Waits until `/readyz` says this.
    pub(crate) async fn is_ready(&self, stack: &Stack, status: u16, body: &str) {
        let said = format!("/readyz says {status} {body}");
        stack
            .until(&said, async || {
                let (found, text) = self.get("/readyz").await;
                (found == status && text == body).then_some(())
            })
            .await;
    }

    pub(crate) async fn is_alive(&self) {
        let (status, body) = self.get("/healthz").await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }

    /// Reads `/metrics` line by line, as Prometheus does.
    pub(crate) async fn scrape(&self) -> Scrape {
        let (status, text) = self.get("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        let mut values = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            assert!(
                values.insert(series.to_owned(), value).is_none(),
                "{series} is there twice"
            );
        }
        Scrape { text, values }
    }

    /// Waits until `/metrics` has this value.
    pub(crate) async fn shows(&self, stack: &Stack, series: &str, value: f64) -> Scrape {
        stack
            .until(&format!("{series} is {value}"), async || {
                let scrape = self.scrape().await;
                let found = scrape.get(series);
                (found == Some(value) || (value.is_nan() && found.is_some_and(f64::is_nan))).then_some(scrape)
            })
            .await
    }
}

impl Scrape {
    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// Series whose name and labels begin so.
    pub(crate) fn beginning(&self, start: &str) -> Vec<&str> {
        let series = self.values.keys().map(String::as_str);
        series.filter(|series| series.starts_with(start)).collect()
    }
}
