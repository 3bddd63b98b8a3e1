//! Pictures end up whole, under the key of their job, with the headers that clients rely on.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use generative_ai_worker::failure::{ErrorClass, Failure};
use generative_ai_worker::storage::{
    ObjectKey, Role, S3Settings, Storage, StorageErrorKind, StorageSettings,
};
use hyper::Method;
use uuid::Uuid;

use crate::harness::s3::{S3Server, SECRET_ACCESS_KEY, SeenRequest};
use crate::harness::{files_below, temporary_directory, use_ring};

mod check;
mod surroundings;

fn key(job_id: i32) -> ObjectKey {
    ObjectKey::for_job(Uuid::nil(), job_id, "domain", "7", Role::Picture, "png").unwrap()
}

fn settings_at(port: u16) -> StorageSettings {
    StorageSettings {
        s3: S3Settings {
            bucket: Some("pictures".into()),
            endpoint: Some(format!("http://127.0.0.1:{port}")),
            access_key_id: Some("id".into()),
            secret_access_key: Some("secret".to_owned().into()),
            ..S3Settings::default()
        },
        ..StorageSettings::default()
    }
}

fn disk(directory: &std::path::Path) -> StorageSettings {
    StorageSettings {
        url: Some(directory.to_str().unwrap().into()),
        ..StorageSettings::default()
    }
}

#[tokio::test]
async fn a_picture_at_s3_keeps_its_bytes_and_tells_browsers_what_it_is() {
    let server = S3Server::start("pictures").await;
    let storage = Storage::open(server.settings()).await.unwrap();
    let stored = storage
        .put(&key(1), Bytes::from_static(b"picture"), "image/webp")
        .await
        .unwrap();

    assert_eq!(server.objects()[key(1).as_str()], b"picture");
    assert_eq!(stored.url, format!("{}/pictures/{}", server.endpoint(), key(1)));
    assert_eq!(storage.bucket_name(), Some("pictures"));
    let put = &server.requests()[0];
    assert_eq!(put.method, Method::PUT);
    assert_eq!(put.path, format!("/pictures/{}", key(1)));
    assert_eq!(put.headers["content-type"], "image/webp");
    assert_eq!(put.headers["content-disposition"], "inline");
    assert_eq!(
        put.headers["cache-control"],
        "public, max-age=31536000, immutable"
    );
    assert!(!put.headers.contains_key("x-amz-acl"));
}

