//! What the real ledgers, health checks and retries do in a simulation.

use std::time::Duration;

use edgeproxy_backend::{Limits, Weight};
use edgeproxy_balance::{Algorithm, Inner, SlowStart, Spill};
use edgeproxy_health::Monitor;
use edgeproxy_registry::{EventKind, Monitoring, State};
use edgeproxy_simulate::{Action, Failure, Fleet, Latency, Membership, Moment, Report, Site, Step, Traffic};

use crate::fleet::{fleet, machine, millis, region, run, secs, step};

fn told(report: &Report, kind: EventKind) -> Vec<(u64, &str)> {
    let events = report.events.iter().filter(|event| event.kind == kind);
    events
        .map(|event| (event.at.as_secs(), event.id.as_str()))
        .collect()
}

#[test]
fn max_failures_ejects_a_dead_one_retries_hide_it_and_its_trial_brings_it_back() {
    let mut fleet = fleet(Algorithm::RoundRobin, 4, Latency::Constant(millis(10)), 200.0);
    fleet.duration = secs(120);
    fleet.app.ledgers.max_failures = 5;
    fleet.app.requests.max_failures = 5;
    fleet.script = vec![step(20, 2, Action::Crash, Some(40))];
    let report = run(&fleet);
    let ejected = told(&report, EventKind::Ejected);
    assert_eq!(ejected[0], (20, "eu-3"));
    assert_eq!(
        report.backends[2].failed,
        5 + report.ejections() as u64 - 1,
        "five, and each trial"
    );
    assert_eq!(report.totals.all_failed(), 0, "{:?}", report.totals);
    let (back, _) = told(&report, EventKind::Readmitted)[0];
    // Ejected for 30 s, then for 60 s, each within a tenth.
    assert!((100..=120).contains(&back), "{back}");
    assert!(
        report
            .events
            .iter()
            .any(|event| event.reason.contains("5 consecutive requests failed"))
    );
}

#[test]
fn health_checks_take_a_hung_one_out_and_let_it_back() {
    let mut fleet = fleet(
        Algorithm::LeastConnections,
        3,
        Latency::Constant(millis(10)),
        100.0,
    );
    fleet.duration = secs(90);
    fleet.app.ledgers.monitoring = Monitoring::On;
    let probe = edgeproxy_health::HttpProbe::get("/health")
        .unwrap()
        .with_read_timeout(secs(1))
        .unwrap();
    fleet.app.monitor = Some(Monitor::new(probe).with_interval(secs(2)).unwrap());
    fleet.app.requests.response_timeout = secs(3);
    fleet.script = vec![step(20, 0, Action::Hang, Some(30))];
    let report = run(&fleet);
    let (out, who) = told(&report, EventKind::Unhealthy)[0];
    assert!(who == "eu-1" && (21..=28).contains(&out), "{out} {who}");
    assert!(
        told(&report, EventKind::TrialStarted)
            .iter()
            .chain(&told(&report, EventKind::Readmitted))
            .any(|(at, _)| (50..=53).contains(at))
    );
    let states: Vec<_> = report.backends[0]
        .series
        .iter()
        .map(|moment| moment.state)
        .collect();
    assert!(states.contains(&Some(State::Unhealthy)));
}

#[test]
fn a_silent_one_expires_after_its_lease_and_a_fleet_that_falls_silent_is_kept_by_the_guard() {
    let mut fleet = fleet(Algorithm::RoundRobin, 10, Latency::Constant(millis(10)), 50.0);
    fleet.duration = secs(200);
    fleet.script = vec![step(100, 0, Action::Silent, None)];
    let expired = |report: &Report| told(report, EventKind::Expired).len();
    let report = run(&fleet);
    assert_eq!(expired(&report), 1);
    let all: Vec<usize> = (0..10).collect();
    fleet.script = vec![Step {
        machines: all,
        ..step(100, 0, Action::Silent, None)
    }];
    let report = run(&fleet);
    assert_eq!(expired(&report), 0, "{:?}", report.events.last());
    assert_eq!(told(&report, EventKind::Suspected).len(), 10);
    assert_eq!(report.totals.all_failed(), 0);
}

