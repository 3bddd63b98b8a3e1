//! fal's queue: an order, addresses for its status, its result and its end, and the result as JSON.
//!
//! Owns what goes on the wire and what status and result mean. Addresses that an answer names are used where they
//! are on the configured origin, which alone gets the key; otherwise the documented ones there.
//!
//! Source: fal documentation, "Queue API", "Errors", and the model pages.

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::Inline;
use crate::provider::catalog::pixels::sides;
use crate::provider::wire::body::with;
use crate::provider::wire::errors::Judge;
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::keyed::{Access, Make};
use crate::provider::wire::polling::{Handle, Look, Order, Polled};
use crate::provider::wire::references;
use crate::provider::wire::service::Service;
use crate::provider::{Call, ProviderError, catalog};
use crate::settings::variable;

mod outcome;
#[cfg(test)]
mod tests;

/// How it is reached.
pub(crate) const ACCESS: Access = Access {
    name: "fal",
    variables: &[
        variable("FAL_KEY", None, "...", "Key of fal; wins over FAL_API_KEY"),
        variable("FAL_API_KEY", None, "...", "The same under another name"),
        variable(
            "FAL_BASE_URL",
            Some("https://queue.fal.run"),
            "https://queue.fal.run",
            "Where fal's queue is",
        ),
    ],
    keys: &["FAL_KEY", "FAL_API_KEY"],
    bases: &["FAL_BASE_URL"],
    header: ("authorization", "Key "),
    ..Access::usual(|_| Make::new(|service| Fal { service }))
};

/// fal.
struct Fal {
    service: Service,
}

/// Where a request is asked about. Saved as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    id: String,
    status: Url,
    response: Url,
    cancel: Url,
}

impl Handle for Request {
    fn id(&self) -> &str {
        &self.id
    }

    fn url(&self, _: &Service) -> Url {
        self.status.clone()
    }

    fn saved(&self) -> String {
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
    fn is_own(&self, url: &Url) -> bool {
        let is_plain = url.username().is_empty() && url.password().is_none();
        is_plain && url.origin() == self.service.client().url("").origin()
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

fn image_size(size: &str) -> Value {
    match sides(size) {
        Some((width, height)) => json!({"width": width, "height": height}),
        None => word(size).into(),
    }
}

/// The fields that the models in the table share. Source: fal, model pages, "Schema", as of 2026-11.
fn input(call: &Call<'_>) -> Value {
    let spec = call.spec;
    let model = catalog::find(ACCESS.name, &spec.model);
    let takes_ratios = model.is_some_and(|model| !model.sizes.ratios.is_empty());
    let (ratio, pixels) = match spec.size.as_deref() {
        Some(ratio) if takes_ratios => (Some(ratio), None),
        size => (None, size),
    };
    // The default is JPEG.
    let input = json!({"prompt": call.prompt.expose(), "num_images": 1, "output_format": spec.format()});
    let fields = [
        ("aspect_ratio", ratio.map(Value::from)),
        ("image_size", pixels.map(image_size)),
        ("quality", spec.quality.as_deref().map(Value::from)),
        ("seed", spec.seed.map(Value::from)),
        ("negative_prompt", spec.negative().map(Value::from)),
    ];
    references::put(with(input, fields), call, Inline::DataUri)
}

#[async_trait]
impl Polled for Fal {
    type Handle = Request;
    const JUDGE: Judge = outcome::judge;

    fn service(&self) -> &Service {
        &self.service
    }

    fn order(&self, call: &Call<'_>) -> Result<Order, ProviderError> {
        let edits = call.spec.references.and_then(|taken| taken.id.as_deref());
        Ok(Order::of(edits.unwrap_or(&call.spec.model), input(call)))
    }

    fn accepted(&self, told: &Value, call: &Call<'_>) -> Option<Request> {
        let id = told.get("request_id")?.as_str().filter(|id| is_plain_id(id))?;
        // Owner and app alone: what follows in a model's id chooses a way into the app.
        let app: Vec<&str> = call.spec.model.split('/').take(2).collect();
        let app = format!("{}/requests/{id}", app.join("/"));
        let place = |name: &str, documented: &str| {
            let named = told.get(name).and_then(Value::as_str);
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

    fn read(&self, saved: &str) -> Option<Request> {
        let saved: Value = serde_json::from_str(saved).ok()?;
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

    fn ending(&self, request: &Request) -> Option<(Method, Url)> {
        Some((Method::PUT, request.cancel.clone()))
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
            Ok(answer) => outcome::read_result(&answer, &incident).held_by(answer),
            Err(fault) => Look::Unclear(incident.error(ErrorClass::Network, &fault.to_string())),
        }
    }
}
