//! Where the store is and how its objects are called from outside: from settings to names. No I/O.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use object_store::path::Path;
use url::Url;

use super::StorageSettings;
use super::key::ObjectKey;
use super::settings::host_of;

/// What `STORAGE_URL` may look like, for error messages.
const FORMS: &str =
    "write a path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory://";

/// The store and the folder within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) place: Place,
    /// Folders in front of every key, without slashes at the ends; may be empty.
    prefix: String,
}

/// One kind of store each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Disk {
        root: PathBuf,
    },
    Memory,
    S3 {
        bucket: String,
        endpoint: Option<Endpoint>,
    },
    Google {
        bucket: String,
    },
    Azure {
        account: String,
        container: String,
    },
}

/// An S3 service other than Amazon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// With the bucket in it, as far as it belongs into the host's name; no slash at the end.
    pub(super) url: String,
    /// Whether the bucket is the first folder instead of a part of the host's name.
    pub(super) path_style: bool,
}

impl Location {
    /// Reads `STORAGE_URL` and what belongs to it. `S3_BUCKET` alone stands for `s3://$S3_BUCKET`.
    ///
    /// # Errors
    /// A sentence that names the variable, what was found (never a password) and what is accepted.
    pub(super) fn from_settings(settings: &StorageSettings) -> anyhow::Result<Self> {
        let url = match (&settings.url, &settings.s3.bucket) {
            (Some(url), _) => url.clone(),
            (None, Some(bucket)) => format!("s3://{bucket}"),
            (None, None) => "./images".to_owned(),
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            ensure!(!url.is_empty(), "STORAGE_URL is empty; {FORMS}");
            return Ok(Self::on_disk(url.into()));
        };
        ensure!(
            scheme == "file" || !rest.contains('@'),
            "STORAGE_URL holds an @, as if it carried credentials; they belong into variables of their own, such as AWS_ACCESS_KEY_ID"
        );
        match scheme {
            "file" => {
                let path = Url::parse(&url).ok().and_then(|url| url.to_file_path().ok());
                let path =
                    path.with_context(|| format!("STORAGE_URL: {url:?} is not a file URL; {FORMS}"))?;
                Ok(Self::on_disk(path))
            }
            "memory" => {
                ensure!(
                    rest.trim_matches('/').is_empty(),
                    "STORAGE_URL: memory:// takes nothing after it"
                );
                Ok(Self::at(Place::Memory, ""))
            }
            "s3" | "gs" | "az" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                check_name("STORAGE_URL", "bucket", bucket)?;
                let prefix = prefix.trim_matches('/');
                for folder in prefix.split('/').filter(|_| !prefix.is_empty()) {
                    check_name("STORAGE_URL", "folder", folder)?;
                }
                let bucket = bucket.to_owned();
                let place = match scheme {
                    "s3" => Place::S3 {
                        endpoint: endpoint(settings, &bucket)?,
                        bucket,
                    },
                    "gs" => Place::Google { bucket },
                    _ => Place::Azure {
                        account: azure_account(settings)?,
                        container: bucket,
                    },
                };
                Ok(Self::at(place, prefix))
            }
            other => bail!("STORAGE_URL: no store is called {other:?}; {FORMS}"),
        }
    }

    fn on_disk(root: PathBuf) -> Self {
        Self::at(Place::Disk { root }, "")
    }

    fn at(place: Place, prefix: &str) -> Self {
        Self {
            place,
            prefix: prefix.to_owned(),
        }
    }

    /// The bucket or container; a disk has none.
    pub(super) fn bucket(&self) -> Option<&str> {
        match &self.place {
            Place::Disk { .. } | Place::Memory => None,
            Place::S3 { bucket, .. } | Place::Google { bucket } => Some(bucket),
            Place::Azure { container, .. } => Some(container),
        }
    }

    /// For messages: which store is meant.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::Disk { root } => root.display().to_string(),
            Place::Memory => "memory://".to_owned(),
            Place::S3 {
                bucket,
                endpoint: None,
            } => format!("s3://{bucket}"),
            Place::S3 {
                bucket,
                endpoint: Some(endpoint),
            } => format!("s3://{bucket} at {}", endpoint.url),
            Place::Google { bucket } => format!("gs://{bucket}"),
            Place::Azure { account, container } => format!("az://{container} of {account}"),
        }
    }

    /// The key as the store has it, prefix included.
    pub(super) fn path(&self, key: &ObjectKey) -> Result<Path, object_store::path::Error> {
        Path::parse(self.whole(key))
    }

    fn whole(&self, key: &ObjectKey) -> String {
        if self.prefix.is_empty() {
            key.to_string()
        } else {
            format!("{}/{key}", self.prefix)
        }
    }

    /// The address under which the store itself, or a cache in front of it, shows an object.
    pub(super) fn public_url(&self, settings: &StorageSettings, key: &ObjectKey) -> String {
        let key = self.whole(key);
        if let Some(base) = &settings.public_url_base {
            return format!("{}/{key}", base.as_str().trim_end_matches('/'));
        }
        if let Some(domain) = &settings.cloudflare_image_proxy_domain {
            return format!("https://{}/{key}", host_of(domain));
        }
        match &self.place {
            Place::Disk { root } => Url::from_file_path(root.join(&key))
                .map_or_else(|()| format!("file://{}/{key}", root.display()), String::from),
            Place::Memory => format!("memory:///{key}"),
            Place::S3 {
                bucket,
                endpoint: None,
            } => format!("https://{bucket}.s3.amazonaws.com/{key}"),
            Place::S3 {
                bucket,
                endpoint: Some(endpoint),
            } if endpoint.path_style => format!("{}/{bucket}/{key}", endpoint.url),
            Place::S3 {
                endpoint: Some(endpoint),
                ..
            } => format!("{}/{key}", endpoint.url),
            Place::Google { bucket } => format!("https://storage.googleapis.com/{bucket}/{key}"),
            Place::Azure { account, container } => {
                format!("https://{account}.blob.core.windows.net/{container}/{key}")
            }
        }
    }
}

