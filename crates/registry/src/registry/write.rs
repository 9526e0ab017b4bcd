//! What a store is to be told.

use edgeproxy_backend::{AppName, BackendId, Incarnation};

use super::Registry;
use crate::entry::{Entry, Life};
use crate::index::Index;
use crate::remembered::Remembered;
use crate::slots::Slots;
use crate::unwritten::{Before, Due};
use crate::{Keep, Leases, Overridden, Overrides, Source, Write};

impl Registry {
    pub(super) fn take_due(&mut self, max: usize) -> Vec<Write> {
        let Self {
            unwritten,
            index,
            entries,
            remembered,
            ..
        } = self;
        let mut writes = Vec::with_capacity(max.min(unwritten.waiting()));
        unwritten.take(max, |id, due| {
            writes_of(id, due, (index, entries, remembered), &mut writes);
        });
        writes
    }

    /// The one in `slot` has registered, or something has changed about it that a restart is to remember.
    pub(super) fn note_registered(&mut self, slot: u32, before: Before) {
        if self.config.keep == Keep::Registrations {
            self.unwritten.registered(&self.entries[slot].id, before);
        }
    }

    /// As above, for one that was there before.
    pub(super) fn note_changed(&mut self, slot: u32) {
        if is_kept(&self.entries[slot]) {
            self.note_registered(slot, Before::Something);
        }
    }

    /// The one in `slot` is about to hold its registration no longer, if it does.
    pub(super) fn note_gone(&mut self, slot: u32) {
        let entry = &self.entries[slot];
        if self.config.keep == Keep::Registrations && is_kept(entry) {
            self.unwritten.gone(&entry.id, entry.endpoint.incarnation);
        }
    }

    /// The one in `slot` is the file's from now on, and a store has nothing of it any more. What others have there as well
    /// stays, but for what is being written.
    pub(super) fn note_filed(&mut self, slot: u32) {
        if self.config.leases == Leases::Here || self.unwritten.has_registration_of(&self.entries[slot].id) {
            self.note_gone(slot);
        }
    }

    /// A store knows of a life that isn't one here.
    pub(super) fn note_never(&mut self, id: &BackendId, incarnation: Incarnation) {
        if self.config.keep == Keep::Registrations {
            self.unwritten.gone(id, incarnation);
        }
    }

    pub(super) fn note_overrides(&mut self, id: &BackendId, before: Overrides, now: Overrides) {
        if self.config.keep == Keep::Registrations && before != now {
            self.unwritten.overridden(id, holds(before), holds(now));
        }
    }

    /// What was set on the id when that app had it, which is about to have it again. What was set on another app's is
    /// forgotten.
    pub(super) fn recall(&mut self, id: &BackendId, app: &AppName) -> Overrides {
        let Some(known) = self.remembered.take(id) else {
            return Overrides::default();
        };
        self.note_appropriated(&known, app);
        known.of(app)
    }

    /// A backend of that app has the id. A store may know what is set on it as another's, or as nobody's.
    pub(super) fn note_appropriated(&mut self, known: &Overridden, app: &AppName) {
        if self.config.keep == Keep::Registrations && known.app.as_ref() != Some(app) {
            let now = holds(known.of(app));
            self.unwritten.overridden(&known.id, Before::Something, now);
        }
    }

    /// Puts an operator's changes away until a backend of that id is back.
    pub(super) fn remember(&mut self, overridden: Overridden) {
        if let Some(forgotten) = self.remembered.put(overridden)
            && self.config.keep == Keep::Registrations
        {
            self.unwritten
                .overridden(&forgotten, Before::Something, Before::Nothing);
        }
    }

    /// What is set on an id, whether it is registered or not.
    pub(super) fn overridden(&self, id: &BackendId) -> Overridden {
        overridden(id, (&self.index, &self.entries, &self.remembered))
    }
}

fn holds(overrides: Overrides) -> Before {
    if overrides == Overrides::default() {
        Before::Nothing
    } else {
        Before::Something
    }
}

/// Whether a restart is to bring it back.
pub(super) fn is_kept(entry: &Entry) -> bool {
    entry.life == Life::Live && entry.source() == Source::Registered
}

type Known<'a> = (&'a Index, &'a Slots<Entry>, &'a Remembered);

fn overridden(id: &BackendId, (index, entries, remembered): Known<'_>) -> Overridden {
    let known = match index.find(id, entries) {
        Some(slot) => entries[slot].overridden(),
        None => remembered.get(id).cloned(),
    };
    known.unwrap_or_else(|| Overridden::nothing(id.clone()))
}

fn writes_of(id: &BackendId, due: Due, known: Known<'_>, writes: &mut Vec<Write>) {
    let (index, entries, _) = known;
    if due.registration {
        let entry = index.find(id, entries).map(|slot| &entries[slot]);
        match (due.gone, entry) {
            (Some(incarnation), _) => writes.push(Write::Gone {
                id: id.clone(),
                incarnation,
            }),
            (None, Some(entry)) if is_kept(entry) => writes.push(Write::Registered(entry.record())),
            (None, _) => debug_assert!(false, "{id} is noted as registered, but isn't"),
        }
    }
    if due.overrides {
        writes.push(Write::Overridden(overridden(id, known)));
    }
}
