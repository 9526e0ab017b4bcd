use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};

use super::{Action, plus};
use crate::ProxyName;

/// What a proxy knows of one backend.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) incarnation: Incarnation,
    pub(super) ttl: Duration,
    pub(super) owner: ProxyName,
    /// As far as it has been heard of here, directly or by others.
    pub(super) lease_ends: MonoTime,
    pub(super) phase: Phase,
    /// Until when its end is distrusted, since that was asked.
    pub(super) distrusted_until: Option<MonoTime>,
    /// Whether it has been seen in the store.
    pub(super) is_written: bool,
    /// Its last heartbeat here.
    pub(super) last_here: Option<MonoTime>,
    /// How many have come here in a row.
    pub(super) in_row: u8,
    /// Not adopted before that while its owner lives.
    pub(super) settled: MonoTime,
    /// Whether it waits among those that are to be told.
    pub(super) is_to_be_told: bool,
    /// When its timer fires.
    pub(super) armed: Option<MonoTime>,
}

/// How its lease stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// It runs.
    Held,
    /// It has run out, and a probe has been asked for. `since`: when that was found.
    Asked { since: MonoTime },
    /// It has run out, and the backend answers.
    Answering { since: MonoTime },
    /// Its deletion has been asked for.
    Ending,
}

impl Entry {
    pub(super) fn new(incarnation: Incarnation, ttl: Duration, owner: ProxyName, now: MonoTime) -> Self {
        Self {
            incarnation,
            ttl,
            owner,
            lease_ends: plus(now, ttl),
            phase: Phase::Held,
            distrusted_until: None,
            is_written: false,
            last_here: None,
            in_row: 0,
            settled: MonoTime::ZERO,
            is_to_be_told: false,
            armed: None,
        }
    }

    /// It has been heard, somewhere.
    pub(super) fn renew(&mut self, now: MonoTime) {
        self.lease_ends = self.lease_ends.max(plus(now, self.ttl));
        self.phase = Phase::Held;
        self.distrusted_until = None;
    }

    /// It has been heard here. How many times in a row that is.
    pub(super) fn heard_here(&mut self, now: MonoTime) -> u8 {
        // One of which every other heartbeat goes elsewhere is heard a TTL apart.
        let follows = self.last_here.is_some_and(|last| now < plus(last, self.ttl / 2));
        self.in_row = if follows { self.in_row.saturating_add(1) } else { 1 };
        self.last_here = Some(now);
        self.renew(now);
        self.in_row
    }

    pub(super) fn adoption(&self, id: &BackendId) -> Action {
        Action::Adopt {
            id: id.clone(),
            incarnation: self.incarnation,
            owner: self.owner.clone(),
        }
    }

    pub(super) fn expiry(&self, id: &BackendId) -> Action {
        Action::Expire {
            id: id.clone(),
            incarnation: self.incarnation,
            owner: self.owner.clone(),
        }
    }

    pub(super) fn deletion(&self, id: &BackendId) -> Action {
        Action::Delete {
            id: id.clone(),
            incarnation: self.incarnation,
            owner: self.owner.clone(),
        }
    }
}
