//! What of the configuration can change while the server runs, in the words of those who obey it.
//!
//! A plan is made whole or not at all. Everything that an app's requests go by is derived from it in one step, so
//! that no request sees half of one plan and half of another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, BackendId, Region};
use edgeproxy_balance::{Algorithm, Bound, Inner, Policy, SlowStart, Spill};
use edgeproxy_config as config;
use edgeproxy_config::{App, AppSettings, Health, Picker, Picking, Settings, Topology};
use edgeproxy_proxy as proxy;
use edgeproxy_proxy::Routes;
use edgeproxy_registry::{AppPolicy, Configuration, Initial, LastBackend, Monitoring};

use crate::keys::KeysPlan;
use crate::monitors::{MonitorError, Monitors};
use crate::routing::{self, RoutingError};

/// Every app as the configuration wants it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// An app that the file doesn't name.
    others: AppPlan,
    apps: BTreeMap<AppName, AppPlan>,
    /// How far the other regions are, as far as that is configured.
    pub(crate) distances: Vec<(Region, Duration)>,
    /// Which requests go to which app.
    pub(crate) routes: Arc<Routes>,
    /// The threads that forward traffic.
    pub(crate) workers: usize,
}

/// Why there can be no such plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A health monitor that can't be.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// A route, or an app's prefix, that can't be.
    #[error(transparent)]
    Routing(#[from] RoutingError),
}

/// One app as the configuration wants it.
#[derive(Clone, Debug)]
pub(crate) struct AppPlan {
    /// How a backend is picked.
    pub(crate) policy: Policy,
    /// When the ledgers take one out.
    pub(crate) ledgers: AppPolicy,
    /// How its backends are probed; `None`: not at all.
    pub(crate) monitors: Option<Monitors>,
    /// Backends that are fallbacks, whatever they registered with.
    pub(crate) fallback: BTreeSet<BackendId>,
    /// How its requests are treated.
    pub(crate) settings: proxy::AppSettings,
    /// What of a request its backend is picked by.
    pub(crate) keys: KeysPlan,
    /// How many of a hundred answers say how they were picked for.
    pub(crate) decision_percent: u8,
}

impl Plan {
    /// # Errors
    /// When a health monitor or a route can't be.
    pub(crate) fn of(settings: &Settings, topology: &Topology) -> Result<Self, PlanError> {
        let monitors = Monitors::of_settings(settings)?;
        let others = AppPlan {
            policy: policy(
                settings,
                algorithm(settings.algorithm),
                &AppSettings::of(settings),
            ),
            ledgers: ledgers(&AppSettings::of(settings), None, monitoring(monitors.as_ref())),
            monitors,
            fallback: BTreeSet::new(),
            settings: routing::app_settings(&AppSettings::of(settings), None)?,
            keys: KeysPlan::of(
                (settings.algorithm == config::Algorithm::Hash).then_some(&settings.hash_key),
                &AppSettings::of(settings),
            ),
            decision_percent: percent(settings.decision_header_percent),
        };
        let app = |app: &App| {
            let monitors = Monitors::of_app(app)?;
            let plan = AppPlan {
                policy: policy(settings, picking(&app.picking), &app.settings),
                ledgers: ledgers(&app.settings, app.health.as_ref(), monitoring(monitors.as_ref())),
                monitors,
                fallback: app.fallback.iter().cloned().collect(),
                settings: routing::app_settings(&app.settings, app.add_prefix.as_ref())?,
                keys: KeysPlan::of(hash_key(&app.picking), &app.settings),
                decision_percent: percent(app.settings.decision_header_percent),
            };
            Ok((app.name.clone(), plan))
        };
        let mut apps = topology
            .apps
            .iter()
            .map(app)
            .collect::<Result<BTreeMap<_, _>, PlanError>>()?;
        for (name, _) in topology.routes.iter().flat_map(|route| &route.apps) {
            if !apps.contains_key(name) {
                apps.insert(name.clone(), others.clone());
            }
        }
        Ok(Self {
            apps,
            others,
            distances: topology.geography.rtts_from(settings.region).collect(),
            routes: Arc::new(routing::routes(&topology.routes)?),
            workers: settings.workers.count(),
        })
    }

    /// What the registry is to put in force, with the backends of the file.
    pub(crate) fn registry(&self, topology: &Topology) -> Configuration {
        let apps = self.apps.iter();
        let backends = topology.backends.iter();
        Configuration {
            others: self.others.ledgers,
            apps: apps.map(|(name, app)| (name.clone(), app.ledgers)).collect(),
            backends: backends.map(|listed| listed.backend.clone()).collect(),
        }
    }

    /// What holds for that app, whether the file names it or not.
    pub(crate) fn app(&self, name: &AppName) -> &AppPlan {
        self.apps.get(name).unwrap_or(&self.others)
    }

    /// What holds for every app that the file doesn't name.
    pub(crate) const fn others(&self) -> &AppPlan {
        &self.others
    }

    /// Whether the file names that app.
    pub(crate) fn has(&self, name: &AppName) -> bool {
        self.apps.contains_key(name)
    }

    /// The apps that the file names, in a table of their own or in a route. They are there before a backend of theirs is.
    pub(crate) fn apps(&self) -> impl Iterator<Item = (&AppName, &AppPlan)> {
        self.apps.iter()
    }
}

