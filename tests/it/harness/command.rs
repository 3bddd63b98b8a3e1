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
