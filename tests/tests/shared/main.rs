//! Real proxies that share a real etcd of three members on loopback, under load, with everything killed and cut off in turn.
//!
//! It takes `etcd` and `etcdctl` on the path, of Debian's `etcd-server` and `etcd-client`. Without them the tests are
//! listed as ignored, which a test can say only before it runs: hence a harness of its own, as libtest's protocol and
//! nextest want it. In CI, where `CI=true`, they fail.
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

use edgeproxy_tests::Etcd;

/// A name, and what is run.
type Test = (&'static str, fn());

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let asked = |name: &str| args.iter().any(|arg| arg == name);
    let missing = Etcd::missing();
    let in_ci = matches!(std::env::var("CI").as_deref(), Ok("true" | "1"));
    let ignored = missing.is_some() && !in_ci;
    let tests = [rows::TESTS, away::TESTS, cut::TESTS, guide::TESTS].concat();
    if asked("--list") {
        // All of them, or with --ignored those that are not run.
        if ignored || !asked("--ignored") {
            for (name, _) in tests {
                println!("{name}: test");
            }
        }
        return;
    }
    let filters: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let named = |name: &str| filters.iter().all(|filter| name.contains(filter.as_str()));
    if asked("--ignored") && !ignored {
        return;
    }
    for (name, test) in tests.into_iter().filter(|(name, _)| named(name)) {
        if let Some(reason) = missing {
            assert!(!in_ci, "{reason}");
            println!("test {name} ... ignored, {reason}");
            continue;
        }
        test();
        println!("test {name} ... ok");
    }
}
