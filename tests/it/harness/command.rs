//! Commands that run to their end, and what they said.

use std::collections::BTreeMap;
use std::process::Output;

use super::replica;
use super::stack::Stack;

/// What a command said, and its exit status.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Compares all of it.
    #[track_caller]
    pub(crate) fn is(&self, status: i32, out: &str, err: &str) {
        let expected = Self {
            status: Some(status),
            out: out.to_owned(),
            err: err.to_owned(),
        };
        assert_eq!(*self, expected);
    }

    /// Compares what it printed line by line; `*` stands for any text. Nothing may stand on standard error.
    #[track_caller]
    pub(crate) fn looks_like(&self, status: i32, pattern: &str) {
        assert_eq!((self.status, &*self.err), (Some(status), ""), "{}", self.out);
        let mut lines = self.out.lines();
        for expected in pattern.lines() {
            let line = lines.next().unwrap_or("nothing");
            assert!(
                is_like(line, expected),
                "expected: {expected}\n   found: {line}\nin:\n{}",
                self.out
            );
        }
        assert_eq!(lines.next(), None, "in:\n{}", self.out);
    }
}

fn is_like(line: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = pattern.rsplit_once('*').map(|(_, last)| last) else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    line.ends_with(last)
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs a command with these variables alone.
pub(crate) async fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let variables: BTreeMap<String, String> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    replica::run(arguments, &variables).await.into()
}

/// Runs a command with the variables of a stack and some more.
pub(crate) async fn command_on(stack: &Stack, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    stack.command(arguments, variables).await.into()
}
