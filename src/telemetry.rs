//! Logs: one line per event, readable by people or machines, without prompts and secrets at any level.

mod writer;

use std::io::IsTerminal;

use opentelemetry_sdk::trace::Tracer;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::plain_text::plain;
use crate::trace;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error and takes over the reporting of panics. To be called once, and [`end`] before the
/// process ends. Who logs never waits for whoever reads the log.
///
/// `format` `None` = for people on a terminal, else JSON. `filter` is in the syntax of `RUST_LOG`. `tracer` makes spans of what
/// is exported; `None`: nothing is.
pub fn start(format: Option<LogFormat>, filter: &str, tracer: Option<Tracer>) {
    let is_terminal = std::io::stderr().is_terminal();
    let format = format.unwrap_or(if is_terminal {
        LogFormat::Pretty
    } else {
        LogFormat::Json
    });
    // Below `info` the database driver logs the values of statements and HTTP clients whole headers: prompts and
    // keys. Only our own lines may be more talkative.
    // The library for BullMQ's queues says ten times a second that it has no connection; `bullmq` says it once.
    let is_exported = tracer.is_some();
    if is_exported {
        trace::begin_export();
    }
    let cap = filter_fn(move |metadata| {
        if metadata.target() == trace::TARGET {
            return is_exported;
        }
        let (target, is_ours) = (
            metadata.target(),
            metadata.target().starts_with("generative_ai_worker"),
        );
        is_ours || *metadata.level() <= Level::INFO && !target.starts_with("bullmq")
    });
    // Levels of modules are all that most filters say, and far cheaper to keep to than what fields of spans may be told by.
    let levels: Option<Targets> = filter.parse().ok();
    let fields = match levels {
        Some(_) => None,
        None => Some(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"))),
    };
    let writer = writer::start(format);
    let spans = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(filter_fn(|metadata| {
                metadata.is_span() && metadata.target().starts_with("generative_ai_worker")
            }))
    });
    // A line stands in its job's span, whichever part of the work it is about.
    let jobs_alone = is_exported.then(|| filter_fn(|metadata| metadata.target() != trace::TARGET));
    let registry = tracing_subscriber::registry()
        .with(levels)
        .with(fields)
        .with(cap)
        .with(spans);
    // A second start, in a test of this process, changes nothing.
    let _ = match format {
        LogFormat::Pretty => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(writer)
                    .with_ansi(is_terminal)
                    .with_target(false)
                    .fmt_fields(fields_in_one_line())
                    .with_filter(jobs_alone),
            )
            .try_init(),
        // The layer of `tracing_subscriber` parses the text that it has made of a span's fields again for every line.
        LogFormat::Json => registry
            .with(
                json_subscriber::fmt::layer()
                    .with_writer(writer)
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_filter(jobs_alone),
            )
            .try_init(),
    };
    // A panic's own words may hold what was being worked on, so only its place is told.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a fault in this program stopped what it was doing");
    }));
}

/// A value that holds a newline would look like a line of its own, written by this program.
fn fields_in_one_line() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    debug_fn(|writer, field, value| {
        let value = plain(&format!("{value:?}"));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{}={value}", name.trim_start_matches("r#")),
        }
    })
    .delimited(" ")
}

/// Writes what still waits to be written, for a second at the most. To be called before the process ends.
pub fn end() {
    writer::end();
}

/// Lines of the log that were dropped, as nobody read it or it could not be written.
#[must_use]
pub fn dropped_lines() -> u64 {
    writer::dropped()
}
