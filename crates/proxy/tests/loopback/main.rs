//! The data plane on real sockets: backends with faults behind it, clients in front of it, two workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them"
)]

mod backend;
mod certificates;
mod client;
mod stage;

mod drains;
mod failures;
mod forwards;
mod introduced;
mod limits;
mod pauses;
mod speaks_http2;
mod tcp;
mod tls;
mod tls_backends;
mod tls_passed_on;
mod tls_tcp;
mod unread;
