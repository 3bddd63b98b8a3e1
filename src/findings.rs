//! What a look at a service has found, a line each: `doctor` tells all of it, `check-config` and `run` go by what fails.
//!
//! The text of what fails begins with the variable to look at, so that it can stand alone.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::plain_text::plain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
/// How good or bad a finding is.
pub enum Grade {
    /// It is as it has to be.
    Ok,
    /// It works, and may stop to.
    Warn,
    /// The service cannot be reached: it may be tomorrow, and nothing else is known of it.
    Away,
    /// It does not work, and will not until somebody mends it.
    Fail,
}

/// What has been found, in its order.
#[derive(Debug, Default)]
pub struct Findings {
    about: &'static str,
    all: Vec<(Grade, &'static str, String)>,
}

impl Findings {
    /// Nothing yet; `about` names the service in each line.
    #[must_use]
    pub fn about(about: &'static str) -> Self {
        Self {
            about,
            all: Vec::new(),
        }
    }

    /// It is as it has to be.
    pub fn ok(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Ok, self.about, text.into()));
    }

    /// It works, and may stop to; the text says what to do.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Warn, self.about, text.into()));
    }

    /// It does not work; the text says what to do.
    pub fn fail(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Fail, self.about, text.into()));
    }

    /// The service cannot be reached; the text says what was tried and what to look at.
    pub fn away(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Away, self.about, text.into()));
    }

    /// All of them, in their order: the grade, what it is about, and the finding.
    pub fn iter(&self) -> impl Iterator<Item = (Grade, &'static str, &str)> {
        self.all
            .iter()
            .map(|(grade, about, finding)| (*grade, *about, finding.as_str()))
    }

    /// Adds what another look has found.
    pub fn extend(&mut self, more: Self) {
        self.all.extend(more.all);
    }

    /// Whether a replica would not start, or would not work.
    #[must_use]
    pub fn has_failures(&self) -> bool {
        self.has(Grade::Fail) || self.has(Grade::Away)
    }

    /// Whether there is a finding of this grade.
    #[must_use]
    pub fn has(&self, wanted: Grade) -> bool {
        self.all.iter().any(|(grade, ..)| *grade == wanted)
    }

    /// What keeps a replica from starting, a line each, as a terminal can bear it.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.texts(|grade| matches!(grade, Grade::Fail | Grade::Away))
    }

    /// What works and may stop to, a line each, as a terminal can bear it.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.texts(|grade| grade == Grade::Warn)
    }

    fn texts(&self, is_wanted: impl Fn(Grade) -> bool) -> impl Iterator<Item = String> {
        let wanted = self.all.iter().filter(move |(grade, ..)| is_wanted(*grade));
        wanted.map(|(.., finding)| plain(finding))
    }

    /// As JSON: an array of `{grade, about, finding}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let all = self.all.iter().map(|(grade, about, finding)| {
            let grade = match grade {
                Grade::Ok => "ok",
                Grade::Warn => "warn",
                Grade::Away | Grade::Fail => "fail",
            };
            json!({"grade": grade, "about": about, "finding": finding})
        });
        all.collect()
    }

    /// A line each, and a line of counts.
    #[must_use]
    pub fn tell(&self) -> String {
        let mut text = String::new();
        for (grade, about, finding) in &self.all {
            let grade = match grade {
                Grade::Ok => "ok",
                Grade::Warn => "warn",
                Grade::Away | Grade::Fail => "FAIL",
            };
            let _ = writeln!(text, "{grade:<4}  {about:<9}  {}", plain(finding));
        }
        let count = |wanted: &[Grade]| {
            self.all
                .iter()
                .filter(|(grade, ..)| wanted.contains(grade))
                .count()
        };
        let _ = writeln!(
            text,
            "{} ok, {} to be warned of, {} failed",
            count(&[Grade::Ok]),
            count(&[Grade::Warn]),
            count(&[Grade::Away, Grade::Fail])
        );
        text
    }
}

/// A service that was looked at as a replica uses it, before anything is bought.
#[derive(Debug)]
pub struct Checked<T> {
    /// What was seen, good and bad.
    pub findings: Findings,
    /// What a replica goes on with, unless a finding is a failure. `None` only where one is.
    pub service: Option<T>,
}

/// Says how far a server's clock is from this machine's.
pub fn clock(findings: &mut Findings, ahead_ms: i64) {
    const MOST_MS: i64 = 2_000;
    if ahead_ms.abs() <= MOST_MS {
        findings.ok("its clock agrees with this machine's within 2 s");
        return;
    }
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    findings.warn(format!(
        "its clock is {:.1} s {side} this machine's: let both follow a time server",
        ahead_ms.abs() as f64 / 1_000.0
    ));
}
