//! Services that answer one request with the picture, or with its address. An answer that is lost cannot be asked for again.
//!
//! Owns the order of things; what goes on the wire and what an answer means is each service's business.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Utc;
use serde_json::Value;

use super::reading::Dialect;
use super::service::Service;
use crate::failure::ErrorClass;
use crate::http_client::Outgoing;
use crate::provider::catalog::{self, Model};
use crate::provider::{
    Call, CheckedSpec, Cost, DrawnImage, ImageProvider, ImageSpec, NotDrawn, ProviderError, Unsupported,
};
use crate::work_package::Prompt;

/// What differs between services that answer at once.
pub(in crate::provider) trait Direct: Send + Sync + 'static {
    /// What its answers mean.
    const DIALECT: Dialect = Dialect::PLAIN;
    /// Whether its models obey what is said of the picture beside what it shows. Others would draw it.
    const READS_INSTRUCTIONS: bool = false;
    /// The largest seed that it takes, from 0 on.
    const MAX_SEED: i64 = i64::MAX;
    /// For how long it refuses all after a 429 that does not say so itself.
    const REFUSAL: Option<Duration> = None;

    /// The request for one picture, without the key.
    fn request(call: &Call<'_>) -> Outgoing;

    /// What a picture has cost, from what the service has counted, or as the table of models has it.
    fn cost(model: Option<&Model>, _usage: Option<&Value>) -> Option<Cost> {
        catalog::listed(model)
    }
}

/// The provider of such a service.
pub(in crate::provider) fn build<S: Direct>(service: Service) -> Arc<dyn ImageProvider> {
    let of = PhantomData::<fn() -> S>;
    Arc::new(Provider { service, of })
}

struct Provider<S> {
    service: Service,
    of: PhantomData<fn() -> S>,
}

#[async_trait]
impl<S: Direct> ImageProvider for Provider<S> {
    fn name(&self) -> &'static str {
        self.service.name
    }

    fn prompt_for(&self, prompt: &Prompt, suffix: &str) -> Prompt {
        match S::READS_INSTRUCTIONS {
            true => prompt.followed_by(suffix),
            false => prompt.clone(),
        }
    }

    fn check(&self, spec: &ImageSpec) -> Result<CheckedSpec, Unsupported> {
        let checked = catalog::check(self.service.name, spec, Utc::now().date_naive())?;
        catalog::check_seed(&checked, S::MAX_SEED)?;
        self.service.check_configured()?;
        Ok(checked)
    }

    async fn draw(&self, call: &Call<'_>) -> Result<DrawnImage, NotDrawn> {
        let outgoing = S::request(call);
        let incident = self.service.posting(outgoing.path(), call);
        self.service.may_send(call, &incident)?;
        let outgoing = outgoing.carrying(call.references.take());
        let answer = self.service.call(outgoing, &incident, call.deadline).await?;
        let reading = incident.picture(answer, S::DIALECT).await;
        let reading = reading.map_err(|error| match error.class {
            ErrorClass::RateLimited => ProviderError {
                retry_after: error.retry_after.or(S::REFUSAL),
                ..error
            },
            _ => error,
        })?;
        let bytes = self.service.obtain(reading.picture, &incident, call).await?;
        let model = catalog::find(self.service.name, &call.spec.model);
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