#[test]
fn a_region_that_dies_is_served_by_the_next_nearest() {
    let latency = Latency::Exponential(millis(20));
    let mut fleet = fleet(
        Algorithm::RegionAffinity(Inner::LeastConnections),
        0,
        latency,
        300.0,
    );
    fleet.machines = (1..=3)
        .flat_map(|number| ["eu", "us", "ap"].map(|name| machine(number, name, latency)))
        .collect();
    fleet.round_trips = vec![
        (region("eu"), region("us"), millis(90)),
        (region("eu"), region("ap"), millis(250)),
    ];
    fleet.traffic[0].region = Some(region("eu"));
    fleet.app.ledgers.max_failures = 3;
    fleet.app.requests.max_failures = 3;
    let dead = fleet
        .machines
        .iter()
        .zip(0..)
        .filter(|(machine, _)| machine.backend.region == region("eu"));
    let machines = dead.map(|(_, number)| number).collect();
    fleet.script = vec![Step {
        machines,
        ..step(30, 0, Action::Crash, None)
    }];
    let report = run(&fleet);
    let attempts: Vec<(&str, u64)> = report
        .regions()
        .iter()
        .map(|found| {
            (
                if found.region == region("eu") {
                    "eu"
                } else if found.region == region("us") {
                    "us"
                } else {
                    "ap"
                },
                found.attempts,
            )
        })
        .collect();
    assert!(
        attempts[0].1 > 8_000 && attempts[1].1 > 8_000 && attempts[2].1 == 0,
        "{attempts:?}"
    );
    // Those of `us` answer a round trip later.
    assert!(report.series[80].median > millis(95) && report.series[20].median < millis(40));
    assert!(report.tiers[1].below_soft > 8_000 && report.tiers[3].below_soft > 8_000);
}

#[test]
fn all_full_waits_in_the_queue_and_what_waits_too_long_is_refused() {
    let mut fleet = fleet(
        Algorithm::LeastConnections,
        2,
        Latency::Constant(millis(100)),
        30.0,
    );
    for machine in &mut fleet.machines {
        machine.backend.limits = Limits::new(1, 1).unwrap();
    }
    fleet.app.requests.queue_max = 10;
    fleet.app.requests.queue_timeout = millis(300);
    let report = run(&fleet);
    assert_eq!(
        report.backends.iter().map(|backend| backend.most_in_flight).max(),
        Some(1)
    );
    // Twenty each second is what two can do.
    let rate = report.totals.answered as f64 / 60.0;
    assert!((19.0..=20.5).contains(&rate), "{rate}");
    let refused = |failure: Failure| report.totals.failed[failure as usize];
    assert!(refused(Failure::QueueTimeout) > 0);
    assert_eq!(refused(Failure::NoBackend), 0);
    let longest = report.latency.at_permille(1_000);
    assert!(longest <= millis(415), "{longest:?}");
}

#[test]
fn a_deployment_loses_no_request_and_a_slow_start_spares_whoever_is_new() {
    let deploy = |slow_start: Option<SlowStart>| {
        let mut fleet = fleet(
            Algorithm::LeastConnections,
            6,
            Latency::Exponential(millis(40)),
            240.0,
        );
        fleet.duration = secs(180);
        fleet.app.policy.slow_start = slow_start;
        for machine in &mut fleet.machines {
            machine.parallel = 4;
            machine.warm_up = Some((secs(20), 6.0));
        }
        fleet.script = vec![Step {
            at: secs(60),
            machines: (0..6).collect(),
            stagger: secs(15),
            action: Action::Restart(secs(2)),
            lasts: None,
        }];
        run(&fleet)
    };
    let (without, with) = (deploy(None), deploy(SlowStart::linear(secs(20)).ok()));
    for report in [&without, &with] {
        assert_eq!(report.totals.bad_ppm(), 0, "{:?}", report.totals);
        assert_eq!(told(report, EventKind::Registered).len(), 12);
    }
    let worst = |report: &Report| {
        report.series[30..90]
            .iter()
            .map(|moment| moment.p99)
            .max()
            .unwrap()
    };
    assert!(
        worst(&with) < worst(&without),
        "{:?} {:?}",
        worst(&with),
        worst(&without)
    );
}

