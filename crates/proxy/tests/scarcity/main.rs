//! The data plane where the process has no descriptor left, or the host no port. A program of its own, since the limit is the
//! process's: it would be the other tests' as well.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by them"
)]

#[allow(dead_code, reason = "it is the other program's")]
#[path = "../loopback/backend.rs"]
mod backend;
#[allow(dead_code, reason = "it is the other program's")]
#[path = "../loopback/client.rs"]
mod client;
#[allow(dead_code, reason = "it is the other program's")]
#[path = "../loopback/http2.rs"]
mod http2;
mod short;
#[allow(dead_code, reason = "it is the other program's")]
#[path = "../loopback/stage.rs"]
mod stage;

mod bound;
mod idle;
#[cfg(target_os = "linux")]
mod ports;
