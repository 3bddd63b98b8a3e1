//! Stores as their users set them up: addresses with the bucket in them, variables and files of Amazon's own tools, no keys.

use std::net::TcpListener;

use generative_ai_worker::storage::Storage;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::command::{Said, command_on};
use crate::harness::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};
use crate::harness::stack::{Stack, logo};
use crate::harness::temporary_directory;

/// `check-config` with the store that these variables describe.
async fn check_config(stack: &Stack, variables: &[(&str, &str)]) -> Said {
    command_on(stack, &["check-config"], variables).await
}

#[tokio::test]
async fn an_address_with_the_bucket_in_it_leads_to_the_bucket_once() {
    let server = S3Server::start("pictures").await;
    for end in ["/pictures", "/pictures/", "//pictures//"] {
        let mut settings = server.settings();
        settings.url = Some("s3://pictures".into());
        settings.s3.endpoint = Some(format!("{}{end}", server.endpoint()));
        let storage = Storage::check(settings).await.service.unwrap();
        let bytes = bytes::Bytes::from_static(b"x");
        let stored = storage.put(&super::key(1), bytes, "image/png").await.unwrap();
        assert_eq!(
            stored.url,
            format!("{}/pictures/{}", server.endpoint(), super::key(1))
        );
        assert_eq!(
            server.objects().into_keys().collect::<Vec<_>>(),
            [super::key(1).to_string()]
        );
    }
    let mut settings = server.settings();
    settings.s3.endpoint = Some(format!("{}/other", server.endpoint()));
    let error = settings.check().unwrap_err().to_string();
    assert!(
        error.contains("its path /other is not the bucket \"pictures\""),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_amazons_tools_read_is_used_or_refused_by_name() {
    let stack = Stack::start().await;
    let server = S3Server::start("pictures").await;
    let home = temporary_directory();
    let home_path = home.path().to_str().unwrap();
    let directory = home.path().join(".aws");
    std::fs::create_dir(&directory).unwrap();
    let keys = format!("aws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n");
    std::fs::write(directory.join("credentials"), format!("[pics]\n{keys}")).unwrap();
    let config = format!(
        "[profile pics]\nregion = us-east-1\nendpoint_url = {}\n[profile login]\nsso_session = corp\n",
        server.endpoint()
    );
    std::fs::write(directory.join("config"), config).unwrap();
    let store = ("STORAGE_URL", "s3://pictures");
    let endpoint = server.endpoint();

    let said = check_config(&stack, &[store, ("HOME", home_path), ("AWS_PROFILE", "pics")]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    let own = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
    ];
    for variable in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"] {
        let said = check_config(&stack, &[store, (variable, &endpoint), own[0], own[1]]).await;
        assert_eq!(said.status, Some(0), "{variable}: {said:?}");
    }
    let at = ("S3_ENDPOINT", endpoint.as_str());
    let nowhere = ("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials");
    for (variables, expected) in [
        (
            vec![at, ("HOME", home_path), ("AWS_PROFILE", "login")],
            "gets its keys by sso_session",
        ),
        (
            vec![at, ("HOME", home_path), ("AWS_PROFILE", "nobody")],
            "no profile is called \"nobody\"",
        ),
        (
            vec![at, nowhere],
            "AWS_SHARED_CREDENTIALS_FILE: the file /nonexistent/credentials cannot be read",
        ),
        (
            vec![at, ("AWS_ROLE_ARN", "arn:r")],
            "AWS_WEB_IDENTITY_TOKEN_FILE is not",
        ),
        (
            vec![own[0], own[1], ("AWS_USE_FIPS_ENDPOINT", "true")],
            "AWS_USE_FIPS_ENDPOINT is not honoured",
        ),
        (
            vec![at, own[0], own[1], ("AWS_CA_BUNDLE", "/nonexistent.pem")],
            "AWS_CA_BUNDLE: the file /nonexistent.pem",
        ),
    ] {
        let all: Vec<(&str, &str)> = [store].into_iter().chain(variables).collect();
        let said = check_config(&stack, &all).await;
        assert_eq!(said.status, Some(78), "{expected}: {said:?}");
        assert!(said.err.contains(expected), "{expected}: {}", said.err);
        assert!(!said.err.contains(SECRET_ACCESS_KEY), "{}", said.err);
    }
    assert!(server.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_that_is_what_is_said() {
    let stack = Stack::start().await;
    let server = S3Server::start("pictures").await;
    // A machine that has nothing to give, and one that is not there.
    let machine = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(404))
        .mount(&machine)
        .await;
    let gone = TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let (endpoint, machine) = (server.endpoint(), machine.uri());
    let machine_host = machine.trim_start_matches("http://").to_owned();
    let s3 = [("STORAGE_URL", "s3://pictures"), ("S3_REGION", "eu-west-1")];
    for variables in [
        vec![s3[0], ("S3_ENDPOINT", &*endpoint)],
        vec![s3[0], s3[1], ("AWS_EC2_METADATA_DISABLED", "true")],
        vec![
            s3[0],
            ("S3_ENDPOINT", &*endpoint),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &*machine),
        ],
        vec![
            ("STORAGE_URL", "gs://pictures"),
            ("GCE_METADATA_HOST", &*machine_host),
            ("GCE_METADATA_IP", &*gone),
        ],
        vec![
            ("STORAGE_URL", "az://pictures"),
            ("AZURE_STORAGE_ACCOUNT", "acme"),
            ("AZURE_MSI_ENDPOINT", &*machine),
        ],
    ] {
        let said = check_config(&stack, &variables).await;
        assert_eq!(said.status, Some(78), "{variables:?}: {said:?}");
        assert!(
            said.err.contains("no keys are set: "),
            "{variables:?}: {}",
            said.err
        );
        assert!(!said.err.contains("169.254"), "{}", said.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_draws_into_a_store_that_is_set_up_as_its_page_says() {
    let stack = Stack::start().await;
    let server = S3Server::start("pictures").await;
    let endpoint = format!("{}/pictures", server.endpoint());
    let replica = stack
        .replica(&[
            ("STORAGE_URL", "s3://pictures"),
            ("S3_ENDPOINT", &endpoint),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ])
        .await;
    let job_id = stack.job().await;
    stack.push(&logo(job_id)).await;
    let job = stack.ended(job_id).await;
    let url = job.data["imageUrl"].as_str().unwrap().to_owned();
    let key = url.strip_prefix(&format!("{endpoint}/")).unwrap();
    assert!(
        server.objects().contains_key(key),
        "{url}: {:?}",
        server.objects().keys()
    );
    drop(replica);
}
