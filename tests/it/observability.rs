//! Alert rules, metrics and the dashboard as Prometheus itself reads them.

use std::path::Path;
use std::process::Stdio;

use chrono::{Days, Utc};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::openai::{OpenAi, Reply, small_picture};
use crate::harness::operator::Operator;
use crate::harness::prometheus::Prometheus;
use crate::harness::stack::{Stack, logo};

const DASHBOARD: &str = include_str!("../../deploy/observability/dashboard.json");
const COMPOSE: &str = include_str!("../../docker-compose.yml");

/// The panels of the dashboard; not its rows, which have nothing to ask for.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels.filter(|panel| panel["type"] != "row").cloned().collect()
}

/// A table of models with one that ends within days.
pub(crate) fn a_model_that_ends(stack: &Stack) -> String {
    let ends_on = Utc::now().date_naive() + Days::new(10);
    let models = stack.path("models.json");
    let model = json!([{
        "provider": "openai", "id": "gpt-image-brief", "ends_on": ends_on, "successor": "gpt-image-2",
        "sizes": {"listed": ["auto"]}, "default_size": {"icon": "auto", "otherwise": "auto"},
        "prompt_max_chars": 1000, "formats": ["png"],
    }]);
    std::fs::write(&models, model.to_string()).unwrap();
    models.to_str().unwrap().to_owned()
}

/// Runs Prometheus's own checker on a file of `deploy/observability`, or on what is typed into it.
async fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/observability");
    let mut tool = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed by scripts/install-servers tests");
    let mut stdin = tool.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tool.wait_with_output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn alert_rules_pass_their_tests() {
    let (is_well, said) = promtool(&["check", "rules", "rules.yaml"], "").await;
    assert!(is_well, "{said}");
    let (is_well, said) = promtool(&["test", "rules", "rules-test.yaml"], "").await;
    assert!(is_well, "{said}");
    let (is_well, said) = promtool(&["check", "config", "prometheus.yaml"], "").await;
    assert!(is_well, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_as_prometheus_wants_them() {
    let stack = Stack::start().await;
    let replica = stack.replica(&[]).await;
    let job = stack.job().await;
    stack.push(&logo(job)).await;
    stack.ended(job).await;
    stack.idle().await;
    let metrics = Operator::of(&replica).await.get("/metrics").await.1;
    let (is_well, said) = promtool(&["check", "metrics"], &metrics).await;
    assert!(is_well, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_of_the_dashboard_and_every_alert_rule_has_an_answer_from_prometheus() {
    let stack = Stack::start().await;
    let openai = OpenAi::start(small_picture()).await;
    let models = a_model_that_ends(&stack);
    let variables = [
        ("MODELS_FILE", &*models),
        ("BULLMQ_QUEUE", "pictures"),
        ("BUDGETS", "openai:9/day"),
    ];
    let replica = stack.replica_of(&openai, &variables).await;
    let prometheus = Prometheus::of(&stack, &Operator::of(&replica).await).await;
    let jobs = stack.push_logos(1).await;
    stack.all_done_once(&jobs).await;
    // From now on everything is parked.
    let busy = json!({"message": "slow down", "code": "rate_limit_exceeded"});
    openai.then(Reply::Error(429, busy, vec![("retry-after", "600")]));
    stack.push_logos(2).await;

    let panels = panels();
    for panel in &panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{panel}");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            // What Grafana makes of it: four times the scrape interval, at the least.
            let asked = expression.replace("$__rate_interval", "1m");
            let what = format!("{}: {expression} has an answer", panel["title"]);
            stack
                .until(&what, async || {
                    (!prometheus.query(&asked).await.is_empty()).then_some(())
                })
                .await;
        }
    }
    let rules = stack
        .until("each rule has been looked at", async || {
            let rules = prometheus.rules().await;
            let is_known = |rule: &Value| rule["health"] != "unknown";
            (!rules.is_empty() && rules.iter().all(is_known)).then_some(rules)
        })
        .await;
    for rule in &rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
    let sick: Vec<&Value> = rules.iter().filter(|rule| rule["state"] == "firing").collect();
    assert!(sick.is_empty(), "{sick:?}");
}

#[test]
fn the_dashboard_can_be_imported_and_says_what_each_panel_shows() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(41));
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(
        (&variable["type"], &variable["query"]),
        (&json!("datasource"), &json!("prometheus"))
    );
    let chosen = json!({"type": "prometheus", "uid": format!("${{{}}}", variable["name"].as_str().unwrap())});
    let mut ids = std::collections::BTreeSet::new();
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        assert!(
            ids.insert(panel["id"].as_u64().unwrap()),
            "{title}: its id is another's"
        );
        assert!(
            panel["description"]
                .as_str()
                .is_some_and(|text| text.ends_with('.')),
            "{title}"
        );
        assert_eq!(panel["datasource"], chosen, "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            targets.iter().all(|target| target["datasource"] == chosen),
            "{title}"
        );
    }
}

