//! A store is looked at before anything is bought, by what a replica does with a picture and nothing else.

use generative_ai_worker::findings::{Checked, Grade};
use generative_ai_worker::storage::{Storage, StorageSettings};
use hyper::Method;
use wiremock::ResponseTemplate;

use super::{disk, key};
use crate::harness::odd_store::{Asked, OddStore, Whim, refusal};
use crate::harness::s3::S3Server;
use crate::harness::{temporary_directory, use_ring};

/// What is found, a line each: `ok: …`, `warn: …`, `away: …`, `fail: …`.
fn told(checked: &Checked<Storage>) -> Vec<String> {
    let lines = checked.findings.iter().map(|(grade, about, text)| {
        assert_eq!(about, "storage");
        assert!(!text.contains('\n'), "{text}");
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Away => "away",
            Grade::Fail => "fail",
        };
        format!("{grade}: {text}")
    });
    let lines: Vec<String> = lines.collect();
    let is_fit = !lines
        .iter()
        .any(|line| line.starts_with("away") || line.starts_with("fail"));
    assert_eq!(checked.service.is_some(), is_fit, "{lines:?}");
    lines
}

async fn check(settings: StorageSettings) -> Vec<String> {
    let checked = Storage::check(settings).await;
    if let Some(storage) = &checked.service {
        storage.leave().await;
    }
    told(&checked)
}

#[track_caller]
fn says(lines: &[String], expected: &str) {
    let (grade, text) = expected.split_once(": ").unwrap();
    let has = lines
        .iter()
        .any(|line| line.starts_with(&format!("{grade}: ")) && line.contains(text));
    assert!(has, "{expected} is missing in {lines:#?}");
}

#[tokio::test]
async fn the_look_puts_reads_and_removes_an_object_and_leaves_nothing() {
    let server = S3Server::start("pictures").await;
    let lines = check(server.settings()).await;
    says(&lines, "ok: takes an object and gives it back");
    says(&lines, "ok: an object can be removed");
    assert!(server.objects().is_empty());
    let mut methods: Vec<Method> = server
        .requests()
        .into_iter()
        .map(|request| request.method)
        .collect();
    methods.dedup();
    assert!(
        !methods.contains(&Method::POST),
        "no upload in parts: {methods:?}"
    );

    let mut settings = server.settings();
    settings.s3.bucket = Some("elsewhere".into());
    let lines = check(settings).await;
    says(&lines, "fail: STORAGE_URL: pictures cannot be stored");
    says(&lines, "fail: NoSuchBucket");
    says(&lines, "fail: there is no such bucket");
}

#[tokio::test]
async fn uploads_in_parts_may_be_refused_as_no_picture_comes_in_parts() {
    let store = OddStore::start(|asked| (asked.method == "POST").then(|| refusal(403, "AccessDenied"))).await;
    let lines = check(store.settings()).await;
    says(&lines, "ok: takes an object and gives it back");
    assert!(!store.methods().await.contains(&"POST".to_owned()));
    assert_eq!(store.paths(), [""; 0]);
}

#[tokio::test]
async fn what_a_store_says_is_called_what_it_is() {
    fn refuse(asked: &Asked<'_>, status: u16, code: &str) -> Option<ResponseTemplate> {
        (asked.method == "PUT").then(|| refusal(status, code))
    }
    let cases: [(Whim, &str); 17] = [
        (|a| refuse(a, 403, "QuotaExceeded"), "fail: the store is full"),
        (|a| refuse(a, 507, "XMinioStorageFull"), "fail: the store is full"),
        (
            |a| refuse(a, 403, "ServiceQuotaExceeded"),
            "fail: the store is full",
        ),
        (|a| refuse(a, 503, "SlowDown"), "away: the store is busy"),
        (|a| refuse(a, 429, "TooManyRequests"), "away: the store is busy"),
        (
            |a| refuse(a, 400, "InvalidBucketName"),
            "fail: no bucket of this name",
        ),
        (|a| refuse(a, 403, "RequestTimeTooSkewed"), "fail: clock is wrong"),
        (|a| refuse(a, 301, "PermanentRedirect"), "fail: in another region"),
        (
            |a| refuse(a, 400, "AuthorizationHeaderMalformed"),
            "fail: in another region: set S3_REGION",
        ),
        (
            |a| refuse(a, 404, "NoSuchBucket"),
            "fail: there is no such bucket",
        ),
        (
            |a| refuse(a, 403, "InvalidAccessKeyId"),
            "fail: mend AWS_ACCESS_KEY_ID",
        ),
        (
            |a| refuse(a, 403, "SignatureDoesNotMatch"),
            "fail: mend AWS_SECRET_ACCESS_KEY",
        ),
        (|a| refuse(a, 400, "ExpiredToken"), "fail: the keys have ended"),
        (
            |a| refuse(a, 403, "AccessDenied"),
            "fail: let them put, get and delete",
        ),
        (
            |a| refuse(a, 400, "AccessControlListNotSupported"),
            "fail: leave S3_ACL out",
        ),
        (
            |a| (a.method == "PUT").then(|| ResponseTemplate::new(405).set_body_string("<html>no</html>")),
            "fail: does not store objects: mend S3_ENDPOINT",
        ),
        (
            |a| (a.method == "PUT").then(|| ResponseTemplate::new(502).set_body_string("<html>no</html>")),
            "away: cannot reach it",
        ),
    ];
    for (whim, expected) in cases {
        let store = OddStore::start(whim).await;
        let lines = check(store.settings()).await;
        says(&lines, expected);
        let others = [
            "the store is full",
            "do not allow",
            "clock",
            "another region",
            "is busy",
        ];
        let meanings = others
            .iter()
            .filter(|other| lines.iter().any(|line| line.contains(**other)));
        assert!(meanings.count() <= 1, "{lines:?}");
        says(&lines, &format!("{}: STORAGE_URL: ", &expected[..4]));
    }
}

