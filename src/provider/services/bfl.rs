//! Black Forest Labs' own API: an order, and an address under which to ask for the picture.
//!
//! Owns what goes on the wire and what a task's state means. The order's answer names the host that works on it,
//! which is the only one that knows it: that address is the handle.
//!
//! Source: Black Forest Labs, API reference ("Generate an image", "Get result") and "Integration guidelines".

use crate::settings::{Reader, Variable, values, variable};
use anyhow::Context;
use async_trait::async_trait;
use reqwest::header::{HeaderMap, HeaderName};
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::time::Instant;
use url::{Host, Url};

use crate::failure::ErrorClass;
use crate::http_client::{Downloads, HttpClient};
use crate::provider::catalog::pixels::not_configured;
use crate::provider::wire::account::{AccountQuestion, ServiceSettings};
use crate::provider::wire::errors::judge_by_path;
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::key::{self, Key};
use crate::provider::wire::polling::{self, Look, Polled};
use crate::provider::wire::service::Service;
use crate::provider::{
    Call, CheckedSpec, Cost, CostBasis, DrawnImage, ImageProvider, ImageSpec, NotDrawn, Unsupported, catalog,
};
use crate::work_package::Prompt;

mod task;
#[cfg(test)]
mod tests;

/// The name that packages write.
pub(in crate::provider) const NAME: &str = "bfl";
const KEY: &str = "BFL_API_KEY";
const BASE: &str = "BFL_BASE_URL";
/// The service's own domain: the key may go to any host below it.
const DOMAIN: &str = "bfl.ai";
/// A credit in US dollars. Source: Black Forest Labs, "Pricing".
const USD_PER_CREDIT: f64 = 0.01;

/// What an operator may set.
pub(crate) const VARIABLES: &[Variable] = &[
    variable("BFL_API_KEY", None, "...", "Key of Black Forest Labs"),
    variable(
        "BFL_BASE_URL",
        Some("https://api.bfl.ai/v1"),
        "https://api.eu.bfl.ai/v1",
        "Where Black Forest Labs' API is",
    ),
];

/// What an operator configures.
#[derive(Clone, Debug)]
pub struct BflSettings {
    /// `BFL_API_KEY`. `None` or empty = not configured: every request is refused before it is sent.
    pub api_key: Option<SecretString>,
    /// `BFL_BASE_URL`, such as `https://api.bfl.ai/v1`.
    pub base_url: Url,
}

impl BflSettings {
    /// Reads [`VARIABLES`] and keeps what is wrong with them.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            api_key: reader.secret("BFL_API_KEY"),
            base_url: reader.or_default("BFL_BASE_URL", values::http_url),
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

impl ServiceSettings for BflSettings {
    fn build(&self, downloads: &Downloads) -> anyhow::Result<Arc<dyn ImageProvider>> {
        Ok(Arc::new(Bfl::new(self.clone(), downloads.clone())?))
    }

    /// Source: Black Forest Labs, API reference, "Get credits".
    fn question(&self) -> Option<AccountQuestion> {
        let header = HeaderName::from_static("x-key");
        Some(AccountQuestion::new(
            &self.base_url,
            "credits",
            header,
            "",
            self.api_key.as_ref(),
        ))
    }
}

fn own_key(key: Option<SecretString>) -> anyhow::Result<Option<Key>> {
    Key::new(KEY, key, HeaderName::from_static("x-key"), "")
}

/// Black Forest Labs.
pub struct Bfl {
    service: Service,
}

impl Bfl {
    /// Prepares the clients; sends nothing. [`crate::http_client::install_tls`] must have been called.
    ///
    /// # Errors
    /// When one of the settings cannot be used. No secret is repeated.
    pub fn new(settings: BflSettings, downloads: Downloads) -> anyhow::Result<Self> {
        let client = HttpClient::new(&settings.base_url).context(BASE)?;
        Ok(Self {
            service: Service::new(NAME, client, downloads, own_key(settings.api_key)?),
        })
    }

    /// Where to ask for a task: as the service said, unless that is a host that must not get the key. The
    /// configured host is asked then, which may know it too.
    fn polling_url(&self, task: &Value, id: &str) -> Url {
        let named = task.get("polling_url").and_then(Value::as_str);
        let named = named
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| self.may_have_key(url));
        named.unwrap_or_else(|| {
            let mut url = self.service.client().url("get_result");
            url.query_pairs_mut().append_pair("id", id);
            url
        })
    }

