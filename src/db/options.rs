//! Settings of Postgres, as `options` of a URL writes them and as a transaction is told them.

use std::fmt::Write;

use anyhow::{Context, bail};

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
}

impl Setting {
    pub(super) fn new(name: &str, value: impl ToString) -> Self {
        Self {
            name: name.to_owned(),
            value: value.to_string(),
        }
    }
}

/// Reads `-c name=value`, `-cname=value` and `--name=value`. A backslash takes a blank for what it is.
///
/// Source: PostgreSQL documentation, "libpq: options"; `pg_split_opts` and `process_postgres_switches` of the server.
///
/// # Errors
/// For any other switch of the server.
pub(super) fn settings(options: &str) -> anyhow::Result<Vec<Setting>> {
    let mut words = words(options).into_iter();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
            (Some(long), _) => long.to_owned(),
            (None, Some("")) => words
                .next()
                .context("options: after -c a name=value is missing")?,
            (None, Some(joined)) => joined.to_owned(),
            _ => bail!("options: only -c name=value and --name=value are accepted"),
        };
        let (name, value) = setting
            .split_once('=')
            .context("options: a setting has no value: -c name=value is accepted")?;
        settings.push(Setting::new(&name.replace('-', "_"), value));
    }
    Ok(settings)
}

fn words(text: &str) -> Vec<String> {
    let (mut words, mut word) = (Vec::new(), String::new());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => word.extend(characters.next()),
            blank if blank.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            other => word.push(other),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// As a connection is told them when it is opened. Nothing stands after the last one, as a pooler may stumble over a blank there.
pub(super) fn at_startup(settings: &[Setting]) -> String {
    let mut text = String::new();
    for Setting { name, value } in settings {
        let blank = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{blank}-c {name}=");
        for character in value.chars() {
            if character == '\\' || character.is_ascii_whitespace() {
                text.push('\\');
            }
            text.push(character);
        }
    }
    text
}

/// Statements that set them until the end of the transaction.
pub(super) fn in_transaction(settings: &[Setting]) -> String {
    let calls: Vec<String> = settings
        .iter()
        .map(|Setting { name, value }| format!("set_config({}, {}, true)", quoted(name), quoted(value)))
        .collect();
    format!("SELECT {}", calls.join(", "))
}

/// Text as a literal of SQL, whatever `standard_conforming_strings` says.
pub(super) fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_setting_is_read_and_written_again() {
        for (written, name, value) in [
            ("-c search_path=app", "search_path", "app"),
            ("-csearch_path=app,public", "search_path", "app,public"),
            (" --search-path=app ", "search_path", "app"),
            (
                "-c default_transaction_isolation=read\\ committed",
                "default_transaction_isolation",
                "read committed",
            ),
            ("-c a.b=c\\\\d", "a.b", "c\\d"),
            ("-c x=", "x", ""),
        ] {
            let found = settings(written).unwrap();
            assert_eq!(found, [Setting::new(name, value)], "{written}");
            assert_eq!(settings(&at_startup(&found)).unwrap(), found, "{written}");
        }
        let two = settings("-c a=1 --b=2").unwrap();
        assert_eq!(at_startup(&two), "-c a=1 -c b=2");
        assert_eq!(
            in_transaction(&two),
            "SELECT set_config(E'a', E'1', true), set_config(E'b', E'2', true)"
        );
        assert_eq!(quoted("it's \\"), "E'it\\'s \\\\'");
        for wrong in ["-c", "-c a", "-B 12", "a=b"] {
            assert!(settings(wrong).is_err(), "{wrong}");
        }
    }
}