#[tokio::test]
async fn a_public_address_leads_to_what_was_stored_or_the_look_says_so() {
    let base = |store: &OddStore, path: &str| {
        let mut settings = store.settings();
        settings.public_url_base = format!("{}{path}", store.address()).parse().ok();
        settings
    };
    let open = OddStore::start(|_| None).await;
    says(&check(open.settings()).await, "ok: leads to it");
    says(&check(base(&open, "/pictures")).await, "ok: leads to it");
    says(
        &check(base(&open, "/elsewhere/")).await,
        "fail: PUBLIC_URL_BASE: http://127.0.0.1",
    );
    let mut twice = base(&open, "/pictures/a");
    twice.url = Some("s3://pictures/a".into());
    says(&check(twice).await, "fail: folders of STORAGE_URL included");
    assert_eq!(open.paths(), [""; 0]);

    let page = OddStore::start(|asked| {
        asked
            .is_public
            .then(|| ResponseTemplate::new(200).set_body_string("<html>Welcome</html>"))
    })
    .await;
    says(&check(base(&page, "/pictures")).await, "fail: something else");

    let closed = OddStore::start(|asked| asked.is_public.then(|| refusal(403, "AccessDenied"))).await;
    says(
        &check(closed.settings()).await,
        "warn: PUBLIC_URL_BASE is not set: ",
    );
    says(&check(closed.settings()).await, "warn: answers 403");

    // Nobody is asked at a name that is kept for examples, and nobody at all where pictures lie on a disk.
    let mut example = open.settings();
    example.cloudflare_image_proxy_domain = Some("images.example.org".into());
    let storage = Storage::check(example).await.service.unwrap();
    assert!(storage.advise().tell().contains("kept for examples"));
    let directory = temporary_directory();
    let storage = Storage::check(disk(directory.path())).await.service.unwrap();
    assert!(
        storage
            .advise()
            .tell()
            .contains("which other machines cannot open")
    );
    let mut served = disk(directory.path());
    served.public_url_base = format!("{}/x", open.address()).parse().ok();
    says(&check(served).await, "fail: PUBLIC_URL_BASE: ");
}

#[tokio::test]
async fn keys_that_may_not_remove_leave_one_probe_however_often_they_are_tried() {
    let store =
        OddStore::start(|asked| (asked.method == "DELETE").then(|| refusal(403, "AccessDenied"))).await;
    for _ in 0..3 {
        let lines = check(store.settings()).await;
        says(
            &lines,
            "warn: an object cannot be removed, and ypGenAi/.probe stays",
        );
    }
    assert_eq!(store.paths(), ["/pictures/ypGenAi/.probe"]);
}

