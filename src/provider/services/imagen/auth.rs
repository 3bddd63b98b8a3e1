//! Access tokens for Google Cloud: from a service account's key, a person's login, or the machine's own identity.
//!
//! Owns finding the credentials and keeping one token fresh for everybody: it is renewed early, by one caller at
//! a time, and once more when a service has refused it. Asking for a token costs nothing, so no fault here leaves
//! any doubt whether something was bought.
//!
//! Source: Google Cloud, "Application Default Credentials", "Using OAuth 2.0 for server to server applications",
//! "Access VM metadata".

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::failure::ErrorClass;
use crate::http_client::{Answer, HttpClient, HttpFault, mask, quote};
use crate::provider::wire::error_body::ErrorBody;
use crate::provider::wire::json;
use crate::provider::wire::waits::asked_wait;

mod credentials;
mod requests;
#[cfg(test)]
pub(crate) mod tests;

use credentials::Credentials;

/// What every service of Google Cloud accepts.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// A token that lives no longer than this is renewed. The metadata server gives the same token until shortly
/// before this.
const RENEWED_BEFORE_END: Duration = Duration::from_secs(4 * 60);
/// A token endpoint that is silent for so long is not there.
const PATIENCE: Duration = Duration::from_secs(20);
/// The address that Google documents, which only machines of Google Cloud can resolve.
const METADATA_HOST: &str = "metadata.google.internal";

/// Where credentials are looked for, in this order.
#[derive(Clone, Debug, Default)]
pub struct GoogleAuthSettings {
    /// `GOOGLE_APPLICATION_CREDENTIALS`: a file with the key of a service account or a person's login.
    pub credentials_file: Option<PathBuf>,
    /// The file that `gcloud auth application-default login` writes; used where it exists.
    pub well_known_file: Option<PathBuf>,
    /// `GCE_METADATA_HOST`: host and port of the metadata server. `None` = Google's own.
    pub metadata_host: Option<String>,
}

impl GoogleAuthSettings {
    /// What keeps the named file from being used. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let Some(file) = &self.credentials_file else {
            return Vec::new();
        };
        let read = std::fs::read(file).map_err(|error| unreadable(file, &error));
        let parsed = read.and_then(|content| Credentials::parse(file, &content).map(|_| ()));
        parsed
            .err()
            .map(|why| format!("GOOGLE_APPLICATION_CREDENTIALS: {why}"))
            .into_iter()
            .collect()
    }
}

fn unreadable(file: &Path, error: &std::io::Error) -> String {
    format!("the file {} cannot be read: {error}", file.display())
}

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFault {
    /// Never one that leaves in doubt whether something was bought.
    pub class: ErrorClass,
    /// For the operator, without secrets.
    pub why: String,
    /// The wait that was asked for.
    pub retry_after: Option<Duration>,
}

impl TokenFault {
    fn new(class: ErrorClass, why: impl Into<String>) -> Self {
        Self {
            class,
            why: why.into(),
            retry_after: None,
        }
    }
}

/// A token, until it is refused or ends.
#[derive(Debug)]
pub struct AccessToken {
    /// What goes behind `Bearer`.
    pub secret: SecretString,
    /// Sent as `x-goog-user-project` where a person's login is used.
    pub quota_project: Option<String>,
    renewed_at: Instant,
    ends_at: Instant,
}

/// The answer of every token endpoint.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// Keeps one token for all calls of a replica.
#[derive(Debug)]
pub struct GoogleAuth {
    settings: GoogleAuthSettings,
    /// Held while a token is fetched, so that one fetches and the others wait for it.
    token: Mutex<Option<Arc<AccessToken>>>,
    /// Whether the metadata server is known to exist: its silence is then an outage and not a lack of credentials.
    has_metadata_server: AtomicBool,
}

impl GoogleAuth {
    /// Reads and sends nothing yet.
    #[must_use]
    pub fn new(settings: GoogleAuthSettings) -> Self {
        Self {
            settings,
            token: Mutex::new(None),
            has_metadata_server: AtomicBool::new(false),
        }
    }

