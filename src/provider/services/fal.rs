//! fal's queue: an order, addresses for its status, its result and its end, and the result as JSON.
//!
//! Owns what goes on the wire and what status and result mean. Addresses that an answer names are used where they
//! are on the configured origin, which alone gets the key; otherwise the documented ones there.
//!
//! Source: fal documentation, "Queue API", "Errors", and the model pages.

use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use async_trait::async_trait;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient};
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::ServiceSettings;
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::polling::{self, Look, Polled};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported, catalog,
};
use crate::work_package::Prompt;

mod outcome;
#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "fal";
const KEY: &str = "FAL_KEY";
const BASE: &str = "FAL_BASE_URL";

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("FAL_KEY", None, "...", "Key of fal; wins over FAL_API_KEY"),
    variable("FAL_API_KEY", None, "...", "The same under another name"),
    variable(
        "FAL_BASE_URL",
        Some("https://queue.fal.run"),
        "https://queue.fal.run",
        "Where fal's queue is",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct FalSettings {
    /// `FAL_KEY` or `FAL_API_KEY`. `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `FAL_BASE_URL`, such as `https://queue.fal.run`.
    pub base_url: Url,
}

impl FalSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let key = reader.secret("FAL_KEY");
        let same_key = reader.secret("FAL_API_KEY");
        let settings = Self {
            api_key: key.or(same_key),
            base_url: reader.or_default("FAL_BASE_URL", values::http_url),
        };
        reader.all_faults(settings.faults());
        settings
    }

    /// What keeps these settings from being used, one sentence for each variable. No secret is repeated.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        key::faults(own_key(self.api_key.clone()), BASE, &self.base_url)
    }
}

impl ServiceSettings for FalSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Fal::new(self.clone(), downloads.clone())?))
    }
}

fn own_key(key: Option<SecretString>) -> anyhow::Result<Option<Key>> {
    Key::new(KEY, key, AUTHORIZATION, "Key ")
}

/// fal.
pub struct Fal {
    service: Service,
}

/// Where a request is asked about. Saved as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Request {
    id: String,
    status: Url,
    response: Url,
    cancel: Url,
}

impl Request {
    fn handle(&self) -> String {
        json!({
            "id": self.id,
            "status": self.status.as_str(),
            "response": self.response.as_str(),
            "cancel": self.cancel.as_str(),
        })
        .to_string()
    }
}

impl Fal {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub fn new(settings: FalSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        Ok(Self {
            service: Service::new(NAME, client, downloads, own_key(settings.api_key)?),
        })
    }

    fn request(&self, accepted: &Value, model: &str) -> Option<Request> {
        let id = accepted
            .get("request_id")?
            .as_str()
            .filter(|id| is_plain_id(id))?;
        // Owner and app alone: what follows in a model's id chooses a way into the app.
        let app: Vec<&str> = model.split('/').take(2).collect();
        let app = format!("{}/requests/{id}", app.join("/"));
        let place = |name: &str, documented: &str| {
            let named = accepted.get(name).and_then(Value::as_str);
            let named = named
                .and_then(|url| Url::parse(url).ok())
                .filter(|url| self.is_own(url));
            named.unwrap_or_else(|| self.service.client().url(documented))
        };
        Some(Request {
            id: id.to_owned(),
            status: place("status_url", &format!("{app}/status")),
            response: place("response_url", &app),
            cancel: place("cancel_url", &format!("{app}/cancel")),
        })
    }

    fn is_own(&self, url: &Url) -> bool {
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain && url.origin() == self.service.client().url("").origin()
    }

    fn read_handle(&self, handle: &str) -> Option<Request> {
        let saved: Value = serde_json::from_str(handle).ok()?;
        let place = |name: &str| {
            let url = Url::parse(saved.get(name)?.as_str()?).ok()?;
            self.is_own(&url).then_some(url)
        };
        Some(Request {
            id: saved.get("id")?.as_str().filter(|id| is_plain_id(id))?.to_owned(),
            status: place("status")?,
            response: place("response")?,
            cancel: place("cancel")?,
        })
    }
}

/// The service's word for a ratio; its own words stay as they are.
fn word(size: &str) -> &str {
    match size {
        "1:1" => "square_hd",
        "3:4" => "portrait_4_3",
        "9:16" => "portrait_16_9",
        "4:3" => "landscape_4_3",
        "16:9" => "landscape_16_9",
        word => word,
    }
}

