//! The data plane on real sockets: backends with faults behind it, clients in front of it, two workers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them"
)]

mod asking;
mod attacks_http2;
mod backend;
mod certificates;
mod client;
mod conforms_http2;
mod frames;
mod grpc;
mod http2;
mod interim;
mod stage;

mod behind_http2;
mod counts;
mod crosses;
mod crosses_failures;
mod drains;
mod failures;
mod forwards;
mod forwards_http2;
mod introduced;
mod keys;
mod leaves;
mod limits;
mod nearest;
mod outbound;
mod passed_over;
mod pauses;
mod reconfigured;
mod retries;
mod routes;
mod speaks_http2;
mod tcp;
mod tls;
mod tls_backends;
mod tls_backends_http2;
mod tls_passed_on;
mod tls_tcp;
mod traces;
mod unread;
mod websocket_http2;
