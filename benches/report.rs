//! Tables for people: on standard output, and between two markers in docs/performance.md.

use std::fmt::Write as _;

use anyhow::Context;

use crate::options::Options;
use crate::peer::Kind;
use crate::record::Run;
use crate::{backlog, idle, latency, overhead, pictures};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/performance.md");
const BEGIN: &str = "<!-- measured by make bench: begin -->\n";
const END: &str = "<!-- measured by make bench: end -->";

/// Replaces what the last run has written.
pub(crate) fn write(text: &str) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("{FILE} has no line {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("{FILE} has no line {END}"))?;
    std::fs::write(FILE, format!("{before}{BEGIN}\n{text}\n{END}{after}"))?;
    Ok(())
}

pub(crate) fn text(run: &Run<'_>, options: &Options, facts: &str) -> String {
    let (noisy, runs) = run.noise();
    let mut text = format!(
        "{}, by `{}` in {:.0} minutes, median of {} round(s). {facts}. In {noisy} of {runs} runs others used more than \
         15 % of the machine.\n",
        chrono::Utc::now().format("%Y-%m-%d"),
        options.command(),
        run.minutes(),
        options.rounds(),
    );
    let sections = [
        goals(run),
        overhead(run),
        latency(run),
        pictures(run),
        idle(run),
        backlog(run),
        icon(run),
    ];
    for section in sections.into_iter().flatten() {
        let _ = write!(text, "\n{section}");
    }
    if let Some(parts) = &run.parts {
        let _ = write!(text, "\n### Parts\n\n```text\n{}\n```\n", parts.trim_end());
    }
    text
}

