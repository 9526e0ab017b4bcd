use std::collections::BTreeSet;
use std::sync::Arc;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, MonoTime, Region,
};
use edgeproxy_balance::{Algorithm, Candidate};
use edgeproxy_config::ConfigFile;
use edgeproxy_registry::{
    AppPolicy, Change, Config, Initial, Member, Monitoring, Patch, Probe, Registration, Registry, State,
};

use super::*;
use crate::plan::tests::plan;
use crate::table::candidate;

fn read(text: &str) -> simulate::Fleet {
    let file = ConfigFile {
        path: "fleet.toml".into(),
        text: text.to_owned(),
    };
    fleet(&config::fleet(&file).unwrap()).unwrap()
}

#[test]
fn a_setting_means_in_a_simulation_what_it_means_in_use() {
    let fleet = read(
        "region = \"eu\"\n\
         heartbeat_ttl_secs = 30\n\
         [regions]\nus = { rtt_ms = { eu = 90 } }\n\
         [apps.shop]\nalgorithm = \"ewma\"\nmax_failures = 7\nmax_attempts = 5\nqueue_timeout_secs = 2\n\
         unhealthy_responses = [502, \"503-504\"]\nsticky = \"client_ip\"\nfallback = [\"eu-2\"]\n\
         [apps.shop.health]\ninterval_secs = 3\nhttp = { path = \"/ok\" }\n\
         [[groups]]\nname = \"eu\"\ncount = 2\nregion = \"eu\"\n\
         [[servers]]\nbackend = \"eu-2\"\nlatency_ms = 12.5\ndistribution = \"constant\"\nerror_percent = 0.001\nreset_percent = 12.345\n\
         [[traffic]]\nrate = 10\nkeys = 5\nzipf = 1.1\n\
         [[events]]\nat_secs = 5\nwhat = \"slow\"\nfactor = 2.5\ngroup = \"eu\"\nfor_secs = 9\n\
         [[events]]\nat_secs = 9\nwhat = \"errors\"\npercent = 0.001\ngroup = \"eu\"\n",
    );
    assert_eq!(fleet.app.name, AppName::parse("shop").unwrap());
    assert_eq!(fleet.app.policy.algorithm, Algorithm::Ewma);
    assert_eq!(
        (fleet.app.ledgers.max_failures, fleet.app.requests.max_failures),
        (7, 7)
    );
    assert_eq!(
        (
            fleet.app.requests.max_attempts,
            fleet.app.requests.queue_timeout.as_secs()
        ),
        (5, 2)
    );
    let unhealthy: Vec<u16> = fleet
        .app
        .requests
        .unhealthy
        .iter()
        .map(|range| *range.start())
        .collect();
    assert_eq!(unhealthy, [502, 503, 504]);
    assert!(fleet.app.requests.bindings.is_some());
    assert_eq!(fleet.app.registry.ttl.as_secs(), 30);
    assert_eq!(fleet.app.ledgers.monitoring, Monitoring::On);
    assert_eq!(fleet.app.monitor.as_ref().unwrap().interval().as_secs(), 3);
    let [eu, us] = ["eu", "us"].map(|name| Region::parse(name).unwrap());
    assert_eq!(fleet.round_trips, [(eu, us, Duration::from_millis(90))]);
    assert_eq!(fleet.sites, [Site { region: eu }]);
    let [one, two] = &fleet.machines[..] else {
        panic!("{:?}", fleet.machines)
    };
    assert!(!one.backend.fallback && two.backend.fallback);
    assert_eq!(two.latency, Latency::Constant(Duration::from_micros(12_500)));
    assert_eq!((one.errors_per_100k, two.errors_per_100k), (0, 1));
    assert_eq!((one.resets_per_100k, two.resets_per_100k), (0, 12_345));
    assert_eq!(
        fleet.traffic[0].keys,
        Some(Keys {
            count: 5,
            zipf_permille: 1_100
        })
    );
    let step = &fleet.script[0];
    assert_eq!(
        (step.action, &step.machines[..]),
        (Action::Slow(2.5), &[0, 1][..])
    );
    assert_eq!(fleet.script[1].action, Action::Errors(1));
}

