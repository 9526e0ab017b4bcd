//! Whom the health monitor probes, and where the results go.

use std::future::Future;
use std::sync::Arc;

use edgeproxy_backend::Protocol;
use edgeproxy_control::Handle;
use edgeproxy_health as health;
use edgeproxy_health::{Class, First, Monitor, Outcome, Pace, Target};
use edgeproxy_registry as registry;
use edgeproxy_registry::{Member, Probe, Reason, Snapshot, State};

use crate::plan::Plan;

/// Keeps the health monitor's targets equal to the registry's members.
pub(crate) struct Probes {
    health: health::Handle,
    monitor: Option<Arc<Monitor>>,
    /// How a backend that speaks TLS is probed: the monitor's requests would be garbage to it.
    inside_tls: Option<Arc<Monitor>>,
    /// How a suspect is probed, monitor or not.
    suspects: Arc<Monitor>,
    /// Whether there were targets the last time, so that a server without a monitor does nothing.
    any: bool,
}

impl Probes {
    /// The probes, and the driver to run beside the registry's.
    pub(crate) fn new(handle: Handle, monitor: Option<Arc<Monitor>>) -> (Self, impl Future<Output = ()>) {
        let sink = move |target: &Target, outcome: &Outcome| report(&handle, target, outcome);
        let config = health::Config {
            seed: fastrand::u64(..),
            ..health::Config::default()
        };
        let (health, driver) = health::Driver::new(config, sink);
        let inside_tls = inside_tls(monitor.as_ref());
        (
            Self {
                health,
                monitor,
                inside_tls,
                suspects: Arc::new(Monitor::tcp()),
                any: false,
            },
            driver.run(),
        )
    }

    /// Goes over to another plan's monitor with the next update.
    pub(crate) fn go_over(&mut self, plan: &Plan) {
        self.monitor.clone_from(&plan.others().monitor);
        self.inside_tls = inside_tls(self.monitor.as_ref());
    }

    pub(crate) fn update(&mut self, snapshot: &Snapshot) {
        let members = || snapshot.apps.values().flat_map(|app| &app.members);
        let suspected = members().any(|member| member.state == State::Suspect);
        let wanted = self.monitor.is_some() || suspected;
        if wanted || self.any {
            self.health
                .set_targets(members().flat_map(|member| self.targets(member)));
        }
        self.any = wanted;
    }

    fn targets(&self, member: &Member) -> impl Iterator<Item = Target> {
        let monitored = !matches!(member.state, State::Disabled | State::Draining);
        let monitor = match member.endpoint.protocol {
            Protocol::Https => &self.inside_tls,
            _ => &self.monitor,
        };
        let monitor = monitor.as_ref().filter(|_| monitored);
        let suspects = (member.state == State::Suspect).then_some(&self.suspects);
        let first = if member.reason == Reason::FirstProbe {
            First::AtOnce
        } else {
            First::Spread
        };
        let both = [(Class::Monitor, monitor), (Class::Suspect, suspects)];
        let endpoint = Arc::clone(&member.endpoint);
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

fn inside_tls(monitor: Option<&Arc<Monitor>>) -> Option<Arc<Monitor>> {
    monitor.map(|monitor| {
        let tcp = Monitor::tcp().with_interval(monitor.interval());
        // An interval that one monitor has, another can have.
        Arc::new(tcp.unwrap_or_else(|_| Monitor::tcp()))
    })
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
