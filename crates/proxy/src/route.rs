//! Where requests go: apps, the routes to them, and all of it at one moment.

mod path;
mod prefixes;
mod routes;
mod rule;
mod rules;
mod shares;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_backend::{AppName, Endpoint, MonoTime};
use edgeproxy_balance::{Balancer, Policy};
use hashbrown::HashMap;

use crate::exchange::answer::Answer;
use crate::{AppSettings, Config, Keys, Prepared, Queue, RetryBudget};
pub(crate) use path::Rewrite;
pub use path::{PathPrefix, PathPrefixError};
pub use routes::Routes;
pub(crate) use routes::{DotSegments, Request};
pub use rule::{BodyLimit, FieldPattern, HostPattern, Route};
pub(crate) use rules::Lines;
use rules::Rule;

/// One app as the data plane knows it: who may be picked, and how requests are treated.
#[derive(Debug)]
pub struct AppRoute {
    /// The app.
    pub name: AppName,
    /// Picks a backend.
    pub balancer: Balancer<Arc<Endpoint>>,
    /// How its requests are treated.
    pub settings: AppSettings,
    /// Where requests wait while every backend is at its hard limit. Handed on when the app is built anew.
    pub queue: Arc<Queue>,
    /// What bounds its retries. Handed on when the app is built anew.
    pub retry_budget: Arc<RetryBudget>,
    /// What of a request its backend is picked by, and by what clients stay with theirs. `None`: nothing.
    pub keys: Option<Keys>,
    /// How many of a hundred answers say by `X-Edgeproxy-Decision` whom the request went to, and why: 0, the
    /// default, to 100.
    pub decision_percent: u8,
    /// What the app's backends are doing, for the 503 that says why none may take a request: `2 ejected,
    /// 1 draining`. Empty: nothing is said.
    pub summary: String,
}

impl AppRoute {
    /// An app without backends, as the default settings have it, to be changed where it is different.
    #[must_use]
    pub fn new(name: AppName) -> Self {
        Self {
            name,
            balancer: Balancer::prepare(&Policy::default(), Vec::new(), MonoTime::ZERO, None),
            settings: AppSettings::default(),
            queue: Arc::default(),
            retry_budget: Arc::default(),
            keys: None,
            decision_percent: 0,
            summary: String::new(),
        }
    }
}

/// Where requests go: every app and every route, at one moment. Immutable; a change is another table.
pub struct RouteTable {
    version: u64,
    apps: Vec<Arc<AppRoute>>,
    /// Where each is among them.
    places: HashMap<AppName, usize, foldhash::fast::RandomState>,
    routes: Arc<Routes>,
    /// Of each app that the routes lead to, where it is.
    led_to: Vec<usize>,
    config: Option<Prepared>,
}

/// The table in force, replaced as a whole. Every worker loads it once for each request.
pub type SharedTable = Arc<ArcSwap<RouteTable>>;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'t> {
    pub(crate) app: &'t Arc<AppRoute>,
    /// The app's place in the table that it was found in.
    pub(crate) place: usize,
    /// How long the request's body may be, in bytes.
    pub(crate) max_body: Option<u64>,
    /// What becomes of its path.
    pub(crate) rewrite: Option<Rewrite<'t>>,
}

impl RouteTable {
    /// A table of `apps` and of the `routes` to them. Of two apps with the same name the last one counts; one that only a
    /// route names is as [`AppRoute::new`] has it. `version` is the caller's and only passed on.
    #[must_use]
    pub fn new(version: u64, apps: impl IntoIterator<Item = Arc<AppRoute>>, routes: Arc<Routes>) -> Self {
        let mut table = Self {
            version,
            apps: Vec::new(),
            places: HashMap::default(),
            led_to: Vec::with_capacity(routes.apps().len()),
            routes: Arc::default(),
            config: None,
        };
        for app in apps {
            table.put(app);
        }
        for name in routes.apps() {
            let place = match table.places.get(name) {
                Some(place) => *place,
                None => table.put(Arc::new(AppRoute::new(name.clone()))),
            };
            table.led_to.push(place);
        }
        table.routes = routes;
        table
    }

    /// The same table, and with it another configuration for connections that begin once it is in force: both are at
    /// the same instant. Every table from then on should come with it: one without is by the configuration of the
    /// beginning.
    #[must_use]
    pub fn with_config(self, config: Prepared) -> Self {
        Self {
            config: Some(config),
            ..self
        }
    }