fn backend(id: &str) -> Backend {
    Backend::new(
        BackendId::parse(id).unwrap(),
        AppName::parse("app").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 1).unwrap(),
    )
}

/// A simulation makes its candidates by itself, since it sees no server.
#[test]
fn a_simulation_s_candidates_are_those_of_a_server() {
    let mut seen = 0;
    for member in members_in_every_state() {
        let plan = plan("");
        let [ours, theirs] = [
            candidate(plan.others(), &member),
            simulate::wiring::candidate(&member),
        ];
        assert!(Arc::ptr_eq(&ours.target, &theirs.target));
        let rest = |of: Candidate<Arc<Endpoint>>| (of.fallback, of.excluded, of.on_trial, of.since, of.load);
        assert_eq!(rest(ours), rest(theirs), "{}", member.state);
        seen += 1;
    }
    assert!(seen >= 7, "{seen}");
}

/// Members in every state.
pub(crate) fn members_in_every_state() -> Vec<Member> {
    let now = MonoTime::from_secs(1);
    let policy = AppPolicy {
        initial: Initial::ProbeFirst,
        ..AppPolicy::default()
    };
    let config = Config {
        app: policy,
        ..Config::default()
    };
    let mut registry = Registry::new(config, now);
    let mut members = Vec::new();
    let registration = |id: &str| Registration {
        backend: Backend {
            fallback: id == "spare",
            ..backend(id)
        },
        ttl: None,
    };
    let ids = ["waiting", "well", "spare", "ill", "off", "leaving"];
    for id in ids {
        let registered = registry.handle_register(registration(id), now).unwrap();
        let (id, incarnation) = (BackendId::parse(id).unwrap(), registered.endpoint.incarnation);
        let results: &[bool] = match id.as_str() {
            "waiting" => &[],
            "ill" => &[true, false, false, false],
            _ => &[true],
        };
        for passed in results {
            registry.handle_probe(&id, incarnation, Probe::Monitor, *passed, now);
        }
    }
    let off = Patch {
        enabled: Change::Set(false),
        ..Patch::default()
    };
    registry
        .handle_patch(&BackendId::parse("off").unwrap(), None, &off, now)
        .unwrap();
    let held = registry
        .get(&BackendId::parse("leaving").unwrap(), now)
        .unwrap()
        .endpoint;
    let held = held.admit(Admission::Regular).unwrap();
    let minute = Some(Duration::from_secs(60));
    registry
        .handle_deregister(&BackendId::parse("leaving").unwrap(), None, minute, now)
        .unwrap();
    let mut take = |registry: &mut Registry, now| {
        let snapshot = registry.poll_snapshot(now).unwrap();
        members.extend(snapshot.apps.values().flat_map(|app| app.members.clone()));
    };
    take(&mut registry, now);
    // Ejected, and on trial.
    let failing = AppPolicy {
        max_failures: 1,
        ..policy
    };
    registry.set_app_policy(&AppName::parse("app").unwrap(), failing, now);
    let well = registry
        .get(&BackendId::parse("well").unwrap(), now)
        .unwrap()
        .endpoint;
    let place = well.admit(Admission::Regular).unwrap();
    let signal = place.failed(1, now).unwrap();
    registry.handle_traffic(&place.report(signal), now);
    take(&mut registry, now);
    let mut later = now;
    while registry
        .get(&well.id, later)
        .is_some_and(|status| status.state == State::Ejected)
    {
        later = registry.poll_timeout().unwrap();
        registry.handle_timeout(later);
    }
    take(&mut registry, later);
    drop((held, place));
    let states: BTreeSet<&str> = members.iter().map(|member| member.state.as_str()).collect();
    assert!(states.len() >= 6, "{states:?}");
    members
}
