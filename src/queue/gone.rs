//! Traces of replicas that have died: `recover.lua` leaves one when it gives their packages back.

use std::collections::HashMap;

use chrono::DateTime;
use serde::{Deserialize, Serialize};

use super::Ping;

/// For so long a trace is kept.
pub(super) const KEPT_SECONDS: u32 = 7 * 24 * 60 * 60;
/// So many are kept, the latest.
pub(super) const MOST: u32 = 20;

/// A replica that died, as whoever took its packages back has found it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// Its id.
    pub worker_id: String,
    /// Since when it has given no sign of life, at the latest; Unix ms by the clock of Redis.
    pub silent_since_ms: i64,
    /// How long ago that was.
    pub silent_for_ms: i64,
    /// How long ago its packages were given back.
    pub recovered_for_ms: i64,
    /// How many these were.
    pub packages: u64,
    /// Their jobs, as far as they can be read; a hundred at the most.
    pub job_ids: Vec<i32>,
    /// The last that it has said of itself, where that was still there.
    pub ping: Option<Ping>,
}

/// As the script writes it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    silent_ms: f64,
    recovered_ms: f64,
    packages: f64,
    job_ids: String,
    ping: Option<String>,
}

/// Reads the traces, the latest first. What is none is passed over.
pub(super) fn read(traces: HashMap<String, String>, now_ms: i64) -> Vec<Gone> {
    let mut all: Vec<Gone> = traces
        .into_iter()
        .filter_map(|(worker_id, trace)| {
            let trace: Trace = serde_json::from_str(&trace).ok()?;
            let ping: Option<Ping> = trace.ping.and_then(|ping| serde_json::from_str(&ping).ok());
            let pinged = ping
                .as_ref()
                .and_then(|ping| DateTime::parse_from_rfc3339(&ping.at).ok());
            let silent_ms = trace.silent_ms as i64;
            let silent_ms = pinged.map_or(silent_ms, |at| at.timestamp_millis().max(silent_ms));
            Some(Gone {
                worker_id,
                silent_since_ms: silent_ms,
                silent_for_ms: (now_ms - silent_ms).max(0),
                recovered_for_ms: (now_ms - trace.recovered_ms as i64).max(0),
                packages: trace.packages as u64,
                job_ids: trace
                    .job_ids
                    .split(',')
                    .filter_map(|id| id.parse().ok())
                    .collect(),
                ping,
            })
        })
        .collect();
    all.sort_by_key(|gone| (gone.recovered_for_ms, gone.worker_id.clone()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_read_the_latest_first_and_what_is_none_is_passed_over() {
        let traces = [
            (
                "a",
                r#"{"silentMs":1000,"recoveredMs":16000,"packages":2,"jobIds":"7,8"}"#,
            ),
            (
                "b",
                r#"{"silentMs":2000,"recoveredMs":17000,"packages":0,"jobIds":"","ping":"{"}"#,
            ),
            ("c", "1"),
        ];
        let traces = traces.map(|(id, trace)| (id.to_owned(), trace.to_owned()));
        let all = read(traces.into(), 20_000);
        let ids: Vec<_> = all.iter().map(|gone| &*gone.worker_id).collect();
        assert_eq!(ids, ["b", "a"]);
        assert_eq!((all[1].silent_for_ms, all[1].recovered_for_ms), (19_000, 4_000));
        assert_eq!((&all[1].job_ids, all[1].packages), (&vec![7, 8], 2));
        assert_eq!((&all[0].job_ids, all[0].ping.is_none()), (&vec![], true));
    }
}
