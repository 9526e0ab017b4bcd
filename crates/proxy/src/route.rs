use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_backend::{AppName, Endpoint};
use edgeproxy_balance::Balancer;
use hashbrown::HashMap;

use crate::{Keys, Queue};

/// One app as the data plane knows it: who may be picked and how failures are treated.
#[derive(Debug)]
pub struct AppRoute {
    /// The app.
    pub name: AppName,
    /// Picks a backend.
    pub balancer: Balancer<Arc<Endpoint>>,
    /// Consecutive failed requests that exclude a backend at once; 0 never does.
    pub max_failures: u32,
    /// Whether a backend that was excluded for its failures is used when there is no other one
    /// (`last_backend = "keep"`).
    pub last_resort: bool,
    /// Where requests wait while every backend is at its hard limit. Handed on when the app is built anew.
    pub queue: Arc<Queue>,
    /// What of a request its backend is picked by, and by what clients stay with theirs. `None`: nothing.
    pub keys: Option<Keys>,
    /// How many of a hundred answers say by `X-Edgeproxy-Decision` whom the request went to, and why: 0, the
    /// default, to 100.
    pub decision_percent: u8,
    /// What the app's backends are doing, for the 503 that says why none may take a request: `2 ejected,
    /// 1 draining`. Empty: nothing is said.
    pub summary: String,
}

/// Where requests go: every app, at one moment. Immutable; a change is another table.
pub struct RouteTable {
    version: u64,
    apps: HashMap<AppName, Arc<AppRoute>, foldhash::fast::RandomState>,
    only: Option<Arc<AppRoute>>,
}

/// The table in force, replaced as a whole. Every worker loads it once for each request.
pub type SharedTable = Arc<ArcSwap<RouteTable>>;

impl RouteTable {
    /// A table of `apps`. Of two with the same name the last one counts. `version` is the caller's and only
    /// passed on.
    #[must_use]
    pub fn new(version: u64, apps: impl IntoIterator<Item = Arc<AppRoute>>) -> Self {
        let apps: HashMap<_, _, _> = apps.into_iter().map(|app| (app.name.clone(), app)).collect();
        let only = if apps.len() == 1 {
            apps.values().next().cloned()
        } else {
            None
        };
        Self { version, apps, only }
    }

    /// The version it was made with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The app of that name.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&Arc<AppRoute>> {
        self.apps.get(name)
    }

    /// Every app, in no order.
    pub fn apps(&self) -> impl ExactSizeIterator<Item = &Arc<AppRoute>> {
        self.apps.values()
    }

    /// The app that a request for `host` goes to; `host` without a port, in any case.
    ///
    /// The only app gets everything. Of several, the one that the whole host names, or else the one that its
    /// first label names. The whole name goes first because it says more: the other way round, an app
    /// `shop.example` could never be reached beside an app `shop`.
    #[must_use]
    pub fn route(&self, host: &str) -> Option<&Arc<AppRoute>> {
        self.route_bytes(host.as_bytes())
    }

    /// The same for what has just been read.
    pub(crate) fn route_bytes(&self, host: &[u8]) -> Option<&Arc<AppRoute>> {
        if let Some(only) = &self.only {
            return Some(only);
        }
        let mut folded = [0; AppName::MAX_LEN];
        let folded = folded.get_mut(..host.len())?;
        folded.copy_from_slice(host);
        folded.make_ascii_lowercase();
        let host = std::str::from_utf8(folded).ok()?;
        let first = || host.split_once('.').and_then(|(label, _)| self.apps.get(label));
        self.apps.get(host).or_else(first)
    }
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new(0, [])
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable")
            .field("version", &self.version)
            .field("apps", &self.apps.keys())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::MonoTime;
    use edgeproxy_balance::Policy;

    use super::*;

    fn table(names: &[&str]) -> RouteTable {
        let app = |name: &&str| {
            Arc::new(AppRoute {
                name: AppName::parse(name).unwrap(),
                balancer: Balancer::prepare(&Policy::default(), Vec::new(), MonoTime::ZERO, None),
                max_failures: 0,
                last_resort: true,
                queue: Arc::new(Queue::new(0)),
                keys: None,
                decision_percent: 0,
                summary: String::new(),
            })
        };
        RouteTable::new(1, names.iter().map(app).collect::<Vec<_>>())
    }

    fn route(table: &RouteTable, host: &str) -> Option<String> {
        table.route(host).map(|app| app.name.to_string())
    }

    #[test]
    fn one_app_gets_everything() {
        let table = table(&["shop"]);
        assert_eq!(route(&table, "127.0.0.1").as_deref(), Some("shop"));
        assert_eq!(route(&table, "").as_deref(), Some("shop"));
    }

    #[test]
    fn several_apps_are_told_apart_by_the_whole_host_or_its_first_label() {
        let table = table(&["shop", "blog", "shop.example"]);
        assert_eq!(route(&table, "SHOP.internal").as_deref(), Some("shop"));
        assert_eq!(route(&table, "blog").as_deref(), Some("blog"));
        assert_eq!(route(&table, "shop.example").as_deref(), Some("shop.example"));
        assert_eq!(route(&table, "www.shop"), None);
        assert_eq!(route(&table, "2001:db8::1"), None);
        assert_eq!(route(&table, &"x".repeat(254)), None);
        assert_eq!(route(&table, ""), None);
    }

    #[test]
    fn no_app_routes_nothing() {
        assert_eq!(route(&RouteTable::default(), "shop"), None);
    }
}
