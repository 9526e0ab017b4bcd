//! A soak: the real binary under every kind of traffic at bounded rates, while backends come, go, fail and return.
//!
//! `cargo xtask soak` builds and runs it. At the end, descriptors and requests in flight have to be as they were, and
//! memory nearly; and every request that failed has to be put down to a fault that was committed meanwhile, on a
//! backend of its app, and that may look like that to a client. What can't be put down to one fails the soak.
//!
//! The seed decides which faults come when, to whom, and what every client asks for. How they meet is the machine's
//! to decide, so a replay is the same trouble, not the same run.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a test fails by a panic that says why, and prints what it found"
)]

mod backend;
mod fault;
mod ledger;
mod pattern;
mod report;
mod stage;
mod traffic;

use std::process::ExitCode;
use std::time::Duration;

use edgeproxy_tests::{Edgeproxy, Vitals, settled};
use fastrand::Rng;
use tokio_util::sync::CancellationToken;

use crate::fault::App;
use crate::ledger::Ledger;
use crate::report::Report;
use crate::stage::Fleet;
use crate::traffic::{Crowd, http1, http2, switched, tcp};

/// The part of the run after which memory is looked at for the first time: pools and caches have filled by then.
const WARM_UP: u32 = 5;

fn main() -> ExitCode {
    let (minutes, seed) = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be made");
    let report = runtime.block_on(soak(Duration::from_secs_f64(60.0 * minutes), seed));
    println!("{report}");
    if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

const USAGE: &str = "usage: soak MINUTES SEED";

fn arguments() -> Result<(f64, u64), String> {
    let mut args = std::env::args().skip(1);
    let (Some(minutes), Some(seed), None) = (args.next(), args.next(), args.next()) else {
        return Err(USAGE.to_owned());
    };
    let minutes = minutes
        .parse()
        .ok()
        .filter(|minutes| (0.1..=100_000.0).contains(minutes))
        .ok_or_else(|| format!("found `{minutes}` minutes, expected 0.1 to 100000; {USAGE}"))?;
    let seed = seed
        .parse()
        .map_err(|_| format!("found the seed `{seed}`, expected a number; {USAGE}"))?;
    Ok((minutes, seed))
}

async fn soak(lasts: Duration, seed: u64) -> Report {
    let mut rng = Rng::with_seed(seed);
    let edgeproxy = stage::edgeproxy().await;
    let tcp_addr = stage::tcp_addr(&edgeproxy).await;
    let shop = Fleet::start(App::Shop, edgeproxy.api()).await;
    let database = Fleet::start(App::Database, edgeproxy.api()).await;
    let before = Vitals::of(&edgeproxy);

    let ledger = Ledger::new();
    let crowd = crowd(&edgeproxy, tcp_addr, &ledger, &mut rng);
    let peace = CancellationToken::new();
    let trouble = async {
        let shop = shop.trouble(ledger.clone(), rng.fork(), peace.clone());
        let database = database.trouble(ledger.clone(), rng.fork(), peace.clone());
        tokio::join!(shop, database)
    };
    let clock = async {
        tokio::time::sleep(lasts / WARM_UP).await;
        let warm = Vitals::of(&edgeproxy);
        tokio::time::sleep(lasts - lasts / WARM_UP).await;
        peace.cancel();
        warm
    };
    // The fleets are kept until the end: a backend that is dropped is one that was killed.
    let (fleets, warm) = tokio::join!(trouble, clock);
    let took = ledger.now();
    crowd.end().await;
    let after = settled(&edgeproxy, before).await;
    drop(fleets);
    Report {
        seed,
        took,
        account: ledger.settle(),
        faults: ledger.faults(),
        before,
        warm,
        after,
    }
}

/// Everybody, at rates that leave the machine to others.
fn crowd(edgeproxy: &Edgeproxy, tcp_addr: std::net::SocketAddr, ledger: &Ledger, rng: &mut Rng) -> Crowd {
    let proxy = edgeproxy.proxy();
    let every = Duration::from_millis;
    let mut crowd = Crowd::new(ledger.clone());
    crowd.join(rng, 8, every(40), |rng| http1::KeptAlive::new(proxy, rng));
    crowd.join(rng, 2, every(50), |rng| http1::Churn::new(proxy, rng));
    crowd.join(rng, 2, every(500), |rng| http1::Upload::new(proxy, rng));
    crowd.join(rng, 2, every(500), |rng| http1::Download::new(proxy, rng));
    crowd.join(rng, 2, every(200), |rng| http1::Chunks::new(proxy, rng));
    crowd.join(rng, 4, every(100), |rng| switched::Switched::new(proxy, rng));
    crowd.join(rng, 2, every(100), |rng| http2::Streams::new(proxy, rng));
    crowd.join(rng, 2, every(50), |rng| tcp::Words::new(tcp_addr, rng));
    crowd.join(rng, 1, every(500), |rng| tcp::Bulk::new(tcp_addr, rng));
    crowd
}
