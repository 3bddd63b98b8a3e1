//! The files that hold credentials for Google Cloud.

use std::path::Path;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// Where a person's login is turned into a token.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

/// What a file holds. Prints nothing.
pub(super) enum Credentials {
    /// A service account's key.
    ServiceAccount {
        email: String,
        key_id: Option<String>,
        /// PKCS#8, as PEM.
        private_key: SecretString,
        token_uri: Url,
    },
    /// A person's login, as gcloud keeps it.
    User {
        client_id: String,
        client_secret: SecretString,
        refresh_token: SecretString,
        token_uri: Url,
        quota_project: Option<String>,
    },
}

#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    client_email: Option<String>,
    private_key_id: Option<String>,
    private_key: Option<String>,
    token_uri: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
    quota_project_id: Option<String>,
}

impl Credentials {
    /// Reads the content of `path`. The error names the file and what is wrong with it, and repeats no secret.
    pub(super) fn parse(path: &Path, content: &[u8]) -> Result<Self, String> {
        let wrong = |what: &str| format!("the file {} {what}", path.display());
        let file: File = serde_json::from_slice(content)
            .map_err(|_| wrong("is not a credentials file of Google Cloud"))?;
        let need = |name: &str, value: Option<String>| {
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| wrong(&format!("lacks the field {name}")))
        };
        let token_uri = file.token_uri.as_deref().unwrap_or(TOKEN_URI);
        let token_uri = Url::parse(token_uri)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| wrong("has a field token_uri that is not a URL"))?;
        match &*file.kind {
            "service_account" => Ok(Self::ServiceAccount {
                email: need("client_email", file.client_email)?,
                key_id: file.private_key_id,
                private_key: need("private_key", file.private_key)?.into(),
                token_uri,
            }),
            "authorized_user" => Ok(Self::User {
                client_id: need("client_id", file.client_id)?,
                client_secret: need("client_secret", file.client_secret)?.into(),
                refresh_token: need("refresh_token", file.refresh_token)?.into(),
                token_uri,
                quota_project: file.quota_project_id,
            }),
            kind => {
                let kind: String = kind.chars().filter(|c| !c.is_control()).take(40).collect();
                Err(wrong(&format!(
                    "holds credentials of the type {kind:?}; service_account and authorized_user are accepted"
                )))
            }
        }
    }

    pub(super) fn quota_project(&self) -> Option<String> {
        match self {
            Self::ServiceAccount { .. } => None,
            Self::User { quota_project, .. } => quota_project.clone(),
        }
    }
}