/// Bucket names and folders that read the same in a URL and in a store.
fn check_name(variable: &str, what: &str, name: &str) -> anyhow::Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.=".contains(c);
    let is_name = !name.is_empty() && name != "." && name != ".." && name.chars().all(allowed);
    ensure!(
        is_name,
        "{variable}: {name:?} cannot be the name of a {what}; it takes letters, digits, -, _, . and ="
    );
    Ok(())
}

/// `None` for Amazon's own addresses, which some write into `S3_ENDPOINT` too.
fn endpoint(settings: &StorageSettings, bucket: &str) -> anyhow::Result<Option<Endpoint>> {
    let Some(found) = settings.s3.endpoint.as_deref().filter(|found| !found.is_empty()) else {
        return Ok(None);
    };
    let with_scheme = if found.contains("://") {
        found.to_owned()
    } else {
        format!("https://{found}")
    };
    let mut url = Url::parse(&with_scheme)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.query().is_none())
        .context("S3_ENDPOINT is not the address of a service; write for example https://minio.example.org:9000, without credentials")?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let is_amazon = host
        .strip_suffix(".amazonaws.com")
        .is_some_and(|rest| rest == "s3" || rest.starts_with("s3.") || rest.starts_with("s3-"));
    if is_amazon {
        return Ok(None);
    }
    let path_style = settings.s3.force_path_style.unwrap_or(true);
    if !path_style {
        let with_bucket = format!("{bucket}.{host}");
        url.set_host(Some(&with_bucket))
            .ok()
            .filter(|()| url.domain().is_some())
            .with_context(|| format!("S3_FORCE_PATH_STYLE is false, but {with_bucket:?} is not the name of a host; leave it out"))?;
    }
    Ok(Some(Endpoint {
        url: url.as_str().trim_end_matches('/').to_owned(),
        path_style,
    }))
}

fn azure_account(settings: &StorageSettings) -> anyhow::Result<String> {
    let account = settings
        .cloud_variable("AZURE_STORAGE_ACCOUNT_NAME")
        .context("STORAGE_URL is an az:// address, so AZURE_STORAGE_ACCOUNT_NAME has to name the account")?;
    check_name("AZURE_STORAGE_ACCOUNT_NAME", "account", account)?;
    Ok(account.to_owned())
}

#[cfg(test)]
mod tests {
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
            (at("gs://pics/p"), "https://storage.googleapis.com/pics/p/"),
            (azure, "https://acme.blob.core.windows.net/pictures/"),
            (at("memory://"), "memory:///"),
            (at("file:///srv/a%20b"), "file:///srv/a%20b/"),
            (at("/srv/a b"), "file:///srv/a%20b/"),
        ] {
            let location = Location::from_settings(&settings).unwrap();
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
        let location = Location::from_settings(&settings).unwrap();
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
        let location = Location::from_settings(&StorageSettings::default()).unwrap();
        assert_eq!(
            location.place,
            Place::Disk {
                root: "./images".into()
            }
        );
        assert_eq!(location.bucket(), None);
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
            (at("memory://x"), "memory:// takes nothing"),
            (at("az://c"), "AZURE_STORAGE_ACCOUNT_NAME"),
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
            let error = Location::from_settings(&settings).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
    }
}