#[tokio::test]
async fn keys_that_may_not_list_still_find_what_is_there_and_miss_what_is_not() {
    // Amazon's answer where s3:ListBucket is not granted.
    let store = OddStore::start(|asked| {
        (!asked.is_there && asked.method == "HEAD").then(|| ResponseTemplate::new(403))
    })
    .await;
    let storage = Storage::check(store.settings()).await.service.unwrap();
    assert_eq!(storage.find(&key(1)).await.unwrap(), None);
    let bytes = bytes::Bytes::from_static(b"x");
    storage.put(&key(1), bytes, "image/png").await.unwrap();
    assert!(storage.find(&key(1)).await.unwrap().is_some());

    let blind = OddStore::start(|asked| {
        ["HEAD", "GET"]
            .contains(&asked.method)
            .then(|| ResponseTemplate::new(403))
    })
    .await;
    let checked = Storage::check(blind.settings()).await;
    says(&told(&checked), "warn: cannot be read back");
    assert_eq!(checked.service.unwrap().find(&key(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_store_that_loses_or_changes_what_it_is_given_is_found() {
    let forgetful = OddStore::start(|asked| (asked.method == "GET").then(|| refusal(404, "NoSuchKey"))).await;
    says(&check(forgetful.settings()).await, "fail: cannot be read back");
    let page = OddStore::start(|_| {
        Some(
            ResponseTemplate::new(200)
                .insert_header("etag", "1")
                .set_body_string("hello"),
        )
    })
    .await;
    says(&check(page.settings()).await, "fail: other bytes");
    let redrawn = OddStore::start(|asked| {
        (asked.method == "GET").then(|| ResponseTemplate::new(200).set_body_bytes(*b"\x89PNG of its own"))
    })
    .await;
    says(&check(redrawn.settings()).await, "warn: other bytes");
}

#[tokio::test]
async fn google_and_azure_are_looked_at_in_the_same_way() {
    let whim: Whim =
        |asked| (asked.path.contains("full") && asked.method == "PUT").then(|| refusal(403, "QuotaExceeded"));
    let store = OddStore::start(whim).await;
    let variables = |names: &[(&str, &str)]| {
        let set = names
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned().into()));
        set.collect::<Vec<_>>()
    };
    for bucket in ["pictures", "full"] {
        let google = StorageSettings {
            url: Some(format!("gs://{bucket}/p")),
            cloud_variables: variables(&[("STORAGE_EMULATOR_HOST", &store.address())]),
            ..StorageSettings::default()
        };
        let azure = StorageSettings {
            url: Some(format!("az://{bucket}/p")),
            cloud_variables: variables(&[
                ("AZURE_STORAGE_ACCOUNT", "acme"),
                ("AZURE_STORAGE_KEY", "aHVudGVyMg=="),
                ("AZURE_STORAGE_ENDPOINT", &format!("{}/acme", store.address())),
            ]),
            ..StorageSettings::default()
        };
        for settings in [google, azure] {
            let lines = check(settings).await;
            if bucket == "full" {
                says(&lines, "fail: the store is full");
            } else {
                says(&lines, "ok: takes an object and gives it back");
                says(&lines, "ok: leads to it");
                if lines[0].contains("gs://") {
                    says(&lines, "ok: an object can be removed");
                } else {
                    // Azure's client removes in batches, which this store does not know: one probe stays.
                    says(
                        &lines,
                        "warn: an object cannot be removed, and ypGenAi/.probe stays",
                    );
                }
            }
        }
    }
    assert_eq!(store.paths(), ["/acme/pictures/p/ypGenAi/.probe"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_and_commands_that_look_at_a_new_disk_at_once_are_not_in_each_others_way() {
    use_ring();
    let directory = temporary_directory();
    for round in 0..50 {
        let images = directory.path().join(round.to_string());
        let looks = (0..4).map(|_| tokio::spawn(check(disk(&images))));
        for lines in futures_util::future::try_join_all(looks).await.unwrap() {
            says(&lines, "ok: takes an object and gives it back");
            says(&lines, "ok: an object can be removed");
        }
    }
}

#[tokio::test]
async fn a_disk_is_tried_as_pictures_use_it_and_left_as_it_was() {
    use_ring();
    let directory = temporary_directory();
    let images = directory.path().join("images");
    says(
        &check(disk(&images)).await,
        "ok: takes an object and gives it back",
    );
    assert!(!images.exists(), "no folder stays");

    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    says(
        &check(disk(&file.join("images"))).await,
        "fail: STORAGE_URL: cannot open ",
    );
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join("ypGenAi"), "in the way").unwrap();
    says(
        &check(disk(&images)).await,
        "fail: STORAGE_URL: pictures cannot be stored",
    );
}

#[tokio::test]
async fn a_store_that_is_away_is_away_and_asked_once() {
    use_ring();
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let lines = check(super::settings_at(port)).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    says(&lines, "away: STORAGE_URL: the store cannot be reached");
}
