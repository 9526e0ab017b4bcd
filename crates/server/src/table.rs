//! From what the registry says to what the data plane routes by.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use edgeproxy_backend::{AppName, Endpoint, MonoTime};
use edgeproxy_balance::{Balancer, Candidate, Policy};
use edgeproxy_proxy::{AppRoute, Queue, RouteTable};
use edgeproxy_registry::{AppSnapshot, Member, Snapshot, State};
use hashbrown::HashMap;

/// What holds for every app.
#[derive(Clone, Debug)]
pub(crate) struct AppDefaults {
    pub(crate) policy: Policy,
    /// Consecutive failures that eject; 0 never.
    pub(crate) max_failures: u32,
    /// Whether an ejected backend is better than none.
    pub(crate) last_resort: bool,
    /// Requests that may wait while all backends are full.
    pub(crate) queue_max: usize,
}

/// Builds a table from each snapshot, and builds anew only the apps that changed.
pub(crate) struct TableBuilder {
    defaults: AppDefaults,
    built: HashMap<AppName, Built, foldhash::fast::RandomState>,
}

struct Built {
    /// The version of the app that it was built from.
    version: u64,
    route: Arc<AppRoute>,
}

impl TableBuilder {
    pub(crate) fn new(defaults: AppDefaults) -> Self {
        Self {
            defaults,
            built: HashMap::default(),
        }
    }

    pub(crate) fn build(&mut self, snapshot: &Snapshot) -> RouteTable {
        self.built.retain(|name, _| snapshot.apps.contains_key(name));
        for (name, app) in snapshot.apps.iter() {
            let previous = self.built.get(name);
            if previous.is_some_and(|built| built.version == app.version) {
                continue;
            }
            let route = self.route(app, previous.map(|built| &*built.route));
            self.built.insert(
                name.clone(),
                Built {
                    version: app.version,
                    route: Arc::new(route),
                },
            );
        }
        RouteTable::new(
            snapshot.version,
            self.built.values().map(|built| Arc::clone(&built.route)),
        )
    }

    fn route(&self, app: &AppSnapshot, previous: Option<&AppRoute>) -> AppRoute {
        let candidates = app.members.iter().map(candidate).collect();
        let AppDefaults {
            policy,
            max_failures,
            last_resort,
            queue_max,
        } = &self.defaults;
        let queue = previous.map(|route| Arc::clone(&route.queue));
        AppRoute {
            name: app.app.clone(),
            // Nobody has a beginning that a slow start would be counted from, so the time makes no difference.
            balancer: Balancer::prepare(
                policy,
                candidates,
                MonoTime::ZERO,
                previous.map(|route| &route.balancer),
            ),
            max_failures: *max_failures,
            last_resort: *last_resort,
            queue: queue.unwrap_or_else(|| Arc::new(Queue::new(*queue_max))),
            summary: summary(&app.members),
        }
    }
}

fn candidate(member: &Member) -> Candidate<Arc<Endpoint>> {
    let excluded = (!member.state.takes_traffic())
        .then(|| format!("{}: {}", member.state, member.reason).into_boxed_str());
    Candidate {
        target: Arc::clone(&member.endpoint),
        fallback: member.endpoint.fallback,
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
    use edgeproxy_balance::{Algorithm, Claim, Client, PickError, Spill};
    use edgeproxy_registry::{Change, Config, Patch, Registration, Registry};

    use super::*;

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
        let policy = Policy {
            algorithm: Algorithm::RoundRobin,
            spill: Spill::Hard,
            own_region: None,
            ..Policy::default()
        };
        TableBuilder::new(AppDefaults {
            policy,
            max_failures: 0,
            last_resort: true,
            queue_max: 0,
        })
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
