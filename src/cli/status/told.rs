//! The two halves of `status` in words.

use std::fmt::Write;
use std::time::Duration;

use super::super::providers::now_of;
use super::super::text::{Align, age, age_of_seconds, table};
use crate::db::Figures;
use crate::plain_text::plain;
use crate::queue::{Overview, ProviderRoom, Replica};

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
    let paused = if depths.is_paused {
        ", paused: no replica takes new work"
    } else {
        ""
    };
    line("queue", &format!("{queue}{paused}"));
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
    line(
        "in flight",
        &match &overview.oldest_in_flight {
            Some(oldest) => format!(
                "{}, the oldest for {} with {}",
                depths.in_flight,
                age_of_ms(oldest.for_ms),
                plain(&oldest.worker_id)
            ),
            None => depths.in_flight.to_string(),
        },
    );
    if depths.set_aside > 0 {
        line(
            "set aside",
            &format!("{}, larger than MAX_PACKAGE_BYTES", depths.set_aside),
        );
    }
    for room in &overview.providers {
        line(&room.provider, &provider(room));
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
        parts.push(format!("open calls {}", room.open_calls));
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
            let mut row = vec![plain(&replica.worker_id)];
            match &replica.ping {
                Some(ping) => row.extend([
                    plain(&ping.host),
                    ping.pid.to_string(),
                    plain(&ping.version),
                    plain(&ping.state),
                    format!("{}/{}", ping.in_flight, ping.concurrency),
                    ping.completed.to_string(),
                    ping.failed.to_string(),
                    ping.retried.to_string(),
                    replica.ping_age_ms.map(age_of_ms).unwrap_or_default(),
                ]),
                None => {
                    let state = if replica.has_lease { "not able" } else { "gone" };
                    let in_hand = (replica.landing + replica.processing).to_string();
                    row.extend(["-", "-", "-", state, &in_hand, "-", "-", "-", "none"].map(str::to_owned));
                }
            }
            row.push(lease.to_owned());
            row
        })
        .collect();
    table(&columns, &rows, None)
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
