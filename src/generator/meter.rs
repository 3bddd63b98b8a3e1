//! What is counted of a call to a provider when it has ended: its outcome, how long it took, what it has cost.

use tokio::time::Instant;
use tracing::Span;

use super::order::Order;
use crate::measure;
use crate::provider::{DrawnImage, ProviderError, catalog};
use crate::trace;

/// One call under way.
pub(super) struct Meter {
    provider: &'static str,
    model: &'static str,
    /// `None` for a call that somebody else has begun.
    begun: Option<Instant>,
    span: Span,
}

impl Meter {
    /// A call that begins now.
    pub(super) fn start(order: &Order) -> Self {
        Self {
            begun: Some(Instant::now()),
            ..Self::of_resumed(order)
        }
    }

    /// A call that an earlier attempt has begun.
    pub(super) fn of_resumed(order: &Order) -> Self {
        let provider = order.provider.name();
        let model = catalog::label(provider, &order.spec.model);
        Self {
            provider,
            model,
            begun: None,
            span: tracing::info_span!(
                target: trace::TARGET,
                "generate_content",
                otel.name = format_args!("generate_content {model}"),
                otel.kind = "client",
                gen_ai.operation.name = "generate_content",
                gen_ai.provider.name = provider,
                gen_ai.request.model = model,
                gen_ai.output.r#type = "image",
                gen_ai.response.id = tracing::field::Empty,
            ),
        }
    }

    /// What the call is part of while it is under way.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn drawn(self, image: &DrawnImage) {
        self.end("succeeded", "succeeded");
        self.span
            .record("gen_ai.response.id", image.request_id.as_deref());
        if let Some(cost) = image.cost {
            let labels = [("provider", self.provider), ("cost_basis", cost.basis.as_str())];
            measure::COST.observe(cost.usd, &labels);
        }
    }

    pub(super) fn failed(self, error: &ProviderError) {
        self.end(error.class.as_str(), "failed");
        trace::fail(&self.span, error.class.as_str());
    }

    fn end(&self, counted_as: &'static str, timed_as: &'static str) {
        let (provider, model) = (("provider", self.provider), ("model", self.model));
        measure::CALLS.count(1, &[provider, model, ("outcome", counted_as)]);
        if let Some(begun) = self.begun {
            let seconds = begun.elapsed().as_secs_f64();
            measure::CALL_DURATION.observe(seconds, &[provider, model, ("outcome", timed_as)]);
        }
    }
}
