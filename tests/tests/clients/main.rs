//! Other people's clients and servers on both sides of the real binary.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by a panic that says why"
)]

mod aborts;
mod browser;
mod early;
mod matrix;
mod old;
mod raw;
mod sockets;
mod stage;
mod websocket;
