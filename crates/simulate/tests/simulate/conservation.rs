//! What holds for every fleet.

use std::time::Duration;

use edgeproxy_backend::{Limits, Weight};
use edgeproxy_balance::{Algorithm, Inner, SlowStart, Spill};
use edgeproxy_health::Monitor;
use edgeproxy_registry::Monitoring;
use edgeproxy_simulate::{Action, Fleet, FleetError, Keys, Latency, Rate, Site, Step, Traffic, simulate};
use proptest::prelude::*;

use crate::fleet::{fleet, millis, region, run, secs};

fn algorithm() -> impl Strategy<Value = Algorithm> {
    let inner = prop::sample::select(Inner::ALL.to_vec()).prop_map(Algorithm::RegionAffinity);
    prop_oneof![prop::sample::select(Algorithm::ALL.to_vec()), inner]
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Crash),
        Just(Action::Hang),
        Just(Action::Unreachable),
        (1_u32..20).prop_map(|factor| Action::Slow(f64::from(factor))),
        (0_u32..=100_000).prop_map(Action::Errors),
        (0_u32..=100_000).prop_map(Action::Resets),
        Just(Action::Silent),
        (0_u64..5).prop_map(|down| Action::Restart(secs(down))),
        Just(Action::Join),
        Just(Action::Leave),
        Just(Action::Disable),
        (0_u64..5).prop_map(|weight| Action::Weigh(Weight::new(weight).unwrap())),
    ]
}

fn script(machines: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0_u64..30_000,
        0..machines,
        action(),
        prop::option::of(0_u64..10_000),
    );
    let step = step.prop_map(|(at, machine, action, lasts)| Step {
        at: millis(at),
        machines: vec![machine],
        stagger: Duration::ZERO,
        action,
        lasts: lasts.map(millis),
    });
    prop::collection::vec(step, 0..10)
}