#[test]
fn soft_spill_goes_on_to_the_next_region_and_comes_back() {
    let latency = Latency::Exponential(millis(100));
    let mut fleet = fleet(
        Algorithm::RegionAffinity(Inner::LeastConnections),
        0,
        latency,
        0.0,
    );
    fleet.machines = (1..=2)
        .flat_map(|number| ["eu", "us"].map(|name| machine(number, name, latency)))
        .collect();
    for machine in &mut fleet.machines {
        machine.backend.limits = Limits::new(10, 20).unwrap();
    }
    fleet.app.policy.spill = Spill::Soft;
    let mut peak = Traffic::steady(150.0);
    (peak.rate.from, peak.rate.until) = (secs(20), Some(secs(40)));
    fleet.traffic = vec![Traffic::steady(100.0), peak];
    for traffic in &mut fleet.traffic {
        traffic.region = Some(region("eu"));
    }
    let report = run(&fleet);
    let far = |from: usize, to: usize| {
        report.series[from..to]
            .iter()
            .map(|moment| moment.tiers[3])
            .sum::<u64>()
    };
    let (before, during, after) = (far(0, 40), far(40, 80), far(84, 120));
    assert!(
        during > 500 && before * 10 < during && after * 10 < during,
        "{before} {during} {after}"
    );
}

#[test]
fn backends_of_the_configuration_need_no_heartbeat_and_can_be_deployed() {
    let mut fleet = fleet(Algorithm::RoundRobin, 3, Latency::Constant(millis(10)), 100.0);
    fleet.duration = secs(300);
    for machine in &mut fleet.machines {
        machine.membership = Membership::Listed;
    }
    fleet.script = vec![step(100, 1, Action::Restart(secs(5)), None)];
    let report = run(&fleet);
    assert_eq!(report.totals.bad_ppm(), 0);
    assert_eq!(told(&report, EventKind::Expired), []);
    assert!(report.backends[1].attempts < report.backends[0].attempts);
}

#[test]
fn every_proxy_has_a_view_of_its_own() {
    let mut fleet = fleet(Algorithm::RoundRobin, 3, Latency::Constant(millis(10)), 100.0);
    fleet.sites = vec![Site { region: region("eu") }; 3];
    fleet.app.ledgers.max_failures = 3;
    fleet.app.requests.max_failures = 3;
    fleet.script = vec![step(20, 1, Action::Crash, None)];
    let report = run(&fleet);
    let ejected = report
        .events
        .iter()
        .filter(|event| event.kind == EventKind::Ejected);
    let mut proxies: Vec<usize> = ejected.map(|event| event.proxy).collect();
    proxies.sort_unstable();
    proxies.dedup();
    assert_eq!(proxies, [0, 1, 2]);
    let first = report
        .events
        .iter()
        .find(|event| event.kind == EventKind::Ejected)
        .unwrap();
    assert!(first.at < secs(21) && first.at > Duration::from_secs(20));
}

#[test]
fn a_retry_budget_bounds_what_an_outage_costs() {
    let mut fleet: Fleet = fleet(Algorithm::RoundRobin, 5, Latency::Constant(millis(10)), 1_000.0);
    for machine in &mut fleet.machines {
        machine.resets_per_100k = 90_000;
    }
    let report = run(&fleet);
    assert!(report.totals.retries_refused > 0);
    // A fifth of the requests, 10 each second, and a hundred in the beginning.
    let most = report.totals.arrivals / 5 + 10 * 60 + 100;
    assert!(report.totals.retries <= most, "{:?}", report.totals);
}

