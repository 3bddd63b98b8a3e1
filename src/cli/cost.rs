//! `cost`: what was spent, how it is known, and what may be billed beyond.

use std::fmt::Write;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, ValueEnum};

use super::exit::ExitStatus;
use super::replica::reach_migrated;
use super::text::{self, Align, table};
use crate::config::Environment;
use crate::db::{Costs, CostsBy, DbSettings};
use crate::plain_text::plain;

#[derive(Debug, Args)]
pub(super) struct CostArguments {
    /// What is summed up
    #[arg(long, value_enum, default_value = "provider")]
    by: By,
    /// From when on: a day such as 2026-11-01 (UTC), or how long ago, such as 30d or 12h
    #[arg(long, value_name = "WHEN", default_value = "30d", value_parser = since)]
    since: DateTime<Utc>,
    /// As JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// As comma-separated values
    #[arg(long)]
    csv: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    Provider,
    Model,
    User,
    Collection,
    Day,
}

impl By {
    fn sums(self) -> CostsBy {
        match self {
            Self::Provider => CostsBy::Provider,
            Self::Model => CostsBy::Model,
            Self::User => CostsBy::User,
            Self::Collection => CostsBy::Collection,
            Self::Day => CostsBy::Day,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Model => "model",
            Self::User => "user",
            Self::Collection => "collection",
            Self::Day => "day",
        }
    }
}

fn since(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let wrong = |_| "a day such as 2026-11-01, or how long ago, such as 30d or 12h, is accepted".to_owned();
    let age = text::parse_age(text).map_err(wrong)?;
    // Before the first picture either way.
    let longest = Duration::from_secs(100 * 366 * 86_400);
    Ok(Utc::now() - age.min(longest))
}

pub(super) async fn run(arguments: &CostArguments, environment: &Environment) -> anyhow::Result<ExitStatus> {
    let db = reach_migrated(&DbSettings::from_environment(environment)?).await?;
    let costs = db.costs(arguments.by.sums(), arguments.since).await?;
    if arguments.json {
        text::print(&format!("{}\n", serde_json::to_string_pretty(&costs)?))?;
    } else if arguments.csv {
        text::print(&comma_separated(arguments.by.title(), &costs))?;
    } else {
        text::print(&tell(arguments.by.title(), arguments.since, &costs))?;
    }
    Ok(ExitStatus::Done)
}

fn tell(title: &str, since: DateTime<Utc>, costs: &[Costs]) -> String {
    let mut text = format!("calls since {}\n\n", text::time(since));
    if costs.is_empty() {
        return "no call that costs money was made since then\n".to_owned();
    }
    let columns = [
        (title, Align::Left),
        ("calls", Align::Right),
        ("pictures", Align::Right),
        ("USD", Align::Right),
        ("reported", Align::Right),
        ("computed", Align::Right),
        ("estimated", Align::Right),
        ("no price", Align::Right),
        ("unknown", Align::Right),
    ];
    let row = |name: &str, sum: &Costs| {
        let usd = |value: f64| format!("{value:.2}");
        vec![
            name.to_owned(),
            sum.calls.to_string(),
            sum.pictures.to_string(),
            usd(sum.usd),
            usd(sum.reported_usd),
            usd(sum.computed_usd),
            usd(sum.estimated_usd),
            sum.without_price.to_string(),
            sum.unknown.to_string(),
        ]
    };
    let mut rows: Vec<Vec<String>> = costs
        .iter()
        .map(|sum| row(&sum.name.as_deref().map_or("not known".to_owned(), plain), sum))
        .collect();
    let all = total(costs);
    if costs.len() > 1 {
        rows.push(row("all", &all));
    }
    text.push_str(&table(&columns, &rows, None));
    for (count, of_one, of_many) in [
        (
            all.without_price,
            "picture has a price that nobody knows",
            "pictures have a price that nobody knows",
        ),
        (
            all.unknown,
            "call brought nothing that could be used, or nobody knows what: it may be billed beyond",
            "calls brought nothing that could be used, or nobody knows what: they may be billed beyond",
        ),
        (all.open, "call is under way", "calls are under way"),
    ] {
        match count {
            ..1 => {}
            1 => {
                let _ = writeln!(text, "\n1 {of_one}");
            }
            _ => {
                let _ = writeln!(text, "\n{count} {of_many}");
            }
        }
    }
    text
}

