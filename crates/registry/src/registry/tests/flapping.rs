//! Ejections in virtual time, with requests that take a while and meters as the data plane uses them; and what one
//! ledger's good news does to another's bad news.

use std::collections::VecDeque;

use super::*;

fn five() -> AppPolicy {
    AppPolicy {
        max_failures: 5,
        fall: Some(1),
        ..AppPolicy::default()
    }
}

/// Requests in turn to whoever lets them in, a hundred a second, each answered after 30 ms.
struct Traffic {
    in_flight: VecDeque<(MonoTime, InFlight)>,
    turn: usize,
}

impl Traffic {
    const EVERY: Duration = Duration::from_millis(10);
    const TAKES: Duration = Duration::from_millis(30);

    fn step(&mut self, world: &mut World, backends: [&Arc<Endpoint>; 2], fails: impl Fn(&Endpoint) -> bool) {
        self.turn += 1;
        let order = [backends[self.turn % 2], backends[(self.turn + 1) % 2]];
        let admitted = order
            .into_iter()
            .find_map(|endpoint| endpoint.admit(Admission::Regular).ok());
        let request = admitted.expect("somebody takes it");
        self.in_flight.push_back((world.now + Self::TAKES, request));
        while let Some((_, request)) = self.in_flight.pop_front_if(|(ends, _)| *ends <= world.now) {
            let signal = if fails(request.endpoint()) {
                request.failed(five().max_failures, world.now)
            } else {
                request.succeeded(Self::TAKES, world.now)
            };
            if let Some(signal) = signal {
                world.registry.handle_traffic(&request.report(signal), world.now);
            }
        }
    }
}

#[test]
fn a_backend_that_fails_for_1_s_in_every_3_is_ejected_for_longer_each_time_and_under_ten_times_in_ten_minutes()
 {
    for seed in 0..20 {
        let mut world = World::with(Config {
            app: five(),
            seed,
            ..Config::default()
        });
        let (flaps, well) = (world.add("flaps"), world.add("well"));
        let (begin, mut heartbeat) = (world.now, world.now);
        let mut traffic = Traffic {
            in_flight: VecDeque::new(),
            turn: 0,
        };
        let (mut lengths, mut ejections) = (Vec::new(), 0);
        while world.now < begin + 600 * SEC {
            world.now = world.now + Traffic::EVERY;
            if world.now >= heartbeat {
                heartbeat = heartbeat + 20 * SEC;
                ["flaps", "well"].iter().for_each(|name| world.beat(name));
            }
            world.registry.handle_timeout(world.now);
            let is_bad = world.now.since(begin).as_secs().is_multiple_of(3);
            traffic.step(&mut world, [&flaps, &well], |endpoint| {
                is_bad && endpoint.incarnation == flaps.incarnation
            });
            if world.registry.stats().ejections > ejections {
                ejections = world.registry.stats().ejections;
                match world.get("flaps").unwrap().reason {
                    Reason::Failures { trial_in, .. } => lengths.push(trial_in),
                    other => panic!("{other:?}"),
                }
            }
        }
        world.registry.audit().unwrap();
        assert!((3..10).contains(&lengths.len()), "seed {seed}: {lengths:?}");
        assert!(
            lengths.is_sorted_by(|before, after| before < after),
            "seed {seed}: {lengths:?}"
        );
        assert_eq!(world.state("well"), Some(State::Routable));
    }
}

#[test]
fn failures_of_requests_that_began_before_the_ejection_don_t_lengthen_it() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    let mut requests: Vec<InFlight> = (0..12).map(|_| begin(&a)).collect();
    let fail = |world: &mut World, request: &InFlight| {
        if let Some(signal) = request.failed(5, world.now) {
            let report = request.report(signal);
            world.registry.handle_traffic(&report, world.now);
        }
    };
    for request in requests.drain(..5) {
        fail(&mut world, &request);
    }
    let Reason::Failures { streak: 5, trial_in } = world.get("a").unwrap().reason else {
        panic!("not ejected")
    };
    world.pass(SEC);
    for request in requests.drain(..5) {
        fail(&mut world, &request);
    }
    assert_eq!(
        world.get("a").unwrap().reason,
        Reason::Failures {
            streak: 5,
            trial_in: trial_in - SEC
        }
    );
    world.probe(&a, true);
    for request in requests {
        fail(&mut world, &request);
    }
    assert_eq!(world.state("a"), Some(State::Trial), "nor do they fail its trial");
    assert_eq!(world.registry.stats().ejections, 1);
}

