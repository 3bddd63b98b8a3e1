//! Google's picture models on Vertex AI: Gemini's by `generateContent`, and Imagen's by `:predict`.
//!
//! The public Imagen models have been shut down. Their names are still accepted and mean the Gemini model that Google
//! names as successor, so that producers which have always named them get pictures; the log and the ledger say which
//! model drew. Imagen names that the table of models does not know (private ones) are asked for as they are.
//!
//! Source: Vertex AI, "Generate images with Gemini", "Imagen API", "Model lifecycle", "Locations".

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use async_trait::async_trait;
use chrono::{NaiveDate, Utc};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{Answer, Downloads, HttpClient, Outgoing, check_base_url};
use crate::provider::services::imagen::auth::{AccessToken, GoogleAuth, GoogleAuthSettings, TokenFault};
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::google;
use crate::provider::wire::incident::Incident;
use crate::provider::wire::picture::Picture;
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported, catalog,
};
use crate::settings::{Reader, Variable, values, variable};

pub mod auth;
mod predict;
#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "imagen";
const PROJECT: &str = "GOOGLE_CLOUD_PROJECT_ID";
const LOCATION: &str = "GOOGLE_CLOUD_IMAGEN_LOCATION";
/// Seeds of Gemini models are 32 bits wide and signed, those of Imagen are not longer.
const MAX_SEED: i64 = google::MAX_SEED;
/// Where the Imagen models were, as configurations without a location expect.
const IMAGEN_LOCATION: &str = "us-east1";
/// Where new Gemini models are first, and often only.
const GEMINI_LOCATION: &str = "global";

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable(
        PROJECT,
        None,
        "my-project",
        "Project of Google Cloud in which imagen draws (Vertex AI)",
    ),
    variable(
        LOCATION,
        None,
        "europe-west4",
        "Location of Vertex AI. Default: us-east1 for Imagen models, global for the Gemini models that have replaced them",
    ),
    variable(
        "GOOGLE_APPLICATION_CREDENTIALS",
        None,
        "/run/secrets/google.json",
        "File with the key of a service account or a login. Default: gcloud's login, else the machine's own identity",
    ),
    variable(
        "GCE_METADATA_HOST",
        None,
        "metadata.google.internal",
        "Host and port of the metadata server that knows the machine's own identity",
    ),
    variable(
        "VERTEX_BASE_URL",
        None,
        "https://aiplatform.googleapis.com",
        "Where Vertex AI is. Default: Google's address of the location",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct ImagenSettings {
    /// `GOOGLE_CLOUD_PROJECT_ID`; `None` = not configured: every request is refused before it is sent.
    pub project: Option<String>,
    /// `GOOGLE_CLOUD_IMAGEN_LOCATION`; `None` = `us-east1` for Imagen models, `global` for Gemini models.
    pub location: Option<String>,
    /// `VERTEX_BASE_URL`; `None` = Google's own address of the location.
    pub base_url: Option<Url>,
    /// Who asks.
    pub auth: GoogleAuthSettings,
}

impl ImagenSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            project: reader.text(PROJECT),
            location: reader.text(LOCATION),
            base_url: reader.optional("VERTEX_BASE_URL", values::http_url),
            auth: GoogleAuthSettings {
                credentials_file: reader.text("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
                well_known_file: well_known_file(reader),
                metadata_host: reader.text("GCE_METADATA_HOST"),
            },
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let Some(project) = &self.project else {
            return Vec::new();
        };
        let mut faults = Vec::new();
        for (variable, value) in [(PROJECT, Some(project)), (LOCATION, self.location.as_ref())] {
            if let Some(value) = value.filter(|value| !is_name(value)) {
                faults.push(format!(
                    "{variable}: {value:?} was found; a name in small letters, digits and '-' is accepted"
                ));
            }
        }
        let base_url = self.base_url.as_ref().and_then(|url| check_base_url(url).err());
        faults.extend(base_url.map(|error| format!("VERTEX_BASE_URL: {error:#}")));
        faults.extend(self.auth.faults());
        faults
    }

    /// Where models are that are at `otherwise` unless an operator says something else.
    fn place(&self, otherwise: &str, downloads: &Downloads) -> anyhow::Result<Place> {
        let location = self.location.as_deref().unwrap_or(otherwise).to_owned();
        let base_url = match &self.base_url {
            Some(url) => url.clone(),
            None => Url::parse(&format!("https://{}", host(&location))).context(LOCATION)?,
        };
        let client = HttpClient::new(&base_url).context("VERTEX_BASE_URL")?;
        let missing = self.project.is_none().then_some(PROJECT);
        let service = Service::new(NAME, Some(client), downloads.clone(), None, missing)?;
        Ok(Place { location, service })
    }
}

impl ServiceSettings for ImagenSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Imagen::new(self.clone(), downloads)?))
    }
}

/// Where gcloud keeps the login of `gcloud auth application-default login`.
///
/// Source: Google Cloud, "How Application Default Credentials works".
fn well_known_file(reader: &Reader<'_>) -> Option<PathBuf> {
    let directory = match reader.foreign("CLOUDSDK_CONFIG") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(reader.foreign("HOME")?).join(".config/gcloud"),
    };
    Some(directory.join("application_default_credentials.json"))
}

/// Parts of paths and host names. Project ids of old domains look like `example.com:project`.
fn is_name(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_fine) && !text.starts_with('.')
}

fn host(location: &str) -> String {
    match location {
        "global" => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    }
}

/// Vertex AI.
#[derive(Debug)]
pub struct Imagen {
    project: Option<String>,
    gemini: Place,
    imagen: Place,
    auth: GoogleAuth,
    /// Names of models that have been replaced, once each in the log.
    told: Mutex<HashSet<String>>,
}

