//! Backends that leave and don't come back, and retries that do harm.

use std::collections::{BTreeMap, HashMap, HashSet};

use edgeproxy_backend::AppName;

use super::Found;
use crate::app::App;
use crate::backend::StaticBackend;
use crate::layers::Loaded;
use crate::policy::Initial;
use crate::problem::Place;
use crate::settings::AppSettings;
use crate::types::{HealthMonitor, LastBackend};

/// Something that has an app's settings: the proxy, for all apps that say nothing, or an app.
struct Holder<'l> {
    loaded: &'l Loaded,
    app: Option<&'l App>,
    settings: AppSettings,
    probed: bool,
}

/// The proxy, then every app that says one of these settings itself: what it takes over has been told already.
fn holders<'l>(loaded: &'l Loaded, keys: &'static [&'static str]) -> impl Iterator<Item = Holder<'l>> {
    let proxy = Holder {
        loaded,
        app: None,
        settings: AppSettings::of(&loaded.settings),
        probed: loaded.settings.health_monitor != HealthMonitor::Off,
    };
    let says = move |app: &&App| keys.iter().any(|key| app.says(key).is_some());
    let apps = loaded.topology.apps.iter().filter(says).map(|app| Holder {
        loaded,
        app: Some(app),
        settings: app.settings.clone(),
        probed: app.health.is_some(),
    });
    std::iter::once(proxy).chain(apps)
}

impl Holder<'_> {
    fn place(&self, key: &str) -> Option<&Place> {
        match self.app {
            Some(app) => app.says(key).or(Some(&app.place)),
            None => self.loaded.place(key),
        }
    }

    /// `max_failures`, or `apps.shop.max_failures`.
    fn name(&self, key: &str) -> String {
        match self.app {
            Some(app) => format!("apps.{}.{key}", app.name),
            None => key.to_owned(),
        }
    }

    fn monitor(&self) -> String {
        match self.app {
            Some(app) => format!(
                "write [apps.{}.health] with `tcp = {{}}`, or `http = {{ path = \"/healthz\" }}`",
                app.name
            ),
            None => {
                "write health_monitor = \"tcp\", or \"http:/healthz\" with a path of your backends".to_owned()
            }
        }
    }
}

const WATCHED: &[&str] = &["max_failures", "health", "last_backend"];

/// How many backends the file has of each app.
fn backends_by_app(loaded: &Loaded) -> HashMap<&AppName, usize> {
    let mut counts = HashMap::new();
    for StaticBackend { backend, .. } in &loaded.topology.backends {
        *counts.entry(&backend.app).or_default() += 1;
    }
    counts
}

/// The apps that have one backend, as far as the file says, and no monitor.
fn alone(loaded: &Loaded) -> Vec<&App> {
    let topology = &loaded.topology;
    let counts = backends_by_app(loaded);
    let single = |app: &&App| app.health.is_none() && counts.get(&app.name) == Some(&1);
    topology.apps.iter().filter(single).collect()
}

pub(super) fn single_backend(loaded: &Loaded) -> Vec<Found> {
    let alone = alone(loaded).into_iter();
    let found = alone.filter(|app| app.settings.max_failures > 0).map(|app| {
        let place = app.says("max_failures").unwrap_or(&app.place);
        let stays = match app.settings.last_backend {
            LastBackend::Keep => {
                "with nobody to take its place it is never ejected, so the setting does nothing"
            }
            LastBackend::Eject => "when that fails, every request gets 503, long after it has recovered",
        };
        Found::at(
            Some(place),
            format!(
                "app {} has one backend, max_failures {} and no health monitor: {stays}",
                app.name, app.settings.max_failures
            ),
            format!(
                "write max_failures = 0; or add a second backend, and [apps.{}.health] with `tcp = {{}}`",
                app.name
            ),
        )
    });
    found.collect()
}

/// Of an app that says so itself it is refused.
pub(super) fn probe_first_without_monitor(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    if settings.initial != Initial::ProbeFirst || settings.health_monitor != HealthMonitor::Off {
        return Vec::new();
    }
    vec![Found::at(
        loaded.place("initial"),
        "initial is \"probe_first\" and health_monitor is off: a backend of an app without a monitor of its own gets \
         traffic at once, since it would never pass a first probe"
            .to_owned(),
        "write health_monitor = \"tcp\", or \"http:/healthz\" with a path of your backends",
    )]
}

pub(super) fn without_monitor(loaded: &Loaded) -> Vec<Found> {
    let alone: HashSet<&AppName> = alone(loaded).into_iter().map(|app| &app.name).collect();
    let unwatched = holders(loaded, WATCHED).filter(|holder| {
        let told = holder.app.is_some_and(|app| alone.contains(&app.name));
        holder.settings.max_failures > 0 && !holder.probed && !told
    });
    let found = unwatched.map(|holder| {
        Found::at(
            holder.place("max_failures"),
            format!(
                "{} is {} without a health monitor: an ejected backend comes back only by trying real requests on it, after 30 s and more",
                holder.name("max_failures"),
                holder.settings.max_failures
            ),
            format!("{}; or max_failures = 0", holder.monitor()),
        )
    });
    found.collect()
}

/// Below it `last_backend` leaves no more than the share would.
const FEW: usize = 3;

