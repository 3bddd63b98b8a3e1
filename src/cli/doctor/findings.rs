//! What a look has found, a line each.

use std::fmt::Write;

use serde_json::{Value, json};

use super::super::text::plain;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Ok,
    Warn,
    Fail,
}

/// What has been found, in its order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    about: &'static str,
    all: Vec<(Grade, &'static str, String)>,
}

impl Findings {
    pub(super) fn about(about: &'static str) -> Self {
        Self {
            about,
            all: Vec::new(),
        }
    }

    /// It is as it has to be.
    pub(super) fn ok(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Ok, self.about, text.into()));
    }

    /// It works, and may stop to; the text says what to do.
    pub(super) fn warn(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Warn, self.about, text.into()));
    }

    /// It does not work; the text says what to do.
    pub(super) fn fail(&mut self, text: impl Into<String>) {
        self.all.push((Grade::Fail, self.about, text.into()));
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.all.extend(more.all);
    }

    pub(super) fn has_failures(&self) -> bool {
        self.all.iter().any(|(grade, ..)| *grade == Grade::Fail)
    }

    /// As JSON: an array of `{grade, about, finding}`.
    pub(super) fn to_json(&self) -> Value {
        let all = self.all.iter().map(|(grade, about, finding)| {
            let grade = match grade {
                Grade::Ok => "ok",
                Grade::Warn => "warn",
                Grade::Fail => "fail",
            };
            json!({"grade": grade, "about": about, "finding": finding})
        });
        all.collect()
    }

    pub(super) fn tell(&self) -> String {
        let mut text = String::new();
        for (grade, about, finding) in &self.all {
            let grade = match grade {
                Grade::Ok => "ok",
                Grade::Warn => "warn",
                Grade::Fail => "FAIL",
            };
            let _ = writeln!(text, "{grade:<4}  {about:<9}  {}", plain(finding));
        }
        let count = |wanted| self.all.iter().filter(|(grade, ..)| *grade == wanted).count();
        let _ = writeln!(
            text,
            "{} ok, {} to be warned of, {} failed",
            count(Grade::Ok),
            count(Grade::Warn),
            count(Grade::Fail)
        );
        text
    }
}

/// Says how far a server's clock is from this machine's.
pub(super) fn clock(findings: &mut Findings, ahead_ms: i64) {
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