prop_compose! {
    fn any_fleet()(
        (machines, script) in (1_u16..7).prop_flat_map(|machines| (Just(machines), script(usize::from(machines)))),
        algorithm in algorithm(),
        seed in any::<u64>(),
        per_sec in 1_u32..150,
        parallel in 0_u32..4,
        limits in prop::option::of((1_u32..5, 5_u32..9)),
        max_failures in 0_u32..4,
        sites in 1_usize..3,
        (has_monitor, slow_start, soft, panic_permille) in (any::<bool>(), any::<bool>(), any::<bool>(), 0_u16..=500),
        (keys, idempotent, unhealthy, sticky) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
    ) -> Fleet {
        let mut fleet = fleet(algorithm, machines, Latency::Exponential(millis(30)), 0.0);
        (fleet.seed, fleet.duration, fleet.script) = (seed, secs(12), script);
        fleet.sites = vec![Site { region: region("eu") }; sites];
        for machine in &mut fleet.machines {
            machine.parallel = parallel;
            machine.backend.limits = limits.map_or(Limits::NONE, |(soft, hard)| Limits::new(soft, hard).unwrap());
        }
        fleet.traffic = vec![Traffic {
            rate: Rate { begin: 1.0, ..Rate::steady(f64::from(per_sec)) },
            keys: keys.then_some(Keys { count: 50, zipf_permille: 900 }),
            idempotent,
            ..Traffic::steady(1.0)
        }];
        let app = &mut fleet.app;
        (app.ledgers.max_failures, app.requests.max_failures) = (max_failures, max_failures);
        app.ledgers.ejection_base = secs(3);
        app.requests.queue_max = 20;
        app.requests.queue_timeout = secs(1);
        app.requests.response_timeout = secs(2);
        app.requests.connect_timeout = secs(1);
        app.registry.ttl = secs(6);
        app.policy.panic_permille = panic_permille;
        app.policy.spill = if soft { Spill::Soft } else { Spill::Hard };
        app.policy.slow_start = slow_start.then(|| SlowStart::linear(secs(4)).unwrap());
        if unhealthy {
            app.requests.unhealthy = vec![503..=503];
        }
        if sticky {
            app.policy.bound = edgeproxy_balance::Bound::Followed;
            app.requests.bindings = Some((64, secs(10)));
        }
        if has_monitor {
            app.ledgers.monitoring = Monitoring::On;
            app.monitor = Some(Monitor::http("/").unwrap().with_interval(secs(1)).unwrap());
        }
        fleet
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Arrivals are answers, errors, failures and what is in flight, whatever happens; `run` looks. No hard limit is
    /// exceeded, and no backend gets what it can't.
    #[test]
    fn no_request_is_lost_or_made(fleet in any_fleet()) {
        let report = run(&fleet);
        for (backend, machine) in report.backends.iter().zip(&fleet.machines) {
            let hard = machine.backend.limits.hard();
            let most = hard * u32::try_from(fleet.sites.len()).unwrap();
            prop_assert!(hard == 0 || backend.most_in_flight <= most, "{}: {}", backend.id, backend.most_in_flight);
        }
        let most = report.totals.arrivals * u64::from(fleet.app.requests.max_attempts);
        prop_assert!(report.totals.attempts <= most);
    }

    #[test]
    fn the_same_seed_gives_the_same_report(fleet in any_fleet()) {
        prop_assert_eq!(run(&fleet), run(&fleet));
    }
}

#[test]
fn another_seed_gives_another_report() {
    let mut fleet = fleet(Algorithm::Ewma, 4, Latency::Exponential(millis(30)), 100.0);
    let one = run(&fleet);
    fleet.seed = 2;
    assert_ne!(one.latency, run(&fleet).latency);
}

#[test]
fn another_algorithm_sees_the_same_requests_at_the_same_times() {
    let arrivals = |algorithm| {
        let report = run(&fleet(algorithm, 4, Latency::Exponential(millis(30)), 100.0));
        report
            .series
            .iter()
            .map(|moment| moment.arrivals)
            .collect::<Vec<_>>()
    };
    assert_eq!(arrivals(Algorithm::RoundRobin), arrivals(Algorithm::Ewma));
}

#[test]
fn what_can_t_be_simulated_is_refused_with_what_was_found_and_what_was_expected() {
    let whole = || fleet(Algorithm::Ewma, 4, Latency::Exponential(millis(30)), 100.0);
    let refused = |change: fn(&mut Fleet)| {
        let mut fleet = whole();
        change(&mut fleet);
        simulate(&fleet).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|fleet| fleet.duration = Duration::ZERO),
        "it is to run for 0 s; expected 1 s to 604800 s"
    );
    assert_eq!(
        refused(|fleet| fleet.machines.clear()),
        "there are 0 backends; expected 1 to 2000"
    );
    assert_eq!(
        refused(|fleet| fleet.sites.clear()),
        "there are 0 proxies; expected 1 to 100"
    );
    assert_eq!(
        refused(|fleet| fleet.traffic[0].rate = Rate::steady(1e7)),
        "about 600000000 requests, and 12 probes and heartbeats, would come; expected at most 50000000 of all together: \
         lower the rates, have fewer backends or proxies, lengthen the interval of probes or the lease, or shorten the duration"
    );
    // Two backends of a hundred proxies for a week, probed and renewing each second: 241,920,000.
    let busy = |fleet: &mut Fleet| {
        (fleet.duration, fleet.traffic) = (Fleet::MAX_DURATION, vec![Traffic::steady(1.0)]);
        fleet.sites = vec![fleet.sites[0]; 100];
        fleet.machines.truncate(2);
        fleet.app.registry.ttl = secs(3);
        fleet.app.monitor = Some(Monitor::http("/").unwrap().with_interval(secs(1)).unwrap());
    };
    assert!(
        refused(busy).starts_with(
            "about 604800 requests, and 241920000 probes and heartbeats, would come; expected at most"
        ),
        "{}",
        refused(busy)
    );
    for count in [0, Keys::MAX + 1] {
        let mut fleet = whole();
        fleet.traffic[0].keys = Some(Keys {
            count,
            zipf_permille: 1_100,
        });
        assert_eq!(
            simulate(&fleet).unwrap_err().to_string(),
            format!("there are {count} clients with keys in a stream of traffic; expected 1 to 1000000")
        );
    }
    let step = Step {
        at: Duration::ZERO,
        machines: vec![4],
        stagger: Duration::ZERO,
        action: Action::Crash,
        lasts: None,
    };
    let mut fleet = whole();
    fleet.script = vec![step];
    assert_eq!(
        simulate(&fleet).unwrap_err(),
        FleetError::NoMachine {
            found: 4,
            machines: 4
        }
    );
    assert!(refused(|fleet| fleet.machines[1].backend = fleet.machines[0].backend.clone()).contains("eu-1"));
}
