//! Which dead packages a command is about, how many they are, and whether a person agrees.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::super::exit::ExitStatus;
use super::super::text;
use crate::db::{DeadCount, DeadFilter};
use crate::failure::ErrorClass;
use crate::ops::acts::packages;

/// Fewer digits of an id would name too many.
const ID_DIGITS: usize = 4;

/// The options that choose.
#[derive(Debug, Args)]
pub(super) struct Selection {
    /// Ids, or the beginnings of ids as `dead list` shows them, or job ids; none = all
    #[arg(value_name = "ID", value_parser = which)]
    which: Vec<Which>,
    /// Of this class; may be given several times
    #[arg(long, value_name = "CLASS", value_parser = classes(), hide_possible_values = true)]
    class: Vec<String>,
    /// Of this provider: the one that was asked last, or where none was asked the one that the package names
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Dead for longer than this, such as 2d
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    older_than: Option<Duration>,
    /// Dead for less than this, such as 1h
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    newer_than: Option<Duration>,
    /// Of this job
    #[arg(long, value_name = "ID")]
    job: Option<i32>,
}

/// A package, or all those of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Which {
    Job(i32),
    Id(String),
}

impl Selection {
    /// Whether nothing is chosen: all are meant, and what was set aside too, of which nothing is known to choose by.
    pub(super) fn is_all(&self) -> bool {
        let has_times = self.older_than.is_some() || self.newer_than.is_some();
        self.which.is_empty()
            && self.class.is_empty()
            && self.provider.is_none()
            && self.job.is_none()
            && !has_times
    }

    /// In words, for the row that a command leaves.
    pub(super) fn in_words(&self, limit: Option<u32>) -> String {
        let which = self.which.iter().map(|which| match which {
            Which::Job(job_id) => format!("job {job_id}"),
            Which::Id(id) => id.clone(),
        });
        let ages = [("older than", self.older_than), ("newer than", self.newer_than)];
        let ages = ages
            .into_iter()
            .filter_map(|(what, age)| Some(format!("{what} {} s", age?.as_secs())));
        let parts: Vec<String> = which
            .chain(self.job.map(|job_id| format!("job {job_id}")))
            .chain(self.class.iter().map(|class| format!("class {class}")))
            .chain(
                self.provider
                    .iter()
                    .map(|provider| format!("provider {provider}")),
            )
            .chain(ages)
            .chain(limit.map(|limit| format!("{limit} at the most")))
            .collect();
        match parts.is_empty() {
            true => "all dead packages".to_owned(),
            false => format!("dead packages: {}", parts.join(", ")),
        }
    }

    /// The same as the database takes it: packages of this queue.
    pub(super) fn filter(self, limit: Option<u32>, with_retried: bool, queue: &str) -> DeadFilter {
        let mut filter = DeadFilter {
            classes: ErrorClass::ALL
                .into_iter()
                .filter(|class| self.class.iter().any(|name| name == class.as_str()))
                .collect(),
            provider: self.provider,
            older_than: self.older_than,
            newer_than: self.newer_than,
            with_retried,
            queue: Some(queue.to_owned()),
            limit,
            ..DeadFilter::default()
        };
        for which in self.which.into_iter().chain(self.job.map(Which::Job)) {
            which.add_to(&mut filter);
        }
        filter
    }
}

impl Which {
    pub(super) fn add_to(self, filter: &mut DeadFilter) {
        match self {
            Self::Job(job_id) => filter.job_ids.push(job_id),
            Self::Id(id) => filter.ids.push(id),
        }
    }
}

fn classes() -> PossibleValuesParser {
    PossibleValuesParser::new(ErrorClass::ALL.map(ErrorClass::as_str))
}

/// `42` is a job; everything else has to be the beginning of an id.
pub(in crate::cli) fn which(text: &str) -> Result<Which, String> {
    if let Ok(job_id) = text.parse() {
        return Ok(Which::Job(job_id));
    }
    let is_id = text.len() >= ID_DIGITS && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if is_id {
        Ok(Which::Id(text.to_ascii_lowercase()))
    } else {
        Err("a job id, or at least 4 digits of a package's id are accepted".to_owned())
    }
}

/// Says how many there are, by class. Returns how many in all.
pub(super) fn tell_counts(counts: &[DeadCount], what: &str) -> anyhow::Result<i64> {
    let total = counts.iter().map(|count| count.count).sum();
    if total == 0 {
        text::print("no dead package matches\n")?;
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = counts
        .iter()
        .map(|count| vec![count.error_class.clone(), count.count.to_string()])
        .collect();
    let columns = [("class", text::Align::Left), ("packages", text::Align::Right)];
    text::print(&format!(
        "{what} {}\n{}",
        packages(total),
        text::table(&columns, &rows, None)
    ))?;
    Ok(total)
}

/// Asks a person at a terminal. `Err` holds the status that the command ends with.
pub(super) fn ask(question: &str) -> anyhow::Result<Result<(), ExitStatus>> {
    if !io::stdin().is_terminal() {
        eprintln!(
            "generative-ai-worker: standard input is no terminal, so nobody can be asked; add --yes to go on"
        );
        return Ok(Err(ExitStatus::Usage));
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(Ok(()));
    }
    eprintln!("nothing was done");
    Ok(Err(ExitStatus::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_job_and_the_beginning_of_an_id_is_a_package() {
        assert_eq!(which("42"), Ok(Which::Job(42)));
        assert_eq!(which("1F3A9c2b-4d"), Ok(Which::Id("1f3a9c2b-4d".to_owned())));
        for wrong in ["", "1f3", "boat", "4%2", "99999999999%"] {
            assert!(which(wrong).is_err(), "{wrong}");
        }
    }
}
