use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{AppName, Backend, BackendAddr, Country, Endpoint, Region};

const MS: Duration = Duration::from_millis(1);
const NOW: MonoTime = MonoTime::from_secs(60);

pub(super) fn endpoint(limits: Limits) -> Arc<Endpoint> {
    let mut backend = Backend::new(
        BackendId::parse("a").unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("127.0.0.1", 80).unwrap(),
    );
    backend.limits = limits;
    Arc::new(Endpoint::new(backend, Incarnation::FIRST))
}

pub(super) fn unlimited() -> Arc<Endpoint> {
    endpoint(Limits::NONE)
}

pub(super) fn admit(endpoint: &Arc<Endpoint>) -> Result<InFlight, Refusal> {
    endpoint.admit(Admission::Regular)
}

#[test]
fn a_meter_is_one_cache_line() {
    assert_eq!((size_of::<Meter>(), align_of::<Meter>()), (64, 64));
}

#[test]
fn the_hard_limit_is_never_exceeded_by_eight_threads() {
    let endpoint = endpoint(Limits::new(2, 3).unwrap());
    let (meter, highest) = (&endpoint.meter, AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    if let Ok(request) = admit(&endpoint) {
                        highest.fetch_max(meter.in_flight(), Ordering::Relaxed);
                        drop(request);
                    }
                }
            });
        }
    });
    assert!(highest.into_inner() <= 3);
    assert_eq!(meter.in_flight(), 0);
}

#[test]
fn the_time_that_connecting_took_is_told_once() {
    let meter = Meter::new();
    assert_eq!(meter.take_connect_time(), None);
    meter.connected(80 * MS);
    meter.connected(20 * MS);
    assert_eq!(meter.take_connect_time(), Some(20 * MS));
    assert_eq!(meter.take_connect_time(), None);
    meter.connected(Duration::ZERO);
    assert_eq!(meter.take_connect_time(), Some(Duration::from_micros(1)));
}

#[test]
fn all_out_in_a_panic_health_is_ignored_and_an_operator_is_not() {
    let panic = |endpoint: &Arc<Endpoint>| endpoint.admit(Admission::Panic).map(drop);
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    meter.exclude();
    assert_eq!(panic(&endpoint), Ok(()));
    meter.bench();
    assert_eq!(endpoint.admit(Admission::LastResort).unwrap_err(), Refusal::Shut);
    assert_eq!(panic(&endpoint), Ok(()));
    // A trial is still one, and whoever comes meanwhile is none.
    meter.start_trial();
    let trial = endpoint.admit(Admission::Panic).unwrap();
    let besides = endpoint.admit(Admission::Panic).unwrap();
    assert_eq!((trial.is_trial(), besides.is_trial()), (true, false));
    assert_eq!((besides.failed(1, NOW), meter.gate()), (None, Gate::TrialBusy));
    assert_eq!(trial.succeeded(MS, NOW), Some(Signal::TrialPassed));
    meter.close();
    assert_eq!(panic(&endpoint), Err(Refusal::Shut));
    meter.cut();
    assert_eq!(panic(&endpoint), Err(Refusal::Shut));
}

#[test]
fn all_out_in_a_panic_the_hard_limit_holds() {
    let endpoint = endpoint(Limits::new(1, 1).unwrap());
    endpoint.meter.exclude();
    let held = endpoint.admit(Admission::Panic).unwrap();
    assert_eq!(endpoint.admit(Admission::Panic).unwrap_err(), Refusal::Full);
    assert_eq!(
        (held.failed(1, NOW), endpoint.meter.gate()),
        (None, Gate::Excluded)
    );
}

#[test]
fn a_streak_excludes_at_once_and_reports_once() {
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    for _ in 0..4 {
        assert_eq!(admit(&endpoint).unwrap().failed(5, NOW), None);
    }
    let late = admit(&endpoint).unwrap();
    assert_eq!(
        admit(&endpoint).unwrap().failed(5, NOW),
        Some(Signal::StreakReached)
    );
    assert_eq!(admit(&endpoint).unwrap_err(), Refusal::Shut);
    assert_eq!(
        (late.failed(5, NOW), late.succeeded(MS, NOW)),
        (None, None),
        "it began before the ejection"
    );
    assert_eq!(meter.gate(), Gate::Excluded);
    assert!(endpoint.admit(Admission::LastResort).is_ok());
    assert_eq!(meter.totals(), (7, 6));
}

#[test]
fn a_success_ends_the_streak_and_zero_max_failures_never_excludes() {
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    for _ in 0..4 {
        let _ = admit(&endpoint).unwrap().failed(5, NOW);
    }
    assert_eq!(admit(&endpoint).unwrap().succeeded(MS, NOW), None);
    assert_eq!(meter.streak(), 0);
    for _ in 0..1_000 {
        assert_eq!(admit(&endpoint).unwrap().failed(0, NOW), None);
    }
    assert_eq!((meter.gate(), meter.streak()), (Gate::Open, 1_000));
}

