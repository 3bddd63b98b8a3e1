//! What is in `deploy/kubernetes`: objects that Kubernetes takes as they stand, and that give no more away than they have to.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodSpec, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const FILES: [(&str, &str); 2] = [
    ("worker.yaml", include_str!("../../deploy/kubernetes/worker.yaml")),
    (
        "scaling.yaml",
        include_str!("../../deploy/kubernetes/scaling.yaml"),
    ),
];

/// Every object of a file, with the file's name.
fn objects() -> Vec<(&'static str, Value)> {
    let of = |(name, text): (&'static str, &'static str)| {
        serde_yaml_ng::Deserializer::from_str(text).map(move |object| {
            let object = Value::deserialize(object).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, object)
        })
    };
    FILES.into_iter().flat_map(of).collect()
}

fn all<T: DeserializeOwned>(kind: &str) -> Vec<T> {
    let of_kind = objects().into_iter().filter(|(_, object)| object["kind"] == kind);
    let all: Vec<T> = of_kind
        .map(|(_, object)| serde_json::from_value(object).unwrap())
        .collect();
    assert!(!all.is_empty(), "there is a {kind}");
    all
}

/// As Kubernetes itself would read it: a field that it does not know, or that is of another type, is a fault.
fn as_kubernetes_reads_it<T: DeserializeOwned + Serialize>(object: &Value) -> Result<(), String> {
    let read: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    let written = serde_json::to_value(read).map_err(|error| error.to_string())?;
    match lost("", object, &written) {
        Some(path) => Err(format!("{path} is unknown there")),
        None => Ok(()),
    }
}

/// Where something of `object` is not in `read` any more.
fn lost(path: &str, object: &Value, read: &Value) -> Option<String> {
    match (object, read) {
        (Value::Object(fields), Value::Object(read)) => fields.iter().find_map(|(name, value)| {
            let path = format!("{path}/{name}");
            match read.get(name) {
                // What is empty may be left out.
                None if *value == json!({}) || *value == json!([]) => None,
                None => Some(path),
                Some(read) => lost(&path, value, read),
            }
        }),
        (Value::Array(items), Value::Array(read)) if items.len() == read.len() => items
            .iter()
            .zip(read)
            .enumerate()
            .find_map(|(index, (item, read))| lost(&format!("{path}/{index}"), item, read)),
        // Kubernetes keeps `stringData` apart, numbers stay numbers.
        _ => (object != read).then(|| path.to_owned()),
    }
}

fn check(object: &Value) -> Result<(), String> {
    match (object["apiVersion"].as_str(), object["kind"].as_str()) {
        (Some("v1"), Some("ConfigMap")) => as_kubernetes_reads_it::<ConfigMap>(object),
        (Some("v1"), Some("Secret")) => as_kubernetes_reads_it::<Secret>(object),
        (Some("v1"), Some("Service")) => as_kubernetes_reads_it::<Service>(object),
        (Some("batch/v1"), Some("Job")) => as_kubernetes_reads_it::<Job>(object),
        (Some("apps/v1"), Some("Deployment")) => as_kubernetes_reads_it::<Deployment>(object),
        (Some("policy/v1"), Some("PodDisruptionBudget")) => {
            as_kubernetes_reads_it::<PodDisruptionBudget>(object)
        }
        (Some("networking.k8s.io/v1"), Some("NetworkPolicy")) => {
            as_kubernetes_reads_it::<NetworkPolicy>(object)
        }
        // KEDA's own; its reference, "ScaledObject specification" and "Redis Lists", has these as required.
        (Some("keda.sh/v1alpha1"), Some("ScaledObject")) => {
            let spec = &object["spec"];
            let triggers = spec["triggers"]
                .as_array()
                .filter(|triggers| !triggers.is_empty());
            let is_whole = triggers.is_some_and(|triggers| {
                triggers.iter().all(|trigger| {
                    let metadata = &trigger["metadata"];
                    trigger["type"] == "redis"
                        && ["address", "listName", "listLength", "enableTLS"]
                            .iter()
                            .all(|field| metadata[field].is_string())
                        && trigger["authenticationRef"]["name"].is_string()
                })
            });
            (spec["scaleTargetRef"]["name"].is_string() && is_whole)
                .then_some(())
                .ok_or_else(|| "a required field is missing".to_owned())
        }
        (Some("keda.sh/v1alpha1"), Some("TriggerAuthentication")) => {
            let references = object["spec"]["secretTargetRef"].as_array();
            let is_whole = references.is_some_and(|references| {
                let fields = ["parameter", "name", "key"];
                references
                    .iter()
                    .all(|reference| fields.iter().all(|field| reference[field].is_string()))
            });
            is_whole
                .then_some(())
                .ok_or_else(|| "a required field is missing".to_owned())
        }
        (version, kind) => Err(format!("{version:?} {kind:?} is known to nobody")),
    }
}

