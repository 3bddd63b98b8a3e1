//! The integration tests: one binary, a file per promise.
#![allow(
    clippy::unwrap_used,
    reason = "a test's helpers fail the test where they stand, as its own lines do"
)]

mod actions;
mod after_outage;
mod architecture;
mod chaos;
mod cli;
mod config;
mod consume;
mod control;
mod dead_commands;
mod dead_letter;
mod demo;
mod deploy;
mod doctor;
mod faults_of_rows;
mod foreign_text;
mod gone;
mod harness;
mod hosts;
mod jobs_show;
mod joined;
mod ledger;
mod limits;
mod manifests;
mod many_replicas;
mod migrations;
mod observability;
mod operators;
mod ops;
mod options;
mod orders;
mod outage;
mod packages;
mod pictures;
mod poolers;
mod private_servers;
mod process;
mod providers_google;
mod providers_hosted;
mod providers_policy;
mod providers_polled;
mod providers_self_hosted;
mod queue;
mod readme;
mod reconcile;
mod recovery;
mod redis_setups;
mod release;
mod retention;
mod retry;
mod schemas;
mod secrets;
mod set_aside;
mod set_ups;
mod shutdown;
mod state_first;
mod status;
mod storage;
mod suspects;
mod topology;
mod trouble;
mod unknown_outcome;
mod waiting;
