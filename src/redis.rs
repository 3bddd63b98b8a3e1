//! The one Redis server that is the right one now, wherever it is: what a `REDIS_URL` says, whom it leads to, the
//! connections to it, and whether it is still the one to use. What is kept there is the concern of [`crate::queue`].

use std::sync::OnceLock;

mod address;
mod connector;
mod diagnosis;
mod error;
mod locate;
mod server;

pub use address::UnusableUrl;
pub use connector::{Connector, check_url, is_cluster};
pub use error::RedisFailure;
pub(crate) use locate::NotFound;
pub(crate) use server::{Connection, Dedicated, Server};

static VARIABLE: OnceLock<&'static str> = OnceLock::new();

/// Says once which of its variables has named the server of this process.
pub(crate) fn is_named_by(variable: &'static str) {
    let _ = VARIABLE.set(variable);
}

/// The variable to be mended where something is wrong with the server or the account.
pub(crate) fn variable() -> &'static str {
    VARIABLE.get().copied().unwrap_or("REDIS_URL")
}