/// Where models of one kind are, which are asked with a token in place of a key.
#[derive(Debug)]
struct Place {
    location: String,
    service: Service,
}

impl Imagen {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When an address cannot be used.
    pub fn new(settings: ImagenSettings, downloads: &Downloads) -> anyhow::Result<Self> {
        Ok(Self {
            gemini: settings.place(GEMINI_LOCATION, downloads)?,
            imagen: settings.place(IMAGEN_LOCATION, downloads)?,
            project: settings.project,
            auth: GoogleAuth::new(settings.auth),
            told: Mutex::new(HashSet::new()),
        })
    }

    /// What is really asked for: the successor where the package names a model that has ended.
    fn replaced(&self, spec: &ImageSpec, today: NaiveDate) -> ImageSpec {
        let asked = spec.model.as_deref().unwrap_or_default();
        let successor = catalog::find(NAME, asked)
            .filter(|model| model.has_ended(today))
            .and_then(|model| model.successor.as_deref());
        let Some(successor) = successor else {
            return spec.clone();
        };
        let is_new = match self.told.lock() {
            Ok(mut told) => told.insert(asked.to_owned()),
            Err(_) => false,
        };
        if is_new {
            tracing::warn!(
                "{asked} has been shut down by Google; {successor} draws in its place, at location {}",
                self.gemini.location
            );
        }
        ImageSpec {
            model: Some(successor.to_owned()),
            ..spec.clone()
        }
    }
}

impl Place {
    /// Sends one request with this token.
    async fn send(
        &self,
        outgoing: Outgoing,
        token: &AccessToken,
        early: &Incident<'_>,
        deadline: Instant,
    ) -> Result<Answer, ProviderError> {
        let incident = early.clone().with_secrets([token.secret.expose_secret()]);
        let headers = headers(token).ok_or_else(|| {
            let why = "not sent: the token is not one that a header can carry";
            incident.error(ErrorClass::Auth, why)
        })?;
        self.service
            .call(outgoing.headers(headers), &incident, deadline)
            .await
    }
}

fn headers(token: &AccessToken) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.secret.expose_secret())).ok()?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    if let Some(project) = token.quota_project.as_deref() {
        let value = HeaderValue::from_str(project).ok()?;
        headers.insert(HeaderName::from_static("x-goog-user-project"), value);
    }
    Some(headers)
}

/// Whether this is a name for `:predict`.
fn is_imagen(model: &str) -> bool {
    model.starts_with("imagen")
}

#[async_trait]
impl ImageProvider for Imagen {
    fn name(&self) -> &'static str {
        NAME
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let today = Utc::now().date_naive();
        let asked = spec.model.as_deref().unwrap_or_default();
        let checked = if is_imagen(asked) && is_name(asked) && catalog::find(NAME, asked).is_none() {
            predict::check(spec, asked)?
        } else {
            catalog::check(NAME, &self.replaced(spec, today), today)?
        };
        catalog::check_seed(&checked, MAX_SEED)?;
        if self.project.is_none() {
            return Err(Unsupported {
                class: ErrorClass::Auth,
                message:
                    "Imagen image generator is not configured. GOOGLE_CLOUD_PROJECT_ID is not set on this \
                          service; choose another image provider, or have an operator set it."
                        .to_owned(),
            });
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let id = &call.spec.model;
        let (place, verb, body, dialect) = match is_imagen(id) {
            true => {
                let body = predict::request(call.prompt, call.spec);
                (&self.imagen, "predict", body, predict::DIALECT)
            }
            false => (
                &self.gemini,
                "generateContent",
                google::request(call),
                google::DIALECT,
            ),
        };
        let (project, location) = (self.project.as_deref().unwrap_or_default(), &place.location);
        let path = format!("v1/projects/{project}/locations/{location}/publishers/google/models/{id}:{verb}");
        let early = place.service.posting(&path, call);
        place.service.may_send(call, &early)?;
        let not_sent = |fault: TokenFault| ProviderError {
            retry_after: fault.retry_after,
            ..early.error(fault.class, &format!("not sent: {}", fault.why))
        };
        let request = || Outgoing::post_json(&*path, &body);

        let mut token = self.auth.token(call.deadline).await.map_err(not_sent)?;
        let references = call.references.take();
        let has_references = !references.is_empty();
        let first = request().carrying(references);
        let mut answer = place.send(first, &token, &early, call.deadline).await?;
        if answer.status == reqwest::StatusCode::UNAUTHORIZED {
            // Tokens end before their time when a key is exchanged. Nothing has been bought with this one.
            token = self
                .auth
                .token_after(&token, call.deadline)
                .await
                .map_err(not_sent)?;
            if has_references {
                // They were sent with the old one, and are fetched again.
                let why = "the token was refused; there is a new one";
                return Err(early.error(ErrorClass::Network, why).into());
            }
            answer = place.send(request(), &token, &early, call.deadline).await?;
        }
        let incident = early.clone().with_secrets([token.secret.expose_secret()]);
        let outcome = incident.picture(answer, dialect).await;
        let reading = outcome.map_err(|mut error| {
            if error.class == ErrorClass::ModelGone {
                let hint = "; not every location has every model, see GOOGLE_CLOUD_IMAGEN_LOCATION";
                error.details.push_str(hint);
            }
            error
        })?;
        let Picture::Bytes(bytes) = reading.picture else {
            let why = "the answer holds an address in place of the picture";
            return Err(incident.error(ErrorClass::BadOutput, why).into());
        };
        Ok(DrawnImage {
            request_id: reading.id,
            // What models that are not in the table cost is not known.
            cost: catalog::find(NAME, id).and_then(|model| google::cost(model, reading.usage.as_ref())),
            usage: reading.usage,
            ..DrawnImage::by_model(bytes)
        })
    }
}