/// News about a backend that is out for another reason.
fn good_news(world: &mut World, a: &Arc<Endpoint>, before: &InFlight, news: &str) {
    match news {
        "heartbeat" => world.beat("a"),
        "registration" => drop(world.add("a")),
        "success" => {
            if let Some(signal) = before.succeeded(MS, world.now) {
                world.registry.handle_traffic(&before.report(signal), world.now);
            }
        }
        "probe" => drop(world.probe(a, true)),
        _ => {
            let patch = Patch {
                enabled: Change::Set(true),
                ..Patch::default()
            };
            world.patch("a", patch).unwrap();
        }
    }
}

#[test]
fn one_ledger_s_good_news_never_erases_another_s_bad_news() {
    let rows: [(&str, State, &[&str]); 5] = [
        (
            "traffic",
            State::Ejected,
            &["heartbeat", "registration", "success", "enabled"],
        ),
        (
            "probe",
            State::Unhealthy,
            &["heartbeat", "registration", "success", "enabled"],
        ),
        (
            "operator",
            State::Disabled,
            &["heartbeat", "registration", "success", "probe"],
        ),
        (
            "draining",
            State::Draining,
            &["heartbeat", "success", "probe", "enabled"],
        ),
        ("lease", State::Suspect, &["success", "probe", "enabled"]),
    ];
    for (ledger, state, news) in rows {
        for news in news {
            let mut world = World::with_policy(five());
            let a = world.add("a");
            for name in ["b", "c", "d"] {
                world.add(name);
            }
            let before = begin(&a);
            match ledger {
                "traffic" => world.fail(&a),
                "probe" => drop(world.probe(&a, false)),
                "operator" => {
                    let off = Patch {
                        enabled: Change::Set(false),
                        ..Patch::default()
                    };
                    world.patch("a", off).unwrap();
                }
                "draining" => world.report(
                    "a",
                    LoadReport {
                        draining: Some(true),
                        ..LoadReport::default()
                    },
                ),
                _ => {
                    for _ in 0..3 {
                        ["a", "b", "c", "d"].iter().for_each(|name| world.beat(name));
                    }
                    world.pass(TTL);
                }
            }
            assert_eq!(world.state("a"), Some(state), "{ledger}");
            good_news(&mut world, &a, &before, news);
            world.registry.audit().unwrap();
            assert_eq!(world.state("a"), Some(state), "{ledger}: {news}");
        }
    }
}

#[test]
fn a_passing_probe_brings_an_ejected_one_back_on_trial_and_no_further() {
    let mut world = World::with_policy(five());
    let (a, _) = (world.add("a"), world.add("b"));
    world.fail(&a);
    world.probe(&a, true);
    world.probe(&a, true);
    assert_eq!(world.state("a"), Some(State::Trial));
}

#[test]
fn a_lease_that_has_run_out_is_not_brought_back_by_anything_but_a_registration() {
    let mut world = World::with_policy(five());
    let a = world.add("a");
    let before = begin(&a);
    world.pass(TTL);
    let heard = world
        .registry
        .handle_heartbeat(&id("a"), None, &LoadReport::default(), world.now);
    assert_eq!(heard.unwrap_err(), FencedError::Unknown(id("a")));
    good_news(&mut world, &a, &before, "success");
    good_news(&mut world, &a, &before, "probe");
    assert_eq!((world.state("a"), a.meter.gate()), (None, Gate::Closed));
    world.add("a");
    assert_eq!(world.state("a"), Some(State::Routable));
}

#[test]
fn max_failures_0_never_ejects() {
    let mut world = World::new();
    let (a, _) = (world.add("a"), world.add("b"));
    for _ in 0..1_000 {
        assert_eq!(begin(&a).failed(0, world.now), None);
    }
    assert_eq!(
        (world.state("a"), a.meter.gate()),
        (Some(State::Routable), Gate::Open)
    );
}

#[test]
fn fall_is_max_failures_or_3_where_that_is_0() {
    for (max_failures, fall, expected) in [(0, None, 3), (5, None, 5), (5, Some(2), 2)] {
        let mut world = World::with_policy(AppPolicy {
            max_failures,
            fall,
            ..AppPolicy::default()
        });
        let a = world.add("a");
        for failed in 1..=expected {
            assert_eq!(world.state("a"), Some(State::Routable), "{failed} of {expected}");
            world.probe(&a, false);
        }
        assert_eq!(world.state("a"), Some(State::Unhealthy), "{expected}");
    }
}

#[test]
fn failures_are_counted_by_app_so_one_app_s_never_eject_another_s() {
    let mut world = World::with_policy(five());
    let other = Backend {
        app: app("other"),
        ..backend("same-address")
    };
    let (a, same) = (world.add("a"), world.register(other));
    world.add("b");
    assert_eq!(a.addr, same.addr);
    world.fail(&a);
    assert_eq!(
        (world.state("a"), world.state("same-address")),
        (Some(State::Ejected), Some(State::Routable))
    );
    assert_eq!((same.meter.gate(), same.meter.streak()), (Gate::Open, 0));
}
