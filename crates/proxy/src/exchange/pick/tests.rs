use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Gate, Limits, Region};
use edgeproxy_balance::{Algorithm, Balancer, Candidate, Policy};

use super::*;
use crate::AppSettings;

fn endpoint(number: u64, change: impl FnOnce(&mut Backend)) -> Arc<Endpoint> {
    let mut backend = Backend::new(
        BackendId::parse(&format!("b{number}")).unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("127.0.0.1", 80).unwrap(),
    );
    change(&mut backend);
    Arc::new(Endpoint::new(backend, Incarnation::new(number).unwrap()))
}

fn app(endpoints: &[Arc<Endpoint>], last_resort: bool) -> AppRoute {
    let candidate = |e: &Arc<Endpoint>| Candidate {
        fallback: e.fallback,
        ..Candidate::new(Arc::clone(e))
    };
    let policy = Policy {
        algorithm: Algorithm::RoundRobin,
        ..Policy::default()
    };
    AppRoute {
        balancer: Balancer::prepare(
            &policy,
            endpoints.iter().map(candidate).collect(),
            MonoTime::ZERO,
            None,
        ),
        settings: AppSettings {
            max_failures: 1,
            last_resort,
            ..AppSettings::default()
        },
        ..AppRoute::new(AppName::parse("app").unwrap())
    }
}

fn picked(app: &AppRoute, tried: &[u64]) -> Result<u64, PickError> {
    let tried: Vec<_> = tried
        .iter()
        .map(|number| Incarnation::new(*number).unwrap())
        .collect();
    pick(app, Front::Http, Client::default(), MonoTime::ZERO, || 0, &tried)
        .map(|place| place.endpoint().incarnation.get())
}

#[test]
fn one_already_tried_is_not_tried_again_while_another_is_there() {
    let endpoints = [endpoint(1, |_| ()), endpoint(2, |_| ()), endpoint(3, |_| ())];
    let app = app(&endpoints, true);
    for _ in 0..6 {
        assert_eq!(picked(&app, &[1, 3]), Ok(2));
    }
    // All were tried: any but the one that has just failed.
    for _ in 0..6 {
        assert_ne!(picked(&app, &[1, 2, 3]), Ok(3));
    }
}

#[test]
fn with_one_backend_only_there_is_nothing_to_retry_on() {
    let app = app(&[endpoint(1, |_| ())], true);
    assert_eq!(picked(&app, &[]), Ok(1));
    assert!(picked(&app, &[1]).is_err());
}

#[test]
fn an_excluded_one_is_the_last_resort_and_only_if_it_may_be() {
    let endpoints = [endpoint(1, |_| ()), endpoint(2, |_| ())];
    endpoints[0].meter.exclude();
    let keep = app(&endpoints, true);
    for _ in 0..4 {
        assert_eq!(picked(&keep, &[]), Ok(2), "somebody else is routable");
    }
    endpoints[1].meter.close();
    assert_eq!(picked(&keep, &[]), Ok(1));
    assert!(picked(&app(&endpoints, false), &[]).is_err());
    endpoints[0].meter.close();
    assert_eq!(picked(&keep, &[]), Err(PickError::NoneRoutable));
}

#[test]
fn a_full_one_is_not_passed_over_for_a_last_resort() {
    let full = endpoint(1, |backend| backend.limits = Limits::new(1, 1).unwrap());
    let excluded = endpoint(2, |_| ());
    excluded.meter.exclude();
    let app = app(&[Arc::clone(&full), excluded], true);
    let held = pick(&app, Front::Http, Client::default(), MonoTime::ZERO, || 0, &[]).unwrap();
    assert_eq!(held.endpoint().incarnation, full.incarnation);
    assert_eq!(picked(&app, &[]), Err(PickError::AllFull));
    drop(held);
    assert_eq!(picked(&app, &[]), Ok(1));
}

#[test]
fn a_trial_is_one_request_at_a_time() {
    let only = endpoint(1, |_| ());
    only.meter.start_trial();
    let app = app(std::slice::from_ref(&only), true);
    let trial = pick(&app, Front::Http, Client::default(), MonoTime::ZERO, || 0, &[]).unwrap();
    assert!(trial.is_trial());
    assert!(picked(&app, &[]).is_err());
    drop(trial);
    assert_eq!(only.meter.gate(), Gate::Trial);
}

#[test]
fn http_1_is_spoken_inside_tls_too() {
    let only = endpoint(1, |backend| backend.protocol = Protocol::Https);
    let app = app(std::slice::from_ref(&only), true);
    assert!(picked(&app, &[]).is_ok());
}

#[test]
fn an_upgrade_is_never_asked_of_what_speaks_http_2_alone_and_everything_else_is() {
    let only = endpoint(1, |backend| backend.protocol = Protocol::H2c);
    let app = app(std::slice::from_ref(&only), true);
    let picked = |front| pick(&app, front, Client::default(), MonoTime::ZERO, || 0, &[]).map(drop);
    assert_eq!(picked(Front::Upgrade), Err(PickError::NoneRoutable));
    assert_eq!(only.meter.totals(), (0, 0));
    assert!(picked(Front::Http).is_ok() && picked(Front::Tcp).is_ok());
}
