//! The mass-expiry guard: when most of an app falls silent at once, the network is the likelier culprit.

use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation};

use super::Registry;
use crate::Leases;
use crate::entry::{Doubt, SUSPECT_TTLS};

/// Members that must be missing, at the least.
const MIN_MISSING: usize = 3;
/// Up to this many members are counted at every expiry; in a larger app, one count is believed for as many
/// expiries as it has times this many members. So an expiry costs a look at 1,024 entries at the most, on
/// average, and an app has to lose a thousandth of its members before a mass expiry is noticed.
const MEMBERS_PER_EXPIRY: usize = 1_024;
/// The same where somebody else has to be asked of each whether it counts, which is a look-up by its id.
const ASKED_PER_EXPIRY: usize = 64;

/// What the guard says.
#[derive(Clone, Copy, Default)]
pub(super) struct Guarded {
    /// Whether it keeps the backend.
    pub(super) keeps: bool,
    /// How many members were counted to find out.
    pub(super) counted: usize,
}

impl Registry {
    /// Whether the guard keeps the backend in `slot`, whose lease has just run out.
    ///
    /// Heartbeats are due after each third of a lease. Whoever has been silent for two thirds, which is to
    /// say would expire within a third, is *missing*; so is a suspect. When the first lease runs out, the
    /// members that have renewed at least three times are counted: if 3 or more of them, and more than
    /// half, are missing, then every lease of such a member that runs out within a third of the first
    /// one's length is distrusted. Each becomes a suspect at its own deadline, not before: nobody loses a
    /// lease that hasn't run out. After that third it is counted anew.
    pub(super) fn ask_guard(&mut self, slot: u32) -> Guarded {
        self.ask_guard_about(slot, |_| true, MEMBERS_PER_EXPIRY)
    }

    /// One count is believed for as many expiries as the app has times `per_expiry` members; those that `counts` leaves
    /// out are not counted.
    fn ask_guard_about(
        &mut self,
        slot: u32,
        counts: impl Fn(&BackendId) -> bool,
        per_expiry: usize,
    ) -> Guarded {
        let now = self.now();
        let entry = &self.entries[slot];
        if !self.config.mass_expiry_guard || entry.doubt == Doubt::Suspect || !entry.is_seasoned() {
            return Guarded::default();
        }
        let (app, window) = (entry.app, entry.ttl() / 3);
        let guard = self.apps.get(app).guard;
        if guard.distrust_until.is_some_and(|until| now <= until) {
            return Guarded {
                keeps: true,
                counted: 0,
            };
        }
        if guard.believed > 0 {
            self.apps.get_mut(app).guard.believed -= 1;
            return Guarded::default();
        }
        let keeps = self.is_mass_expiry(app, counts);
        let counted = self.apps.get(app).len();
        let guard = &mut self.apps.get_mut(app).guard;
        if keeps {
            guard.distrust_until = Some(now + window);
        } else {
            guard.believed = u32::try_from(counted / per_expiry).unwrap_or(u32::MAX);
        }
        Guarded { keeps, counted }
    }

    /// For how much longer the guard keeps a backend, at the most, whose lease has run out and is held elsewhere.
    pub(super) fn guard_elsewhere(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        counts: impl Fn(&BackendId) -> bool,
    ) -> Option<Duration> {
        if self.config.leases == Leases::Here {
            return None;
        }
        let slot = self.find_life(id, incarnation)?;
        let entry = &self.entries[slot];
        let longest = entry.deadline + entry.ttl().saturating_mul(SUSPECT_TTLS);
        let left = longest.since(self.now());
        if left.is_zero() || !self.ask_guard_about(slot, counts, ASKED_PER_EXPIRY).keeps {
            return None;
        }
        self.stats.suspected += 1;
        Some(left)
    }

    fn is_mass_expiry(&self, app: u32, counts: impl Fn(&BackendId) -> bool) -> bool {
        let now = self.now();
        let (mut seasoned, mut missing) = (0_usize, 0_usize);
        for slot in self.apps.get(app).members() {
            let entry = &self.entries[slot];
            if entry.is_seasoned() && counts(&entry.endpoint.id) {
                seasoned += 1;
                missing += usize::from(entry.is_missing(now));
            }
        }
        missing >= MIN_MISSING && missing * 2 > seasoned
    }
}
