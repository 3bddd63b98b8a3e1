//! Reading variables one by one while collecting what is wrong with them.
//!
//! Knows the name and the default of each; what a value means is the business of who asks for it.

mod misspelled;
pub(crate) mod values;
mod variables;

use std::fmt;

use secrecy::SecretString;

use crate::environment::Environment;

use misspelled::meant_to_be;
pub use misspelled::misspelled;
pub(crate) use variables::variable;
pub use variables::{VARIABLES, Variable};

/// Everything that is wrong with a configuration, one line each. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Turns a value into what it means; the error says what is wrong with it, to stand after the variable's name.
pub(crate) type Parse<T> = fn(&str) -> Result<T, String>;

/// Variables that hold texts for people begin so: quotes may be part of them.
const TEXTS: &str = "PROMPT_SUFFIX_";

/// Whether a value has kept the quotes that a shell would have taken off, as files of variables keep them for Docker and systemd.
fn is_quoted(value: &str) -> bool {
    let inside = |quote: char| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    ['"', '\''].into_iter().any(|quote| inside(quote).is_some())
}

fn quoted(name: &str) -> String {
    format!("{name}: its value stands in quotes, which would be taken as part of it; leave them out")
}

pub(crate) struct Reader<'a> {
    environment: &'a Environment,
    /// What is known besides [`VARIABLES`] for now.
    more: &'static [Variable],
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(environment: &'a Environment) -> Self {
        Self {
            environment,
            more: &[],
            faults: Vec::new(),
        }
    }

    /// Reads something whose variables stand in a list of their own.
    pub(crate) fn with<T>(&mut self, variables: &'static [Variable], read: impl Fn(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.more, variables);
        let read = read(self);
        self.more = before;
        read
    }

    fn known(&self, name: &str) -> Option<&'static Variable> {
        self.more
            .iter()
            .chain(VARIABLES)
            .find(|variable| variable.name == name)
    }

    pub(crate) fn finish<T>(self, settings: T) -> Result<T, Faults> {
        if self.faults.is_empty() {
            Ok(settings)
        } else {
            Err(Faults(self.faults))
        }
    }

    pub(crate) fn fault(&mut self, fault: String) {
        // A variable that two concerns read is reported once.
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    pub(crate) fn all_faults(&mut self, faults: Vec<String>) {
        for fault in faults {
            self.fault(fault);
        }
    }

    /// The value of a variable, or the content of the file that its `_FILE` twin names. Empty counts as unset.
    fn raw(&mut self, name: &str) -> Option<String> {
        debug_assert!(
            self.known(name).is_some(),
            "{name} is not in the list of variables"
        );
        let set = |name: &str| {
            self.environment
                .get(name)
                .map(str::trim)
                .filter(|value| !value.is_empty())
        };
        let file_name = format!("{name}_FILE");
        match (set(name), set(&file_name)) {
            (Some(_), Some(_)) => {
                self.fault(format!(
                    "{name}: both {name} and {file_name} are set; set one of them"
                ));
                None
            }
            (Some(value), None) if is_quoted(value) && !name.starts_with(TEXTS) => {
                self.fault(quoted(name));
                None
            }
            (Some(value), None) => Some(value.to_owned()),
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(content) if content.trim().is_empty() => {
                    let fault = format!("{file_name}: the file {path} is empty");
                    self.fault(fault);
                    None
                }
                Ok(content) if is_quoted(content.trim()) && !name.starts_with(TEXTS) => {
                    self.fault(quoted(&file_name));
                    None
                }
                Ok(content) => Some(content.trim().to_owned()),
                Err(error) => {
                    let fault = format!("{file_name}: the file {path} cannot be read: {error}");
                    self.fault(fault);
                    None
                }
            },
            (None, None) => None,
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.raw(name)
    }

    pub(crate) fn secret(&mut self, name: &str) -> Option<SecretString> {
        self.raw(name).map(SecretString::from)
    }

    pub(crate) fn optional<T>(&mut self, name: &str, parse: Parse<T>) -> Option<T> {
        let value = self.raw(name)?;
        match parse(&value) {
            Ok(parsed) => Some(parsed),
            Err(wrong) => {
                self.fault(format!("{name}: {wrong}"));
                None
            }
        }
    }

    /// The value or the default that the list of variables gives.
    pub(crate) fn or_default<T>(&mut self, name: &str, parse: Parse<T>) -> T {
        self.or_any_default(name, parse)
            .expect("it has a default in the list")
    }

    /// The value or the default, where the list of variables gives one.
    pub(crate) fn or_any_default<T>(&mut self, name: &str, parse: Parse<T>) -> Option<T> {
        self.optional(name, parse).or_else(|| {
            let default = self.known(name)?.default?;
            Some(parse(default).unwrap_or_else(|wrong| unreachable!("the default of {name}: {wrong}")))
        })
    }

    /// The same, where a variable that is set to nothing means "none" instead of the default.
    pub(crate) fn unless_empty<T>(&mut self, name: &str, parse: Parse<T>) -> Option<T> {
        let is_empty = |name: &str| {
            self.environment
                .get(name)
                .is_some_and(|value| value.trim().is_empty())
        };
        if is_empty(name) && self.environment.get(&format!("{name}_FILE")).is_none() {
            return None;
        }
        Some(self.or_default(name, parse))
    }

    /// A secret that has to be there. `parse` checks it and never quotes it.
    pub(crate) fn required_secret(&mut self, name: &str, parse: Parse<()>) -> SecretString {
        let faults = self.faults.len();
        let value = self.raw(name);
        if value.is_none() && self.faults.len() == faults {
            let example = self
                .known(name)
                .map(|variable| variable.example)
                .unwrap_or_default();
            self.fault(match meant_to_be(self.environment, name) {
                Some(found) => {
                    format!("{name}: is not set, and {found}, which nobody reads, is: did you mean {name}?")
                }
                None => format!("{name}: is not set; write for example {example}"),
            });
        }
        if let Some(Err(wrong)) = value.as_deref().map(parse) {
            self.fault(format!("{name}: {wrong}"));
        }
        SecretString::from(value.unwrap_or_default())
    }

    /// The first of several variables that is set, with its name, or the last with its default.
    pub(crate) fn first_secret(
        &mut self,
        names: &[&'static str],
        parse: Parse<()>,
    ) -> (&'static str, SecretString) {
        for name in names {
            if let Some(value) = self.raw(name) {
                if let Err(wrong) = parse(&value) {
                    self.fault(format!("{name}: {wrong}"));
                }
                return (name, SecretString::from(value));
            }
        }
        let last = names.last().copied().unwrap_or_default();
        let default = self.known(last).and_then(|variable| variable.default);
        (last, SecretString::from(default.unwrap_or_default()))
    }

    /// A variable that is not this program's own, such as `HOME`.
    pub(crate) fn foreign(&self, name: &str) -> Option<&str> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    /// Variables of other tools, as they are set.
    pub(crate) fn with_prefixes(&mut self, prefixes: &[&str]) -> Vec<(String, SecretString)> {
        let environment = self.environment;
        let found = environment.iter().filter(|(name, value)| {
            prefixes.iter().any(|prefix| name.starts_with(prefix)) && !value.is_empty()
        });
        found
            .map(|(name, value)| {
                if is_quoted(value.trim()) {
                    self.fault(quoted(name));
                }
                (name.to_owned(), SecretString::from(value))
            })
            .collect()
    }
}