#[test]
fn kubernetes_takes_every_manifest_as_it_stands() {
    let objects = objects();
    assert!(objects.len() >= 11, "{}", objects.len());
    for (file, object) in &objects {
        let name = &object["metadata"]["name"];
        assert!(name.is_string(), "{file}: an object without a name");
        check(object).unwrap_or_else(|error| panic!("{file}: {} {name}: {error}", object["kind"]));
    }
}

#[test]
fn a_field_that_is_misspelled_or_missing_would_be_found() {
    let whole = objects()
        .into_iter()
        .find(|(_, object)| object["kind"] == "Deployment")
        .unwrap()
        .1;
    check(&whole).unwrap();
    let pod = "/spec/template/spec";
    let mut misspelled = whole.clone();
    misspelled.pointer_mut(pod).unwrap()["automountServiceAccountTokens"] = json!(false);
    assert!(
        check(&misspelled)
            .unwrap_err()
            .contains("automountServiceAccountTokens")
    );
    let mut mistyped = whole.clone();
    mistyped.pointer_mut(pod).unwrap()["terminationGracePeriodSeconds"] = json!("330");
    assert!(check(&mistyped).is_err());
    let mut of_another_version = whole;
    of_another_version["apiVersion"] = json!("apps/v2");
    assert!(check(&of_another_version).is_err());
}

fn pods() -> Vec<PodSpec> {
    let jobs = all::<Job>("Job")
        .into_iter()
        .map(|job| job.spec.unwrap().template);
    let replicas = all::<Deployment>("Deployment")
        .into_iter()
        .map(|replicas| replicas.spec.unwrap().template);
    jobs.chain(replicas)
        .map(|template| template.spec.unwrap())
        .collect()
}

#[test]
fn a_pod_may_do_no_more_than_it_needs() {
    for pod in pods() {
        assert_eq!(pod.automount_service_account_token, Some(false));
        let context = pod.security_context.unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        for container in pod.containers {
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            assert_eq!(context.capabilities.unwrap().drop, Some(vec!["ALL".to_owned()]));
            assert!(
                container
                    .resources
                    .unwrap()
                    .limits
                    .unwrap()
                    .contains_key("memory")
            );
            let image = container.image.unwrap();
            let (_, digest) = image
                .split_once("@sha256:")
                .expect("a digest, which nobody can move");
            assert_eq!(digest.len(), 64, "{image}");
        }
    }
}

#[test]
fn secrets_travel_under_tls_and_metadata_services_are_out_of_reach() {
    let secrets = all::<Secret>("Secret");
    let values = secrets.into_iter().flat_map(|secret| secret.string_data.unwrap());
    let urls: Vec<(String, String)> = values.filter(|(name, _)| name.ends_with("_URL")).collect();
    assert_eq!(urls.len(), 3);
    for (name, url) in urls {
        let is_safe = url.starts_with("rediss://") || url.contains("sslmode=verify-full");
        assert!(is_safe, "{name}: {url}");
    }
    let policy = all::<NetworkPolicy>("NetworkPolicy").remove(0).spec.unwrap();
    assert_eq!(
        policy.policy_types,
        Some(vec!["Ingress".to_owned(), "Egress".to_owned()])
    );
    let part = policy.pod_selector.unwrap().match_labels.unwrap();
    for template in ["Job", "Deployment"] {
        let labels = &objects()
            .into_iter()
            .find(|(_, object)| object["kind"] == template)
            .unwrap()
            .1["spec"]["template"]["metadata"]["labels"];
        for (name, value) in &part {
            assert_eq!(labels[name], **value, "{template}");
        }
    }
    let blocks = policy
        .egress
        .unwrap()
        .into_iter()
        .flat_map(|rule| rule.to.unwrap_or_default())
        .filter_map(|peer| peer.ip_block);
    for block in blocks {
        assert!(
            block.except.unwrap().contains(&"169.254.0.0/16".to_owned()),
            "{}",
            block.cidr
        );
    }
}