#[test]
fn the_profile_finds_the_replicas_the_dashboard_and_each_other_and_is_seen_by_this_machine_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| -> Value {
        let text = std::fs::read_to_string(root.join("deploy/observability").join(path)).unwrap();
        serde_yaml_ng::from_str(&text).unwrap()
    };
    let compose: Value = serde_yaml_ng::from_str(COMPOSE).unwrap();
    let services = compose["services"].as_object().unwrap();
    let mut mounted = Vec::new();
    for (name, service) in services {
        let is_extra = ["prometheus", "grafana"].contains(&&**name);
        assert_eq!(service.get("profiles").is_some(), is_extra, "{name}");
        if !is_extra {
            continue;
        }
        assert_eq!(service["profiles"], json!(["observability"]));
        let version = service["image"]
            .as_str()
            .unwrap()
            .rsplit_once(":v")
            .or_else(|| service["image"].as_str()?.rsplit_once(':'));
        assert_eq!(
            version.unwrap().1.split('.').count(),
            3,
            "{name}: an exact version"
        );
        for port in service["ports"].as_array().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name}: {port}");
        }
        for volume in service["volumes"].as_array().unwrap() {
            let (source, target) = volume.as_str().unwrap().split_once(':').unwrap();
            if let Some(source) = source.strip_prefix("./") {
                assert!(root.join(source).is_file(), "{name}: {source} is no file");
                mounted.push((source, target.trim_end_matches(":ro")));
            }
        }
    }
    let place = |source: &str| mounted.iter().find(|(found, _)| *found == source).unwrap().1;
    let shown = read("grafana/dashboards.yaml")["providers"][0]["options"]["path"].clone();
    let dashboard = Path::new(place("deploy/observability/dashboard.json"));
    assert_eq!(dashboard.parent(), Some(Path::new(shown.as_str().unwrap())));
    let home = &services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"];
    assert_eq!(dashboard, Path::new(home.as_str().unwrap()));
    let config = read("prometheus.yaml");
    let rules = Path::new(place("deploy/observability/prometheus.yaml"))
        .with_file_name(config["rule_files"][0].as_str().unwrap());
    assert_eq!(rules, Path::new(place("deploy/observability/rules.yaml")));
    let source = &read("grafana/datasource.yaml")["datasources"][0];
    assert_eq!(source["url"], "http://prometheus:9090");
    assert_eq!(
        source["jsonData"]["timeInterval"],
        config["global"]["scrape_interval"]
    );
    let found = &config["scrape_configs"][0]["dns_sd_configs"][0];
    assert!(
        services.contains_key(found["names"][0].as_str().unwrap()),
        "{found}"
    );
    let served = format!("HTTP_ADDR=0.0.0.0:{}\n", found["port"]);
    assert!(include_str!("../../Dockerfile").contains(&served), "{served}");
}
