//! The real binary on real sockets. One program, since each would link all of the harness anew.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

mod access;
mod access_log;
mod agent;
mod apigee;
mod asking;
mod bad_input;
mod burst;
mod drain;
mod failures;
mod file;
mod forwarding;
mod guides;
mod handover;
mod harness;
mod known_clients;
mod lease;
mod load_reports;
mod malformed;
mod metrics;
mod recovery;
mod region;
mod reload;
mod restart;
mod rolling;
mod routes;
mod scarcity;
mod seed_example;
mod service;
mod shutdown;
mod tcp;
mod tls;
mod traces;
mod tutorial;
mod watching;
mod weighted;
