//! What one pick costs, with 3, 100 and 10,000 backends, beside the pickers of Pingora and tower.
//!
//! | row | what is measured |
//! |---|---|
//! | `edgeproxy/…` | `Balancer::pick` with `Endpoint::admit` as its claim, and the drop of what it grants: choosing, taking a place below the hard limit, counting, giving it back |
//! | `pingora/…` | `LoadBalancer::select`: choosing, a look at the backend's health, and a clone of the backend; it counts nothing in flight. Its round robin is by weight |
//! | `tower/p2c` | `Balance::poll_ready` and `call` over services that are always ready, with the load that `PendingRequests` counts: choosing, taking the service out of the ready cache, an empty call, and promoting it again. One owner, no thread may share it |
//!
//! The rows `choice-alone` grant whatever is proposed and count nothing, which is what Pingora's do.
//! `edgeproxy/claim-in-turn` is what no picker can undercut: a shared counter, one look-up, and the claim.
//!
//! Weights are random, 1 to 1,000, the same for everyone, but for the rows of `region_affinity`, where
//! they are all 2, as registered, unless the row says otherwise. Backends lie in memory in random
//! order, as they do after a day of registrations. Everyone has room. Times are processor time.

mod cpu_time;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Incarnation, MonoTime, Refusal,
    Region, Weight,
};
use edgeproxy_balance::{Algorithm, Balancer, Bindings, Candidate, Claim, Client, Inner, Key, Policy, Spill};
use futures_util::FutureExt as _;
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Random, RoundRobin};
use pingora_load_balancing::{Backends, LoadBalancer};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PendingRequests};

use cpu_time::CpuTime;

const SIZES: [u16; 3] = [3, 100, 10_000];
const NOW: MonoTime = MonoTime::from_secs(1_000);
const PLACES: [(&str, &str); 4] = [("eu", "DE"), ("us", "US"), ("sa", "BR"), ("ap", "JP")];

fn weights(size: u16) -> Vec<u16> {
    let mut random = fastrand::Rng::with_seed(u64::from(size));
    (0..size).map(|_| random.u16(1..=1_000)).collect()
}

fn address(index: u16) -> String {
    let [high, low] = index.to_be_bytes();
    format!("10.0.{high}.{low}")
}

fn endpoints(size: u16, weights: &[u16]) -> Vec<Arc<Endpoint>> {
    let endpoint = |(index, &weight): (u16, &u16)| {
        let (region, country) = PLACES[usize::from(index) % PLACES.len()];
        let mut backend = Backend::new(
            BackendId::parse(&format!("backend-{index}")).unwrap(),
            AppName::parse("app").unwrap(),
            Region::parse(region).unwrap(),
            Country::parse(country).unwrap(),
            BackendAddr::parse(&address(index), 8080).unwrap(),
        );
        backend.weight = Weight::new(u64::from(weight)).unwrap();
        Arc::new(Endpoint::new(
            backend,
            Incarnation::new(u64::from(index) + 1).unwrap(),
        ))
    };
    let mut endpoints: Vec<_> = (0..size).zip(weights).map(endpoint).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut endpoints);
    endpoints
}

fn ours(algorithm: Algorithm, size: u16) -> Balancer<Arc<Endpoint>> {
    balancer(algorithm, endpoints(size, &weights(size)))
}

fn balancer(algorithm: Algorithm, endpoints: Vec<Arc<Endpoint>>) -> Balancer<Arc<Endpoint>> {
    let policy = Policy {
        algorithm,
        spill: Spill::Hard,
        own_region: Some(Region::parse("eu").unwrap()),
        ..Policy::default()
    };
    Balancer::prepare(
        &policy,
        endpoints.into_iter().map(Candidate::new).collect(),
        NOW,
        None,
    )
}

fn claim(endpoint: &Arc<Endpoint>) -> Claim<edgeproxy_backend::InFlight> {
    match endpoint.admit(Admission::Regular) {
        Ok(in_flight) => Claim::Granted(in_flight),
        Err(Refusal::Full) => Claim::Full,
        Err(Refusal::Shut | Refusal::OnTrial) => Claim::Shut,
    }
}

