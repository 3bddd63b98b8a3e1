//! The integration tests: one binary, a file per promise.

mod harness;
mod private_servers;