#[test]
fn a_trial_is_one_request_at_a_time_until_the_registry_decides() {
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    meter.exclude();
    meter.start_trial();
    let trial = admit(&endpoint).unwrap();
    assert!(trial.is_trial());
    assert_eq!(admit(&endpoint).unwrap_err(), Refusal::OnTrial);
    assert_eq!(trial.succeeded(MS, NOW), Some(Signal::TrialPassed));
    drop(trial);
    assert_eq!(meter.gate(), Gate::Trial, "still on trial, but free");
    assert_eq!(
        admit(&endpoint).unwrap().failed(5, NOW),
        Some(Signal::TrialFailed)
    );
    assert_eq!(meter.gate(), Gate::Excluded);
    meter.start_trial();
    drop(admit(&endpoint).unwrap()); // the client went away: neither good nor bad news
    assert_eq!(meter.gate(), Gate::Trial);
    let trial = admit(&endpoint).unwrap();
    meter.open();
    drop(trial);
    assert_eq!(meter.gate(), Gate::Open);
}

#[test]
fn a_full_endpoint_on_trial_stays_free_for_the_next() {
    let endpoint = endpoint(Limits::new(1, 1).unwrap());
    let meter = &endpoint.meter;
    let before = admit(&endpoint).unwrap();
    meter.exclude();
    meter.start_trial();
    assert_eq!(admit(&endpoint).unwrap_err(), Refusal::Full);
    drop(before);
    assert!(admit(&endpoint).unwrap().is_trial());
}

#[test]
fn would_admit_says_what_admit_does_and_changes_nothing() {
    let limits = Limits::new(1, 1).unwrap();
    for set in [
        Meter::open,
        Meter::exclude,
        Meter::start_trial,
        Meter::close,
        Meter::cut,
    ] {
        for admission in [Admission::Regular, Admission::LastResort] {
            let endpoint = endpoint(limits);
            let meter = &endpoint.meter;
            set(meter);
            let before = format!("{meter:?}");
            let said = endpoint.would_admit(admission);
            assert_eq!(format!("{meter:?}"), before);
            let first = endpoint.admit(admission);
            assert_eq!(first.as_ref().map(drop).map_err(|refusal| *refusal), said);
            let said = endpoint.would_admit(admission);
            assert_eq!(endpoint.admit(admission).map(drop), said, "with one in flight");
        }
    }
}

#[test]
fn a_cut_gate_never_opens_again() {
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    meter.cut();
    meter.open();
    assert_eq!(meter.gate(), Gate::Cut);
}

#[test]
fn the_latency_average_follows_and_never_reads_none() {
    let endpoint = unlimited();
    let meter = &endpoint.meter;
    assert_eq!(meter.latency(), Duration::ZERO);
    admit(&endpoint).unwrap().succeeded(Duration::from_millis(8), NOW);
    assert_eq!(meter.latency(), Duration::from_millis(8));
    admit(&endpoint)
        .unwrap()
        .succeeded(Duration::from_millis(16), NOW);
    assert_eq!(meter.latency(), Duration::from_millis(9));
    for _ in 0..1_000 {
        admit(&endpoint).unwrap().succeeded(Duration::ZERO, NOW);
    }
    assert!(!meter.latency().is_zero() && meter.latency() < Duration::from_micros(1));
    for _ in 0..1_000 {
        admit(&endpoint)
            .unwrap()
            .succeeded(Duration::from_secs(3_600), NOW);
    }
    assert!(
        meter.latency() > Duration::from_secs(200),
        "saturated, not wrapped"
    );
}

fn gate() -> impl Strategy<Value = Gate> {
    prop_oneof![
        Just(Gate::Open),
        Just(Gate::Excluded),
        Just(Gate::Trial),
        Just(Gate::TrialBusy),
        Just(Gate::Closed),
        Just(Gate::Cut)
    ]
}

proptest! {
    #[test]
    fn the_parts_of_a_word_do_not_touch_each_other(bits: u64, gate in gate(), streak in 0_u32..1 << 29) {
        let word = Word::from_bits(bits);
        let set = word.with_gate(gate).with_streak(streak);
        prop_assert_eq!((set.gate(), set.streak(), set.epoch()), (gate, streak, word.epoch()));
        let next = set.next_epoch();
        let expected = (gate, streak, word.epoch().wrapping_add(1));
        prop_assert_eq!((next.gate(), next.streak(), next.epoch()), expected);
        prop_assert_eq!(set.is_clean(word.epoch()), gate == Gate::Open && streak == 0);
    }
}
