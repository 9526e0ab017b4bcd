//! What the process counts, as it is told: to the page, and to whoever scrapes it.

use std::collections::BTreeMap;

use edgeproxy_api::{AppFigures, BackendFigures, Figures, Metrics};
use edgeproxy_backend::AppName;
use edgeproxy_metrics::Exposition;
use edgeproxy_proxy::{AppTotals, BackendTotals, Counted};

/// Where all that is counted can be read.
pub(crate) struct Meters {
    counted: Counted,
}

impl Meters {
    pub(crate) const fn new(counted: Counted) -> Self {
        Self { counted }
    }
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

    fn write(&self, _out: &mut Exposition<'_>) {}
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
