//! The registry in an event loop of one's own: it takes the time as an argument and gives decisions back, so a minute of
//! leases and ejections passes here in no time at all.
//!
//! ```sh
//! cargo run -p edgeproxy-examples --example own_event_loop
//! ```
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, MonoTime, Region, TrafficReport,
};
use edgeproxy_registry::{AppPolicy, Config, EventKind, LoadReport, Registration, Registry};

const MAX_FAILURES: u32 = 3;
const HEARTBEAT: Duration = Duration::from_secs(10);
const END: MonoTime = MonoTime::from_secs(60);

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

/// One request to a backend. What it means for the registry is `None` nearly always.
fn request(endpoint: &Arc<Endpoint>, answers: bool, now: MonoTime) -> anyhow::Result<Option<TrafficReport>> {
    let place = endpoint
        .admit(Admission::Regular)
        .map_err(|refusal| anyhow::anyhow!("{} takes nobody: {refusal:?}", endpoint.id))?;
    let signal = if answers {
        place.succeeded(Duration::from_millis(3), now)
    } else {
        place.failed(MAX_FAILURES, now)
    };
    Ok(signal.map(|signal| place.report(signal)))
}

fn main() -> anyhow::Result<()> {
    let mut now = MonoTime::from_secs(1);
    let app = AppPolicy {
        max_failures: MAX_FAILURES,
        ..AppPolicy::default()
    };
    let mut registry = Registry::new(
        Config {
            app,
            ..Config::default()
        },
        now,
    );
    let steady = registry
        .handle_register(registration("steady", 1)?, now)?
        .endpoint;
    let faulty = registry
        .handle_register(registration("faulty", 2)?, now)?
        .endpoint;
    registry.handle_register(registration("silent", 3)?, now)?;

    // Three requests fail. With the third nobody else gets in, before the registry has heard of anything.
    for _ in 0..MAX_FAILURES {
        if let Some(report) = request(&faulty, false, now)? {
            registry.handle_traffic(&report, now);
        }
    }
    anyhow::ensure!(request(&faulty, false, now).is_err());

    let (mut events, mut snapshots) = (Vec::new(), 0);
    let mut next_heartbeat = now + HEARTBEAT;
    while now < END {
        // What came in …
        if now >= next_heartbeat {
            for endpoint in [&steady, &faulty] {
                registry.handle_heartbeat(&endpoint.id, None, &LoadReport::default(), now)?;
            }
            next_heartbeat = now + HEARTBEAT;
        }
        registry.handle_timeout(now);
        // … and what goes out.
        while let Some(event) = registry.poll_event() {
            println!(
                "{:?}  {:<10} {:<7} {}",
                event.at,
                event.kind.as_str(),
                event.id,
                event.reason
            );
            // It is let back by one request that is answered, and by nothing else.
            if event.kind == EventKind::TrialStarted
                && let Some(report) = request(&faulty, true, now)?
            {
                registry.handle_traffic(&report, now);
            }
            if event.kind != EventKind::Registered {
                events.push((event.kind, event.id.to_string(), event.at));
            }
        }
        if let Some(snapshot) = registry.poll_snapshot(now) {
            let members = snapshot.apps.values().flat_map(|app| &app.members);
            let routable = members.filter(|member| member.state.takes_traffic()).count();
            println!("{now:?}  a snapshot: {routable} take traffic");
            snapshots += 1;
        }
        // A real loop waits for its sockets until then. This one just turns the clock.
        now = registry
            .poll_timeout()
            .unwrap_or(MonoTime::NEVER)
            .min(next_heartbeat)
            .max(now);
    }
    let when = |kind, id: &str| {
        let mut of_it = events
            .iter()
            .filter(|(found, whose, _)| *found == kind && whose == id);
        of_it.next().map(|(_, _, at)| *at)
    };
    // It registered at 1 s for 30 s and was never heard of again.
    anyhow::ensure!(when(EventKind::Expired, "silent") == Some(MonoTime::from_secs(31)));
    anyhow::ensure!(when(EventKind::Ejected, "faulty") == Some(MonoTime::from_secs(1)));
    // For half a minute, give or take a tenth, so that those ejected together don't come back together.
    let back = when(EventKind::Readmitted, "faulty").ok_or_else(|| anyhow::anyhow!("it stays out"))?;
    anyhow::ensure!(
        MonoTime::from_secs(27) < back && back < MonoTime::from_secs(35),
        "{back:?}"
    );
    anyhow::ensure!(when(EventKind::Expired, "steady").is_none());
    anyhow::ensure!(snapshots < 8, "heartbeats publish nothing: {snapshots}");
    Ok(())
}

#[test]
fn it_runs() {
    main().unwrap();
}
