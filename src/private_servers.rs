//! Private Redis and Postgres servers for the `demo` command and for tests.
//!
//! Owns finding the programs, starting them on free loopback ports in a directory of the caller, and their end:
//! with the value that stands for them, and also when this process is killed. Leaves the directory to the
//! caller. Every call blocks, for some 10 ms (Redis, Postgres from a template) up to about a second (a
//! Postgres cluster made anew): on a runtime that serves others too, call from `spawn_blocking`.
//!
//! Both servers listen on 127.0.0.1 alone and ask for a random password, since other users of the same
//! machine reach loopback ports too. The password is part of `url()`.

mod cluster;
mod owner;
mod port;
mod postgres;
mod process;
mod programs;
mod redis;

pub use self::postgres::{PostgresOptions, PostgresServer};
pub use self::redis::{RedisOptions, RedisServer};
