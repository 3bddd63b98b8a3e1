//! What values mean. Each error says what was found and what is accepted; of a secret it says only the latter.

use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::provider::list::PROVIDERS;
use crate::telemetry::LogFormat;
use crate::worker::UnknownOutcome;

pub(super) use crate::settings::values::{boolean, http_url};

/// As it is.
#[expect(clippy::unnecessary_wraps, reason = "it stands where others may refuse")]
pub(super) fn text(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a duration; write for example 500ms, 30s or 5m");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(unit_ms)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// At least an hour, so that a package that comes twice finds what has become of its job. `off`: for ever.
pub(super) fn retention(text: &str) -> Result<Option<Duration>, String> {
    if text == "off" {
        return Ok(None);
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    let time = match days {
        Some(days) => days.checked_mul(24 * 60 * 60).map(Duration::from_secs),
        None => duration(text).ok(),
    };
    let longest = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    time.filter(|time| (Duration::from_secs(60 * 60)..=longest).contains(time))
        .map(Some)
        .ok_or_else(|| {
            format!("\"{text}\" was found; a time of an hour or more is accepted, such as 12h or 90d, or off")
        })
}

fn duration_between(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    let duration = duration(text)?;
    if (least..=most).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!(
            "\"{text}\" is out of range; {least:?} to {most:?} is accepted"
        ))
    }
}

/// Below a second network jitter would look like death; above ten minutes a dead replica's jobs wait too long.
pub(super) fn lease_ttl(text: &str) -> Result<Duration, String> {
    duration_between(text, Duration::from_secs(1), Duration::from_secs(600))
}

/// Below a second no provider has drawn, and what it draws all the same is billed; an order is asked about for a day at the most.
pub(super) fn job_timeout(text: &str) -> Result<Duration, String> {
    duration_between(text, Duration::from_secs(1), Duration::from_secs(86_400))
}

pub(super) fn ping_interval(text: &str) -> Result<Duration, String> {
    duration_between(text, Duration::from_millis(100), Duration::from_secs(600))
}

/// Each round asks Postgres for all jobs that have not ended; beyond an hour a person has waited for long.
pub(super) fn reconcile_interval(text: &str) -> Result<Duration, String> {
    duration_between(text, Duration::from_secs(1), Duration::from_secs(3_600))
}

pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("\"{text}\" is not a size; write for example 262144, 256KiB or 1MiB");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit: usize = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return Err(wrong()),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(wrong)
}

fn number_between(text: &str, least: usize, most: usize) -> Result<usize, String> {
    let wrong = || format!("\"{text}\" was found; a number from {least} to {most} is accepted");
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(wrong)
}

pub(super) fn count(text: &str) -> Result<usize, String> {
    number_between(text, 1, 10_000_000)
}

pub(super) fn concurrency(text: &str) -> Result<usize, String> {
    number_between(text, 1, 1024)
}

pub(super) fn attempts(text: &str) -> Result<u32, String> {
    number_between(text, 1, 100).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// Names are part of keys, in which braces would move the hash tag.
pub(super) fn queue_name(text: &str) -> Result<String, String> {
    let is_fine = text.len() <= 128
        && text
            .chars()
            .all(|c| !c.is_whitespace() && !c.is_control() && !"{}".contains(c));
    if is_fine {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" was found; a name of up to 128 characters without spaces and braces is accepted"
        ))
    }
}

/// Source: bullmq 5.80, `QueueBase`: a queue's name has no colon, nor has a prefix that other tools split keys at.
pub(super) fn bullmq_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains([':', ' ']) {
        Err(format!(
            "\"{text}\" was found; a name without colon and blank is accepted"
        ))
    } else {
        Ok(text.to_owned())
    }
}

/// Names, with commas between them.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        Err(format!(
            "\"{text}\" was found; names with commas between them are accepted"
        ))
    } else {
        Ok(names)
    }
}

pub(super) fn worker_name(text: &str) -> Result<String, String> {
    if text.len() <= 100 && text.chars().all(is_name_char) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" was found; up to 100 of the characters A-Z, a-z, 0-9, '.', '_' and '-' are accepted"
        ))
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-".contains(c)
}

/// The host's name, with whatever a key cannot hold replaced.
pub(super) fn host_name() -> String {
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let name: String = name
        .chars()
        .take(100)
        .map(|c| if is_name_char(c) { c } else { '-' })
        .collect();
    if name.is_empty() {
        "worker".to_owned()
    } else {
        name
    }
}

pub(super) fn provider_name(text: &str) -> Result<String, String> {
    if PROVIDERS.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "\"{text}\" was found; {} are accepted",
            PROVIDERS.join(", ")
        ))
    }
}

/// Names separated by commas, each once.
pub(super) fn provider_names(text: &str) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let name = provider_name(name)?;
        if names.contains(&name) {
            return Err(format!("\"{name}\" was found twice; name each once"));
        }
        names.push(name);
    }
    Ok(names)
}

pub(super) fn redis_url(text: &str) -> Result<(), String> {
    crate::redis::check_url(text).map_err(|error| error.to_string())
}

pub(super) fn database_url(text: &str) -> Result<(), String> {
    crate::db::check_url(text).map_err(|error| format!("{error:#}"))
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "\"{text}\" was found; an address with its port such as 127.0.0.1:9464, or nothing at all, is accepted"
        )
    })
}

/// `/workers`, without the slash that some write behind it.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let is_part = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && part.chars().all(|c| is_name_char(c) || c == '~')
    };
    match path.strip_prefix('/') {
        None if path.is_empty() => Ok(String::new()),
        Some(parts) if parts.split('/').all(is_part) => Ok(path.to_owned()),
        _ => Err(format!(
            "\"{text}\" was found; a path such as /workers, of the characters A-Z, a-z, 0-9, '.', '_', '-', '~' and '/', or nothing \
             at all, is accepted"
        )),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("\"{text}\" was found; pretty and json are accepted")),
    }
}

pub(super) fn unknown_outcome(text: &str) -> Result<UnknownOutcome, String> {
    match text {
        "retry" => Ok(UnknownOutcome::Retry),
        "hold" => Ok(UnknownOutcome::Hold),
        "fail" => Ok(UnknownOutcome::Fail),
        _ => Err(format!("\"{text}\" was found; retry, hold and fail are accepted")),
    }
}

pub(super) fn log_filter(text: &str) -> Result<String, String> {
    // The library takes "warning" for a part of the program, of which all is told, and of the rest nothing.
    let is_other = |word: &&str| {
        let is_plain = !word.is_empty() && !word.contains(['=', '[', ']', '{', '}']);
        is_plain && !word.starts_with("generative_ai_worker") && word.parse::<LevelFilter>().is_err()
    };
    if let Some(word) = text.split(',').map(str::trim).find(is_other) {
        return Err(format!(
            "\"{word}\" was found, which is no level; off, error, warn, info, debug and trace are accepted, or {word}=trace for a \
             part that is called so"
        ));
    }
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "\"{text}\" was found, which does not parse ({error}); write for example info"
        )),
    }
}
