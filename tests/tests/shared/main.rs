//! Real proxies that share a real etcd of three members on loopback, under load, with everything killed and cut off in turn.
//!
//! It takes `etcd` and `etcdctl` on the path, of Debian's `etcd-server` and `etcd-client`; see [`outside`].
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic, and reports on its standard output"
)]

mod away;
mod cut;
mod guide;
mod rows;
mod stage;

use std::process::ExitCode;

use edgeproxy_tests::{Etcd, outside};

/// A name, and what is run.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    outside(
        Etcd::missing(),
        [rows::TESTS, away::TESTS, cut::TESTS, guide::TESTS].concat(),
    )
}