/// Retries that wait for a backend that has failed them leave their turns to those behind them, or nobody is served any more
/// once all who are in line have been retried.
#[test]
fn a_storm_of_ejections_that_leaves_one_backend_still_has_it_answer() {
    let latency = Latency::Lognormal {
        mean: millis(20),
        sigma_permille: 500,
    };
    let mut fleet = fleet(Algorithm::LeastConnections, 8, latency, 800.0);
    fleet.duration = secs(120);
    fleet.app.ledgers.max_failures = 3;
    fleet.app.requests.max_failures = 3;
    for machine in &mut fleet.machines {
        machine.parallel = 8;
        machine.backend.limits = Limits::DEFAULT;
    }
    fleet.script = vec![Step {
        machines: (0..8).collect(),
        ..step(30, 0, Action::Resets(10_000), Some(60))
    }];
    let report = run(&fleet);
    assert!(report.ejections() >= 7);
    let still = report.series.iter().filter(|moment| moment.answered == 0).count();
    assert_eq!(still, 0, "moments without an answer: {:?}", report.totals);
}

/// Ten backends, of which one that stops expires after six seconds, and that script.
fn scripted(script: Vec<Step>) -> Fleet {
    let mut fleet = fleet(Algorithm::RoundRobin, 10, Latency::Constant(millis(10)), 100.0);
    fleet.app.registry.ttl = secs(6);
    fleet.script = script;
    fleet
}

/// When the first backend came, and came back.
fn came(report: &Report) -> Vec<u64> {
    let coming = [EventKind::Registered, EventKind::Renewed, EventKind::Readmitted];
    let events = coming.into_iter().flat_map(|kind| told(report, kind));
    events.filter(|(_, id)| *id == "eu-1").map(|(at, _)| at).collect()
}

#[test]
fn the_end_of_what_never_happened_to_a_backend_starts_nobody() {
    for action in [
        Action::Crash,
        Action::Hang,
        Action::Unreachable,
        Action::Restart(secs(1)),
        Action::Leave,
    ] {
        let mut fleet = scripted(vec![step(10, 0, action, Some(10))]);
        fleet.machines[0].is_there = false;
        let report = run(&fleet);
        assert!(came(&report).is_empty(), "{action:?}: {:?}", came(&report));
        assert_eq!(report.backends[0].attempts, 0, "{action:?}");
    }
}

#[test]
fn one_that_crashed_for_good_stays_down_whatever_else_begins_and_ends() {
    for action in [
        Action::Crash,
        Action::Hang,
        Action::Unreachable,
        Action::Restart(secs(1)),
        Action::Leave,
    ] {
        let crash = step(10, 0, Action::Crash, None);
        let report = run(&scripted(vec![crash.clone(), step(20, 0, action, Some(10))]));
        assert_eq!(came(&report), [0], "{action:?} after the crash");
    }
    for action in [Action::Hang, Action::Unreachable] {
        let crash = step(20, 0, Action::Crash, None);
        let report = run(&scripted(vec![step(10, 0, action, Some(20)), crash]));
        assert_eq!(came(&report), [0], "{action:?} before the crash");
    }
}

#[test]
fn the_end_of_a_crash_leaves_alone_what_stops_it_later() {
    let report = run(&scripted(vec![
        step(10, 0, Action::Crash, Some(20)),
        // It is started earlier, and crashes for good.
        step(18, 0, Action::Join, None),
        step(22, 0, Action::Crash, None),
    ]));
    assert_eq!(came(&report), [0, 18]);
}

/// What one backend does in each second of a minute.
fn alone(script: Vec<Step>) -> Report {
    let mut fleet = fleet(Algorithm::RoundRobin, 1, Latency::Constant(millis(10)), 200.0);
    fleet.duration = secs(60);
    fleet.app.registry.ttl = secs(6);
    // Nobody tries again, and nobody is ejected.
    fleet.app.requests.max_attempts = 1;
    fleet.script = script;
    run(&fleet)
}

/// The moment in the middle of that second.
fn moment(report: &Report, second: u64) -> usize {
    let middle = secs(second) + millis(500);
    (1_u32..)
        .take_while(|ended| report.resolution * *ended <= middle)
        .count()
}

/// In the middle of each of these seconds.
fn at<T>(report: &Report, seconds: [u64; 4], what: impl Fn(&Moment) -> T) -> [T; 4] {
    seconds.map(|second| what(&report.series[moment(report, second)]))
}

