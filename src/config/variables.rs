//! The list of all variables: `.env.example` and the table of the README are made from it.

use std::fmt::Write;

use crate::provider::list::ENTRIES;
use crate::settings::{VARIABLES, Variable};

/// Behind this one stand those of the providers.
const BEFORE_PROVIDERS: &str = "MODELS_FILE";

/// Every variable.
pub fn variables() -> impl Iterator<Item = &'static Variable> {
    let at = VARIABLES
        .iter()
        .position(|variable| variable.name == BEFORE_PROVIDERS);
    let (first, last) = VARIABLES.split_at(at.map_or(0, |at| at + 1));
    let of_providers = ENTRIES.iter().flat_map(|entry| entry.variables);
    first.iter().chain(of_providers).chain(last)
}

/// The content of `.env.example`.
#[must_use]
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every variable of generative-ai-worker. Lines that are commented out show the default, or an example where\n\
         # there is none. Each X may also be given as X_FILE, a path whose content is the value.\n",
    );
    for variable in variables() {
        let value = variable.default.unwrap_or(variable.example);
        let comment = if variable.name == "DATABASE_URL" { "" } else { "# " };
        let _ = write!(
            text,
            "\n# {}\n{comment}{}={value}\n",
            variable.help, variable.name
        );
    }
    text
}
