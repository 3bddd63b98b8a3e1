//! `flux`: the FLUX models (or whichever model an operator names) on Replicate.
//!
//! Owns what goes on the wire and what a prediction means. An order that was answered has an id, under which it
//! can be asked for; an order whose answer is lost may be under way all the same, and ends as `Ambiguous`: see
//! `listing` for how its id may be found.
//!
//! Source: Replicate, "HTTP API" (predictions.create, predictions.get, predictions.cancel, models.predictions.create)
//! and the topic pages "Create a prediction", "Prediction lifecycle", "Rate limits".

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::failure::ErrorClass;
use crate::http_client::Inline;
use crate::provider::wire::body::with;
use crate::provider::wire::errors::{Judge, judge_by_path};
use crate::provider::wire::incident::{Incident, is_plain_id};
use crate::provider::wire::keyed::{Access, Make};
use crate::provider::wire::polling::{Handle, Look, Order, Polled};
use crate::provider::wire::references;
use crate::provider::wire::service::Service;
use crate::provider::{Call, CheckedSpec, Found, ImageSpec, ProviderError, Unsupported, catalog};
use crate::settings::variable;

mod check;
mod listing;
mod prediction;
#[cfg(test)]
mod tests;

/// The name that packages write.
const NAME: &str = "flux";
const TOKEN: &str = "REPLICATE_API_TOKEN";
const MODEL: &str = "FLUX_PRO_MODEL_NAME";
/// How long the service holds its first answer back for a picture that comes quickly. Meanwhile nobody here knows
/// the prediction's id, and a crash would cost the picture.
const WAIT: Duration = Duration::from_secs(2);

/// How it is reached. Source of the question: Replicate, "HTTP API", `account.get`.
pub(crate) const ACCESS: Access = Access {
    name: NAME,
    variables: &[
        variable(TOKEN, None, "r8_...", "Token of Replicate, for flux"),
        variable(
            "REPLICATE_BASE_URL",
            Some("https://api.replicate.com/v1"),
            "https://api.replicate.com/v1",
            "Where Replicate's API is",
        ),
        variable(
            MODEL,
            None,
            "black-forest-labs/flux-1.1-pro",
            "The model of flux: owner/name, owner/name:version or deployments/owner/name",
        ),
    ],
    keys: &[TOKEN],
    bases: &["REPLICATE_BASE_URL"],
    question: Some("account"),
    ..Access::usual(|reader| {
        let model = reader.optional(MODEL, named);
        Make::new(move |service| Replicate {
            service,
            model: model.clone(),
        })
    })
};

/// A model as an operator names it, and where its predictions are created.
fn named(model: &str) -> Result<(String, Target), String> {
    Ok((model.to_owned(), Target::parse(model)?))
}

/// Where predictions of the configured model are created.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A path of its own: official models and deployments.
    Own(String),
    /// The common path, with this version in the body.
    Version(String),
}

impl Target {
    fn parse(model: &str) -> Result<Self, String> {
        let is_version = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (name, version) = match model.split_once(':') {
            Some((name, version)) => (name, Some(version)),
            None => (model, None),
        };
        let parts: Vec<&str> = name.split('/').collect();
        let is_plain = parts.iter().all(|part| is_plain_id(part)) && version.is_none_or(is_plain_id);
        match (&parts[..], version) {
            ([_, _], None) if is_plain => Ok(Self::Own(format!("models/{name}/predictions"))),
            (["deployments", _, _], None) if is_plain => Ok(Self::Own(format!("{name}/predictions"))),
            ([_, _], Some(_)) if is_plain => Ok(Self::Version(model.to_owned())),
            ([_], None) if is_version(name) => Ok(Self::Version(model.to_owned())),
            _ => Err(
                "a model is written owner/name, owner/name:version or deployments/owner/name, such as \
                 black-forest-labs/flux-1.1-pro"
                    .to_owned(),
            ),
        }
    }
}

/// FLUX on Replicate.
struct Replicate {
    service: Service,
    model: Option<(String, Target)>,
}