/// The first lasts from 10 to 40, the second from 20 to 30.
fn nested(outer: Action, inner: Action) -> Vec<Step> {
    vec![step(10, 0, outer, Some(30)), step(20, 0, inner, Some(10))]
}

/// The first lasts from 10 to 30, the second from 20 to 40.
fn staggered(first: Action, second: Action) -> Vec<Step> {
    vec![step(10, 0, first, Some(20)), step(20, 0, second, Some(20))]
}

const BEFORE_BOTH_ONE_AFTER: [u64; 4] = [5, 25, 35, 45];

#[test]
fn of_two_faults_of_a_kind_the_later_one_counts_and_the_end_of_one_leaves_the_other_alone() {
    for kind in [Action::Errors, Action::Resets] {
        let bad = |report: &Report| {
            at(report, BEFORE_BOTH_ONE_AFTER, |moment| {
                100 * moment.bad / (moment.bad + moment.answered).max(1)
            })
        };
        let some = kind(50_000);
        let [before, both, left, after] = bad(&alone(nested(some, kind(100_000))));
        assert!(
            before == 0 && both == 100 && after == 0,
            "{some:?}: {before} {both} {after}"
        );
        assert!((35..65).contains(&left), "{some:?}: {left}");
        assert_eq!(
            bad(&alone(staggered(some, kind(100_000)))),
            [0, 100, 100, 0],
            "{some:?}"
        );
    }
    let slow = |report: &Report| {
        at(report, BEFORE_BOTH_ONE_AFTER, |moment| {
            moment.median.as_millis() / 10
        })
    };
    let (two, five) = (Action::Slow(2.0), Action::Slow(5.0));
    assert_eq!(slow(&alone(nested(two, five))), [1, 5, 2, 1]);
    assert_eq!(slow(&alone(staggered(two, five))), [1, 5, 5, 1]);
}

#[test]
fn faults_of_two_kinds_come_together_and_end_apart() {
    let report = alone(nested(Action::Slow(5.0), Action::Errors(100_000)));
    let told = at(&report, BEFORE_BOTH_ONE_AFTER, |moment| {
        (moment.bad > 0, moment.median.as_millis() / 10)
    });
    assert_eq!(told, [(false, 1), (true, 0), (false, 5), (false, 1)]);
}

#[test]
fn one_that_is_silent_for_two_reasons_is_heard_once_both_are_over() {
    let two = vec![
        step(10, 0, Action::Silent, Some(30)),
        step(11, 0, Action::Silent, Some(1)),
    ];
    let report = alone(two);
    assert!(
        !told(&report, EventKind::Expired).is_empty(),
        "{:?}",
        came(&report)
    );
}

#[test]
fn an_operator_who_has_disabled_one_twice_has_it_back_once_both_are_over() {
    let back = |script| {
        let report = alone(script);
        report.backends[0].out.as_secs()
    };
    assert_eq!(back(staggered(Action::Disable, Action::Disable)), 30);
    assert_eq!(back(nested(Action::Disable, Action::Disable)), 30);
}

#[test]
fn of_two_weights_the_later_one_counts_and_the_end_of_one_leaves_the_other_alone() {
    let weight = |weight| Action::Weigh(Weight::new(weight).unwrap());
    let mut fleet = fleet(Algorithm::Weighted, 2, Latency::Constant(millis(10)), 200.0);
    fleet.duration = secs(60);
    fleet.script = staggered(weight(0), weight(6));
    let report = run(&fleet);
    let share = BEFORE_BOTH_ONE_AFTER.map(|second| {
        let moment = moment(&report, second);
        let attempts = |n: usize| u64::from(report.backends[n].series[moment].attempts);
        100 * attempts(0) / (attempts(0) + attempts(1))
    });
    let near = share
        .iter()
        .zip([50, 75, 75, 50])
        .all(|(found, expected): (&u64, u64)| found.abs_diff(expected) <= 3);
    assert!(near, "{share:?}");
}
