//! Fleets to begin with.

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Limits, Region, Weight};
use edgeproxy_balance::{Algorithm, Policy};
use edgeproxy_simulate::{Action, App, Fleet, Latency, Machine, Report, Site, Step, Traffic, simulate};

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

pub(crate) fn machine(number: u16, region: &str, latency: Latency) -> Machine {
    let backend = Backend::new(
        BackendId::parse(&format!("{region}-{number}")).unwrap(),
        AppName::parse("shop").unwrap(),
        Region::parse(region).unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 8_000 + number).unwrap(),
    );
    Machine::new(
        Backend {
            limits: Limits::NONE,
            ..backend
        },
        latency,
    )
}

/// So many equal backends in one region, behind one proxy, at that rate.
pub(crate) fn fleet(algorithm: Algorithm, machines: u16, latency: Latency, per_sec: f64) -> Fleet {
    let mut app = App::new(AppName::parse("shop").unwrap());
    app.policy = Policy {
        algorithm,
        ..Policy::default()
    };
    Fleet {
        seed: 1,
        duration: secs(60),
        app,
        machines: (1..=machines)
            .map(|number| machine(number, "eu", latency))
            .collect(),
        traffic: vec![Traffic::steady(per_sec)],
        sites: vec![Site { region: region("eu") }],
        round_trips: Vec::new(),
        script: Vec::new(),
    }
}

pub(crate) fn weigh(fleet: &mut Fleet, weights: &[u64]) {
    for (machine, weight) in fleet.machines.iter_mut().zip(weights) {
        machine.backend.weight = Weight::new(*weight).unwrap();
    }
}

pub(crate) fn step(at: u64, machine: usize, action: Action, lasts: Option<u64>) -> Step {
    Step {
        at: secs(at),
        machines: vec![machine],
        stagger: Duration::ZERO,
        action,
        lasts: lasts.map(secs),
    }
}

/// Runs it, and holds it to the law that holds for all.
pub(crate) fn run(fleet: &Fleet) -> Report {
    let report = simulate(fleet).unwrap();
    let totals = &report.totals;
    let over = totals.answered + totals.errors + totals.all_failed();
    assert_eq!(
        totals.arrivals,
        over + totals.in_flight,
        "seed {}: {totals:?}",
        fleet.seed
    );
    assert_eq!(totals.answered, report.latency.len());
    let attempts: u64 = report.backends.iter().map(|backend| backend.attempts).sum();
    assert_eq!(totals.attempts, attempts);
    let moments =
        |field: fn(&edgeproxy_simulate::Moment) -> u64| report.series.iter().map(field).sum::<u64>();
    assert_eq!(totals.arrivals, moments(|moment| moment.arrivals));
    assert_eq!(totals.answered, moments(|moment| moment.answered));
    assert_eq!(totals.errors + totals.all_failed(), moments(|moment| moment.bad));
    report
}

pub(crate) fn attempts(report: &Report) -> Vec<u64> {
    report.backends.iter().map(|backend| backend.attempts).collect()
}
