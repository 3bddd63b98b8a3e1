//! A Prometheus that scrapes one replica, from the system's packages, with the configuration of `deploy/observability`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use serde_json::{Value, json};

use super::guarded::Guarded;
use super::operator::Operator;
use super::stack::Stack;
use super::use_ring;

/// A running Prometheus.
pub(crate) struct Prometheus {
    base: String,
    client: reqwest::Client,
    _server: Guarded,
}

impl Prometheus {
    /// Starts one, and waits until it has scraped the replica. It does so five times a second, as nobody waits for it for minutes.
    pub(crate) async fn of(stack: &Stack, operator: &Operator) -> Self {
        use_ring();
        let directory = stack.path("prometheus");
        std::fs::create_dir_all(&directory).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
        let config = std::fs::read_to_string(folder.join("prometheus.yaml")).unwrap();
        let mut config: Value = serde_yaml_ng::from_str(&config).unwrap();
        config["global"] = json!({"scrape_interval": "200ms", "evaluation_interval": "1s"});
        config["rule_files"] = json!([folder.join("rules.yaml")]);
        let job = config["scrape_configs"][0].as_object_mut().unwrap();
        assert!(
            job.remove("dns_sd_configs").is_some(),
            "replicas are found by a name"
        );
        job.insert(
            "static_configs".to_owned(),
            json!([{"targets": [operator.address()]}]),
        );
        let file = directory.join("prometheus.yml");
        std::fs::write(&file, config.to_string()).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let prometheus = Self {
            base: format!("http://127.0.0.1:{port}/api/v1"),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            _server: Guarded::start("prometheus", &arguments, &directory.join("output.log")),
        };
        stack
            .until(
                "Prometheus scrapes (scripts/install-servers tests installs it)",
                async || {
                    let up = prometheus.get("query?query=up==1").await?;
                    (!up["result"].as_array()?.is_empty()).then_some(())
                },
            )
            .await;
        prometheus
    }

    /// What it answers below `/api/v1`; nothing while it is not there.
    async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.client.get(format!("{}/{path}", self.base)).send().await;
        let answer: Value = answer.ok()?.json().await.ok()?;
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        Some(answer["data"].clone())
    }

    /// The series that an expression gives now.
    pub(crate) async fn query(&self, expression: &str) -> Vec<Value> {
        let mut query = url::form_urlencoded::Serializer::new("query?".to_owned());
        query.append_pair("query", expression);
        let data = self.get(&query.finish()).await.unwrap_or_default();
        data["result"].as_array().cloned().unwrap_or_default()
    }

    /// Its alert rules, with how it fares with them.
    pub(crate) async fn rules(&self) -> Vec<Value> {
        let data = self.get("rules?type=alert").await.unwrap_or_default();
        let groups = data["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.iter().filter_map(|group| group["rules"].as_array());
        rules.flatten().cloned().collect()
    }
}