    /// A token that is good for some minutes more.
    ///
    /// # Errors
    /// [`TokenFault`]; a token that is still good is used although its renewal has failed.
    pub async fn token(&self, deadline: Instant) -> Result<Arc<AccessToken>, TokenFault> {
        self.token_but(None, deadline).await
    }

    /// Another token than the one that a service has refused. Callers that were refused together share it.
    ///
    /// # Errors
    /// [`TokenFault`]
    pub async fn token_after(
        &self,
        refused: &AccessToken,
        deadline: Instant,
    ) -> Result<Arc<AccessToken>, TokenFault> {
        self.token_but(Some(refused), deadline).await
    }

    async fn token_but(
        &self,
        refused: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<Arc<AccessToken>, TokenFault> {
        if deadline <= Instant::now() {
            return Err(TokenFault::new(
                ErrorClass::TimedOut,
                "not sent: the deadline has passed",
            ));
        }
        let renewing = async {
            let mut kept = self.token.lock().await;
            if let (Some(token), Some(refused)) = (&*kept, refused)
                && token.secret.expose_secret() == refused.secret.expose_secret()
            {
                *kept = None;
            }
            let now = Instant::now();
            if let Some(token) = kept.as_ref().filter(|token| now < token.renewed_at) {
                return Ok(token.clone());
            }
            match self.fetch(deadline.min(now + PATIENCE)).await {
                Ok(token) => Ok(kept.insert(Arc::new(token)).clone()),
                Err(fault) => match kept.as_ref().filter(|token| now < token.ends_at) {
                    Some(token) => {
                        tracing::warn!(
                            "renewing the token of Google Cloud failed ({}); the old one is used as long as it lives",
                            fault.why
                        );
                        Ok(token.clone())
                    }
                    None => Err(fault),
                },
            }
        };
        match timeout_at(deadline, renewing).await {
            Ok(outcome) => outcome,
            Err(_) => Err(TokenFault::new(
                ErrorClass::Network,
                "no token of Google Cloud came before the deadline",
            )),
        }
    }

    async fn fetch(&self, deadline: Instant) -> Result<AccessToken, TokenFault> {
        let Some((file, content)) = self.credentials_file().await? else {
            return self.fetch_from_metadata(deadline).await;
        };
        let credentials =
            Credentials::parse(&file, &content).map_err(|why| TokenFault::new(ErrorClass::Auth, why))?;
        let asked = requests::for_token(&credentials).map_err(|why| {
            TokenFault::new(
                ErrorClass::Auth,
                format!("the credentials in {} cannot be used: {why}", file.display()),
            )
        })?;
        let answer = exchange(asked.request, deadline).await?;
        let secrets: Vec<&str> = asked.secrets.iter().map(ExposeSecret::expose_secret).collect();
        let granted = granted(&answer, &asked.target, &secrets)?;
        Ok(AccessToken::new(granted, credentials.quota_project()))
    }

    /// Read anew for each token: keys are exchanged while services run.
    async fn credentials_file(&self) -> Result<Option<(PathBuf, Vec<u8>)>, TokenFault> {
        if let Some(file) = &self.settings.credentials_file {
            let content = tokio::fs::read(file)
                .await
                .map_err(|error| TokenFault::new(ErrorClass::Auth, unreadable(file, &error)))?;
            return Ok(Some((file.clone(), content)));
        }
        let Some(file) = &self.settings.well_known_file else {
            return Ok(None);
        };
        match tokio::fs::read(file).await {
            Ok(content) => Ok(Some((file.clone(), content))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(TokenFault::new(ErrorClass::Auth, unreadable(file, &error))),
        }
    }

    async fn fetch_from_metadata(&self, deadline: Instant) -> Result<AccessToken, TokenFault> {
        let host = self.settings.metadata_host.as_deref().unwrap_or(METADATA_HOST);
        let none = "there are no credentials for Google Cloud: GOOGLE_APPLICATION_CREDENTIALS is not set, and the \
                    metadata server";
        let request = requests::for_metadata(host)
            .map_err(|why| TokenFault::new(ErrorClass::Auth, format!("{none} cannot be asked: {why}")))?;
        let answer = exchange(request, deadline).await.map_err(|fault| {
            if self.has_metadata_server.load(Ordering::Relaxed) {
                return fault;
            }
            TokenFault::new(
                ErrorClass::Auth,
                format!("{none} does not answer ({})", fault.why),
            )
        })?;
        let flavor = answer.headers.get("metadata-flavor");
        if flavor.is_none_or(|flavor| flavor != "Google") {
            let why = format!("{none} is not Google's: what answered at {host} does not say so");
            return Err(TokenFault::new(ErrorClass::Auth, why));
        }
        self.has_metadata_server.store(true, Ordering::Relaxed);
        let granted = granted(&answer, host, &[])?;
        Ok(AccessToken::new(granted, None))
    }
}

impl AccessToken {
    fn new(granted: Granted, quota_project: Option<String>) -> Self {
        let lives = Duration::try_from_secs_f64(granted.expires_in.unwrap_or(3600.0)).unwrap_or_default();
        // A token that is not good for long serves the calls that wait for it.
        let lives = lives.min(Duration::from_secs(12 * 3600));
        let now = Instant::now();
        Self {
            secret: granted.access_token.into(),
            quota_project,
            renewed_at: now + lives.saturating_sub(RENEWED_BEFORE_END),
            ends_at: now + lives,
        }
    }
}

async fn exchange(request: reqwest::Request, deadline: Instant) -> Result<Answer, TokenFault> {
    let target = request.url().clone();
    let named = |why: &dyn std::fmt::Display| {
        let host = target.host_str().unwrap_or_default();
        format!("asking {host}{} for a token: {why}", target.path())
    };
    let mut origin = target.clone();
    origin.set_path("/");
    origin.set_query(None);
    let client = HttpClient::new(&origin)
        .map_err(|error| TokenFault::new(ErrorClass::Auth, named(&format_args!("{error:#}"))))?;
    let client = client.with_body_cap(64 * 1024);
    client
        .exchange(request, deadline)
        .await
        .map_err(|fault| match &fault {
            HttpFault::TooLate => TokenFault::new(ErrorClass::TimedOut, named(&fault)),
            // Nothing is bought with a token alone, whether or not its answer came.
            _ => TokenFault::new(ErrorClass::Network, named(&fault)),
        })
}

/// Reads what a token endpoint answered. `target` and `secrets` are for the description of a fault.
fn granted(answer: &Answer, target: &str, secrets: &[&str]) -> Result<Granted, TokenFault> {
    let status = answer.status.as_u16();
    if answer.status.is_success()
        && let Ok(json) = json::parse(&answer.body)
        && let Ok(granted) = serde_json::from_value::<Granted>(json)
        && is_token(&granted.access_token)
    {
        return Ok(granted);
    }
    let body = ErrorBody::parse(&answer.body);
    let class = match status {
        200..=299 | 500..=599 | 408 => ErrorClass::Overloaded,
        429 => ErrorClass::RateLimited,
        _ => ErrorClass::Auth,
    };
    let said = match status {
        // It may hold a token.
        200..=299 => "the answer holds no token".to_owned(),
        _ => {
            let json = body.json.as_ref();
            let field = |name: &str| json.and_then(|json| json.get(name)?.as_str()).unwrap_or_default();
            let text = match (field("error"), field("error_description")) {
                ("", "") => body.message.clone(),
                (error, description) => format!("{error}: {description}"),
            };
            quote(&mask(&text, secrets, &[]))
        }
    };
    let retry_after =
        asked_wait(&answer.headers, None, "", chrono::Utc::now()).filter(|_| class.is_retried());
    Err(TokenFault {
        class,
        why: format!("asking {target} for a token: {status}: {said}"),
        retry_after,
    })
}

/// Whether a header can carry it.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}
