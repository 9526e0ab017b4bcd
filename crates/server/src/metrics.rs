//! What the process counts, as it is told: to the page, and to whoever scrapes it.

mod backends;
mod clients;
mod own;
mod process;
#[cfg(test)]
mod reference;
mod seen;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_api::{AppFigures, BackendFigures, Figures, Metrics, Readiness, Requests};
use edgeproxy_backend::AppName;
use edgeproxy_control::Handle;
use edgeproxy_metrics::{Exposition, Family};
use edgeproxy_proxy::{AppTotals, BackendTotals, Counted};
use edgeproxy_registry::Snapshot;

use crate::in_force::InForce;
use crate::logs::AccessLines;
use crate::traces::Traces;
pub(crate) use process::Process;
pub(crate) use seen::Seen;

/// Every family, in the order in which they are told.
#[cfg(test)]
const FAMILIES: [&[&Family]; 5] = [
    traffic::FAMILIES,
    backends::FAMILIES,
    clients::FAMILIES,
    own::FAMILIES,
    process::FAMILIES,
];

/// A family of which each `T` has a sample, and its number.
type Column<T, N = u64> = (&'static Family, fn(&T) -> N);

/// The snapshot that was published last, for whoever tells of it. To read it waits for nobody.
pub(crate) type Published = Arc<ArcSwap<Snapshot>>;

/// Where all that is counted can be read.
pub(crate) struct Meters {
    pub(crate) counted: Counted,
    pub(crate) published: Published,
    pub(crate) handle: Handle,
    pub(crate) seen: Seen,
    pub(crate) requests: Requests,
    pub(crate) audit: Option<edgeproxy_api::Audit>,
    pub(crate) access_log: Option<AccessLines>,
    pub(crate) traces: Option<Traces>,
    pub(crate) readiness: Readiness,
    pub(crate) in_force: InForce,
    pub(crate) process: Process,
    /// Backends that are told of one by one.
    pub(crate) max_backends: usize,
}

impl Metrics for Meters {
    fn traffic(&self) -> Vec<AppFigures> {
        let traffic = self.counted.read();
        let apps = traffic.apps.into_iter().map(|one| {
            let figures = AppFigures {
                figures: of_app(&one.totals),
                retries: one.totals.retries,
                backends: Vec::new(),
                app: one.app.clone(),
            };
            (one.app, figures)
        });
        let mut apps: BTreeMap<AppName, AppFigures> = apps.collect();
        for one in traffic.backends {
            if let Some(app) = apps.get_mut(&one.app) {
                app.backends.push(BackendFigures {
                    figures: of_backend(&one.totals),
                    id: one.id,
                });
            }
        }
        apps.into_values().collect()
    }

    fn write(&self, out: &mut Exposition<'_>) {
        let traffic = self.counted.read();
        let snapshot = self.published.load_full();
        let shown = backends::Shown::of(&snapshot, &traffic, self.max_backends);
        traffic::write(out, &traffic, &shown);
        let configuration = edgeproxy_api::Configured::configuration(&self.in_force);
        let configured = configuration
            .apps
            .iter()
            .filter_map(|app| app.get("name")?.as_str());
        let counted = traffic.apps.iter().map(|one| one.app.as_str());
        backends::write(out, &snapshot, &shown, configured.chain(counted));
        clients::write(out, &traffic);
        own::write(out, self);
        process::write(out, &self.process);
    }
}

fn of_app(totals: &AppTotals) -> Figures {
    Figures {
        answers: totals.answers,
        failures: totals.own_answers.iter().sum(),
        latency: totals.durations,
    }
}

fn of_backend(totals: &BackendTotals) -> Figures {
    Figures {
        answers: totals.responses,
        failures: totals.failures.iter().sum(),
        latency: totals.heads,
    }
}