/// A table: rows of cells, the first of them being the head.
fn table(title: &str, rows: Vec<Vec<String>>) -> Option<String> {
    if rows.len() < 2 {
        return None;
    }
    let mut text = format!("### {title}\n\n");
    for (index, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if index == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    Some(text)
}

fn row(cells: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    cells.into_iter().map(Into::into).collect()
}

/// As many digits as mean something; `-` where nothing was measured.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn percent(share: f64) -> String {
    if share.is_nan() {
        "-".to_owned()
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

fn goals(run: &Run<'_>) -> Option<String> {
    let at = |concurrency| (overhead::NAME, concurrency);
    let than = |name, case, peer| run.ratio(name, (case, Kind::Worker), (case, peer));
    let picture = (pictures::NAME, 10);
    let idle = (idle::NAME, 10);
    let many = (backlog::NAME, backlog::MANY);
    let few = (backlog::NAME, backlog::FEW);
    let sharp = |best: bool| {
        let results = run.sharp.iter().flat_map(|sharp| &sharp.results);
        let of_interest = results.filter(|(setting, ..)| (*setting == "{}") != best);
        of_interest.map(|(.., ratio)| *ratio).fold(f64::NAN, f64::min)
    };
    let rows = [
        (
            "jobs/s at concurrency 100, of the ceiling's",
            than("jobs/s", at(100), Kind::Ceiling),
            "0.28 or more",
        ),
        (
            "jobs/s at concurrency 100, times the naive loop's",
            than("jobs/s", at(100), Kind::Naive),
            "2.7 or more",
        ),
        (
            "jobs/s at concurrency 1, times the naive loop's",
            than("jobs/s", at(1), Kind::Naive),
            "0.9 or more",
        ),
        (
            "p99 of latency, times the naive loop's",
            than("p99 ms", (latency::NAME, latency::CONCURRENCY), Kind::Naive),
            "1.5 or less",
        ),
        (
            "icons/s, times the plain worker's",
            than("jobs/s", picture, Kind::Plain),
            "2 or more",
        ),
        (
            "ms of the worker's CPU an icon",
            run.median(picture, Kind::Worker, "peer") / 1e3,
            "14 or less",
        ),
        (
            "icon step, times as fast as sharp by default",
            sharp(false),
            "2.8 or more",
        ),
        (
            "icon step, times as fast as sharp at its best",
            sharp(true),
            "2.3 or more",
        ),
        ("MiB when idle", run.median(idle, Kind::Worker, "MiB"), "below 25"),
        (
            "MiB at the most, with 50 pictures in hand",
            run.median((pictures::NAME, 50), Kind::Worker, "peak MiB"),
            "below 100",
        ),
        (
            "ms from start to ready",
            run.median(idle, Kind::Worker, "ready ms"),
            "200 or less",
        ),
        (
            "Redis commands a minute when idle",
            run.median(idle, Kind::Worker, "commands"),
            "below 100",
        ),
        (
            "jobs/s before 1,000,000 packages, of those before 100",
            run.ratio("jobs/s", (many, Kind::Worker), (few, Kind::Worker)),
            "0.8 or more",
        ),
        (
            "Redis commands a job before 1,000,000 packages, of those before 100",
            run.ratio("commands", (many, Kind::Worker), (few, Kind::Worker)),
            "1.1 or less",
        ),
    ];
    let mut all = vec![row(["what", "measured", "goal"])];
    for (what, value, goal) in rows {
        let value = if value.is_nan() {
            "not compared".to_owned()
        } else {
            number(value)
        };
        all.push(row([what.to_owned(), value, goal.to_owned()]));
    }
    table("Goals", all)
}

fn overhead(run: &Run<'_>) -> Option<String> {
    let mut rows = vec![row([
        "concurrency",
        "who",
        "jobs/s",
        "× naive loop",
        "of the ceiling",
        "CPU µs a job: own",
        "Postgres",
        "Redis",
        "Redis commands a job",
        "peak RSS MiB",
        "others' CPU",
    ])];
    for concurrency in run.cases(overhead::NAME) {
        let case = (overhead::NAME, concurrency);
        for kind in overhead::KINDS {
            let value = |name| number(run.median(case, kind, name));
            let than = |other| number(run.ratio("jobs/s", (case, kind), (case, other)));
            rows.push(row([
                concurrency.to_string(),
                kind.name().to_owned(),
                value("jobs/s"),
                than(Kind::Naive),
                than(Kind::Ceiling),
                value("peer"),
                value("postgres"),
                value("redis"),
                value("commands"),
                value("peak MiB"),
                percent(run.others(case, kind)),
            ]));
        }
    }
    table("Overhead: jobs without drawing", rows)
}

fn latency(run: &Run<'_>) -> Option<String> {
    let case = (latency::NAME, latency::CONCURRENCY);
    let mut rows = vec![row([
        "who",
        "p50 ms",
        "p99 ms",
        "p99 × naive loop",
        "CPU µs a job",
        "others' CPU",
    ])];
    for kind in latency::KINDS.into_iter().filter(|kind| run.has(case, *kind)) {
        rows.push(row([
            kind.name().to_owned(),
            number(run.median(case, kind, "p50 ms")),
            number(run.median(case, kind, "p99 ms")),
            number(run.ratio("p99 ms", (case, kind), (case, Kind::Naive))),
            number(run.median(case, kind, "peer")),
            percent(run.others(case, kind)),
        ]));
    }
    table("Latency: from the push to the recorded result, 50 jobs/s", rows)
}

fn pictures(run: &Run<'_>) -> Option<String> {
    let mut rows = vec![row([
        "concurrency",
        "who",
        "icons/s",
        "× plain",
        "own CPU ms an icon",
        "the services' ms",
        "peak RSS MiB",
        "others' CPU",
    ])];
    for concurrency in run.cases(pictures::NAME) {
        let case = (pictures::NAME, concurrency);
        for kind in pictures::KINDS {
            rows.push(row([
                concurrency.to_string(),
                kind.name().to_owned(),
                number(run.median(case, kind, "jobs/s")),
                number(run.ratio("jobs/s", (case, kind), (case, Kind::Plain))),
                number(run.median(case, kind, "peer") / 1e3),
                number(run.median(case, kind, "services") / 1e3),
                number(run.median(case, kind, "peak MiB")),
                percent(run.others(case, kind)),
            ]));
        }
    }
    table(
        "Pictures: a 1.5 MB PNG of an image service that takes no time, to a stored icon",
        rows,
    )
}

fn idle(run: &Run<'_>) -> Option<String> {
    let case = (idle::NAME, 10);
    let mut rows = vec![row([
        "who",
        "ready after ms",
        "RSS MiB",
        "Redis commands a minute",
        "CPU ms a second",
    ])];
    for kind in [Kind::Worker, Kind::Naive]
        .into_iter()
        .filter(|kind| run.has(case, *kind))
    {
        let value = |name| number(run.median(case, kind, name));
        rows.push(row([
            kind.name().to_owned(),
            value("ready ms"),
            value("MiB"),
            value("commands"),
            value("CPU"),
        ]));
    }
    table("Idle", rows)
}

fn backlog(run: &Run<'_>) -> Option<String> {
    let mut rows = vec![row([
        "packages waiting",
        "jobs/s",
        "own CPU µs a job",
        "Redis µs a job",
        "Redis commands a job",
        "others' CPU",
    ])];
    for waiting in run.cases(backlog::NAME) {
        let case = (backlog::NAME, waiting);
        let value = |name| number(run.median(case, Kind::Worker, name));
        let name = if waiting == backlog::MANY {
            "1,000,000 and 100,000 delayed"
        } else {
            "100"
        };
        rows.push(row([
            name.to_owned(),
            value("jobs/s"),
            value("peer"),
            value("redis"),
            value("commands"),
            percent(run.others(case, Kind::Worker)),
        ]));
    }
    table("Backlog: concurrency 100", rows)
}

fn icon(run: &Run<'_>) -> Option<String> {
    let fact = |name: &str| run.facts.get(name).copied();
    let mut rows = vec![row(["what", "ms", "kB", "× worker"])];
    let mut add = |what: String, ms: f64, bytes: f64, ratio: f64| {
        rows.push(row([what, number(ms), number(bytes / 1e3), number(ratio)]));
    };
    add("worker".to_owned(), fact("icon ms")?, fact("icon bytes")?, 1.0);
    add(
        "`image` alone".to_owned(),
        fact("image ms")?,
        fact("image bytes")?,
        fact("image ratio")?,
    );
    if let Some(sharp) = &run.sharp {
        for (setting, ms, bytes, ratio) in &sharp.results {
            add(
                format!("sharp {} `png({setting})`", sharp.version),
                *ms,
                *bytes,
                *ratio,
            );
        }
    }
    if run.sharp.is_none() {
        rows.push(row(["sharp", "not compared", "", ""]));
    }
    let size = fact("picture bytes")? / 1e6;
    table(
        &format!("Icon step: a PNG of 1024 × 1024 px and {size:.2} MB to one of 400 × 400 px, on one core"),
        rows,
    )
}
