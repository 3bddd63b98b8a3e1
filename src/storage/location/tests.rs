use uuid::Uuid;

use super::*;
use crate::storage::{Role, S3Settings};

fn key() -> ObjectKey {
    ObjectKey::for_job(Uuid::nil(), 1, "domain", "2", Role::Picture, "png").unwrap()
}

fn s3(
    url: Option<&str>,
    bucket: Option<&str>,
    endpoint: Option<&str>,
    path_style: Option<bool>,
) -> StorageSettings {
    StorageSettings {
        url: url.map(Into::into),
        s3: S3Settings {
            bucket: bucket.map(Into::into),
            endpoint: endpoint.map(Into::into),
            force_path_style: path_style,
            ..S3Settings::default()
        },
        ..StorageSettings::default()
    }
}

fn at(url: &str) -> StorageSettings {
    s3(Some(url), None, None, None)
}

fn with_variable(mut settings: StorageSettings, name: &str, value: &str) -> StorageSettings {
    settings
        .cloud_variables
        .push((name.into(), value.to_owned().into()));
    settings
}

#[test]
fn public_urls_are_derived_from_the_store() {
    let azure = StorageSettings {
        cloud_variables: vec![("AZURE_STORAGE_ACCOUNT_NAME".into(), "acme".to_owned().into())],
        ..at("az://pictures")
    };
    let minio = Some("http://127.0.0.1:9000/");
    for (settings, expected) in [
        (
            s3(None, Some("pics"), None, None),
            "https://pics.s3.amazonaws.com/",
        ),
        (at("s3://pics"), "https://pics.s3.amazonaws.com/"),
        (at("s3://pics/a/b/"), "https://pics.s3.amazonaws.com/a/b/"),
        (
            s3(Some("s3://pics/p"), Some("other"), None, None),
            "https://pics.s3.amazonaws.com/p/",
        ),
        (s3(None, Some("pics"), minio, None), "http://127.0.0.1:9000/pics/"),
        (
            s3(None, Some("pics"), Some("minio.example.org"), Some(true)),
            "https://minio.example.org/pics/",
        ),
        (
            s3(None, Some("pics"), Some("https://s3.example.org"), Some(false)),
            "https://pics.s3.example.org/",
        ),
        (
            s3(None, Some("pics"), Some("s3.eu-west-1.amazonaws.com"), None),
            "https://pics.s3.amazonaws.com/",
        ),
        (
            s3(None, Some("pics"), Some("s3-accelerate.amazonaws.com"), None),
            "https://pics.s3.amazonaws.com/",
        ),
        (
            s3(
                Some("s3://pics"),
                None,
                Some("https://0a1b.r2.cloudflarestorage.com/pics/"),
                None,
            ),
            "https://0a1b.r2.cloudflarestorage.com/pics/",
        ),
        (
            at("s3://pics.example.org"),
            "https://s3.amazonaws.com/pics.example.org/",
        ),
        (
            with_variable(at("s3://pics"), "AWS_ENDPOINT_URL", "http://127.0.0.1:9000"),
            "http://127.0.0.1:9000/pics/",
        ),
        (
            with_variable(
                with_variable(at("s3://pics"), "AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                "AWS_ENDPOINT_URL_S3",
                "http://127.0.0.1:2/pics",
            ),
            "http://127.0.0.1:2/pics/",
        ),
        (
            with_variable(
                with_variable(at("s3://pics"), "AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
                "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
                "true",
            ),
            "https://pics.s3.amazonaws.com/",
        ),
        (
            with_variable(at("gs://pics"), "STORAGE_EMULATOR_HOST", "127.0.0.1:4443"),
            "http://127.0.0.1:4443/pics/",
        ),
        (
            with_variable(
                azure.clone(),
                "AZURE_STORAGE_ENDPOINT",
                "http://127.0.0.1:10000/acme/",
            ),
            "http://127.0.0.1:10000/acme/pictures/",
        ),
        (
            with_variable(at("az://pictures"), "AZURE_STORAGE_ACCOUNT", "acme"),
            "https://acme.blob.core.windows.net/pictures/",
        ),
        (at("gs://pics/p"), "https://storage.googleapis.com/pics/p/"),
        (azure, "https://acme.blob.core.windows.net/pictures/"),
        (at("memory://"), "memory:///"),
        (at("file:///srv/a%20b"), "file:///srv/a%20b/"),
        (at("/srv/a b"), "file:///srv/a%20b/"),
    ] {
        let location = Location::from_settings(&settings, &Profile::default()).unwrap();
        assert_eq!(
            location.public_url(&settings, &key()),
            format!("{expected}{}", key()),
            "{settings:?}"
        );
    }
}

#[test]
fn a_named_base_wins_over_the_proxy_and_the_proxy_over_the_store() {
    let mut settings = at("s3://pics/p");
    settings.cloudflare_image_proxy_domain = Some("images.example.org".into());
    let location = Location::from_settings(&settings, &Profile::default()).unwrap();
    assert_eq!(
        location.public_url(&settings, &key()),
        format!("https://images.example.org/p/{}", key())
    );
    settings.public_url_base = Some("https://cdn.example.org/x/".parse().unwrap());
    assert_eq!(
        location.public_url(&settings, &key()),
        format!("https://cdn.example.org/x/p/{}", key())
    );
}

#[test]
fn without_any_setting_pictures_go_to_a_folder_here() {
    let location = Location::from_settings(&StorageSettings::default(), &Profile::default()).unwrap();
    assert_eq!(
        location.place,
        Place::Disk {
            root: "./images".into()
        }
    );
    assert_eq!(location.bucket(), None);
}

#[test]
fn a_path_that_is_one_for_sure_wins_over_what_is_set_beside_it() {
    for path in ["./pics", "/srv/pics", "../pics", "./a:b"] {
        let settings = s3(Some(path), Some("b"), Some("http://127.0.0.1:9000"), None);
        let location = Location::from_settings(&settings, &Profile::default()).unwrap();
        assert_eq!(location.place, Place::Disk { root: path.into() });
    }
    let location = Location::from_settings(&at("pics"), &Profile::default()).unwrap();
    assert_eq!(location.place, Place::Disk { root: "pics".into() });
}

#[test]
fn faulty_settings_are_named_and_credentials_in_them_are_not_repeated() {
    for (settings, expected) in [
        (at(""), "STORAGE_URL is empty"),
        (at("ftp://host/x"), "no store is called \"ftp\""),
        (at("s3://"), "STORAGE_URL: \"\" cannot be the name of a bucket"),
        (
            at("s3://b/a/../c"),
            "STORAGE_URL: \"..\" cannot be the name of a folder",
        ),
        (
            at("s3://b/a//c"),
            "STORAGE_URL: \"\" cannot be the name of a folder",
        ),
        (at("s3://b/a%2e"), "cannot be the name of a folder"),
        (at("s3://key:hunter2@b"), "STORAGE_URL holds an @"),
        (at("file://elsewhere/x"), "is not a file URL"),
        (at("s3:key:hunter2@b"), "STORAGE_URL holds an @"),
        (at("key:hunter2@b"), "STORAGE_URL holds an @"),
        (at("s3:/b/p"), "\"s3:/b/p\" has too few slashes: write s3://b/p"),
        (at("S3:b"), "\"S3:b\" has too few slashes: write s3://b"),
        (at("file:/srv/p"), "write file:///srv/p"),
        (at("minio:b"), "no store is called \"minio\""),
        (
            s3(Some("pics"), None, Some("http://127.0.0.1:9000"), None),
            "\"pics\" is a directory of this machine, and S3_ENDPOINT is set",
        ),
        (
            s3(Some("pics"), Some("b"), None, None),
            "S3_BUCKET is set, as if pictures went to a bucket: write s3://pics, or ./pics for the directory",
        ),
        (at("memory://x"), "memory:// takes nothing"),
        (at("az://c"), "AZURE_STORAGE_ACCOUNT_NAME"),
        (at("https://0a1b.r2.cloudflarestorage.com/b"), "S3_ENDPOINT"),
        (s3(None, Some("s3://b"), None, None), "S3_BUCKET: \"s3://b\""),
        (
            s3(None, None, Some("http://127.0.0.1:9000/b"), None),
            "no bucket is",
        ),
        (
            with_variable(at("s3://b"), "AWS_ENDPOINT_URL", "http://127.0.0.1:9000/other"),
            "AWS_ENDPOINT_URL: its path /other",
        ),
        (
            with_variable(at("gs://b"), "STORAGE_EMULATOR_HOST", "http://key:hunter2@x"),
            "STORAGE_EMULATOR_HOST",
        ),
        (
            with_variable(
                with_variable(at("az://b"), "AZURE_STORAGE_ACCOUNT", "acme"),
                "AZURE_STORAGE_CONNECTION_STRING",
                "AccountName=acme;AccountKey=hunter2",
            ),
            "AZURE_STORAGE_CONNECTION_STRING is not read here",
        ),
        (s3(None, Some("b"), Some("ftp://x"), None), "S3_ENDPOINT"),
        (
            s3(None, Some("b"), Some("https://key:hunter2@x"), None),
            "S3_ENDPOINT",
        ),
        (
            s3(None, Some("b"), Some("http://127.0.0.1:9000"), Some(false)),
            "S3_FORCE_PATH_STYLE",
        ),
    ] {
        let error = Location::from_settings(&settings, &Profile::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
    }
}
