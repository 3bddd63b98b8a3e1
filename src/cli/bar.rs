//! Bars on standard error, for a person who waits at a terminal. Where standard error is none, nothing is drawn: pipes, logs and timers get
//! what they would get without.

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::text;

const COUNTED: &str = "{msg} {wide_bar:.cyan} {pos} of {len}, {elapsed}";
const ENDLESS: &str = "{spinner} {msg}, {elapsed}";
/// It moves while nothing else happens, so that nobody takes it for stuck.
const TICK: Duration = Duration::from_millis(200);

/// A bar. Gone when it is dropped, so that only what the command says stays.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Of so many.
    pub(super) fn of(total: u64, what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProgressBar::new(total), COUNTED, what)
    }

    /// Of what nobody knows the end.
    pub(super) fn endless(what: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ProgressBar::new_spinner(), ENDLESS, what)
    }

    fn new(bar: ProgressBar, template: &str, what: impl Into<Cow<'static, str>>) -> Self {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// So many are done.
    pub(super) fn reach(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So many more are done.
    pub(super) fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Prints to standard output, as [`text::print`] does, beside the bar.
    pub(super) fn print(&self, text: &str) -> anyhow::Result<()> {
        self.0.suspend(|| text::print(text))
    }

    /// Whether whoever reads standard output sees the bar, so that it need not say the same.
    pub(super) fn is_enough(&self) -> bool {
        !self.0.is_hidden() && io::stdout().is_terminal()
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
