//! Whether the registry agrees with itself.

use edgeproxy_backend::Gate;
use hashbrown::HashSet;

use super::Registry;
use crate::clock::Active;
use crate::entry::{Doubt, Entry, Life, gate_of};
use crate::ledger::{ProbeLedger, Standing};
use crate::load::Loads;
use crate::{LastBackend, Leases, Monitoring, Source, State};

macro_rules! hold {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

impl Registry {
    /// What can be checked in constant time, so that debug builds can afford it after every call.
    pub(super) fn check_invariants(&self) -> bool {
        let superseded = self.entries.len() - self.index.len();
        self.timers.len() == self.entries.len()
            && self.drains.slots().len() >= superseded
            && self.drains.slots().is_empty() == self.drains.next_sweep().is_none()
            && self.entries.len() <= self.most_backends
            && self.apps.len() <= self.config.max_apps
            && self.events.is_within_limit()
            && self.remembered.is_consistent()
            && self.unwritten.is_consistent()
            && self
                .timers
                .peek()
                .is_none_or(|(at, slot)| at <= self.entries[slot].due(self.config.leases))
    }

    /// Checks everything that must hold between two calls. O(n): for tests and for debugging.
    ///
    /// # Errors
    /// Says what doesn't hold.
    pub fn audit(&self) -> Result<(), String> {
        hold!(self.check_invariants(), "the counts disagree");
        for (slot, entry) in self.entries.iter() {
            self.audit_entry(slot, entry)
                .map_err(|problem| format!("{:?}: {problem}", entry.endpoint))?;
        }
        let mut listed = 0;
        for (id, app) in self.apps.iter() {
            listed += app.len();
            self.audit_app(id)
                .map_err(|problem| format!("app {}: {problem}", app.name))?;
        }
        hold!(
            listed == self.index.len(),
            "{listed} members, but {} ids",
            self.index.len()
        );
        self.audit_static()?;
        self.audit_drains()?;
        self.audit_published()
    }

    fn audit_entry(&self, slot: u32, entry: &Entry) -> Result<(), String> {
        let details = entry.details();
        hold!(
            (details.drain.is_some()) == (entry.life != Life::Live),
            "drains, but is {:?}",
            entry.life
        );
        hold!(
            entry.doubt == Doubt::None || (entry.source() == Source::Registered && entry.life == Life::Live),
            "is in doubt without a lease"
        );
        hold!(
            self.config.leases == Leases::Elsewhere
                || !matches!(entry.doubt, Doubt::Overdue | Doubt::Unreached),
            "is overdue, but its lease is held here"
        );
        hold!(
            self.config.leases == Leases::Here || entry.doubt != Doubt::Suspect,
            "is a suspect of the guard, but its lease is held elsewhere"
        );
        let armed = self.timers.armed(slot).unwrap_or(Active::NEVER);
        hold!(
            armed <= entry.due(self.config.leases),
            "armed at {armed:?}, but due at {:?}",
            entry.due(self.config.leases)
        );
        let gate = entry.endpoint.meter.gate();
        let is_held = self.held.contains(&entry.endpoint);
        if entry.life == Life::Superseded {
            hold!(
                is_held || gate == Gate::Closed,
                "superseded, but its gate is {gate:?}"
            );
            return Ok(());
        }
        let found = self.index.find(&entry.endpoint.id, &self.entries);
        hold!(
            found == Some(slot),
            "in slot {slot}, but its id points to {found:?}"
        );
        hold!(
            entry.state == entry.decide(),
            "is {}, but should be {}",
            entry.state,
            entry.decide()
        );
        let agrees = match gate_of(entry.state) {
            Gate::Open => matches!(gate, Gate::Open | Gate::Excluded),
            Gate::Trial => matches!(gate, Gate::Trial | Gate::TrialBusy | Gate::Excluded),
            expected => is_held || gate == expected,
        };
        hold!(agrees, "is {}, but its gate is {gate:?}", entry.state);
        let is_probed = self.apps.get(entry.app).policy.monitoring == Monitoring::On;
        hold!(
            is_probed || details.probe == ProbeLedger::CLEAN,
            "nobody probes it, but probes speak against it"
        );
        let ejected = matches!(details.traffic.standing(), Standing::Ejected { .. });
        hold!(
            !(ejected && entry.state.takes_traffic()),
            "is ejected, but takes traffic"
        );
        Ok(())
    }

    /// What the file lists is there, and nothing else is there by its word.
    fn audit_static(&self) -> Result<(), String> {
        let is_there = |entry: &Entry| entry.source() == Source::File && entry.life == Life::Live;
        for (id, backend) in &self.listed {
            let slot = self.index.find(id, &self.entries);
            let found = slot.map(|slot| &self.entries[slot]);
            let agrees = found.is_some_and(|entry| is_there(entry) && entry.endpoint.addr == backend.addr);
            hold!(agrees, "{id} stands in the file, but isn't there as it says");
        }
        let there = self.entries.iter().filter(|(_, entry)| is_there(entry)).count();
        hold!(
            there == self.listed.len(),
            "{there} are there by the file's word, but it lists {}",
            self.listed.len()
        );
        Ok(())
    }

    fn audit_app(&self, id: u32) -> Result<(), String> {
        let app = self.apps.get(id);
        hold!(app.len() > 0, "has no member");
        let mut by_state = [0; State::ALL.len()];
        let mut last = None;
        for slot in app.members() {
            let entry = &self.entries[slot];
            hold!(
                entry.app == id && entry.life != Life::Superseded,
                "a member is another app's, or gone"
            );
            hold!(
                last < Some(entry.endpoint.incarnation),
                "its members are not in the order of registration"
            );
            last = Some(entry.endpoint.incarnation);
            by_state[entry.state as usize] += 1;
        }
        for state in State::ALL {
            let (found, counted) = (by_state[state as usize], app.count(state));
            hold!(found == counted, "{found} are {state}, but {counted} are counted");
        }
        let loads = app.members().map(|slot| {
            let entry = &self.entries[slot];
            (entry.endpoint.region, entry.details().load)
        });
        hold!(
            app.loads == Loads::of(loads),
            "its loads are not those of its members"
        );
        let stuck = app.policy.last_backend == LastBackend::Keep && app.routable() == 0 && app.held() > 0;
        hold!(
            !stuck,
            "failed requests keep out all {} that are left",
            app.held()
        );
        Ok(())
    }

    fn audit_drains(&self) -> Result<(), String> {
        let slots = self.drains.slots();
        for (position, slot) in slots.iter().enumerate() {
            let drain = self.entries.get(*slot).and_then(|entry| entry.details().drain);
            let agrees = drain.is_some_and(|drain| drain.position as usize == position);
            hold!(agrees, "the drain at {position} is not that of slot {slot}");
        }
        let draining = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.life != Life::Live)
            .count();
        hold!(
            draining == slots.len(),
            "{draining} drain, but {} are listed",
            slots.len()
        );
        let mut superseded = 0;
        for (id, slots) in self.drains.predecessors() {
            superseded += slots.len();
            let unique: HashSet<_, foldhash::fast::FixedState> = slots.iter().collect();
            hold!(
                unique.len() == slots.len() && slots.len() <= 4,
                "{id} has predecessors {slots:?}"
            );
            for slot in slots {
                let entry = &self.entries[*slot];
                hold!(
                    entry.life == Life::Superseded && entry.endpoint.id == *id,
                    "no predecessor of {id}"
                );
            }
        }
        let expected = self.entries.len() - self.index.len();
        hold!(
            superseded == expected,
            "{superseded} predecessors, but {expected} superseded"
        );
        Ok(())
    }

    fn audit_published(&self) -> Result<(), String> {
        let published = &self.publisher.published().apps;
        for (_, app) in self.apps.iter() {
            hold!(
                app.dirty == self.publisher.is_marked(&app.name),
                "{} is half dirty",
                app.name
            );
            let Some(snapshot) = published.get(&app.name) else {
                hold!(app.dirty, "{} is not published", app.name);
                continue;
            };
            let same = snapshot
                .members
                .iter()
                .map(|m| (m.endpoint.incarnation, m.state, m.load, m.in_doubt))
                .eq(app.members().map(|slot| {
                    let entry = &self.entries[slot];
                    (
                        entry.endpoint.incarnation,
                        entry.state,
                        entry.details().load.factor,
                        entry.doubt != Doubt::None,
                    )
                }));
            hold!(same || app.dirty, "{} differs from what is published", app.name);
        }
        for name in published.keys() {
            let known = self.apps.find(name).is_some() || self.publisher.is_marked(name);
            hold!(known, "{name} is gone, but published");
        }
        Ok(())
    }
}