/// The fields that the FLUX models share. One that a model does not know is refused with 422 before it costs.
/// Source: Replicate, the models' "Schema" pages, as of 2026-11.
fn input(call: &Call<'_>) -> Value {
    // The default is WebP, in which many places cannot show a picture.
    let format = match call.spec.format() {
        "jpeg" => "jpg",
        format => format,
    };
    let input = json!({"prompt": call.prompt.expose(), "output_format": format});
    let fields = [
        ("aspect_ratio", call.spec.size.as_deref().map(Value::from)),
        ("seed", call.spec.seed.map(Value::from)),
        ("negative_prompt", call.spec.negative().map(Value::from)),
    ];
    references::put(with(input, fields), call, Inline::DataUri)
}

fn unusable(message: String) -> Unsupported {
    Unsupported {
        class: ErrorClass::Auth,
        message,
    }
}

/// `Prefer: wait=2`. Not `Cancel-After`: the deadline bounds what is bought, not what is fetched, and with it the
/// service would end a prediction that a later attempt is going to ask for. Its own limit bounds one that hangs.
fn headers(deadline: Instant) -> HeaderMap {
    let left = deadline.saturating_duration_since(Instant::now());
    let wait = format!("wait={}", WAIT.min(left).as_secs().max(1));
    let prefer = HeaderValue::from_str(&wait).ok();
    prefer
        .map(|prefer| (HeaderName::from_static("prefer"), prefer))
        .into_iter()
        .collect()
}

/// A prediction's id, by which it is asked about.
struct Id(String);

impl Handle for Id {
    fn id(&self) -> &str {
        &self.0
    }

    fn url(&self, service: &Service) -> Url {
        service.client().url(&format!("predictions/{}", self.0))
    }

    fn saved(&self) -> String {
        self.0.clone()
    }
}

#[async_trait]
impl Polled for Replicate {
    type Handle = Id;
    const JUDGE: Judge = prediction::judge_order;
    const LISTS_ORDERS: bool = true;

    fn service(&self) -> &Service {
        &self.service
    }

    fn offers(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let Some((model, _)) = &self.model else {
            return Err(unusable(format!(
                "No image model is configured for provider: {NAME}; {MODEL} is not set. Choose another image provider, \
                 or have an operator set it."
            )));
        };
        let checked = check::check(model, spec)?;
        if !self.service.is_configured() {
            return Err(unusable(format!(
                "Flux image generator is not configured. {TOKEN} is not set: choose another image provider, or have an \
                 operator set it."
            )));
        }
        Ok(checked)
    }

    fn order(&self, call: &Call<'_>) -> Result<Order, ProviderError> {
        let Some((_, target)) = &self.model else {
            return Err(self.service.posting("predictions", call).unset(MODEL));
        };
        let order = match target {
            Target::Own(path) => Order::of(path, json!({ "input": input(call) })),
            Target::Version(version) => {
                Order::of("predictions", json!({ "version": version, "input": input(call) }))
            }
        };
        let headers = headers(call.deadline);
        Ok(Order { headers, ..order })
    }

    fn accepted(&self, told: &Value, _: &Call<'_>) -> Option<Id> {
        prediction::id(told).map(Id)
    }

    fn read(&self, saved: &str) -> Option<Id> {
        is_plain_id(saved).then(|| Id(saved.to_owned()))
    }

    async fn look(&self, id: &Id, incident: &Incident<'_>, deadline: Instant) -> Look {
        let client = self.service.client();
        let url = id.url(&self.service);
        match self
            .service
            .ask(client, url, incident, judge_by_path, deadline)
            .await
        {
            Ok((answer, prediction)) => prediction::look(&prediction, incident).held_by(answer),
            Err(not_told) => not_told.into(),
        }
    }

    /// Even one that is finished already.
    fn first(&self, told: &Value, incident: &Incident<'_>) -> Option<Look> {
        Some(prediction::look(told, incident))
    }

    fn ending(&self, id: &Id) -> Option<(Method, Url)> {
        let url = self.service.client().url(&format!("predictions/{}/cancel", id.0));
        Some((Method::POST, url))
    }

    async fn search(&self, call: &Call<'_>, sent_at: DateTime<Utc>) -> Result<Found, ProviderError> {
        self.find_listed(call, sent_at).await
    }
}
