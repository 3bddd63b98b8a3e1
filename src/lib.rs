//! Takes image work packages from a Redis list, has a provider draw them, stores the pictures and
//! records the result in Postgres.

// The future of an attempt nests nearly as deep as the compiler looks by default.
#![recursion_limit = "256"]

pub mod batch;
pub mod bullmq;
pub mod cli;
pub mod config;
pub mod contract;
pub mod db;
pub mod environment;
pub mod failure;
pub mod fault;
pub mod findings;
pub mod generator;
pub mod http_client;
pub mod imaging;
pub mod measure;
pub mod memory;
#[cfg(test)]
mod mutations;
pub mod notify;
pub mod ops;
pub mod otlp;
pub mod plain_text;
pub mod private_servers;
pub mod provider;
pub mod queue;
pub mod redis;
pub mod removal;
pub mod router;
pub mod settings;
pub mod storage;
pub mod telemetry;
pub mod trace;
pub mod work_package;
pub mod worker;
