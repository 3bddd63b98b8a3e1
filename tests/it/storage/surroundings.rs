//! Stores as their users set them up: addresses with the bucket in them, variables and files of Amazon's own tools, no keys.

use std::net::TcpListener;

use generative_ai_worker::storage::Storage;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::command::{Said, command_on};
use crate::harness::odd_store::{OddStore, refusal};
use crate::harness::s3::{ACCESS_KEY_ID, S3Server, SECRET_ACCESS_KEY};
use crate::harness::stack::Stack;
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

/// Set-ups that cannot work, each with the status of all three commands that look and what they say.
#[tokio::test(flavor = "multi_thread")]
async fn run_check_config_and_doctor_agree_on_stores_that_cannot_work() {
    let stack = Stack::start().await;
    let server = S3Server::start("pictures").await;
    let open = OddStore::start(|_| None).await;
    let full = OddStore::start(|asked| (asked.method == "PUT").then(|| refusal(403, "QuotaExceeded"))).await;
    let busy = OddStore::start(|asked| (asked.method == "PUT").then(|| refusal(503, "SlowDown"))).await;
    let (server, open, full, busy) = (server.endpoint(), open.address(), full.address(), busy.address());
    let (other, elsewhere) = (format!("{server}/other"), format!("{open}/elsewhere"));
    let file = stack.path("file");
    std::fs::write(&file, "").unwrap();
    let below_file = file.join("images").to_str().unwrap().to_owned();
    let bucket = ("STORAGE_URL", "s3://pictures");
    let keys = [
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
    ];
    let at = |endpoint| vec![bucket, ("S3_ENDPOINT", endpoint), keys[0], keys[1]];
    let with = |mut variables: Vec<_>, more| {
        variables.push(more);
        variables
    };
    for (variables, status, said) in [
        (at(&other), 78, "its path /other is not the bucket"),
        (vec![bucket, ("S3_ENDPOINT", &*server)], 78, "no keys are set"),
        (
            with(at(&server), ("STORAGE_URL", "s3://elsewhere")),
            78,
            "no such bucket",
        ),
        (
            with(at(&server), ("AWS_SECRET_ACCESS_KEY", "hunter2hunter2")),
            78,
            "mend AWS_SECRET_ACCESS_KEY",
        ),
        (at(&full), 78, "the store is full"),
        (at(&busy), 69, "the store is busy"),
        (at("http://127.0.0.1:1"), 69, "the store cannot be reached"),
        (
            with(at(&open), ("PUBLIC_URL_BASE", &elsewhere)),
            78,
            "PUBLIC_URL_BASE: http://127.0.0.1",
        ),
        (
            vec![("STORAGE_URL", &*below_file)],
            78,
            "STORAGE_URL: cannot open",
        ),
        (
            vec![("STORAGE_URL", "https://0a1b.r2.cloudflarestorage.com/b")],
            78,
            "S3_ENDPOINT",
        ),
        (
            vec![("STORAGE_URL", "az://pictures")],
            78,
            "AZURE_STORAGE_ACCOUNT_NAME",
        ),
    ] {
        for command in ["check-config", "doctor", "run"] {
            let found = command_on(&stack, &[command], &variables).await;
            let text = format!("{}{}", found.out, found.err);
            assert_eq!(found.status, Some(status), "{command}, {said}: {text}");
            assert!(text.contains(said), "{command}: {said} is missing in {text}");
            assert!(
                !text.contains("hunter2") && !text.contains(SECRET_ACCESS_KEY),
                "{text}"
            );
        }
    }
}

/// The steps of `docs/stores.md`, "Cloudflare R2 with a domain of your own".
#[tokio::test(flavor = "multi_thread")]
async fn r2_with_a_domain_of_its_own_is_set_up_as_the_manual_says() {
    let stack = Stack::start().await;
    let r2 = OddStore::start(|asked| asked.is_public.then(|| refusal(400, "InvalidArgument"))).await;
    let domain = r2.domain("pictures").await;
    let (endpoint, base) = (format!("{}/pictures", r2.address()), domain.uri());
    let mut variables = vec![
        ("STORAGE_URL", "s3://pictures"),
        ("S3_ENDPOINT", &*endpoint),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let doctor = command_on(&stack, &["doctor", "--offline"], &variables).await;
    let forgotten = format!(
        "PUBLIC_URL_BASE is not set: {} answers 400 for an object that is there",
        r2.address()
    );
    assert!(doctor.out.contains(&forgotten), "{}", doctor.out);
    variables.push(("PUBLIC_URL_BASE", &base));
    let doctor = command_on(&stack, &["doctor", "--offline"], &variables).await;
    assert!(
        doctor.out.contains("the address of an object leads to it"),
        "{}",
        doctor.out
    );

    let _replica = stack.replica(&variables).await;
    let enqueue = ["enqueue", "--prompt", "A lighthouse", "--wait"];
    let said = command_on(&stack, &enqueue, &[]).await;
    assert_eq!(said.status, Some(0), "{said:?}");
    let url = said.out.trim().rsplit(' ').next().unwrap();
    assert!(url.starts_with(&format!("{base}/ypGenAi/")), "{url}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let picture = client.get(url).send().await.unwrap();
    assert_eq!(picture.status(), 200);
    assert!(!picture.bytes().await.unwrap().is_empty());
}
