//! Where the store is and how its objects are called from outside: from settings to names. No I/O.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use object_store::path::Path;
use url::Url;

use super::endpoint::{self, Endpoint, Whereabouts};
use super::key::ObjectKey;
use super::profile::Profile;
use super::settings::host_of;
use super::{S3Settings, StorageSettings};

/// What `STORAGE_URL` may look like, for error messages.
const FORMS: &str =
    "write a path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or memory://";

const CREDENTIALS: &str = "STORAGE_URL holds an @, as if it carried credentials; they belong into variables of their own, such as AWS_ACCESS_KEY_ID";

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
        at: Whereabouts,
    },
    Google {
        bucket: String,
        /// Of a service that stands in for Google's, such as an emulator; no slash at the end.
        base: Option<String>,
    },
    Azure {
        account: String,
        container: String,
        /// Of an account that is not at its usual address; no slash at the end.
        base: Option<String>,
    },
}

impl Location {
    /// Reads `STORAGE_URL` and what belongs to it. `S3_BUCKET` alone stands for `s3://$S3_BUCKET`.
    ///
    /// # Errors
    /// A sentence that names the variable, what was found (never a password) and what is accepted.
    pub(super) fn from_settings(settings: &StorageSettings, profile: &Profile) -> anyhow::Result<Self> {
        let url = match (&settings.url, &settings.s3.bucket) {
            (Some(url), _) => url.clone(),
            (None, Some(bucket)) => {
                check_name("S3_BUCKET", "bucket", bucket)?;
                format!("s3://{bucket}")
            }
            (None, None) => {
                ensure!(
                    settings.s3.endpoint.is_none(),
                    "S3_ENDPOINT is set and no bucket is: pictures would go to ./images; set STORAGE_URL=s3://bucket, or leave \
                     S3_ENDPOINT out"
                );
                "./images".to_owned()
            }
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            ensure!(!url.is_empty(), "STORAGE_URL is empty; {FORMS}");
            check_path(&url, &settings.s3)?;
            return Ok(Self::on_disk(url.into()));
        };
        ensure!(scheme == "file" || !rest.contains('@'), CREDENTIALS);
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
                        at: s3(settings, profile, &bucket)?,
                        bucket,
                    },
                    "gs" => Place::Google {
                        base: base_of(settings, "STORAGE_EMULATOR_HOST", "http://")?,
                        bucket,
                    },
                    _ => azure(settings, bucket)?,
                };
                Ok(Self::at(place, prefix))
            }
            "http" | "https" => bail!(
                "STORAGE_URL: a web address was found; write s3://bucket here, and the service's address into S3_ENDPOINT"
            ),
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
            Place::S3 { bucket, .. } | Place::Google { bucket, .. } => Some(bucket),
            Place::Azure { container, .. } => Some(container),
        }
    }

    /// For messages: which store is meant.
    pub(super) fn name(&self) -> String {
        match &self.place {
            Place::Disk { root } => root.display().to_string(),
            Place::Memory => "memory://".to_owned(),
            Place::S3 { bucket, at } => match &at.endpoint {
                None => format!("s3://{bucket}"),
                Some(endpoint) => format!("s3://{bucket} at {}", endpoint.url),
            },
            Place::Google { bucket, .. } => format!("gs://{bucket}"),
            Place::Azure {
                account, container, ..
            } => format!("az://{container} of {account}"),
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
            Place::S3 { bucket, at } => match &at.endpoint {
                Some(Endpoint {
                    url,
                    path_style,
                    is_amazon: false,
                }) => {
                    let bucket = if *path_style {
                        format!("/{bucket}")
                    } else {
                        String::new()
                    };
                    format!("{url}{bucket}/{key}")
                }
                // Amazon's certificate covers one label in front of its name.
                _ if bucket.contains('.') => {
                    let region = at
                        .region
                        .as_deref()
                        .map(|region| format!(".{region}"))
                        .unwrap_or_default();
                    format!("https://s3{region}.amazonaws.com/{bucket}/{key}")
                }
                _ => format!("https://{bucket}.s3.amazonaws.com/{key}"),
            },
            Place::Google { bucket, base } => {
                let base = base.as_deref().unwrap_or("https://storage.googleapis.com");
                format!("{base}/{bucket}/{key}")
            }
            Place::Azure {
                account,
                container,
                base,
            } => match base {
                Some(base) => format!("{base}/{container}/{key}"),
                None => format!("https://{account}.blob.core.windows.net/{container}/{key}"),
            },
        }
    }
}