fn policy(settings: &Settings, algorithm: Algorithm, app: &AppSettings) -> Policy {
    Policy {
        algorithm,
        own: None,
        spill: match app.spill {
            config::Spill::Hard => Spill::Hard,
            config::Spill::Soft => Spill::Soft,
        },
        own_region: Some(settings.region),
        region_order: app.region_order.clone(),
        // A window of 0 is none, and the aggression's bounds are those of the setting.
        slow_start: SlowStart::new(app.slow_start, app.slow_start_aggression.as_f64()).ok(),
        bound: match app.sticky {
            config::Sticky::Off => Bound::Ignored,
            _ => Bound::Followed,
        },
        panic_permille: u16::try_from(app.panic_threshold.thousandths()).unwrap_or(1_000),
    }
}

fn hash_key(picking: &Picking) -> Option<&config::HashKey> {
    match picking.picker() {
        Picker::Hash(key) => Some(key),
        _ => None,
    }
}

fn percent(percent: u32) -> u8 {
    u8::try_from(percent).unwrap_or(100)
}

/// Of an app that the file doesn't name.
pub(crate) fn algorithm(algorithm: config::Algorithm) -> Algorithm {
    match algorithm {
        config::Algorithm::RoundRobin => Algorithm::RoundRobin,
        config::Algorithm::Weighted => Algorithm::Weighted,
        config::Algorithm::LeastConnections => Algorithm::LeastConnections,
        config::Algorithm::Ewma => Algorithm::Ewma,
        config::Algorithm::Hash => Algorithm::Hash,
        config::Algorithm::RegionAffinity => Algorithm::RegionAffinity(Inner::LeastConnections),
    }
}

fn picking(picking: &Picking) -> Algorithm {
    match picking {
        Picking::Anywhere(Picker::RoundRobin) => Algorithm::RoundRobin,
        Picking::Anywhere(Picker::Weighted) => Algorithm::Weighted,
        Picking::Anywhere(Picker::LeastConnections) => Algorithm::LeastConnections,
        Picking::Anywhere(Picker::Ewma) => Algorithm::Ewma,
        Picking::Anywhere(Picker::Hash(_)) => Algorithm::Hash,
        Picking::NearestFirst(picker) => Algorithm::RegionAffinity(match picker {
            Picker::RoundRobin => Inner::RoundRobin,
            Picker::Weighted => Inner::Weighted,
            Picker::LeastConnections => Inner::LeastConnections,
            Picker::Ewma => Inner::Ewma,
            Picker::Hash(_) => Inner::Hash,
        }),
    }
}

fn monitoring(monitors: Option<&Monitors>) -> Monitoring {
    match monitors {
        Some(_) => Monitoring::On,
        None => Monitoring::Off,
    }
}

fn ledgers(app: &AppSettings, health: Option<&Health>, monitoring: Monitoring) -> AppPolicy {
    let default = AppPolicy::default();
    AppPolicy {
        max_failures: app.max_failures,
        last_backend: match app.last_backend {
            config::LastBackend::Keep => LastBackend::Keep,
            config::LastBackend::Eject => LastBackend::Eject,
        },
        max_ejection_percent: app.max_ejection_percent,
        fall: health.map(|health| health.fall),
        rise: health.map_or(default.rise, |health| health.rise),
        initial: match app.initial {
            config::Initial::Routable => Initial::Routable,
            config::Initial::ProbeFirst => Initial::ProbeFirst,
        },
        monitoring,
        ..default
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use edgeproxy_config::{ConfigFile, Layers};

    use super::*;

    /// The plan of a file.
    pub(crate) fn plan(text: &str) -> Plan {
        let file = ConfigFile {
            path: "edgeproxy.toml".into(),
            text: text.to_owned(),
        };
        let layers = Layers {
            file: Some(file),
            ..Layers::default()
        };
        let loaded = layers.load().unwrap();
        Plan::of(&loaded.settings, &loaded.topology).unwrap()
    }

    fn name(name: &str) -> AppName {
        AppName::parse(name).unwrap()
    }

    #[test]
    fn an_app_of_the_file_is_as_its_table_says_and_any_other_as_the_settings_say() {
        let plan = plan("max_failures = 5\n[apps.shop]\nmax_failures = 2\nlast_backend = \"eject\"\n");
        assert_eq!(plan.app(&name("shop")).policy.algorithm, Algorithm::RoundRobin);
        assert_eq!(plan.app(&name("shop")).ledgers.max_failures, 2);
        assert!(!plan.app(&name("shop")).settings.last_resort);
        let other = plan.app(&name("other"));
        assert_eq!(other.policy.algorithm, Algorithm::default());
        assert_eq!(other.ledgers.max_failures, 5);
        assert!(other.settings.last_resort);
        let names: Vec<&AppName> = plan.apps().map(|(name, _)| name).collect();
        assert_eq!(names, [&name("shop")]);
    }

    #[test]
    fn an_app_that_only_a_route_names_is_as_the_settings_say() {
        let plan = plan("max_attempts = 7\n[[routes]]\napp = \"shop\"\n");
        let names: Vec<&AppName> = plan.apps().map(|(name, _)| name).collect();
        assert_eq!(names, [&name("shop")]);
        assert_eq!(plan.app(&name("shop")).settings.max_attempts, 7);
        assert_eq!(plan.routes.len(), 1);
    }

    #[test]
    fn each_way_of_picking_has_its_counterpart() {
        for (text, expected) in [
            ("algorithm = \"weighted\"", Algorithm::Weighted),
            ("algorithm = \"hash\"", Algorithm::Hash),
            (
                "algorithm = \"region_affinity\"",
                Algorithm::RegionAffinity(Inner::LeastConnections),
            ),
            (
                "algorithm = \"region_affinity\"\ninner = \"ewma\"",
                Algorithm::RegionAffinity(Inner::Ewma),
            ),
        ] {
            let plan = plan(&format!("[apps.shop]\n{text}\n"));
            assert_eq!(plan.app(&name("shop")).policy.algorithm, expected, "{text}");
        }
    }
}