    /// The configuration that comes with it.
    pub(crate) fn config(&self) -> Option<&Arc<Config>> {
        self.config.as_ref().map(Prepared::config)
    }

    fn put(&mut self, app: Arc<AppRoute>) -> usize {
        let next = self.apps.len();
        let place = *self.places.entry(app.name.clone()).or_insert(next);
        match self.apps.get_mut(place) {
            Some(before) => *before = app,
            None => self.apps.push(app),
        }
        place
    }

    /// The version it was made with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The app of that name.
    #[must_use]
    pub fn app(&self, name: &AppName) -> Option<&Arc<AppRoute>> {
        self.apps.get(*self.places.get(name)?)
    }

    /// Every app, in no order.
    pub fn apps(&self) -> impl ExactSizeIterator<Item = &Arc<AppRoute>> {
        self.apps.iter()
    }

    /// The app that a [`Destination`] of this table names.
    pub(crate) fn at(&self, place: usize) -> Option<&Arc<AppRoute>> {
        self.apps.get(place)
    }

    /// The app that `host` names by itself; `host` without a port, in any case. So are apps told apart where there are no
    /// routes, and by server names that TLS is passed on by.
    ///
    /// The only app gets everything. Of several, the one that the whole host names, or else the one that its
    /// first label names. The whole name goes first because it says more: the other way round, an app
    /// `shop.example` could never be reached beside an app `shop`.
    #[must_use]
    pub fn route(&self, host: &str) -> Option<&Arc<AppRoute>> {
        self.at(self.named_by(host.as_bytes())?)
    }

    fn named_by(&self, host: &[u8]) -> Option<usize> {
        if let [_] = self.apps.as_slice() {
            return Some(0);
        }
        let mut folded = [0; AppName::MAX_LEN];
        let folded = folded.get_mut(..host.len())?;
        folded.copy_from_slice(host);
        folded.make_ascii_lowercase();
        let host = std::str::from_utf8(folded).ok()?;
        let first = || host.split_once('.').and_then(|(label, _)| self.places.get(label));
        self.places.get(host).or_else(first).copied()
    }

    /// Where a request goes, `None` if nowhere. With routes it is their business alone; without, it is that of its host.
    /// `random` gives 64 bits a call.
    ///
    /// # Errors
    /// When it is for nobody to say which path it has.
    pub(crate) fn destination(
        &self,
        request: Request<'_>,
        lines: &impl Lines,
        random: impl FnMut() -> u64,
    ) -> Result<Option<Destination<'_>>, DotSegments> {
        let found = if self.routes.is_empty() {
            self.named_by(request.host).map(|place| (place, None))
        } else {
            self.led_by_route(request, lines, random)
                .map(|(place, rule)| (place, Some(rule)))
        };
        let Some((place, rule)) = found else {
            return Ok(None);
        };
        let Some(app) = self.at(place) else {
            return Ok(None);
        };
        let AppSettings {
            add_prefix,
            max_body_bytes,
            ..
        } = &app.settings;
        let mut destination = Destination {
            app,
            place,
            max_body: rule.map_or(*max_body_bytes, |rule| rule.max_body(*max_body_bytes)),
            rewrite: rule.map_or_else(|| Rewrite::adding(add_prefix), |rule| rule.rewrite(add_prefix)),
        };
        if request.is_for_the_server() {
            destination.rewrite = None;
        } else if destination.rewrite.is_some() || self.routes.look_at_paths() {
            request.check_path()?;
        }
        Ok(Some(destination))
    }

    /// What a client is told whose request goes nowhere.
    pub(crate) fn no_route(&self, host: Option<&str>) -> Answer {
        if self.routes.is_empty() {
            Answer::no_route(host)
        } else {
            Answer::no_route_is_for(host)
        }
    }

    fn led_by_route(
        &self,
        request: Request<'_>,
        lines: &impl Lines,
        random: impl FnMut() -> u64,
    ) -> Option<(usize, &Rule)> {
        let rule = self.routes.find(request, lines)?;
        let place = self.led_to.get(rule.draw(random)?)?;
        Some((*place, rule))
    }
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new(0, [], Arc::default())
    }
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteTable")
            .field("version", &self.version)
            .field("apps", &self.places.keys())
            .field("routes", &self.routes)
            .finish()
    }
}

#[cfg(test)]
mod tests;
