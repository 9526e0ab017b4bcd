use std::collections::BTreeMap;
use std::time::Duration;

use edgeproxy_backend::MonoTime;

use super::{ClusterPolicy, plus};
use crate::ProxyName;

/// Which proxies there are, and which there were.
#[derive(Debug)]
pub(super) struct Members {
    me: ProxyName,
    others: BTreeMap<ProxyName, Presence>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    Alive { since: MonoTime },
    Missing { since: MonoTime },
}

/// Names of proxies that are gone are kept up to so many; those that have been gone for longest go first.
const MISSING_MAX: usize = 256;

impl Members {
    pub(super) fn new(me: ProxyName) -> Self {
        let others = BTreeMap::new();
        Self { me, others }
    }

    pub(super) fn join(&mut self, proxy: ProxyName, now: MonoTime) {
        if proxy != self.me && !self.is_alive(&proxy) {
            self.others.insert(proxy, Presence::Alive { since: now });
        }
    }

    /// That proxy owns something. If it is not there, it was, and is missing.
    pub(super) fn note(&mut self, proxy: &ProxyName, now: MonoTime) {
        if *proxy != self.me && !self.others.contains_key(proxy) {
            self.others
                .insert(proxy.clone(), Presence::Missing { since: now });
            self.limit();
        }
    }

    /// Whether it was there.
    pub(super) fn part(&mut self, proxy: &ProxyName, now: MonoTime) -> bool {
        let Some(presence @ Presence::Alive { .. }) = self.others.get_mut(proxy) else {
            return false;
        };
        *presence = Presence::Missing { since: now };
        self.limit();
        true
    }

    /// These are there, and of those that were only they.
    pub(super) fn replace(&mut self, members: Vec<ProxyName>, now: MonoTime) {
        for (name, presence) in &mut self.others {
            if matches!(presence, Presence::Alive { .. }) && !members.contains(name) {
                *presence = Presence::Missing { since: now };
            }
        }
        for member in members {
            self.join(member, now);
        }
        self.limit();
    }

    fn limit(&mut self) {
        let since = |(name, presence): (&ProxyName, &Presence)| match presence {
            Presence::Alive { .. } => None,
            Presence::Missing { since } => Some((*since, name.clone())),
        };
        let mut missing: Vec<_> = self.others.iter().filter_map(since).collect();
        missing.sort_unstable();
        let excess = missing.len().saturating_sub(MISSING_MAX);
        for (_, name) in missing.into_iter().take(excess) {
            self.others.remove(&name);
        }
    }

    pub(super) fn is_alive(&self, proxy: &ProxyName) -> bool {
        *proxy == self.me || matches!(self.others.get(proxy), Some(Presence::Alive { .. }))
    }

    /// How many names are known, this proxy's not among them.
    pub(super) fn len(&self) -> usize {
        self.others.len()
    }

    /// Those that are there, this one among them.
    pub(super) fn alive(&self) -> impl Iterator<Item = &ProxyName> {
        let alive =
            |(name, presence): (_, &Presence)| matches!(presence, Presence::Alive { .. }).then_some(name);
        self.others.iter().filter_map(alive).chain([&self.me])
    }

    /// Whether there is nobody else, and has not been lately.
    pub(super) fn is_alone(&self, now: MonoTime, forget: Duration) -> bool {
        !self.others.values().any(|presence| match presence {
            Presence::Alive { .. } => true,
            Presence::Missing { since } => plus(*since, forget) > now,
        })
    }

    /// Whether one may have heard what it has not told: it is missing and not forgotten, or has come back just now.
    pub(super) fn somebody_has_yet_to_tell(&self, now: MonoTime, policy: &ClusterPolicy) -> bool {
        self.others.values().any(|presence| match presence {
            Presence::Alive { since } => plus(*since, policy.member_ttl / 2) > now,
            Presence::Missing { since } => plus(*since, policy.forget) > now,
        })
    }
}
