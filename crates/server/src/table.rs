//! From what the registry says to what the data plane routes by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use edgeproxy_backend::ahead::{self, AHEAD};
use edgeproxy_backend::{AppName, Endpoint, MonoTime, Region};
use edgeproxy_balance::{Algorithm, Balancer, Barred, Candidate, Policy, RoundTrips};
use edgeproxy_proxy::{AppRoute, RetryBudget, RouteTable};
use edgeproxy_registry::{Cause, Member, Reason, Snapshot, State};
use hashbrown::HashMap;

use crate::plan::{AppPlan, Plan};

/// Builds a table from each snapshot, and builds anew only the apps that changed.
pub(crate) struct TableBuilder {
    plan: Arc<Plan>,
    /// The other regions, nearest first, as far as that is configured or was measured.
    measured: Vec<Region>,
    built: HashMap<AppName, Built, foldhash::fast::RandomState>,
}

struct Built {
    /// The version of the app that it was built from.
    version: u64,
    /// Whether the plan has changed since, or what was measured and it goes by.
    is_outdated: bool,
    route: Arc<AppRoute>,
}

impl TableBuilder {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self {
            measured: RoundTrips::new(plan.distances.iter().copied())
                .nearest_first()
                .to_vec(),
            plan,
            built: HashMap::default(),
        }
    }

    /// What apps are to be.
    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Builds every app by another plan the next time. Turns, waiters and sums are handed on as ever.
    pub(crate) fn go_over(&mut self, plan: Arc<Plan>) {
        self.plan = plan;
        for built in self.built.values_mut() {
            built.is_outdated = true;
        }
    }

    /// The whole table: the apps of the plan, and those that have members.
    ///
    /// `now` is the time on the registry's clock.
    pub(crate) fn build(&mut self, snapshot: &Snapshot, now: MonoTime) -> RouteTable {
        let planned = Arc::clone(&self.plan);
        self.built
            .retain(|name, _| snapshot.apps.contains_key(name) || planned.has(name));
        for (name, app) in snapshot.apps.iter() {
            self.keep(name, app.version, &app.members, now);
        }
        for (name, _) in planned.apps() {
            if !snapshot.apps.contains_key(name) {
                self.keep(name, EMPTY, &[], now);
            }
        }
        RouteTable::new(
            snapshot.version,
            self.built.values().map(|built| Arc::clone(&built.route)),
            Arc::clone(&planned.routes),
        )
    }

    /// Whether there are apps that go by how far the other regions were found to be: those with `region_affinity`
    /// whose `region_order` says nothing.
    pub(crate) fn goes_by_distance(&self) -> bool {
        self.built
            .keys()
            .any(|name| goes_by_distance(&self.plan.app(name).policy))
    }

    /// The other regions, nearest first, from the next table on.
    pub(crate) fn measured(&mut self, nearest_first: &[Region]) {
        self.measured = nearest_first.to_vec();
        for (name, built) in &mut self.built {
            built.is_outdated |= goes_by_distance(&self.plan.app(name).policy);
        }
    }

    /// When the same snapshot is to be built again: somebody's slow start comes to its next step.
    pub(crate) fn next_change(&self) -> Option<MonoTime> {
        let built = self.built.values();
        built.filter_map(|built| built.route.balancer.next_change()).min()
    }

    /// Builds an app, unless it is as it was.
    fn keep(&mut self, name: &AppName, version: u64, members: &[Member], now: MonoTime) {
        let previous = self.built.get(name);
        let is_due = |built: &Built| built.route.balancer.next_change().is_some_and(|due| due <= now);
        if previous.is_some_and(|built| built.version == version && !built.is_outdated && !is_due(built)) {
            return;
        }
        let route = Arc::new(self.route(name, members, previous.map(|built| &*built.route), now));
        let built = Built {
            version,
            is_outdated: false,
            route,
        };
        self.built.insert(name.clone(), built);
    }

    fn route(
        &self,
        name: &AppName,
        members: &[Member],
        previous: Option<&AppRoute>,
        now: MonoTime,
    ) -> AppRoute {
        let plan = self.plan.app(name);
        let mut candidates = Vec::with_capacity(members.len());
        for some in members.chunks(AHEAD) {
            ahead::read(some.iter().map(|member| &member.endpoint));
            candidates.extend(some.iter().map(|member| candidate(plan, member)));
        }
        let mut policy = Cow::Borrowed(&plan.policy);
        if goes_by_distance(&policy) {
            policy.to_mut().region_order.clone_from(&self.measured);
        }
        let queue = previous.map(|route| Arc::clone(&route.queue));
        let budget = previous.map(|route| Arc::clone(&route.retry_budget));
        AppRoute {
            name: name.clone(),
            balancer: Balancer::prepare(&policy, candidates, now, previous.map(|route| &route.balancer)),
            settings: plan.settings.clone(),
            queue: queue.unwrap_or_default(),
            retry_budget: budget.unwrap_or_else(|| Arc::new(RetryBudget::new(self.plan.workers))),
            summary: summary(members),
            keys: plan.keys.built(previous.and_then(|route| route.keys.as_ref())),
            decision_percent: plan.decision_percent,
        }
    }
}

