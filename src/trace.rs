//! The trace that a job is part of: where it comes from (`traceparent` of its package), what goes on under it, and what is told to whoever
//! is called meanwhile.
//!
//! Spans are made where work is done, and cost nothing unless traces are exported (`otlp`). Without that a package's context is passed
//! on as it came, so that what others record joins the producer's trace all the same.
//!
//! Source: W3C Trace Context, "traceparent Header".

use std::sync::atomic::{AtomicBool, Ordering};

use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The target of spans that are in no line of the log, and exist where traces are exported.
pub(crate) const TARGET: &str = "generative_ai_worker::trace";

/// Whether spans are sent to anybody.
static IS_EXPORTED: AtomicBool = AtomicBool::new(false);

/// Notes that spans are sent from now on.
pub(crate) fn begin_export() {
    IS_EXPORTED.store(true, Ordering::Relaxed);
}

/// Whether they are.
pub(crate) fn is_exported() -> bool {
    IS_EXPORTED.load(Ordering::Relaxed)
}

/// Of which trace something is, and below which span of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

tokio::task_local! {
    /// What the task follows where no span of its own is exported.
    static FOLLOWED: TraceParent;
}

impl TraceParent {
    /// Reads the value of a header; `None` where it is none, which the standard has one ignore.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let [version, trace_id, span_id, flags] = parts[..] else {
            return None;
        };
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_some_id = |part: &str, length| is_hex(part, length) && part.bytes().any(|b| b != b'0');
        let is_one = is_hex(version, 2)
            && version != "ff"
            && is_some_id(trace_id, 32)
            && is_some_id(span_id, 16)
            && is_hex(flags, 2);
        is_one.then(|| Self(text.to_owned()))
    }

    /// The value of the header.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the trace, 32 digits.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        &self.0[3..35]
    }

    fn of(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| {
            let (trace, span, flags) = (
                context.trace_id(),
                context.span_id(),
                context.trace_flags() & TraceFlags::SAMPLED,
            );
            Self(format!("00-{trace}-{span}-{flags:02x}"))
        })
    }

    fn context(&self) -> Option<SpanContext> {
        let flags = u8::from_str_radix(&self.0[53..55], 16).ok()?;
        Some(SpanContext::new(
            TraceId::from_hex(self.trace_id()).ok()?,
            SpanId::from_hex(&self.0[36..52]).ok()?,
            TraceFlags::new(flags) & TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        ))
    }
}

/// Has a span go on with a trace, before it is entered, and tells which trace it is of: that of `parent`, or one that begins with it where
/// traces are exported.
pub(crate) fn go_on(span: &Span, parent: Option<&TraceParent>) -> Option<TraceParent> {
    if let Some(context) = parent.and_then(TraceParent::context) {
        let context = opentelemetry::Context::new().with_remote_span_context(context);
        // Fails where traces are not exported.
        let _ = span.set_parent(context);
    }
    of(span).or_else(|| parent.cloned())
}

fn of(span: &Span) -> Option<TraceParent> {
    TraceParent::of(span.context().span().span_context())
}

/// Does some work under a trace.
pub(crate) async fn following<T>(parent: Option<TraceParent>, work: impl Future<Output = T>) -> T {
    match parent {
        Some(parent) => FOLLOWED.scope(parent, work).await,
        None => work.await,
    }
}

/// The trace of the job that this task works on, below its own span where that is exported.
#[must_use]
pub fn of_job() -> Option<TraceParent> {
    FOLLOWED.try_with(Clone::clone).ok()
}

/// What whoever is called from here is told; `None`: this is part of no trace.
#[must_use]
pub fn current() -> Option<TraceParent> {
    of(&Span::current()).or_else(of_job)
}

/// The span of a part of a job's work; of none outside of a job.
pub(crate) fn stage(name: &'static str) -> Span {
    if !is_exported() || Span::current().is_none() {
        return Span::none();
    }
    tracing::info_span!(target: TARGET, "stage", otel.name = name)
}

/// Notes on a span that it has failed.
pub(crate) fn fail(span: &Span, class: &'static str) {
    span.set_attribute("error.type", class);
    span.set_status(Status::error(class));
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_and_written_as_the_standard_has_it() {
        let parent = TraceParent::parse(VALID).unwrap();
        assert_eq!(parent.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceParent::of(&parent.context().unwrap()), Some(parent));
        let later = TraceParent::parse("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03").unwrap();
        let told = TraceParent::of(&later.context().unwrap()).unwrap();
        assert_eq!(
            told.as_str(),
            VALID,
            "of flags that nobody knows none is passed on"
        );
    }

    #[test]
    fn what_is_no_context_is_none() {
        for text in [
            "",
            "00-xyz",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0ä",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn whoever_is_called_under_a_trace_is_told_of_it() {
        let parent = TraceParent::parse(VALID);
        assert_eq!(current(), None);
        assert_eq!(following(parent.clone(), async { current() }).await, parent);
        assert_eq!(following(None, async { current() }).await, None);
    }
}
