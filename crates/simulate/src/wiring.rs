//! What a server does between the crates: it makes candidates of members, and probes whom the registry wants probed. The
//! server's own is in `crates/server` (`table`, `probes`), which holds these to it by a test.

use std::sync::Arc;

use edgeproxy_backend::Endpoint;
use edgeproxy_balance::{Barred, Candidate};
use edgeproxy_health::{Class, First};
use edgeproxy_registry::{Cause, Member, Reason, State};

/// What a member is to the balancer.
#[must_use]
pub fn candidate(member: &Member) -> Candidate<Arc<Endpoint>> {
    let excluded = (!member.state.takes_traffic()).then(|| {
        let reason = member.reason.told_of(member.state).into_boxed_str();
        match (member.excluded_by(), member.reason) {
            // Nothing is known of it yet that could be ignored.
            (_, Reason::FirstProbe) => Barred::Firm(reason),
            (Some(Cause::Health), _) => Barred::Unwell(reason),
            _ => Barred::Firm(reason),
        }
    });
    Candidate {
        fallback: member.endpoint.fallback,
        excluded,
        on_trial: member.state == State::Trial,
        since: member.since,
        load: member.load,
        ..Candidate::new(Arc::clone(&member.endpoint))
    }
}

/// What a member is to be probed for, if its app has a monitor.
#[must_use]
pub fn probed_for(member: &Member, has_monitor: bool) -> [Option<Class>; 2] {
    let monitored = has_monitor && !matches!(member.state, State::Disabled | State::Draining);
    [
        monitored.then_some(Class::Monitor),
        member.in_doubt.then_some(Class::Suspect),
    ]
}

/// When a member that is new to the schedule is first probed.
#[must_use]
pub const fn first_probe(member: &Member) -> First {
    match member.reason {
        Reason::FirstProbe | Reason::Restored | Reason::Overdue { .. } => First::AtOnce,
        _ => First::Spread,
    }
}