fn total(costs: &[Costs]) -> Costs {
    let sum = |of: fn(&Costs) -> f64| costs.iter().map(of).sum();
    let count = |of: fn(&Costs) -> i64| costs.iter().map(of).sum();
    Costs {
        name: None,
        calls: count(|sum| sum.calls),
        pictures: count(|sum| sum.pictures),
        usd: sum(|sum| sum.usd),
        reported_usd: sum(|sum| sum.reported_usd),
        computed_usd: sum(|sum| sum.computed_usd),
        estimated_usd: sum(|sum| sum.estimated_usd),
        without_price: count(|sum| sum.without_price),
        unknown: count(|sum| sum.unknown),
        open: count(|sum| sum.open),
    }
}

fn comma_separated(title: &str, costs: &[Costs]) -> String {
    let mut text = format!(
        "{title},calls,pictures,usd,reported_usd,computed_usd,estimated_usd,without_price,unknown,open\n"
    );
    for sum in costs {
        let name = plain(sum.name.as_deref().unwrap_or_default());
        // A spreadsheet takes what begins with one of these for a formula.
        let name = if name.starts_with(['=', '+', '-', '@']) {
            format!("'{name}")
        } else {
            name
        };
        let name = if name.contains([',', '"']) {
            format!("\"{}\"", name.replace('"', "\"\""))
        } else {
            name
        };
        let _ = writeln!(
            text,
            "{name},{},{},{:.6},{:.6},{:.6},{:.6},{},{},{}",
            sum.calls,
            sum.pictures,
            sum.usd,
            sum.reported_usd,
            sum.computed_usd,
            sum.estimated_usd,
            sum.without_price,
            sum.unknown,
            sum.open
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(name: Option<&str>) -> Costs {
        Costs {
            name: name.map(ToOwned::to_owned),
            calls: 3,
            pictures: 2,
            usd: 0.1,
            reported_usd: 0.06,
            computed_usd: 0.04,
            estimated_usd: 0.0,
            without_price: 0,
            unknown: 1,
            open: 0,
        }
    }

    #[test]
    fn people_read_what_may_be_billed_beyond() {
        let text = tell(
            "provider",
            DateTime::UNIX_EPOCH,
            &[sum(Some("openai")), sum(None)],
        );
        assert!(text.contains("openai"), "{text}");
        assert!(text.contains("not known"), "{text}");
        let all = text.lines().find(|line| line.starts_with("all")).unwrap();
        assert!(all.contains("0.20") && all.contains("0.12"), "{text}");
        assert!(
            text.contains("2 calls brought nothing that could be used"),
            "{text}"
        );
        assert!(tell("day", DateTime::UNIX_EPOCH, &[]).starts_with("no call"));
    }

    #[test]
    fn spreadsheets_read_names_as_names() {
        let text = comma_separated("model", &[sum(Some("a, \"b\"")), sum(Some("=1+1"))]);
        assert!(text.contains("\n\"a, \"\"b\"\"\",3,2,0.100000,"), "{text}");
        assert!(text.contains("\n'=1+1,3,"), "{text}");
    }

    #[test]
    fn times_are_days_or_ages() {
        assert_eq!(
            since("2026-11-01").unwrap().to_rfc3339(),
            "2026-11-01T00:00:00+00:00"
        );
        assert!(since("9999999999d").unwrap() < Utc::now());
        assert!(since("36h").unwrap() < Utc::now() - chrono::Duration::hours(35));
        for wrong in ["", "d", "30", "-3d", "yesterday", "99999999999999999999d", "d9"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
