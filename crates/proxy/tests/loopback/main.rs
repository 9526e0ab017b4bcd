//! The data plane on real sockets: backends with faults behind it, clients in front of it, two workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them"
)]

mod backend;
mod client;
mod http2;
mod stage;

mod drains;
mod failures;
mod forwards;
mod forwards_http2;
mod introduced;
mod limits;
mod speaks_http2;
mod tcp;