#[tokio::test]
async fn a_picture_that_is_there_is_found_with_its_size_and_type() {
    let server = S3Server::start("pictures").await;
    let storage = Storage::open(server.settings()).await.unwrap();
    assert_eq!(storage.find(&key(1)).await.unwrap(), None);
    let stored = storage
        .put(&key(1), Bytes::from_static(b"picture"), "image/png")
        .await
        .unwrap();
    let found = storage.find(&key(1)).await.unwrap().unwrap();
    assert_eq!(found.stored, stored);
    assert_eq!(found.size_bytes, 7);
    assert_eq!(found.content_type.as_deref(), Some("image/png"));
    assert_eq!(storage.find(&key(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_repeated_upload_overwrites_itself() {
    let server = S3Server::start("pictures").await;
    let storage = Storage::open(server.settings()).await.unwrap();
    for bytes in [&b"first"[..], b"second"] {
        storage
            .put(&key(1), Bytes::from_static(bytes), "image/png")
            .await
            .unwrap();
    }
    let objects: Vec<_> = server.objects().into_iter().collect();
    assert_eq!(objects, [(key(1).to_string(), b"second".to_vec())]);
}

#[tokio::test]
async fn a_prefix_stands_in_front_of_every_key() {
    let server = S3Server::start("pictures").await;
    let settings = StorageSettings {
        url: Some("s3://pictures/staging/a".into()),
        ..server.settings()
    };
    let storage = Storage::open(settings).await.unwrap();
    let stored = storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap();
    assert!(server.objects().contains_key(&format!("staging/a/{}", key(1))));
    assert_eq!(
        stored.url,
        format!("{}/pictures/staging/a/{}", server.endpoint(), key(1))
    );
    assert!(storage.find(&key(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn an_acl_is_sent_and_signed_where_one_is_set() {
    let server = S3Server::start("pictures").await;
    let mut settings = server.settings();
    settings.s3.acl = Some("public-read".into());
    let storage = Storage::open(settings).await.unwrap();
    storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap();
    let put = &server.requests()[0];
    assert_eq!(put.headers["x-amz-acl"], "public-read");
    let authorization = put.headers["authorization"].to_str().unwrap();
    assert!(authorization.contains("x-amz-acl"), "{authorization}");
}

#[tokio::test]
async fn a_wrong_secret_is_a_refusal_that_names_the_store_and_no_secret() {
    let server = S3Server::start("pictures").await;
    let mut settings = server.settings();
    settings.s3.secret_access_key = Some("hunter2hunter2".to_owned().into());
    let storage = Storage::open(settings).await.unwrap();
    let error = storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Refused);
    let failure = Failure::from(error);
    assert_eq!(failure.class, ErrorClass::Storage);
    assert!(failure.message.contains("credentials"), "{failure}");
    let details = failure.details.unwrap();
    assert!(
        details.contains("s3://pictures") && details.contains("403"),
        "{details}"
    );
    for secret in ["hunter2", SECRET_ACCESS_KEY, "Signature="] {
        assert!(!details.contains(secret), "{details}");
    }
    assert!(server.objects().is_empty());
}

#[tokio::test]
async fn a_short_outage_of_the_store_is_bridged_and_a_longer_one_is_retried_later() {
    let server = S3Server::start("pictures").await;
    let storage = Storage::open(server.settings()).await.unwrap();
    server.fail_next(2);
    storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap();
    assert_eq!(server.requests().len(), 3);

    server.fail_next(usize::MAX);
    let error = storage
        .put(&key(2), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap_err();
    assert_eq!(server.requests().len(), 3 + 4, "one call and three resends");
    assert!(Failure::from(error).class.is_retried());
}

#[tokio::test]
async fn a_store_that_cannot_be_reached_is_a_storage_failure() {
    use_ring();
    let port = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let storage = Storage::open(settings_at(port)).await.unwrap();
    let error = storage.find(&key(1)).await.unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unreachable, "{error}");
    assert_eq!(Failure::from(error).class, ErrorClass::Storage);
}

#[tokio::test(start_paused = true)] // the clock jumps to the next limit whenever nothing else happens
async fn a_store_that_takes_connections_and_never_answers_is_given_up() {
    use_ring();
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let storage = Storage::open(settings_at(silent.local_addr().unwrap().port()))
        .await
        .unwrap();
    let error = storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap_err();
    assert_eq!(error.kind, StorageErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_removed_picture_is_gone_and_removing_it_again_is_no_error() {
    let server = S3Server::start("pictures").await;
    let directory = temporary_directory();
    let deletes = |request: &SeenRequest| request.method == Method::DELETE;
    for settings in [server.settings(), disk(directory.path())] {
        let storage = Storage::open(settings).await.unwrap();
        storage
            .put(&key(1), Bytes::from_static(b"x"), "image/png")
            .await
            .unwrap();
        storage.remove(&key(1)).await.unwrap();
        assert_eq!(storage.find(&key(1)).await.unwrap(), None);
        storage.remove(&key(1)).await.unwrap();
    }
    assert_eq!(
        server.requests().into_iter().filter(deletes).count(),
        2,
        "plain DELETE"
    );
}

#[tokio::test]
async fn a_picture_on_disk_is_one_whole_file_at_the_path_of_its_url() {
    let directory = temporary_directory();
    let storage = Storage::open(disk(&directory.path().join("not yet there")))
        .await
        .unwrap();
    for bytes in [&b"first"[..], b"second"] {
        storage
            .put(&key(1), Bytes::from_static(bytes), "image/png")
            .await
            .unwrap();
    }
    let files: Vec<_> = files_below(directory.path()).into_iter().collect();
    assert_eq!(files, [(format!("not yet there/{}", key(1)), b"second".to_vec())]);
    let found = storage.find(&key(1)).await.unwrap().unwrap();
    assert_eq!(found.size_bytes, 6);
    let path = url::Url::parse(&found.stored.url)
        .unwrap()
        .to_file_path()
        .unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"second");
    assert_eq!(storage.bucket_name(), None);
}

#[tokio::test]
async fn memory_keeps_what_it_is_given() {
    let settings = StorageSettings {
        url: Some("memory://".into()),
        ..StorageSettings::default()
    };
    let storage = Storage::open(settings).await.unwrap();
    let stored = storage
        .put(&key(1), Bytes::from_static(b"x"), "image/png")
        .await
        .unwrap();
    assert_eq!(stored.url, format!("memory:///{}", key(1)));
    assert_eq!(storage.find(&key(1)).await.unwrap().unwrap().size_bytes, 1);
}

#[tokio::test]
async fn clients_of_the_other_clouds_are_made_from_settings_alone() {
    use_ring();
    let directory = temporary_directory();
    let credentials = directory.path().join("key.json");
    std::fs::write(
        &credentials,
        r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"c"}"#,
    )
    .unwrap();
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();
    let google = StorageSettings {
        url: Some("gs://pictures/p".into()),
        cloud_variables: vec![(
            "GOOGLE_APPLICATION_CREDENTIALS".into(),
            credentials.to_str().unwrap().to_owned().into(),
        )],
        ..StorageSettings::default()
    };
    let azure = StorageSettings {
        url: Some("az://pictures".into()),
        cloud_variables: vec![
            ("AZURE_STORAGE_ACCOUNT_NAME".into(), "acme".to_owned().into()),
            (
                "AZURE_STORAGE_ACCOUNT_KEY".into(),
                "aHVudGVyMg==".to_owned().into(),
            ),
        ],
        ..StorageSettings::default()
    };
    for settings in [google.clone(), azure] {
        let storage = Storage::open(settings).await.unwrap();
        assert_eq!(storage.bucket_name(), Some("pictures"));
        assert!(!format!("{storage:?}").contains("hunter2"));
    }
    std::fs::remove_file(credentials).unwrap();
    let error = format!("{:#}", Storage::open(google).await.unwrap_err());
    assert!(
        error.starts_with("STORAGE_URL: cannot open gs://pictures: "),
        "{error}"
    );
}
