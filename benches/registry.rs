//! What one core does for a million leases: heartbeats, registrations, ticks; and what a lease weighs.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, MonoTime, Region};
use edgeproxy_registry::{Config, LoadReport, Registration, Registry};

const LEASES: u32 = 1_000_000;
const APPS: u32 = 100;
/// A registry that nobody ticks would take the silence for a pause of the process.
const TICK: Duration = Duration::from_millis(1);

fn config() -> Config {
    Config {
        max_backends: 2_000_000,
        max_events: 16,
        ..Config::default()
    }
}

fn id(n: u32) -> BackendId {
    BackendId::parse(&format!("backend-eu-{n:07}")).expect("a valid id")
}

fn registration(n: u32) -> Registration {
    let [_, a, b, c] = n.to_be_bytes();
    let backend = Backend::new(
        id(n),
        AppName::parse(&format!("app-{}", n % APPS)).expect("a valid name"),
        Region::parse("eu").expect("a valid region"),
        Country::parse("DE").expect("a valid country"),
        BackendAddr::new([10, a, b, c].into(), 8080).expect("a valid address"),
    );
    Registration { backend, ttl: None }
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm
        .split_whitespace()
        .nth(1)
        .expect("resident pages")
        .parse()
        .expect("a number");
    pages * 4_096
}

/// A registry with a million leases, taken over the time of one lease so that they don't all expire at once.
fn filled(now: &mut MonoTime) -> Registry {
    let before = resident_bytes();
    let mut registry = Registry::new(config(), *now);
    for n in 0..LEASES {
        registry
            .handle_register(registration(n), *now)
            .expect("there is room");
        if n % 1_000 == 0 {
            *now = *now + TICK;
            registry.handle_timeout(*now);
        }
    }
    let each = (resident_bytes() - before) / LEASES as usize;
    println!("registry: {each} bytes resident for each of {LEASES} leases, endpoint and meter included");
    registry
}

fn benches(criterion: &mut Criterion) {
    let mut now = MonoTime::from_secs(1);
    let mut registry = filled(&mut now);
    let mut random = fastrand::Rng::with_seed(1);
    let mut group = criterion.benchmark_group("registry, 1,000,000 leases");

    // The id is fresh, as it is when it has just been read from a request; the backend's lease is not.
    group.bench_function("heartbeat of a random backend", |bencher| {
        bencher.iter_batched(
            || id(random.u32(..LEASES)),
            |id| {
                let renewed = registry.handle_heartbeat(&id, None, &LoadReport::default(), now);
                (renewed.expect("it is registered"), id)
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("register and deregister one more", |bencher| {
        bencher.iter_batched(
            || registration(LEASES + random.u32(..1_000_000)),
            |registration| {
                let id = registration.backend.id.clone();
                registry
                    .handle_register(registration, now)
                    .expect("there is room");
                registry
                    .handle_deregister(&id, None, None, now)
                    .expect("it was registered")
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("a tick that expires nothing", |bencher| {
        bencher.iter(|| {
            registry.handle_timeout(black_box(now));
            registry.poll_timeout()
        });
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().measurement_time(Duration::from_secs(5));
    targets = benches
}
criterion_main!(all);
