//! The two halves of `status` in words.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use super::super::text::{Align, age, age_of_seconds, table};
use crate::db::{BudgetUse, CallbackCounts, Figures};
use crate::ops::words::{by_whom, counted, in_cents, now_of, time};
use crate::plain_text::plain;
use crate::queue::{BudgetPark, Gone, Overview, ProviderRoom, Replica, StrayList};
use crate::worker::in_dollars;

/// Replicas that died longer ago are not told of.
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// So many jobs are named.
const NAMED: usize = 10;

fn age_of_ms(ms: i64) -> String {
    age(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

pub(super) fn redis(queue: &str, overview: &Overview) -> String {
    let depths = &overview.depths;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line(
        "service",
        &match overview.ping_age_ms {
            Some(ms) => format!("able to work; last ping {} ago", age_of_ms(ms)),
            None => "no replica pings".to_owned(),
        },
    );
    let paused = overview
        .paused
        .as_ref()
        .map(|note| format!(", paused {}: no replica takes new work", plain(&by_whom(note))));
    line("queue", &format!("{queue}{}", paused.unwrap_or_default()));
    let waiting: Vec<String> = depths
        .waiting
        .iter()
        .map(|list| format!("{} {}", list.priority, list.count))
        .collect();
    line("waiting", &waiting.join(", "));
    line(
        "delayed",
        &match overview.next_due_in_ms {
            Some(ms) if ms >= 0 => format!("{}, the next in {}", depths.delayed, age_of_ms(ms)),
            Some(ms) => format!("{}, the next due for {}", depths.delayed, age_of_ms(-ms)),
            None => depths.delayed.to_string(),
        },
    );
    let lost: u64 = overview
        .replicas
        .iter()
        .filter(|replica| !replica.has_lease)
        .map(|replica| replica.processing)
        .sum();
    let lost = match lost {
        0 => String::new(),
        lost => format!(", {lost} of them with replicas that are gone"),
    };
    let oldest = overview.oldest_in_flight.as_ref().map(|oldest| {
        let worker_id = plain(&oldest.worker_id);
        format!(", the oldest for {} with {worker_id}", age_of_ms(oldest.for_ms))
    });
    line(
        "in flight",
        &format!("{}{lost}{}", depths.in_flight, oldest.unwrap_or_default()),
    );
    if depths.set_aside > 0 {
        line(
            "set aside",
            &format!("{}, larger than MAX_PACKAGE_BYTES", depths.set_aside),
        );
    }
    for stray in &overview.stray_lists {
        let StrayList { key, count } = stray;
        line(
            "stray",
            &format!(
                "{} in {key}, a list that no replica reads",
                counted(*count, "package", "packages")
            ),
        );
    }
    for room in &overview.providers {
        line(&room.provider, &provider(room));
    }
    for park in &overview.budgets {
        let BudgetPark { budget, parked } = park;
        line("budget", &format!("{}: parked {parked}", plain(budget)));
    }
    if overview.replicas.is_empty() {
        line("replicas", "none");
        return text;
    }
    text.push('\n');
    text.push_str(&replicas(&overview.replicas));
    text
}

fn provider(room: &ProviderRoom) -> String {
    let mut parts = Vec::new();
    if room.open_calls > 0 {
        let what = match room.provider.starts_with("type/") {
            true => "begun",
            false => "open calls",
        };
        parts.push(format!("{what} {}", room.open_calls));
    }
    if room.parked > 0 {
        parts.push(format!("parked {}", room.parked));
    }
    if let Some(state) = &room.state {
        parts.push(now_of(state));
    }
    parts.join(", ")
}

fn replicas(replicas: &[Replica]) -> String {
    let columns = [
        ("replica", Align::Left),
        ("host", Align::Left),
        ("pid", Align::Right),
        ("version", Align::Left),
        ("state", Align::Left),
        ("in hand", Align::Right),
        ("completed", Align::Right),
        ("failed", Align::Right),
        ("retried", Align::Right),
        ("ping", Align::Right),
        ("lease", Align::Left),
    ];
    let rows: Vec<Vec<String>> = replicas
        .iter()
        .map(|replica| {
            let lease = if replica.has_lease { "held" } else { "none" };
            // What it says of its hand is as old as its ping.
            let in_hand = replica.landing + replica.processing;
            let mut row = vec![plain(&replica.worker_id)];
            match &replica.ping {
                Some(ping) => row.extend([
                    plain(&ping.host),
                    ping.pid.to_string(),
                    plain(&ping.version),
                    if replica.has_lease {
                        plain(&ping.state)
                    } else {
                        "gone".to_owned()
                    },
                    format!("{in_hand}/{}", ping.concurrency),
                    ping.completed.to_string(),
                    ping.failed.to_string(),
                    ping.retried.to_string(),
                    replica.ping_age_ms.map(age_of_ms).unwrap_or_default(),
                ]),
                None => {
                    let state = if replica.has_lease { "not able" } else { "gone" };
                    row.extend(
                        ["-", "-", "-", state, &in_hand.to_string(), "-", "-", "-", "none"]
                            .map(str::to_owned),
                    );
                }
            }
            row.push(lease.to_owned());
            row
        })
        .collect();
    table(&columns, &rows, None)
}

/// A line for each replica that died within a day.
pub(super) fn gone(all: &[Gone], states: Option<&HashMap<i32, String>>) -> String {
    let mut text = String::new();
    for gone in all.iter().filter(|gone| gone.recovered_for_ms < DAY_MS) {
        let place = gone.ping.as_ref();
        let place = place.map(|ping| format!(" (host {}, pid {})", ping.host, ping.pid));
        let packages = match gone.packages {
            0 => "it had nothing in hand".to_owned(),
            1 => "its 1 package was back in the queue".to_owned(),
            packages => format!("its {packages} packages were back in the queue"),
        };
        let when = match gone.packages {
            0 => String::new(),
            _ => format!(" {} ago", age_of_ms(gone.recovered_for_ms)),
        };
        let line = format!(
            "{}{}, last seen {} ago; {packages}{when}{}",
            gone.worker_id,
            place.unwrap_or_default(),
            age_of_ms(gone.silent_for_ms),
            jobs_of(gone, states)
        );
        let _ = writeln!(text, "{:<10} {}", "died", plain(&line));
    }
    if text.is_empty() {
        text
    } else {
        format!("\n{text}")
    }
}

/// What became of the jobs that it had in hand. Those that are not done are named.
fn jobs_of(gone: &Gone, states: Option<&HashMap<i32, String>>) -> String {
    if gone.job_ids.is_empty() {
        return String::new();
    }
    let mut by_state: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for job_id in &gone.job_ids {
        let state = match states.map(|states| states.get(job_id).map(String::as_str)) {
            None => "with a state that Postgres does not tell",
            Some(None) => "not begun",
            Some(Some("begun")) => "being worked on",
            Some(Some("dead")) => "failed",
            Some(Some("retry_wait")) => "waiting for another attempt",
            Some(Some(state)) => state,
        };
        by_state.entry(state).or_default().push(job_id.to_string());
    }
    let parts: Vec<String> = by_state
        .into_iter()
        .map(|(state, job_ids)| match (state, job_ids.len()) {
            ("done", count) => format!("{count} done"),
            (state, count @ 0..=NAMED) => format!("{count} {state} ({})", job_ids.join(", ")),
            (state, count) => format!("{count} {state} ({}, …)", job_ids[..NAMED].join(", ")),
        })
        .collect();
    format!("; of their jobs now {}", parts.join(", "))
}

/// A line for each budget.
pub(super) fn budgets(uses: &[BudgetUse]) -> String {
    let columns = [
        ("budget", Align::Left),
        ("used", Align::Right),
        ("of", Align::Right),
        ("", Align::Right),
        ("by", Align::Left),
        ("until", Align::Left),
    ];
    let rows: Vec<Vec<String>> = uses
        .iter()
        .map(|used| {
            vec![
                format!("{}/{}", used.scope, used.period),
                in_cents(used.used_usd),
                in_dollars(used.limit_usd),
                format!("{} %", used.percent()),
                plain(used.whose.as_deref().unwrap_or("-")),
                used.ends_at.map_or_else(|| "-".to_owned(), time),
            ]
        })
        .collect();
    format!("\n{}", table(&columns, &rows, None))
}

pub(super) fn postgres(figures: &Figures) -> String {
    let mut text = String::new();
    let states: Vec<String> = figures
        .unfinished
        .iter()
        .map(|state| {
            format!(
                "{} {}, the oldest for {}",
                state.state,
                state.count,
                age_of_seconds(state.oldest_s)
            )
        })
        .collect();
    let unfinished = if states.is_empty() {
        "none unfinished".to_owned()
    } else {
        states.join("; ")
    };
    let _ = writeln!(text, "{:<10} {unfinished}", "jobs");
    let _ = writeln!(text, "{:<10} {}", "dead", figures.dead);
    let CallbackCounts {
        waiting,
        oldest_s,
        failed,
    } = figures.callbacks;
    if waiting > 0 || failed > 0 {
        let oldest = match waiting {
            0 => String::new(),
            _ => format!(", the oldest for {}", age_of_seconds(oldest_s)),
        };
        let _ = writeln!(
            text,
            "{:<10} {waiting} to be told{oldest}; {failed} given up",
            "callbacks"
        );
    }
    if figures.spending_24h.is_empty() {
        let _ = writeln!(text, "{:<10} nothing within 24 h", "spent");
        return text;
    }
    let columns = [
        ("spent within 24 h", Align::Left),
        ("calls", Align::Right),
        ("refused", Align::Right),
        ("pictures", Align::Right),
        ("unknown", Align::Right),
        ("cost", Align::Right),
    ];
    let rows: Vec<Vec<String>> = figures
        .spending_24h
        .iter()
        .map(|spending| {
            vec![
                spending.provider.clone(),
                spending.calls.to_string(),
                spending.refused.to_string(),
                spending.succeeded.to_string(),
                spending.unknown.to_string(),
                format!("${:.2}", spending.cost_usd),
            ]
        })
        .collect();
    text.push_str(&format!("\n{}", table(&columns, &rows, None)));
    text
}