pub(super) fn ejections_unbounded(loaded: &Loaded) -> Vec<Found> {
    const BOUNDS: &[&str] = &["max_failures", "max_ejection_percent", "panic_threshold"];
    let counts = backends_by_app(loaded);
    let alone: HashSet<&AppName> = alone(loaded).into_iter().map(|app| &app.name).collect();
    let is_many = |count: &&usize| **count >= FEW;
    let says = |app: &App| BOUNDS.iter().any(|key| app.says(key).is_some());
    let speaks_for_itself = |name: &AppName| {
        let apps = &loaded.topology.apps;
        apps.iter().any(|app| app.name == *name && says(app))
    };
    let unbounded = holders(loaded, BOUNDS).filter(|holder| {
        let settings = &holder.settings;
        let listed = match holder.app {
            Some(app) => counts.get(&app.name).as_ref().is_some_and(is_many),
            // One that sets something of it is judged by itself.
            None => counts
                .iter()
                .any(|(name, count)| is_many(&count) && !speaks_for_itself(name)),
        };
        // Its finding says to write 0.
        let told = holder.app.is_some_and(|app| alone.contains(&app.name));
        settings.max_failures > 0
            && !told
            && settings.max_ejection_percent == 100
            && settings.panic_threshold.thousandths() == 0
            && (listed || loaded.settings.api_enabled)
    });
    let found = unbounded.map(|holder| {
        Found::at(
            holder.place("max_failures"),
            format!(
                "{} is {} and nothing bounds how many it takes out: a fault that all backends share, such as a slow database, \
                 ejects one after the other until a single one has all the traffic",
                holder.name("max_failures"),
                holder.settings.max_failures
            ),
            "write max_ejection_percent = 50 beside it, or panic_threshold = 0.5",
        )
    });
    found.collect()
}

pub(super) fn eject_last_without_monitor(loaded: &Loaded) -> Vec<Found> {
    let stuck = holders(loaded, WATCHED).filter(|holder| {
        holder.settings.last_backend == LastBackend::Eject
            && holder.settings.max_failures > 0
            && !holder.probed
    });
    let found = stuck.map(|holder| {
        Found::at(
            holder.place("last_backend"),
            format!(
                "{} is \"eject\" without a health monitor: an app's users get 503 long after its last backend has recovered",
                holder.name("last_backend")
            ),
            "write last_backend = \"keep\", or set a health monitor",
        )
    });
    found.collect()
}

pub(super) fn only_fallbacks(loaded: &Loaded) -> Vec<Found> {
    // Others may register, and then it is as it should be.
    if loaded.settings.api_enabled {
        return Vec::new();
    }
    let topology = &loaded.topology;
    let mut standing: BTreeMap<_, (&Place, bool)> = BTreeMap::new();
    for StaticBackend { backend, place } in &topology.backends {
        let named = topology.app(&backend.app).map_or(&[][..], |app| &app.fallback);
        let everyday = !backend.fallback && !named.contains(&backend.id);
        standing.entry(&backend.app).or_insert((place, false)).1 |= everyday;
    }
    let without = standing.into_iter().filter(|(_, (_, everyday))| !everyday);
    let found = without.map(|(app, (place, _))| {
        Found::at(
            Some(place),
            format!("every backend of app {app} is a fallback: there is nothing that it could stand in for"),
            "remove fallback from those that are to get traffic every day",
        )
    });
    found.collect()
}

pub(super) fn fallback_elsewhere(loaded: &Loaded) -> Vec<Found> {
    let topology = &loaded.topology;
    let apps_of: HashMap<_, _> = topology
        .backends
        .iter()
        .map(|StaticBackend { backend, .. }| (&backend.id, &backend.app))
        .collect();
    let mut found = Vec::new();
    for app in &topology.apps {
        for id in &app.fallback {
            if let Some(other) = apps_of.get(id).filter(|other| ***other != app.name) {
                found.push(Found::at(
                    app.says("fallback"),
                    format!(
                        "apps.{}.fallback names backend {id}, which is one of app {other}",
                        app.name
                    ),
                    format!(
                        "write the id of a backend of app {}, or give it [[backends]] of its own",
                        app.name
                    ),
                ));
            }
        }
    }
    found
}

/// Beyond it, retries are a larger part of the load in an outage than requests are.
const HALF: u32 = 50;

pub(super) fn retries_multiply(loaded: &Loaded) -> Vec<Found> {
    let many = holders(loaded, &["retry_budget_percent"]).filter(|holder| {
        let settings = &holder.settings;
        settings.retry_enabled && settings.max_attempts > 1 && settings.retry_budget_percent > HALF
    });
    let found = many.map(|holder| {
        let settings = &holder.settings;
        let most = settings.retry_budget_percent.min((settings.max_attempts - 1).saturating_mul(100));
        Found::at(
            holder.place("retry_budget_percent"),
            format!(
                "{} is {}: when backends fail, they get up to {most} % more requests, at the moment when they can serve the fewest",
                holder.name("retry_budget_percent"),
                settings.retry_budget_percent
            ),
            "write retry_budget_percent = 20, which mends single failures as well",
        )
    });
    found.collect()
}

pub(super) fn retry_non_idempotent(loaded: &Loaded) -> Vec<Found> {
    let twice = holders(loaded, &["retry_non_idempotent"])
        .filter(|holder| holder.settings.retry_enabled && holder.settings.retry_non_idempotent);
    let found = twice.map(|holder| {
        Found::at(
            holder.place("retry_non_idempotent"),
            format!(
                "{} is true: a backend that fails after it has done its work makes another one do it again, an order twice for example",
                holder.name("retry_non_idempotent")
            ),
            "remove it, unless every backend recognises a repeated request, by an Idempotency-Key for example",
        )
    });
    found.collect()
}