fn edgeproxy(criterion: &mut Criterion<CpuTime>) {
    let near = Client {
        country: Country::parse("BR").ok(),
        region: Region::parse("sa").ok(),
        ..Client::default()
    };
    let unknown = Client::default();
    let affinity = Algorithm::RegionAffinity(Inner::LeastConnections);
    let cases = [
        ("round_robin", Algorithm::RoundRobin, unknown, None),
        ("weighted", Algorithm::Weighted, unknown, None),
        ("least_connections", Algorithm::LeastConnections, unknown, None),
        ("ewma", Algorithm::Ewma, unknown, None),
        ("ewma-equal-weights", Algorithm::Ewma, unknown, Some(2)),
        ("region_affinity", affinity, near, Some(2)),
        ("region_affinity-unknown-client", affinity, unknown, Some(2)),
        ("region_affinity-random-weights", affinity, near, None),
    ];
    for (name, algorithm, client, weight) in cases {
        let mut group = criterion.benchmark_group(format!("edgeproxy/{name}"));
        for size in SIZES {
            let weights = weight.map_or_else(|| weights(size), |weight| vec![weight; usize::from(size)]);
            let balancer = balancer(algorithm, endpoints(size, &weights));
            let mut random = fastrand::Rng::with_seed(7);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    drop(black_box(balancer.pick(
                        black_box(&client),
                        NOW,
                        random.u64(..),
                        claim,
                    )))
                });
            });
        }
        group.finish();
    }
    for (name, algorithm) in [
        ("round_robin", Algorithm::RoundRobin),
        ("weighted", Algorithm::Weighted),
    ] {
        let mut group = criterion.benchmark_group(format!("edgeproxy/{name}-choice-alone"));
        for size in SIZES {
            let balancer = ours(algorithm, size);
            let mut random = fastrand::Rng::with_seed(7);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                let pick = |entropy| {
                    balancer.pick(&unknown, NOW, entropy, |endpoint| {
                        Claim::Granted(Arc::as_ptr(endpoint))
                    })
                };
                bencher.iter(|| black_box(pick(random.u64(..))));
            });
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("edgeproxy/claim-in-turn");
    for size in SIZES {
        let endpoints = endpoints(size, &weights(size));
        let counter = AtomicUsize::new(0);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let turn = counter.fetch_add(1, Ordering::Relaxed) % endpoints.len();
                drop(black_box(claim(&endpoints[turn])));
            });
        });
    }
    group.finish();
}

/// By key, everyone idle, and everyone with one request in flight, so that shares have to be looked at.
fn hash(criterion: &mut Criterion<CpuTime>) {
    for (name, in_flight) in [("hash", 0), ("hash-in-flight", 2)] {
        let mut group = criterion.benchmark_group(format!("edgeproxy/{name}"));
        for size in SIZES {
            let endpoints = endpoints(size, &vec![2; usize::from(size)]);
            let held: Vec<_> = (0..in_flight)
                .flat_map(|_| &endpoints)
                .filter_map(|endpoint| endpoint.admit(Admission::Regular).ok())
                .collect();
            let balancer = balancer(Algorithm::Hash, endpoints);
            let mut random = fastrand::Rng::with_seed(7);
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter(|| {
                    let client = Client {
                        key: Some(Key::from_bits(random.u64(..))),
                        ..Client::default()
                    };
                    drop(black_box(balancer.pick(
                        black_box(&client),
                        NOW,
                        random.u64(..),
                        claim,
                    )));
                });
            });
            drop(held);
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("edgeproxy/hash-key");
    for length in [4, 16, 64] {
        let bytes = vec![b'x'; length];
        group.bench_function(BenchmarkId::from_parameter(length), |bencher| {
            bencher.iter(|| black_box(Key::of(black_box(&bytes))));
        });
    }
    group.finish();
}

/// What a request costs its meter from its beginning to its end.
fn outcome(criterion: &mut Criterion<CpuTime>) {
    let endpoint = endpoints(1, &[2]).remove(0);
    let mut millis = 0_u64;
    criterion.bench_function("edgeproxy/admit-succeed", |bencher| {
        bencher.iter(|| {
            millis += 1;
            let now = NOW + Duration::from_millis(millis);
            let in_flight = endpoint.admit(Admission::Regular).unwrap();
            black_box(in_flight.succeeded(black_box(Duration::from_micros(500)), now))
        });
    });
}

