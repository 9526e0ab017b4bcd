//! The registry in an event loop of one's own: it takes the time as an argument and gives decisions back, so a
//! minute of leases passes here in no time at all.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example own_event_loop
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, MonoTime, Region};
use edgeproxy_registry::{Config, EventKind, LoadReport, Registration, Registry};

fn registration(id: &str, port: u16) -> anyhow::Result<Registration> {
    let backend = Backend::new(
        BackendId::parse(id)?,
        AppName::parse("shop")?,
        Region::parse("eu")?,
        Country::parse("DE")?,
        BackendAddr::parse("10.0.0.1", port)?,
    );
    Ok(Registration {
        backend,
        ttl: Some(Duration::from_secs(30)),
    })
}

fn main() -> anyhow::Result<()> {
    let mut now = MonoTime::from_secs(1);
    let mut registry = Registry::new(Config::default(), now);
    let steady = registry
        .handle_register(registration("steady", 1)?, now)?
        .endpoint
        .id
        .clone();
    registry.handle_register(registration("silent", 2)?, now)?;

    let (mut expired, mut snapshots) = (Vec::new(), 0);
    let mut next_heartbeat = now + Duration::from_secs(10);
    while now < MonoTime::from_secs(60) {
        // What came in …
        if now >= next_heartbeat {
            registry.handle_heartbeat(&steady, None, &LoadReport::default(), now)?;
            next_heartbeat = now + Duration::from_secs(10);
        }
        registry.handle_timeout(now);
        // … and what goes out.
        while let Some(event) = registry.poll_event() {
            println!("{:?}  {:<8} {}", event.at, event.kind.as_str(), event.id);
            if event.kind == EventKind::Expired {
                expired.push((event.id.to_string(), event.at));
            }
        }
        if let Some(snapshot) = registry.poll_snapshot(now) {
            let members: usize = snapshot.apps.values().map(|app| app.members.len()).sum();
            println!("{now:?}  a new snapshot: {members} backends");
            snapshots += 1;
        }
        // A real loop would wait for its sockets until then. This one just turns the clock.
        now = registry
            .poll_timeout()
            .unwrap_or(MonoTime::NEVER)
            .min(next_heartbeat)
            .max(now);
    }
    // It registered at 1 s for 30 s and was never heard of again.
    anyhow::ensure!(expired == [("silent".to_owned(), MonoTime::from_secs(31))]);
    anyhow::ensure!(snapshots == 2, "one with both, one without the silent one");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
