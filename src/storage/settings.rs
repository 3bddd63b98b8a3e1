//! Where to store and how to be reached, as `config` gathers it.

use std::path::PathBuf;

use anyhow::ensure;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::key::ObjectKey;
use super::location::Location;
use super::profile::Profile;

/// Where to store and how to be reached.
#[derive(Clone, Debug, Default)]
pub struct StorageSettings {
    /// `STORAGE_URL`. Without it `S3_BUCKET` decides, and without that it is `./images`.
    pub url: Option<String>,
    /// The settings of S3 and services like it.
    pub s3: S3Settings,
    /// Variables of the clouds' own tools as they are set, `AWS_*`, `GOOGLE_*` and `AZURE_*`: addresses, roles of
    /// containers, files of credentials, `AZURE_STORAGE_ACCOUNT_NAME`. Those that have nothing to do with a store are passed
    /// over. Without any, a machine's own identity is asked for.
    pub cloud_variables: Vec<(String, SecretString)>,
    /// `HOME`, where Amazon's tools keep `.aws/credentials` and `.aws/config`.
    pub home: Option<PathBuf>,
    /// `PUBLIC_URL_BASE`: stands in front of prefix and key.
    pub public_url_base: Option<Url>,
    /// `CLOUDFLARE_IMAGE_PROXY_DOMAIN`: the same, as a host's name.
    pub cloudflare_image_proxy_domain: Option<String>,
}

/// The `S3_*` variables and the credentials.
#[derive(Clone, Debug, Default)]
pub struct S3Settings {
    /// `S3_BUCKET`; `STORAGE_URL` wins.
    pub bucket: Option<String>,
    /// `S3_ENDPOINT`, with or without `https://`; `http://` is taken at its word.
    pub endpoint: Option<String>,
    /// `S3_REGION`. Without it Amazon is asked; at another endpoint it is `us-east-1`.
    pub region: Option<String>,
    /// `S3_FORCE_PATH_STYLE`. Without it: yes at an endpoint of one's own, no at Amazon.
    pub force_path_style: Option<bool>,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<SecretString>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<SecretString>,
    /// `S3_ACL`, such as `public-read`. Buckets without ACLs, Amazon's default, refuse any.
    pub acl: Option<String>,
}

impl StorageSettings {
    /// Looks whether the settings make sense, without any I/O.
    ///
    /// # Errors
    /// One sentence that names the variable, what was found (never a secret) and what is accepted.
    pub fn check(&self) -> anyhow::Result<()> {
        self.location(&Profile::default()).map(drop)
    }

    /// As [`check`](Self::check), and says where the store is, the profile of Amazon's tools included.
    pub(super) fn location(&self, profile: &Profile) -> anyhow::Result<Location> {
        match (&self.s3.access_key_id, &self.s3.secret_access_key) {
            (Some(_), None) => {
                anyhow::bail!("AWS_ACCESS_KEY_ID is set, AWS_SECRET_ACCESS_KEY is not; set both or neither")
            }
            (None, Some(_)) => {
                anyhow::bail!("AWS_SECRET_ACCESS_KEY is set, AWS_ACCESS_KEY_ID is not; set both or neither")
            }
            _ => {}
        }
        if let Some(acl) = &self.s3.acl {
            ensure!(
                acl.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !acl.is_empty(),
                "S3_ACL: {acl:?} is not the name of an ACL; write for example public-read, or leave it out"
            );
        }
        if let Some(base) = &self.public_url_base {
            ensure!(
                matches!(base.scheme(), "http" | "https")
                    && base.query().is_none()
                    && base.fragment().is_none(),
                "PUBLIC_URL_BASE: {:?} is not an address to which a path can be added; write for example https://images.example.org",
                base.as_str()
            );
        }
        if let Some(domain) = &self.cloudflare_image_proxy_domain {
            let host = host_of(domain);
            ensure!(
                !host.is_empty()
                    && host
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "-.:".contains(c)),
                "CLOUDFLARE_IMAGE_PROXY_DOMAIN: {domain:?} is not the name of a host; write for example images.example.org"
            );
        }
        Location::from_settings(self, profile)
    }

    /// How pictures will be called, without any I/O: the bucket, where there is one, an address as it usually is, and the longest.
    #[must_use]
    pub fn example_names(&self) -> Option<(Option<String>, [String; 2])> {
        let location = self.location(&Profile::default()).ok()?;
        let urls = ObjectKey::examples().map(|key| location.public_url(self, &key));
        Some((location.bucket().map(str::to_owned), urls))
    }

    pub(super) fn cloud_variable(&self, name: &str) -> Option<&str> {
        let found = self.cloud_variables.iter().find(|(found, _)| found == name);
        found
            .map(|(_, value)| value.expose_secret().trim())
            .filter(|value| !value.is_empty())
    }

    /// The key of an Azure account, by the names that Azure's own tools and its libraries read.
    pub(super) fn azure_key(&self) -> Option<&str> {
        [
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_ACCESS_KEY",
            "AZURE_STORAGE_KEY",
        ]
        .into_iter()
        .find_map(|name| self.cloud_variable(name))
    }
}

/// Some write the domain as a URL.
pub(super) fn host_of(domain: &str) -> &str {
    domain.trim_start_matches("https://").trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_cannot_work_are_named_before_anything_is_reached() {
        let with = |change: &dyn Fn(&mut StorageSettings)| {
            let mut settings = StorageSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        for (error, expected) in [
            (
                with(&|s| s.s3.access_key_id = Some("id".into())),
                "AWS_SECRET_ACCESS_KEY is not",
            ),
            (
                with(&|s| s.s3.secret_access_key = Some("hunter2".to_owned().into())),
                "AWS_ACCESS_KEY_ID is not",
            ),
            (
                with(&|s| s.s3.acl = Some("public read".into())),
                "S3_ACL: \"public read\"",
            ),
            (
                with(&|s| s.public_url_base = "https://x/?a=b".parse().ok()),
                "PUBLIC_URL_BASE: ",
            ),
            (
                with(&|s| s.public_url_base = "data:x".parse().ok()),
                "PUBLIC_URL_BASE: ",
            ),
            (
                with(&|s| s.cloudflare_image_proxy_domain = Some("a/b".into())),
                "CLOUDFLARE_IMAGE_PROXY_DOMAIN: ",
            ),
            (with(&|s| s.url = Some("ftp://x".into())), "STORAGE_URL: "),
        ] {
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
        StorageSettings::default().check().unwrap();
    }
}
