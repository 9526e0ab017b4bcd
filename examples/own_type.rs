//! The balancing algorithms over a type of one's own: no endpoint, no registry, no runtime.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example own_type
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::cell::Cell;

use edgeproxy_backend::{Country, Limits, MonoTime, Region};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Claim, Client, Policy, Target};

/// A pool of database replicas, which has nothing to do with HTTP.
struct Replica {
    name: &'static str,
    share: u16,
    home: (Region, Country),
    queries: Cell<u32>,
}

impl Target for Replica {
    fn key(&self) -> u64 {
        self.name.bytes().fold(0, |key, byte| key << 8 | u64::from(byte))
    }

    fn weight(&self) -> u16 {
        self.share
    }

    fn limits(&self) -> Limits {
        Limits::NONE
    }

    fn in_flight(&self) -> u32 {
        0 // turns are taken by weight here, whatever the load
    }

    fn region(&self) -> Region {
        self.home.0
    }

    fn country(&self) -> Country {
        self.home.1
    }
}

fn main() -> anyhow::Result<()> {
    // Nearness plays no part in `weighted`, but every target is somewhere.
    let home = (Region::parse("eu")?, Country::parse("DE")?);
    let replica = |name, share| Replica {
        name,
        share,
        home,
        queries: Cell::new(0),
    };
    let replicas = [replica("big", 5), replica("small", 1), replica("old", 1)];
    let policy = Policy {
        algorithm: Algorithm::Weighted,
        ..Policy::default()
    };
    // Nobody is slower or newer here, so any time will do.
    let now = MonoTime::ZERO;
    let balancer = Balancer::prepare(&policy, replicas.iter().map(Candidate::new).collect(), now, None);

    let mut order = Vec::new();
    for _ in 0..14 {
        // The claim decides: here everyone is granted what is proposed.
        let replica = balancer.pick(&Client::default(), now, fastrand::u64(..), |replica| {
            Claim::Granted(*replica)
        })?;
        replica.queries.set(replica.queries.get() + 1);
        order.push(replica.name);
    }
    println!("{}", order.join(" "));
    for replica in &replicas {
        println!("{:>5}: {} of 14", replica.name, replica.queries.get());
    }
    anyhow::ensure!(
        replicas
            .iter()
            .all(|replica| replica.queries.get() == 2 * u32::from(replica.share))
    );
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
