//! Whom the health monitors probe, and where the results go.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;

use edgeproxy_control::Handle;
use edgeproxy_health as health;
use edgeproxy_health::{Class, First, Monitor, Outcome, Pace, Target, TlsClients};
use edgeproxy_registry as registry;
use edgeproxy_registry::{Member, Probe, Reason, Snapshot, State};

use crate::metrics::Seen;
use crate::monitors::Monitors;
use crate::plan::Plan;

/// Keeps the health monitors' targets equal to the registry's members.
pub(crate) struct Probes {
    health: health::Handle,
    plan: Arc<Plan>,
    /// How one in doubt is probed, a suspect or one that was restored, monitor or not.
    suspects: Arc<Monitor>,
    /// Whether there were targets the last time, so that a server without a monitor does nothing.
    any: bool,
}

impl Probes {
    /// The probes, and the driver to run beside the registry's.
    pub(crate) fn new(
        handle: Handle,
        plan: Arc<Plan>,
        max_concurrent: u32,
        (tls, seen): (Arc<dyn TlsClients>, Seen),
    ) -> (Self, impl Future<Output = ()>) {
        let sink = move |target: &Target, outcome: &Outcome| {
            seen.probe(target.class, outcome);
            report(&handle, target, outcome)
        };
        let max_concurrent = usize::try_from(max_concurrent).ok().and_then(NonZeroUsize::new);
        let config = health::Config {
            max_concurrent: max_concurrent.unwrap_or(health::Config::DEFAULT_MAX_CONCURRENT),
            seed: fastrand::u64(..),
        };
        let (health, driver) = health::Driver::new(config, sink);
        (
            Self {
                health,
                plan,
                suspects: Arc::new(Monitor::tcp()),
                any: false,
            },
            driver.with_tls(tls).run(),
        )
    }

    /// Goes over to another plan with the next update. What probes have found so far stands.
    pub(crate) fn go_over(&mut self, plan: &Arc<Plan>) {
        self.plan = Arc::clone(plan);
    }

    pub(crate) fn update(&mut self, snapshot: &Snapshot) {
        let members = || snapshot.apps.values().flat_map(|app| &app.members);
        let wanted = self.plan.probes() || members().any(is_in_doubt);
        if wanted || self.any {
            let mut targets = Vec::new();
            for app in snapshot.apps.values() {
                let monitors = self.plan.app(&app.app).monitors.as_ref();
                for member in &app.members {
                    targets.extend(self.targets(monitors, member));
                }
            }
            self.health.set_targets(targets);
        }
        self.any = wanted;
    }

    fn targets(&self, monitors: Option<&Monitors>, member: &Member) -> impl Iterator<Item = Target> + use<> {
        let endpoint = Arc::clone(&member.endpoint);
        let monitored = !matches!(member.state, State::Disabled | State::Draining);
        let monitor = monitors
            .filter(|_| monitored)
            .map(|monitors| monitors.of(endpoint.protocol));
        let suspects = is_in_doubt(member).then_some(&self.suspects);
        let at_once = |reason| {
            matches!(
                reason,
                Reason::FirstProbe | Reason::Restored | Reason::Overdue { .. }
            )
        };
        let first = if at_once(member.reason) {
            First::AtOnce
        } else {
            First::Spread
        };
        let both = [(Class::Monitor, monitor), (Class::Suspect, suspects)];
        let both = both.map(|(class, monitor)| (class, monitor.cloned()));
        both.into_iter().filter_map(move |(class, monitor)| {
            Some(Target {
                id: endpoint.id.clone(),
                incarnation: endpoint.incarnation,
                class,
                addr: endpoint.addr,
                monitor: monitor?,
                first,
            })
        })
    }
}

/// Whether the registry wants to know if it is still there.
const fn is_in_doubt(member: &Member) -> bool {
    member.in_doubt
}

fn report(handle: &Handle, target: &Target, outcome: &Outcome) -> Pace {
    let probe = match target.class {
        Class::Monitor => Probe::Monitor,
        Class::Suspect => Probe::Suspect,
    };
    tracing::debug!(backend = %target.id, addr = %target.addr, %outcome, "probe");
    match handle.report_probe(&target.id, target.incarnation, probe, outcome.passed()) {
        registry::Pace::Settled => Pace::Settled,
        registry::Pace::Changing => Pace::Changing,
    }
}