fn goes_by_distance(policy: &Policy) -> bool {
    matches!(policy.algorithm, Algorithm::RegionAffinity(_)) && policy.region_order.is_empty()
}

/// The version of an app that has no members. Those of snapshots begin above it.
const EMPTY: u64 = 0;

pub(crate) fn candidate(plan: &AppPlan, member: &Member) -> Candidate<Arc<Endpoint>> {
    let excluded = (!member.state.takes_traffic()).then(|| {
        let reason = member.reason.told_of(member.state).into_boxed_str();
        match (member.excluded_by(), member.reason) {
            // Nothing is known of it yet that could be ignored.
            (_, Reason::FirstProbe) => Barred::Firm(reason),
            (Some(Cause::Health), _) => Barred::Unwell(reason),
            _ => Barred::Firm(reason),
        }
    });
    let endpoint = &member.endpoint;
    Candidate {
        fallback: endpoint.fallback || plan.fallback.contains(&endpoint.id),
        excluded,
        on_trial: member.state == State::Trial,
        since: member.since,
        load: member.load,
        ..Candidate::new(Arc::clone(endpoint))
    }
}

/// Why an app may have nobody to route to: `2 ejected, 1 draining`.
fn summary(members: &[Member]) -> String {
    let mut counts = BTreeMap::new();
    for member in members.iter().filter(|member| !member.state.takes_traffic()) {
        *counts.entry(position(member.state)).or_insert(0_usize) += 1;
    }
    let mut text = String::new();
    for (position, count) in counts {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a String can't fail.
        let _ = write!(text, "{separator}{count} {}", State::ALL[position]);
    }
    text
}

