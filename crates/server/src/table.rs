//! From what the registry says to what the data plane routes by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use edgeproxy_backend::{AppName, Endpoint, MonoTime};
use edgeproxy_balance::{Balancer, Candidate};
use edgeproxy_proxy::{AppRoute, RetryBudget, RouteTable};
use edgeproxy_registry::{Member, Snapshot, State};
use hashbrown::HashMap;

use crate::plan::{AppPlan, Plan};

/// Builds a table from each snapshot, and builds anew only the apps that changed.
pub(crate) struct TableBuilder {
    plan: Arc<Plan>,
    built: HashMap<AppName, Built, foldhash::fast::RandomState>,
}

struct Built {
    /// The version of the app that it was built from.
    version: u64,
    route: Arc<AppRoute>,
}

impl TableBuilder {
    pub(crate) fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            built: HashMap::default(),
        }
    }

    /// The whole table: the apps of the plan, and those that have members.
    pub(crate) fn build(&mut self, snapshot: &Snapshot) -> RouteTable {
        let planned = Arc::clone(&self.plan);
        self.built
            .retain(|name, _| snapshot.apps.contains_key(name) || planned.has(name));
        for (name, app) in snapshot.apps.iter() {
            self.keep(name, app.version, &app.members);
        }
        for (name, _) in planned.apps() {
            if !snapshot.apps.contains_key(name) {
                self.keep(name, EMPTY, &[]);
            }
        }
        RouteTable::new(
            snapshot.version,
            self.built.values().map(|built| Arc::clone(&built.route)),
            Arc::clone(&planned.routes),
        )
    }

    /// Builds an app, unless it is as it was.
    fn keep(&mut self, name: &AppName, version: u64, members: &[Member]) {
        let previous = self.built.get(name);
        if previous.is_some_and(|built| built.version == version) {
            return;
        }
        let route = Arc::new(self.route(name, members, previous.map(|built| &*built.route)));
        self.built.insert(name.clone(), Built { version, route });
    }

    fn route(&self, name: &AppName, members: &[Member], previous: Option<&AppRoute>) -> AppRoute {
        let plan = self.plan.app(name);
        let candidates = members.iter().map(|member| candidate(plan, member)).collect();
        let queue = previous.map(|route| Arc::clone(&route.queue));
        let budget = previous.map(|route| Arc::clone(&route.retry_budget));
        AppRoute {
            name: name.clone(),
            // Nobody has a beginning that a slow start would be counted from, so the time makes no difference.
            balancer: Balancer::prepare(
                &plan.policy,
                candidates,
                MonoTime::ZERO,
                previous.map(|route| &route.balancer),
            ),
            settings: plan.settings.clone(),
            queue: queue.unwrap_or_default(),
            retry_budget: budget.unwrap_or_else(|| Arc::new(RetryBudget::new(self.plan.workers))),
            summary: summary(members),
        }
    }
}

/// The version of an app that has no members. Those of snapshots begin above it.
const EMPTY: u64 = 0;

fn candidate(plan: &AppPlan, member: &Member) -> Candidate<Arc<Endpoint>> {
    let excluded = (!member.state.takes_traffic())
        .then(|| format!("{}: {}", member.state, member.reason).into_boxed_str());
    let endpoint = &member.endpoint;
    Candidate {
        target: Arc::clone(endpoint),
        fallback: endpoint.fallback || plan.fallback.contains(&endpoint.id),
        excluded,
        since: None,
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
    use edgeproxy_backend::{Backend, BackendAddr, BackendId, Country, Region};
    use edgeproxy_balance::{Claim, Client, PickError};
    use edgeproxy_registry::{Change, Config, Patch, Registration, Registry};

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
        let before = builder.build(&registry.poll_snapshot(now).unwrap());
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
        let after = builder.build(&registry.poll_snapshot(now).unwrap());
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
        assert_eq!(routable(&builder.build(&Snapshot::default())), Some(0));
        let registration = |id: &str, port| Registration {
            backend: backend(id, "shop", port),
            ttl: None,
        };
        registry.handle_register(registration("a", 1), now).unwrap();
        assert_eq!(
            routable(&builder.build(&registry.poll_snapshot(now).unwrap())),
            Some(1)
        );
        registry.handle_register(registration("b", 2), now).unwrap();
        let table = builder.build(&registry.poll_snapshot(now).unwrap());
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
            routable(&builder.build(&registry.poll_snapshot(now).unwrap())),
            Some(0)
        );
    }

    #[test]
    fn an_app_that_is_built_anew_keeps_its_queue_and_its_retry_budget() {
        let now = MonoTime::from_secs(1);
        let mut registry = Registry::new(Config::default(), now);
        let mut builder = TableBuilder::new(Arc::new(plan("[apps.shop]\n[[routes]]\napp = \"shop\"\n")));
        let before = builder.build(&Snapshot::default());
        let registration = Registration {
            backend: backend("a", "shop", 1),
            ttl: None,
        };
        registry.handle_register(registration, now).unwrap();
        let after = builder.build(&registry.poll_snapshot(now).unwrap());
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
        let table = builder().build(&registry.poll_snapshot(now).unwrap());
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
}
