//! Services that answer one request with the picture, or with its address. An answer that is lost cannot be asked for again.
//!
//! Owns the order of things; what goes on the wire and what an answer means is each service's business.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value;

use super::incident::Incident;
use super::keyed::Make;
use super::prompt::{Plain, Prompts};
use super::reading::Dialect;
use super::service::Service;
use crate::failure::ErrorClass;
use crate::http_client::{Answer, Outgoing};
use crate::provider::catalog::{self, Model};
use crate::provider::{
    Call, CheckedSpec, Cost, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
};
use crate::work_package::Prompt;

/// What differs between services that answer at once.
#[async_trait]
pub(in crate::provider) trait Direct: Send + Sync + 'static {
    /// What its answers mean.
    const DIALECT: Dialect = Dialect::PLAIN;
    /// What is sent of a prompt.
    const PROMPTS: Prompts = Prompts::Alone;
    /// The largest seed that it takes, from 0 on.
    const MAX_SEED: i64 = i64::MAX;
    /// For how long it refuses all after a 429 that does not say so itself.
    const REFUSAL: Option<Duration> = None;

    /// The request for one picture, without the key.
    fn request(&self, call: &Call<'_>) -> Outgoing;

    /// Sends it.
    async fn ask(
        &self,
        service: &Service,
        request: Outgoing,
        call: &Call<'_>,
        incident: &Incident<'_>,
    ) -> Result<Answer, ProviderError> {
        service.call(request, incident, call.deadline).await
    }

    /// As [`ImageProvider::check`], where the service called `name` is configured.
    fn offers(&self, name: &'static str, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(name, spec, Utc::now().date_naive())?;
        catalog::check_seed(&checked, Self::MAX_SEED)?;
        Ok(checked)
    }

    /// What the table of models has of a model of the service called `name`.
    fn model(&self, name: &str, id: &str) -> Option<&'static Model> {
        catalog::find(name, id)
    }

    /// As [`ImageProvider::is_free`].
    fn is_free(&self) -> bool {
        false
    }

    /// What a picture has cost, from what the service has counted, or as the table of models has it.
    fn cost(model: Option<&Model>, _usage: Option<&Value>) -> Option<Cost> {
        catalog::listed(model)
    }
}

/// Makes the provider of such a service.
pub(in crate::provider) fn make<S: Direct>(kind: S) -> Make {
    let kind = Arc::new(kind);
    Make::new(move |service| Provider {
        service,
        kind: kind.clone(),
    })
}

struct Provider<S> {
    service: Service,
    kind: Arc<S>,
}

#[async_trait]
impl<S: Direct> ImageProvider for Provider<S> {
    fn name(&self) -> &'static str {
        self.service.name
    }

    fn prompt_for(&self, prompt: &Prompt, suffix: &str) -> Prompt {
        S::PROMPTS.of(prompt, suffix)
    }

    fn is_free(&self) -> bool {
        self.kind.is_free()
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = self.kind.offers(self.service.name, spec)?;
        self.service.check_configured()?;
        Ok(checked)
    }

    fn estimate_usd(&self, spec: &CheckedSpec) -> Option<f64> {
        let model = self.kind.model(self.service.name, &spec.model)?;
        catalog::estimate_usd(model, spec.quality.as_deref())
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let plain = Plain::of(call, S::PROMPTS);
        let call = &plain.call(call);
        let request = self.kind.request(call);
        let incident = self.service.posting(request.path(), call);
        self.service.may_send(call, &incident)?;
        let request = request.carrying(call.references.take());
        let answer = self.kind.ask(&self.service, request, call, &incident).await?;
        let reading = incident.picture(answer, S::DIALECT).await;
        let reading = reading.map_err(|error| match error.class {
            ErrorClass::RateLimited => ProviderError {
                retry_after: error.retry_after.or(S::REFUSAL),
                ..error
            },
            _ => error,
        })?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        let model = self.kind.model(self.service.name, &call.spec.model);
        Ok(DrawnImage {
            request_id: reading.id,
            cost: S::cost(model, reading.usage.as_ref()),
            usage: reading.usage,
            ..DrawnImage::by_model(bytes)
        })
    }

    async fn resume(&self, handle: &str, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        self.service.resume(handle, call).await
    }
}
