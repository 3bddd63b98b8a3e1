//! Black Forest Labs' own API: an order, and an address under which to ask for the picture.
//!
//! Owns what goes on the wire and what a task's state means. The order's answer names the host that works on it,
//! which is the only one that knows it: that address is the handle.
//!
//! Source: Black Forest Labs, API reference ("Generate an image", "Get result") and "Integration guidelines".

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::{Host, Url};

use crate::failure::ErrorClass;
use crate::http_client::Inline;
use crate::provider::catalog::pixels::sides;
use crate::provider::wire::body::with;
use crate::provider::wire::errors::{Judge, judge_by_path};
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::keyed::{Access, Make};
use crate::provider::wire::polling::{Handle, Look, Order, Polled};
use crate::provider::wire::references;
use crate::provider::wire::service::Service;
use crate::provider::{Call, Cost, ProviderError, catalog};
use crate::settings::variable;

mod task;
#[cfg(test)]
mod tests;

/// The service's own domain: the key may go to any host below it.
const DOMAIN: &str = "bfl.ai";
/// A credit in US dollars. Source: Black Forest Labs, "Pricing".
const USD_PER_CREDIT: f64 = 0.01;

/// How it is reached. Source of the question: Black Forest Labs, API reference, "Get credits".
pub(crate) const ACCESS: Access = Access {
    name: "bfl",
    variables: &[
        variable("BFL_API_KEY", None, "...", "Key of Black Forest Labs"),
        variable(
            "BFL_BASE_URL",
            Some("https://api.bfl.ai/v1"),
            "https://api.eu.bfl.ai/v1",
            "Where Black Forest Labs' API is",
        ),
    ],
    keys: &["BFL_API_KEY"],
    bases: &["BFL_BASE_URL"],
    header: ("x-key", ""),
    question: Some("credits"),
    ..Access::usual(|_| Make::new(|service| Bfl { service }))
};

/// Black Forest Labs.
struct Bfl {
    service: Service,
}

/// Where a task is asked about. Saved as the address alone.
struct Task {
    url: Url,
    id: String,
}

impl Handle for Task {
    fn id(&self) -> &str {
        &self.id
    }

    fn url(&self, _: &Service) -> Url {
        self.url.clone()
    }

    fn saved(&self) -> String {
        self.url.to_string()
    }
}

impl Bfl {
    fn may_have_key(&self, url: &Url) -> bool {
        let is_own = match url.host() {
            Some(Host::Domain(name)) => name == DOMAIN || name.ends_with(&format!(".{DOMAIN}")),
            _ => false,
        };
        let is_plain = url.username().is_empty() && url.password().is_none();
        let is_configured = url.origin() == self.service.client().url("").origin();
        is_plain && (is_configured || (is_own && url.scheme() == "https" && url.port().is_none()))
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
fn body(call: &Call<'_>) -> Value {
    let spec = call.spec;
    let model = catalog::find(ACCESS.name, &spec.model);
    let takes_ratios = model.is_some_and(|model| !model.sizes.ratios.is_empty());
    let chooses_format = model.is_some_and(|model| model.formats.is_empty());
    let size = spec.size.as_deref();
    let edges = size
        .filter(|_| !takes_ratios)
        .and_then(|size| pixels(size).or_else(|| sides(size)));
    let shape = size.filter(|_| edges.is_none()).map(catalog::split_resolution);
    let resolution = shape.and_then(|(_, resolution)| resolution);
    let fields = [
        ("width", edges.map(|(width, _)| width.into())),
        ("height", edges.map(|(_, height)| height.into())),
        ("aspect_ratio", shape.map(|(ratio, _)| ratio.into())),
        ("resolution", resolution.map(Value::from)),
        ("seed", spec.seed.map(Value::from)),
        // It would look things up on the web otherwise, at a price.
        ("grounding", chooses_format.then(|| false.into())),
        // The default is JPEG.
        ("output_format", (!chooses_format).then(|| spec.format().into())),
    ];
    let body = with(json!({"prompt": call.prompt.expose()}), fields);
    references::put(body, call, Inline::Base64)
}

#[async_trait]
impl Polled for Bfl {
    type Handle = Task;
    const JUDGE: Judge = judge_by_path;

    fn service(&self) -> &Service {
        &self.service
    }

    fn order(&self, call: &Call<'_>) -> Result<Order, ProviderError> {
        Ok(Order::of(&call.spec.model, body(call)))
    }

    /// Where to ask for a task: as the service said, unless that is a host that must not get the key. The
    /// configured host is asked then, which may know it too.
    fn accepted(&self, told: &Value, _: &Call<'_>) -> Option<Task> {
        let id = told.get("id")?.as_str().filter(|id| is_plain_id(id))?;
        let named = told.get("polling_url").and_then(Value::as_str);
        let named = named
            .and_then(|url| Url::parse(url).ok())
            .filter(|url| self.may_have_key(url));
        let url = named.unwrap_or_else(|| {
            let mut url = self.service.client().url("get_result");
            url.query_pairs_mut().append_pair("id", id);
            url
        });
        let id = id.to_owned();
        Some(Task { url, id })
    }

    fn refusal(&self, told: &Value, incident: &Incident<'_>) -> Option<ProviderError> {
        task::moderation(told, incident)
    }

    fn read(&self, saved: &str) -> Option<Task> {
        let url = Url::parse(saved).ok().filter(|url| self.may_have_key(url))?;
        let id = url.query_pairs().find(|(name, _)| name == "id");
        let id = id.map(|(_, id)| id.into_owned()).unwrap_or_default();
        Some(Task { url, id })
    }

    async fn look(&self, task: &Task, incident: &Incident<'_>, deadline: Instant) -> Look {
        let mut host = task.url.clone();
        host.set_query(None);
        host.set_fragment(None);
        let client = match self.service.client().at(&host) {
            Ok(client) => client,
            Err(error) => return Look::Failed(incident.error(ErrorClass::Ambiguous, &format!("{error:#}"))),
        };
        let asked = self
            .service
            .ask(&client, task.url.clone(), incident, judge_by_path, deadline);
        match asked.await {
            Ok((answer, task)) => task::look(&task, incident).held_by(answer),
            Err(not_told) => not_told.into(),
        }
    }

    fn cost(&self, told: &Value) -> Option<Cost> {
        let credits = told.get("cost")?.as_f64()?;
        catalog::reported(Some(credits * USD_PER_CREDIT))
    }
}
