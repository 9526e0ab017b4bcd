//! A backend as a process of its own, for the tests that kill one: `sample_backend NAME WORK_MS [PORT]`. It prints
//! where it listens, and ends with its standard input.
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "its standard output is its interface"
)]

use std::io::Read;
use std::time::Duration;

use edgeproxy_tests::{Backend, Behaviour};

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().expect("usage: sample_backend NAME WORK_MS");
    let work_ms = args
        .next()
        .and_then(|work| work.parse().ok())
        .expect("usage: sample_backend NAME WORK_MS");
    let port = args
        .next()
        .map_or(0, |port| port.parse().expect("PORT is a number"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let backend = runtime.block_on(Backend::start_at(&name, ([127, 0, 0, 1], port).into()));
    if work_ms > 0 {
        backend.behave(Behaviour::AnswerAfter(Duration::from_millis(work_ms)));
    }
    println!("{}", backend.addr());
    runtime.block_on(async {
        let gone = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = gone.await;
    });
}
