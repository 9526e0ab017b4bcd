//! What backends are doing right now, as the registry and their meters have it.

use std::collections::{BTreeMap, HashMap};

use edgeproxy_backend::{AppName, BackendId};
use edgeproxy_metrics::{Exposition, Family};
use edgeproxy_proxy::{BackendTotals, Traffic};
use edgeproxy_registry::{Member, Snapshot, State};

use super::Column;

const APP: &[&str] = &["app"];
const BACKEND: &[&str] = &["app", "backend"];

static APP_BACKENDS: Family = Family::gauge(
    "edgeproxy_app_backends",
    &["app", "state"],
    "Backends of an app, by state. All are 0 for an app that is configured, or has had traffic of late, and has none.",
);
static APP_IN_FLIGHT: Family = Family::gauge(
    "edgeproxy_app_in_flight",
    APP,
    "Requests, and TCP connections, that are under way on an app's backends.",
);
static STATE: Family = Family::gauge(
    "edgeproxy_backend_state",
    &["app", "backend", "region", "state"],
    "1 for the state that a backend is in.",
);
static IN_FLIGHT: Family = Family::gauge(
    "edgeproxy_backend_in_flight",
    BACKEND,
    "Requests, and TCP connections, that are under way on a backend.",
);
static ELSEWHERE: Family = Family::gauge(
    "edgeproxy_backend_in_flight_elsewhere",
    BACKEND,
    "Requests that a backend has under way for others, by what it reports with its heartbeats.",
);
static SOFT: Family = Family::gauge(
    "edgeproxy_backend_soft_limit",
    BACKEND,
    "From how many requests in flight on others are preferred; 0 is no limit.",
);
static HARD: Family = Family::gauge(
    "edgeproxy_backend_hard_limit",
    BACKEND,
    "How many requests may be in flight; 0 is no limit.",
);
static WEIGHT: Family = Family::gauge(
    "edgeproxy_backend_weight",
    BACKEND,
    "A backend's share of the traffic, an operator's change included.",
);
static LEFT_OUT: Family = Family::gauge(
    "edgeproxy_metrics_backends_left_out",
    &[],
    "Backends that are told of within their app only, since there are more than metrics_max_backends.",
);

#[cfg(test)]
pub(super) const FAMILIES: &[&Family] = &[
    &APP_BACKENDS,
    &APP_IN_FLIGHT,
    &STATE,
    &IN_FLIGHT,
    &ELSEWHERE,
    &SOFT,
    &HARD,
    &WEIGHT,
    &LEFT_OUT,
];

/// The backends that are told of one by one: of those that are there, the ones that have been for the longest time, so
/// that it doesn't change all the time who they are; then those that are gone, as far as there is room.
pub(super) struct Shown<'s> {
    members: Vec<&'s Member>,
    traffic: Vec<(&'s AppName, &'s BackendId, &'s BackendTotals)>,
    left_out: usize,
}

impl<'s> Shown<'s> {
    pub(super) fn of(snapshot: &'s Snapshot, traffic: &'s Traffic, max: usize) -> Self {
        let mut members: Vec<&Member> = snapshot.apps.values().flat_map(|app| &app.members).collect();
        members.sort_unstable_by_key(|member| member.endpoint.incarnation);
        let left_out = members.len().saturating_sub(max);
        let mut is_shown: HashMap<_, bool> = HashMap::with_capacity(members.len());
        for (place, member) in members.iter().enumerate() {
            is_shown.insert((&member.endpoint.app, &member.endpoint.id), place < max);
        }
        members.truncate(max);
        let mut room = max - members.len();
        let traffic = traffic
            .backends
            .iter()
            .filter(|one| match is_shown.get(&(&one.app, &one.id)) {
                Some(shown) => *shown,
                None if room > 0 => {
                    room -= 1;
                    true
                }
                None => false,
            });
        Self {
            traffic: traffic.map(|one| (&one.app, &one.id, &one.totals)).collect(),
            members,
            left_out,
        }
    }

    /// What they have come to, with the values of `app` and `backend`.
    pub(super) fn traffic(&self) -> impl Iterator<Item = ([&'s str; 2], &'s BackendTotals)> {
        let each = self.traffic.iter();
        each.map(|(app, id, totals)| ([app.as_str(), id.as_str()], *totals))
    }
}

/// Writes what they do; `idle` are names of apps that are told of even if no backend is there.
pub(super) fn write<'n>(
    out: &mut Exposition<'_>,
    snapshot: &Snapshot,
    shown: &Shown<'_>,
    idle: impl Iterator<Item = &'n str>,
) {
    write_apps(out, snapshot, idle);
    let mut samples = out.family(&STATE);
    for member in &shown.members {
        let [app, id] = labels(member);
        let labels = [app, id, member.endpoint.region.as_str(), member.state.as_str()];
        samples.value(&labels, 1_u64);
    }
    let numbers: [Column<Member, u32>; 5] = [
        (&IN_FLIGHT, |member| member.endpoint.meter.in_flight()),
        (&ELSEWHERE, |member| member.endpoint.meter.elsewhere()),
        (&SOFT, |member| member.endpoint.limits.soft()),
        (&HARD, |member| member.endpoint.limits.hard()),
        (&WEIGHT, |member| member.endpoint.weight.get().into()),
    ];
    for (family, number) in numbers {
        let mut samples = out.family(family);
        for member in &shown.members {
            samples.value(&labels(member), number(member));
        }
    }
    out.family(&LEFT_OUT).value(&[], shown.left_out);
}

fn labels<'m>(member: &&'m Member) -> [&'m str; 2] {
    [member.endpoint.app.as_str(), member.endpoint.id.as_str()]
}

/// An app that has lost its last backend is at 0, since an alert can't see a series that has ended.
fn write_apps<'n>(out: &mut Exposition<'_>, snapshot: &Snapshot, idle: impl Iterator<Item = &'n str>) {
    let mut apps: BTreeMap<&str, &[Member]> = idle.map(|name| (name, [].as_slice())).collect();
    let present = snapshot.apps.iter();
    apps.extend(present.map(|(name, app)| (name.as_str(), app.members.as_slice())));
    let mut samples = out.family(&APP_BACKENDS);
    for (name, members) in &apps {
        for state in State::ALL {
            let count = members.iter().filter(|member| member.state == state).count();
            samples.value(&[name, state.as_str()], count);
        }
    }
    let mut samples = out.family(&APP_IN_FLIGHT);
    for (name, members) in &apps {
        let in_flight = members
            .iter()
            .map(|member| u64::from(member.endpoint.meter.in_flight()));
        samples.value(&[name], in_flight.sum::<u64>());
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_metrics::Format;

    use super::*;

    #[test]
    fn an_app_without_a_backend_has_none_in_every_state() {
        let mut text = String::new();
        let mut sink = |part: String| {
            text.push_str(&part);
            true
        };
        let mut out = Exposition::new(Format::Text, &mut sink);
        write_apps(
            &mut out,
            &Snapshot::default(),
            ["shop", "cart", "shop"].into_iter(),
        );
        out.finish();
        for state in State::ALL {
            let line = format!(
                "edgeproxy_app_backends{{app=\"shop\",state=\"{}\"}} 0\n",
                state.as_str()
            );
            assert_eq!(text.matches(&line).count(), 1, "{text}");
        }
        assert!(
            text.contains("edgeproxy_app_in_flight{app=\"cart\"} 0\n"),
            "{text}"
        );
    }
}