    fn may_have_key(&self, url: &Url) -> bool {
        let is_own = match url.host() {
            Some(Host::Domain(name)) => name == DOMAIN || name.ends_with(&format!(".{DOMAIN}")),
            _ => false,
        };
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_configured = url.origin() == self.service.client().url("").origin();
        is_plain && (is_configured || (is_own && url.scheme() == "https" && url.port().is_none()))
    }

    /// The address of a task and its id, from what was saved.
    fn read_handle(&self, handle: &str) -> Option<(Url, Option<String>)> {
        let url = Url::parse(handle).ok().filter(|url| self.may_have_key(url))?;
        let id = url.query_pairs().find(|(name, _)| name == "id");
        let id = id.map(|(_, id)| id.into_owned());
        Some((url, id))
    }
}

/// Pixels for a ratio, at about a megapixel: the models that take pixels take no ratio. Multiples of 32 suit all.
fn pixels(ratio: &str) -> Option<(u32, u32)> {
    Some(match ratio {
        "1:1" => (1024, 1024),
        "16:9" => (1344, 768),
        "9:16" => (768, 1344),
        "4:3" => (1152, 864),
        "3:4" => (864, 1152),
        "3:2" => (1248, 832),
        "2:3" => (832, 1248),
        "5:4" => (1120, 896),
        "4:5" => (896, 1120),
        "21:9" => (1568, 672),
        "9:21" => (672, 1568),
        _ => return None,
    })
}

/// Exactly the fields that the model takes. Source: Black Forest Labs, API reference, as of 2026-11.
fn body(call: &Call<'_>) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("prompt".into(), call.prompt.expose().into());
    let takes_ratios =
        catalog::find(NAME, &call.spec.model).is_some_and(|model| !model.sizes.ratios.is_empty());
    if let Some(size) = &call.spec.size {
        let sides = pixels(size).or_else(|| {
            let (width, height) = size.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        });
        match sides {
            Some((width, height)) if !takes_ratios => {
                body.insert("width".into(), width.into());
                body.insert("height".into(), height.into());
            }
            _ => _ = body.insert("aspect_ratio".into(), size.as_str().into()),
        }
    }
    if let Some(seed) = call.spec.seed {
        body.insert("seed".into(), seed.into());
    }
    // The default is JPEG.
    body.insert("output_format".into(), call.spec.format().into());
    body
}

#[async_trait]
impl ImageProvider for Bfl {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The prompt alone: these models draw what they read, instructions included.
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
        let (answer, task) = self
            .service
            .order(
                path,
                HeaderMap::new(),
                &body(call),
                &incident,
                judge_by_path,
                call.deadline,
            )
            .await?;
        let id = task
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| is_plain_id(id));
        let Some(id) = id else {
            return Err(task::without_id(&answer, &task, &incident).into());
        };
        let url = self.polling_url(&task, id);
        call.watch.accepted(url.as_str()).await;
        let incident = incident.known_as(id);
        let mut drawn = polling::picture(self, &url, &incident, call, None).await?;
        let credits = task.get("cost").and_then(Value::as_f64);
        if let Some(credits) = credits.filter(|credits| credits.is_finite() && *credits >= 0.0) {
            drawn.cost = Some(Cost {
                usd: credits * USD_PER_CREDIT,
                basis: CostBasis::Reported,
            });
        }
        Ok(drawn)
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let incident = self.service.incident("GET a task".to_owned(), call.prompt);
        let Some((url, id)) = self.read_handle(handle) else {
            return Err(incident.unreadable_handle());
        };
        let incident = incident
            .of(format!("GET {}", url.path()))
            .known_as(&id.unwrap_or_default());
        if !self.service.is_configured() {
            return Err(NotDrawn::GoesOn(incident.unset(KEY)));
        }
        polling::picture(self, &url, &incident, call, None).await
    }
}

#[async_trait]
impl Polled for Bfl {
    type Handle = Url;

    fn service(&self) -> &Service {
        &self.service
    }

    async fn look(&self, url: &Url, incident: &Incident<'_>, deadline: Instant) -> Look {
        let mut host = url.clone();
        host.set_query(None);
        host.set_fragment(None);
        let client = match self.service.client().at(&host) {
            Ok(client) => client,
            Err(error) => return Look::Failed(incident.error(ErrorClass::Ambiguous, &format!("{error:#}"))),
        };
        match self
            .service
            .ask(&client, url.clone(), incident, judge_by_path, deadline)
            .await
        {
            Ok((_, task)) => task::look(&task, incident),
            Err(not_told) => not_told.into(),
        }
    }
}