fn position(state: State) -> usize {
    State::ALL.iter().position(|one| *one == state).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::{Backend, BackendAddr, BackendId, Country, Gate, Region};
    use edgeproxy_balance::{Claim, Client, PickError};
    use edgeproxy_registry::{AppPolicy, Change, Config, Initial, Patch, Probe, Registration, Registry};

    use super::*;
    use crate::plan::tests::plan;

    fn backend(id: &str, app: &str, port: u16) -> Backend {
        Backend::new(
            BackendId::parse(id).unwrap(),
            AppName::parse(app).unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("10.0.0.1", port).unwrap(),
        )
    }

    fn builder() -> TableBuilder {
        TableBuilder::new(Arc::new(plan("algorithm = \"round_robin\"\n")))
    }

    #[test]
    fn only_the_apps_that_changed_are_built_anew() {
        let now = MonoTime::from_secs(1);
        let mut registry = Registry::new(Config::default(), now);
        let mut builder = builder();
        for (id, app, port) in [("a", "one", 1), ("b", "two", 2)] {
            registry
                .handle_register(
                    Registration {
                        backend: backend(id, app, port),
                        ttl: None,
                    },
                    now,
                )
                .unwrap();
        }
        let before = builder.build(&registry.poll_snapshot(now).unwrap(), now);
        registry
            .handle_deregister(&BackendId::parse("a").unwrap(), None, None, now)
            .unwrap();
        registry
            .handle_register(
                Registration {
                    backend: backend("c", "three", 3),
                    ttl: None,
                },
                now,
            )
            .unwrap();
        let after = builder.build(&registry.poll_snapshot(now).unwrap(), now);
        let route = |table: &RouteTable, app: &str| table.app(&AppName::parse(app).unwrap()).cloned();
        assert!(Arc::ptr_eq(
            &route(&before, "two").unwrap(),
            &route(&after, "two").unwrap()
        ));
        assert!(route(&after, "one").is_none());
        assert!(route(&after, "three").is_some());
    }

    #[test]
    fn an_app_of_the_plan_is_there_before_its_backends_and_after_them() {
        let now = MonoTime::from_secs(1);
        let mut registry = Registry::new(Config::default(), now);
        let mut builder = TableBuilder::new(Arc::new(plan("[apps.shop]\nfallback = [\"a\"]\n")));
        let shop = AppName::parse("shop").unwrap();
        let routable = |table: &RouteTable| table.app(&shop).map(|app| app.balancer.routable());
        assert_eq!(
            routable(&builder.build(&Snapshot::default(), MonoTime::ZERO)),
            Some(0)
        );
        let registration = |id: &str, port| Registration {
            backend: backend(id, "shop", port),
            ttl: None,
        };
        registry.handle_register(registration("a", 1), now).unwrap();
        assert_eq!(
            routable(&builder.build(&registry.poll_snapshot(now).unwrap(), now)),
            Some(1)
        );
        registry.handle_register(registration("b", 2), now).unwrap();
        let table = builder.build(&registry.poll_snapshot(now).unwrap(), now);
        assert_eq!(
            routable(&table),
            Some(1),
            "a is a fallback, since the plan says so"
        );
        for id in ["a", "b"] {
            registry
                .handle_deregister(&BackendId::parse(id).unwrap(), None, None, now)
                .unwrap();
        }
        assert_eq!(
            routable(&builder.build(&registry.poll_snapshot(now).unwrap(), now)),
            Some(0)
        );
    }

    #[test]
    fn all_out_a_panic_uses_those_that_failed_their_probes_and_none_that_awaits_its_first() {
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
        let mut builder = TableBuilder::new(Arc::new(plan("panic_threshold = 0.5\n")));
        let registered = ["a", "b"].map(|id| {
            let registration = Registration {
                backend: backend(id, "app", 1),
                ttl: None,
            };
            registry
                .handle_register(registration, now)
                .unwrap()
                .endpoint
                .incarnation
        });
        let app = |table: &RouteTable| table.app(&AppName::parse("app").unwrap()).cloned().unwrap();
        let waiting = app(&builder.build(&registry.poll_snapshot(now).unwrap(), now));
        assert_eq!(
            (waiting.balancer.routable(), waiting.balancer.ignores_health()),
            (0, false)
        );
        let id = BackendId::parse("a").unwrap();
        for passed in [true, false, false, false] {
            registry.handle_probe(&id, registered[0], Probe::Monitor, passed, now);
        }
        let table = app(&builder.build(&registry.poll_snapshot(now).unwrap(), now));
        assert_eq!(
            (table.balancer.routable(), table.balancer.ignores_health()),
            (1, true)
        );
        assert_eq!(
            table.balancer.candidate(0).map(|endpoint| endpoint.meter.gate()),
            Some(Gate::Unhealthy)
        );
    }

    #[test]
    fn an_app_that_is_built_anew_keeps_its_queue_and_its_retry_budget() {
        let now = MonoTime::from_secs(1);
        let mut registry = Registry::new(Config::default(), now);
        let mut builder = TableBuilder::new(Arc::new(plan("[apps.shop]\n[[routes]]\napp = \"shop\"\n")));
        let before = builder.build(&Snapshot::default(), now);
        let registration = Registration {
            backend: backend("a", "shop", 1),
            ttl: None,
        };
        registry.handle_register(registration, now).unwrap();
        let after = builder.build(&registry.poll_snapshot(now).unwrap(), now);
        let shop = |table: &RouteTable| Arc::clone(table.app(&AppName::parse("shop").unwrap()).unwrap());
        let (before, after) = (shop(&before), shop(&after));
        assert!(!Arc::ptr_eq(&before, &after));
        assert!(Arc::ptr_eq(&before.queue, &after.queue));
        assert!(Arc::ptr_eq(&before.retry_budget, &after.retry_budget));
    }

    #[test]
    fn the_summary_counts_who_is_out_and_why() {
        let now = MonoTime::from_secs(1);
        let mut registry = Registry::new(Config::default(), now);
        for (id, port) in [("a", 1), ("b", 2), ("c", 3)] {
            registry
                .handle_register(
                    Registration {
                        backend: backend(id, "app", port),
                        ttl: None,
                    },
                    now,
                )
                .unwrap();
        }
        let off = Patch {
            enabled: Change::Set(false),
            ..Patch::default()
        };
        for id in ["a", "b"] {
            registry
                .handle_patch(&BackendId::parse(id).unwrap(), None, &off, now)
                .unwrap();
        }
        let minute = Some(std::time::Duration::from_secs(60));
        registry
            .handle_deregister(&BackendId::parse("c").unwrap(), None, minute, now)
            .unwrap();
        let table = builder().build(&registry.poll_snapshot(now).unwrap(), now);
        let route = table.app(&AppName::parse("app").unwrap()).unwrap();
        let picked = route
            .balancer
            .pick(&Client::default(), MonoTime::ZERO, 0, |endpoint| {
                Claim::Granted(endpoint.id.clone())
            });
        // Nothing was in flight on the draining one, so it may be gone already.
        assert!(
            ["2 disabled", "1 draining, 2 disabled"].contains(&route.summary.as_str()),
            "{}",
            route.summary
        );
        assert_eq!(picked.unwrap_err(), PickError::NoneRoutable);
    }

    /// An app with a backend that is none of last resort and a fallback, and who of them may be picked.
    struct Spare {
        registry: Registry,
        builder: TableBuilder,
    }

    impl Spare {
        const NOW: MonoTime = MonoTime::from_secs(1);

        fn new() -> Self {
            let mut registry = Registry::new(Config::default(), Self::NOW);
            let spare = Backend {
                fallback: true,
                ..backend("spare", "app", 2)
            };
            for backend in [backend("main", "app", 1), spare] {
                registry
                    .handle_register(Registration { backend, ttl: None }, Self::NOW)
                    .unwrap();
            }
            Self {
                registry,
                builder: builder(),
            }
        }

        /// Three probes decide.
        fn probed(&mut self, id: &str, passed: bool) {
            let id = BackendId::parse(id).unwrap();
            let incarnation = self.registry.get(&id, Self::NOW).unwrap().endpoint.incarnation;
            for _ in 0..3 {
                let probe = Probe::Monitor;
                self.registry
                    .handle_probe(&id, incarnation, probe, passed, Self::NOW);
            }
        }

        /// Those that get the next requests.
        fn picked(&mut self) -> Vec<String> {
            let table = match self.registry.poll_snapshot(Self::NOW) {
                Some(snapshot) => self.builder.build(&snapshot, Self::NOW),
                None => panic!("nothing has changed"),
            };
            let balancer = &table.app(&AppName::parse("app").unwrap()).unwrap().balancer;
            let mut picked: Vec<String> = (0..8)
                .filter_map(|entropy| {
                    let pick = balancer.pick(&Client::default(), Self::NOW, entropy, |endpoint| {
                        Claim::Granted(endpoint.id.to_string())
                    });
                    pick.ok()
                })
                .collect();
            picked.dedup();
            picked
        }
    }

    #[test]
    fn fallback_gets_nothing_until_every_other_one_is_out_then_all_of_it_until_one_returns() {
        let mut app = Spare::new();
        assert_eq!(app.picked(), ["main"]);
        app.probed("main", false);
        assert_eq!(app.picked(), ["spare"]);
        app.probed("main", true);
        assert_eq!(app.picked(), ["main"]);
    }

    #[test]
    fn an_unhealthy_fallback_gets_none() {
        let mut app = Spare::new();
        app.probed("main", false);
        app.probed("spare", false);
        assert_eq!(app.picked(), Vec::<String>::new());
        app.probed("main", true);
        assert_eq!(app.picked(), ["main"]);
    }

    #[test]
    fn a_candidate_says_since_when_it_has_been_there() {
        let mut app = Spare::new();
        let snapshot = app.registry.poll_snapshot(Spare::NOW).unwrap();
        let members = &snapshot.apps[&AppName::parse("app").unwrap()].members;
        let plan = plan("");
        for member in members {
            let candidate = candidate(plan.others(), member);
            assert_eq!(candidate.since, Some(Spare::NOW));
        }
    }
}