/// A client that is known, and one that is not.
fn bindings(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("edgeproxy/bindings");
    for clients in [100, 30_000] {
        let bindings = Bindings::new(65_536, Duration::from_secs(600));
        (0..clients).for_each(|client| bindings.bind(Key::from_bits(client), client, NOW));
        let mut random = fastrand::Rng::with_seed(7);
        group.bench_function(BenchmarkId::new("find", clients), |bencher| {
            bencher.iter(|| black_box(bindings.find(Key::from_bits(random.u64(0..clients)), NOW)));
        });
    }
    group.finish();
}

/// Where a scan stops to be cheaper than two draws; `SCAN_MAX` in `decide.rs` comes from here.
fn least_connections_by_size(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("edgeproxy/least_connections-by-size");
    for size in [2, 4, 6, 8, 9, 16, 32, 64] {
        let balancer = ours(Algorithm::LeastConnections, size);
        let mut random = fastrand::Rng::with_seed(7);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                drop(black_box(balancer.pick(
                    &Client::default(),
                    NOW,
                    random.u64(..),
                    claim,
                )))
            });
        });
    }
    group.finish();
}

/// What a change of one backend's weight costs, and a change of nothing.
fn prepare(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("edgeproxy/prepare");
    group.sample_size(10);
    for size in SIZES {
        for (name, algorithm) in [
            ("round_robin", Algorithm::RoundRobin),
            ("weighted", Algorithm::Weighted),
            ("region_affinity", Algorithm::default()),
            ("hash", Algorithm::Hash),
        ] {
            let before = ours(algorithm, size);
            let candidates = || {
                before
                    .candidates()
                    .cloned()
                    .map(Candidate::new)
                    .collect::<Vec<_>>()
            };
            group.bench_function(BenchmarkId::new(format!("{name}-unchanged"), size), |bencher| {
                bencher.iter(|| Balancer::prepare(before.policy(), candidates(), NOW, Some(&before)));
            });
            group.bench_function(BenchmarkId::new(format!("{name}-one-left"), size), |bencher| {
                bencher.iter(|| {
                    Balancer::prepare(before.policy(), candidates().split_off(1), NOW, Some(&before))
                });
            });
        }
    }
    group.finish();
}

fn pingora_select<S>(criterion: &mut Criterion<CpuTime>, name: &str)
where
    S: BackendSelection<Config = ()> + 'static,
    S::Iter: BackendIter,
{
    let mut group = criterion.benchmark_group(format!("pingora/{name}"));
    for size in SIZES {
        let backend = |(index, weight): (u16, u16)| {
            let address = format!("{}:8080", address(index));
            pingora_load_balancing::Backend::new_with_weight(&address, usize::from(weight)).unwrap()
        };
        let backends = (0..size).zip(weights(size)).map(backend).collect();
        let balancer = LoadBalancer::<S>::from_backends(Backends::new(Static::new(backends)));
        balancer
            .update()
            .now_or_never()
            .expect("a static list needs no waiting")
            .unwrap();
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| black_box(balancer.select(black_box(b""), 8)).unwrap());
        });
    }
    group.finish();
}

fn pingora(criterion: &mut Criterion<CpuTime>) {
    pingora_select::<RoundRobin>(criterion, "round_robin-weighted");
    pingora_select::<Random>(criterion, "random-weighted");
}

/// Always ready, and does nothing.
struct Nothing;

impl Service<()> for Nothing {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn tower_p2c(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("tower/p2c");
    for size in SIZES {
        let services = (0..size).map(|_| PendingRequests::new(Nothing, CompleteOnResponse::default()));
        let mut balance = Balance::new(ServiceList::new::<()>(services.collect::<Vec<_>>()));
        let mut context = Context::from_waker(Waker::noop());
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                assert!(matches!(balance.poll_ready(&mut context), Poll::Ready(Ok(()))));
                drop(black_box(balance.call(())));
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = edgeproxy, hash, outcome, bindings, least_connections_by_size, prepare, pingora, tower_p2c
}
criterion_main!(benches);
