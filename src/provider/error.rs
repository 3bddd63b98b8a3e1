//! Why a provider delivered no picture, for the person who asked and for the operator.

use std::time::Duration;

use crate::failure::{ErrorClass, Failure};

/// Why a provider delivered no picture.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{provider}: {details}")]
pub struct ProviderError {
    /// Name of the provider, as packages write it.
    pub provider: &'static str,
    /// Judged by network state, then status and code, then structured fields, and phrases last.
    pub class: ErrorClass,
    /// For the operator: method, path, status, code and the redacted, shortened answer.
    pub details: String,
    /// The provider's own id of the call, for its support.
    pub request_id: Option<String>,
    /// The wait that the provider asked for.
    pub retry_after: Option<Duration>,
}

impl From<ProviderError> for Failure {
    /// Says to the person what happened, who did it and what to do, and keeps the rest for the operator.
    fn from(error: ProviderError) -> Self {
        let who = error.provider;
        let request = error
            .request_id
            .as_ref()
            .map(|id| format!(" (request {id})"))
            .unwrap_or_default();
        let message = match error.class {
            ErrorClass::Moderation => format!(
                "{who} refused this prompt under its content policy{request}. Change the prompt and start the job again."
            ),
            ErrorClass::Auth => format!(
                "{who} did not accept this service's credentials{request}. Tell an operator; the prompt is not the cause."
            ),
            ErrorClass::Quota => format!(
                "This service's account at {who} has no credit left or has reached its spending limit{request}. An operator has to change that first."
            ),
            ErrorClass::ModelGone => format!(
                "{who} no longer offers the model that was asked for{request}. Choose another model and start the job again."
            ),
            ErrorClass::InvalidRequest => format!(
                "{who} does not accept this request{request}. Change the model, size, quality or prompt and start the job again."
            ),
            ErrorClass::RateLimited => format!(
                "{who} receives more requests than it allows{request}. Start the job again in some minutes."
            ),
            ErrorClass::Overloaded | ErrorClass::Network => format!(
                "{who} could not be reached or is overloaded{request}. Start the job again in some minutes."
            ),
            ErrorClass::Ambiguous | ErrorClass::TimedOut => format!(
                "{who} was asked for the picture and did not answer in time{request}. Start the job again in some minutes."
            ),
            _ => format!(
                "{who} answered without a usable picture{request}. Start the job again in some minutes."
            ),
        };
        Failure::new(error.class, message)
            .with_details(error.to_string())
            .with_retry_after(error.retry_after)
    }
}