/// A path that was probably meant to be something else: pictures would go to a directory that nobody looks into, in silence.
fn check_path(found: &str, s3: &S3Settings) -> anyhow::Result<()> {
    const SCHEMES: [&str; 5] = ["file", "s3", "gs", "az", "memory"];
    let is_scheme = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    if let Some((scheme, rest)) = found.split_once(':').filter(|(word, _)| is_scheme(word)) {
        ensure!(!rest.contains('@'), CREDENTIALS);
        let known = SCHEMES
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(scheme));
        let known = known.with_context(|| {
            format!(
                "STORAGE_URL: no store is called {scheme:?}; {FORMS}, and in front of a path with a colon ./"
            )
        })?;
        let path = rest.trim_start_matches('/');
        let slashes = if known == "file" { ":///" } else { "://" };
        bail!("STORAGE_URL: {found:?} has too few slashes: write {known}{slashes}{path}");
    }
    // As a path for sure it wins over what is set beside it.
    if found.starts_with(['/', '.']) {
        return Ok(());
    }
    let set = [("S3_ENDPOINT", &s3.endpoint), ("S3_BUCKET", &s3.bucket)];
    match set.into_iter().find(|(_, value)| value.is_some()) {
        None => Ok(()),
        Some((variable, _)) => bail!(
            "STORAGE_URL: {found:?} is a directory of this machine, and {variable} is set, as if pictures went to a bucket: write \
             s3://{found}, or ./{found} for the directory"
        ),
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

/// Where the bucket is: `S3_ENDPOINT`, or what Amazon's tools read, in their order; else at Amazon.
fn s3(settings: &StorageSettings, profile: &Profile, bucket: &str) -> anyhow::Result<Whereabouts> {
    let ignores = settings
        .cloud_variable("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let own = settings
        .s3
        .endpoint
        .as_deref()
        .map(|found| ("S3_ENDPOINT", found));
    // The last one is what object stores' own libraries, Laravel and Arrow read.
    let others = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let found = own.or_else(|| {
        let mut set = others
            .into_iter()
            .filter_map(|variable| Some((variable, settings.cloud_variable(variable)?)));
        let profiles = profile
            .endpoint
            .as_deref()
            .map(|found| ("endpoint_url of the profile", found));
        set.next().or(profiles).filter(|_| !ignores)
    });
    let path_style = settings.s3.force_path_style.or(profile.path_style);
    match found {
        Some((variable, found)) => endpoint::read(variable, found, bucket, path_style),
        None => Ok(Whereabouts::default()),
    }
}

/// The address that a variable of a cloud's own tools names instead of the cloud's usual one.
fn base_of(settings: &StorageSettings, variable: &str, scheme: &str) -> anyhow::Result<Option<String>> {
    let Some(found) = settings.cloud_variable(variable) else {
        return Ok(None);
    };
    let whole = if found.contains("://") {
        found.to_owned()
    } else {
        format!("{scheme}{found}")
    };
    let is_address = Url::parse(&whole).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
    });
    ensure!(
        is_address,
        "{variable} is not the address of a service; write for example {scheme}storage.example.org, without keys"
    );
    Ok(Some(whole.trim_end_matches('/').to_owned()))
}

fn azure(settings: &StorageSettings, container: String) -> anyhow::Result<Place> {
    let names = ["AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"];
    let (variable, account) = names
        .into_iter()
        .find_map(|name| Some((name, settings.cloud_variable(name)?)))
        .context("STORAGE_URL is an az:// address, so AZURE_STORAGE_ACCOUNT_NAME has to name the account")?;
    check_name(variable, "account", account)?;
    for (variable, instead) in [
        (
            "AZURE_STORAGE_USE_EMULATOR",
            "AZURE_STORAGE_ENDPOINT=http://127.0.0.1:10000/devstoreaccount1",
        ),
        (
            "AZURE_STORAGE_CONNECTION_STRING",
            "its AccountName into AZURE_STORAGE_ACCOUNT_NAME and its AccountKey into AZURE_STORAGE_ACCOUNT_KEY",
        ),
    ] {
        let set = settings
            .cloud_variable(variable)
            .filter(|value| !value.eq_ignore_ascii_case("false"));
        let has_key = variable.ends_with("STRING") && settings.azure_key().is_some();
        ensure!(
            set.is_none() || has_key,
            "{variable} is not read here; leave it out, and write {instead}"
        );
    }
    Ok(Place::Azure {
        base: base_of(settings, "AZURE_STORAGE_ENDPOINT", "https://")?,
        account: account.to_owned(),
        container,
    })
}

#[cfg(test)]
mod tests;
