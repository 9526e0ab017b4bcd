//! The store against real servers of etcd on loopback, one and three of them, with faults between.
//!
//! It takes `etcd` and `etcdctl` on the path, of Debian's `etcd-server` and `etcd-client`; see [`outside`].
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by a panic, and reports on its standard output"
)]

mod cluster;
mod contract;
mod faults;
mod figures;
mod relay;
mod rows;
mod secured;
mod server;
mod shared;
mod single;

use std::process::ExitCode;

use edgeproxy_tests::outside;

/// A name, and what is run.
type Test = (&'static str, fn());

fn main() -> ExitCode {
    let tests = [
        contract::TESTS,
        single::TESTS,
        shared::TESTS,
        faults::TESTS,
        cluster::TESTS,
        secured::TESTS,
        figures::TESTS,
    ];
    outside(server::missing(), tests.concat())
}