/// The fields that the models in the table share. Source: fal, model pages, "Schema", as of 2026-11.
fn input(call: &Call<'_>) -> Map<String, Value> {
    let mut input = Map::new();
    input.insert("prompt".into(), call.prompt.expose().into());
    let takes_ratios =
        catalog::find(NAME, &call.spec.model).is_some_and(|model| !model.sizes.ratios.is_empty());
    if let Some(size) = &call.spec.size {
        let pixels = size.split_once('x').and_then(|(width, height)| {
            Some(json!({"width": width.parse::<u32>().ok()?, "height": height.parse::<u32>().ok()?}))
        });
        let (name, value) = match pixels {
            _ if takes_ratios => ("aspect_ratio", size.as_str().into()),
            Some(pixels) => ("image_size", pixels),
            None => ("image_size", word(size).into()),
        };
        input.insert(name.into(), value);
    }
    if let Some(quality) = &call.spec.quality {
        input.insert("quality".into(), quality.as_str().into());
    }
    input.insert("num_images".into(), 1.into());
    if let Some(seed) = call.spec.seed {
        input.insert("seed".into(), seed.into());
    }
    // The default is JPEG.
    input.insert("output_format".into(), call.spec.format().into());
    input
}

#[async_trait]
impl ImageProvider for Fal {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The prompt alone: most of these models draw what they read, instructions included.
    fn prompt_for(&self, prompt: &Prompt, _: &str) -> Prompt {
        prompt.clone()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(NAME, spec, chrono::Utc::now().date_naive())?;
        if !self.service.is_configured() {
            return Err(not_configured(NAME, KEY));
        }
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let path = call.spec.model.as_str();
        let incident = self.service.posting(path, call.prompt);
        self.service.may_send(call, &incident, KEY)?;
        let (answer, accepted) = self
            .service
            .order(
                path,
                HeaderMap::new(),
                &input(call),
                &incident,
                outcome::judge,
                call.deadline,
            )
            .await?;
        let Some(request) = self.request(&accepted, path) else {
            return Err(outcome::without_id(&answer, &accepted, &incident).into());
        };
        call.watch.accepted(&request.handle()).await;
        let incident = incident.known_as(&request.id);
        polling::picture(self, &request, &incident, call, None).await
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service.incident("GET a request".to_owned(), call.prompt);
        let Some(request) = self.read_handle(handle) else {
            return Err(incident.unreadable_handle());
        };
        let incident = incident
            .of(format!("GET {}", request.status.path()))
            .known_as(&request.id);
        if !self.service.is_configured() {
            return Err(NotDrawn::GoesOn(incident.unset(KEY)));
        }
        polling::picture(self, &request, &incident, call, None).await
    }

    async fn cancel(&self, handle: &str) -> bool {
        match self.read_handle(handle) {
            Some(request) => self.service.cancel(Method::PUT, request.cancel).await,
            None => false,
        }
    }
}

#[async_trait]
impl Polled for Fal {
    type Handle = Request;

    fn service(&self) -> &Service {
        &self.service
    }

    async fn look(&self, request: &Request, incident: &Incident<'_>, deadline: Instant) -> Look {
        let (client, mut url) = (self.service.client(), request.status.clone());
        // Many models write their progress there, and nowhere else.
        url.query_pairs_mut().append_pair("logs", "1");
        let status = match self
            .service
            .ask(client, url, incident, outcome::judge, deadline)
            .await
        {
            Ok((_, status)) => status,
            Err(not_told) => return not_told.into(),
        };
        match outcome::read_status(&status, incident) {
            outcome::Status::Going(fraction) => return Look::Going(fraction),
            outcome::Status::Failed(error) => return Look::Failed(error),
            outcome::Status::Completed => {}
        }
        let incident = incident.of(format!("GET {}", request.response.path()));
        let sent = self
            .service
            .send(client, Method::GET, request.response.clone(), deadline)
            .await;
        match sent {
            Ok(answer) => outcome::read_result(&answer, &incident),
            Err(fault) => Look::Unclear(incident.error(ErrorClass::Network, &fault.to_string())),
        }
    }
}
