//! Whose lease is whose, beside the registry: whatever one of them is told the other hears of under the same lock.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_registry::{LoadReport, Registry, Share, Write};
use edgeproxy_store::cluster::{Action, Answer, Cluster, ClusterPolicy, Heard, Owned};
use edgeproxy_store::{Held, Loaded, ProxyName, Update};

use crate::handle::State;

/// The cluster, and what of its wishes is still to be carried out.
pub(crate) struct Leases {
    me: ProxyName,
    cluster: Cluster,
    wanted: Wanted,
    /// Whose end this proxy has asked for, until the store tells of it.
    ending: HashMap<BackendId, Incarnation>,
    /// Whether this proxy goes by its share of backends' limits.
    divides: bool,
    /// When the driver looks again, unless it is woken.
    pub(crate) looked_at: Option<MonoTime>,
}

/// What the store is to be asked for. Each id once, however often it is wished for while the store is slow.
#[derive(Default)]
pub(crate) struct Wanted {
    adopt: BTreeMap<BackendId, Held>,
    end: BTreeMap<BackendId, Held>,
    tell: BTreeSet<BackendId>,
}

/// A part of it that is carried out at once.
#[derive(Default)]
pub(crate) struct Errand {
    pub(crate) adopt: Vec<Held>,
    pub(crate) end: Vec<Held>,
    pub(crate) tell: Vec<BackendId>,
}

/// Of each kind in one errand.
const ERRAND: usize = 1_000;

impl Wanted {
    fn is_empty(&self) -> bool {
        self.adopt.is_empty() && self.end.is_empty() && self.tell.is_empty()
    }

    fn take(&mut self) -> Errand {
        let mut tell = Vec::new();
        while tell.len() < ERRAND
            && let Some(id) = self.tell.pop_first()
        {
            tell.push(id);
        }
        Errand {
            adopt: some_of(&mut self.adopt),
            end: some_of(&mut self.end),
            tell,
        }
    }
}

fn some_of(wanted: &mut BTreeMap<BackendId, Held>) -> Vec<Held> {
    let first = std::iter::from_fn(|| wanted.pop_first());
    first.map(|(_, held)| held).take(ERRAND).collect()
}

impl Errand {
    pub(crate) fn is_empty(&self) -> bool {
        self.adopt.is_empty() && self.end.is_empty() && self.tell.is_empty()
    }
}

impl Leases {
    pub(crate) fn new(me: ProxyName) -> Self {
        Self {
            cluster: Cluster::new(me.clone(), ClusterPolicy::DEFAULT),
            me,
            wanted: Wanted::default(),
            ending: HashMap::new(),
            divides: false,
            looked_at: None,
        }
    }

    /// Whether the store is to be asked for anything.
    pub(crate) fn is_wanting(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Whether something is due earlier than the driver looks by itself.
    pub(crate) fn is_due_earlier(&self) -> bool {
        let due = self.cluster.poll_timeout();
        due.is_some_and(|due| self.looked_at.is_none_or(|at| due < at))
    }

    /// Carries out what needs no store, and notes the rest.
    fn follow(&mut self, registry: &mut Registry, now: MonoTime) {
        while let Some(action) = self.cluster.poll_action() {
            match action {
                Action::Probe { id, incarnation } if holds(registry, &id, incarnation) => {
                    registry.handle_overdue(&id, incarnation, now);
                }
                // The file has that id here, or there is no room for it: nobody here can ask, and who has heard it is waited
                // for.
                Action::Probe { id, incarnation } => {
                    let at = registry.awake(now);
                    self.cluster.probed(&id, incarnation, Answer::Answers, at);
                }
                Action::Believe { id, incarnation } if holds(registry, &id, incarnation) => {
                    registry.handle_heard(&id, now);
                }
                Action::Believe { .. } => {}
                Action::Adopt {
                    id,
                    incarnation,
                    owner,
                } => {
                    let held = held(&id, incarnation, owner);
                    self.wanted.adopt.insert(id, held);
                }
                Action::Expire {
                    id,
                    incarnation,
                    owner,
                } => {
                    // Of others' backends this proxy hears the changes alone.
                    let counts = |id: &BackendId| self.cluster.is_mine(id);
                    match registry.handle_expiring(&id, incarnation, counts, now) {
                        Some(longest) => {
                            let at = registry.awake(now);
                            // It may have been asked before, by a store that is slow.
                            self.spare(&id);
                            self.cluster.keep(&id, incarnation, longest, at);
                        }
                        None => self.end(id, incarnation, owner),
                    }
                }
                Action::Delete {
                    id,
                    incarnation,
                    owner,
                } => self.end(id, incarnation, owner),
                Action::Tell { ids } => self.wanted.tell.extend(ids),
            }
        }
    }

    fn end(&mut self, id: BackendId, incarnation: Incarnation, owner: ProxyName) {
        let held = held(&id, incarnation, owner);
        self.ending.insert(id.clone(), incarnation);
        self.wanted.end.insert(id, held);
    }

    /// It has been heard: an end that has been noted and isn't asked for yet is void.
    fn spare(&mut self, id: &BackendId) {
        if self.wanted.end.remove(id).is_some() {
            self.ending.remove(id);
        }
    }

    /// While the store is lost the proxies count that were there before: they are likely to be there still.
    fn divide(&self, registry: &mut Registry, now: MonoTime) {
        if self.divides {
            let (rank, of) = self.cluster.rank();
            let number = |count| u32::try_from(count).unwrap_or(u32::MAX);
            registry.share_limits(Share::new(number(rank), number(of)), now);
        }
    }

    /// What has been noted goes back, or is void: the store can't be asked.
    fn put_off(&mut self, now: MonoTime) {
        let Wanted { tell, .. } = std::mem::take(&mut self.wanted);
        self.ending.clear();
        if !tell.is_empty() {
            self.cluster.not_told(tell, now);
        }
    }
}

fn holds(registry: &Registry, id: &BackendId, incarnation: Incarnation) -> bool {
    registry.lease(id).is_some_and(|(life, _)| life == incarnation)
}

fn held(id: &BackendId, incarnation: Incarnation, owner: ProxyName) -> Held {
    Held {
        id: id.clone(),
        incarnation,
        owner,
    }
}

impl State {
    /// It is about to register here. If this proxy has asked the store to end the life that it has, that has ended: a
    /// registration that renewed it would be acknowledged, and gone with what the store tells next.
    pub(crate) fn is_to_register(&mut self, id: &BackendId, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        // Not asked yet.
        leases.spare(id);
        let Some(life) = leases.ending.get(id).copied() else {
            return;
        };
        if holds(registry, id, life) && leases.cluster.has_run_out(id, life, registry.awake(now)) {
            registry.handle_ended(id, life, now);
        }
    }

    /// It has registered here, or renewed.
    pub(crate) fn has_registered(&mut self, id: &BackendId, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        let (at, Some((incarnation, ttl))) = (registry.awake(now), registry.lease(id)) else {
            return;
        };
        leases.spare(id);
        // What changes nothing is written by nobody, and its lease stays whose it is.
        let is_news = registry.is_unwritten(id);
        if is_news || leases.cluster.heartbeat(id, at) == Heard::Unknown {
            leases.cluster.registered(id, incarnation, ttl, at);
        }
        leases.follow(registry, now);
    }

    /// A heartbeat of it has come here.
    pub(crate) fn has_beaten(&mut self, id: &BackendId, report: &LoadReport, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        let at = registry.awake(now);
        leases.spare(id);
        let is_unknown = leases.cluster.heartbeat(id, at) == Heard::Unknown;
        let is_written = report.weight.is_some() && registry.is_unwritten(id);
        if (is_unknown || is_written)
            && let Some((incarnation, ttl)) = registry.lease(id)
        {
            leases.cluster.registered(id, incarnation, ttl, at);
        }
        leases.follow(registry, now);
    }

    /// It has been taken out here.
    pub(crate) fn has_left(&mut self, id: &BackendId) {
        if let Some(leases) = &mut self.leases {
            leases.cluster.left(id);
        }
    }

    /// A probe has asked whether it is there.
    pub(crate) fn was_probed(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        answer: Answer,
        now: MonoTime,
    ) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        let at = registry.awake(now);
        leases.cluster.probed(id, incarnation, answer, at);
        leases.follow(registry, now);
    }

    /// These are in the store, by this proxy.
    pub(crate) fn were_committed(&mut self, writes: &[Write], now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        let at = registry.awake(now);
        for write in writes {
            match write {
                Write::Registered(record) => {
                    let (id, incarnation) = (&record.backend.id, record.incarnation);
                    if holds(registry, id, incarnation) && leases.cluster.knows(id) <= Some(incarnation) {
                        let owned = Owned {
                            id: id.clone(),
                            incarnation,
                            ttl: record.ttl,
                            owner: leases.me.clone(),
                        };
                        leases.cluster.put(owned, at);
                    }
                }
                Write::Gone { id, incarnation } => leases.cluster.deleted(id, *incarnation),
                Write::Overridden { .. } => {}
            }
        }
        leases.follow(registry, now);
    }

    /// All that the store has, at the start.
    pub(crate) fn begin_with(&mut self, owned: Vec<Owned>, members: Vec<ProxyName>, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        if let Some(leases) = leases {
            leases.cluster.resync(owned, members, registry.awake(now));
            leases.divide(registry, now);
        }
    }

    /// From now on this proxy goes by its share of backends' limits.
    pub(crate) fn divide_limits(&mut self, now: MonoTime) {
        if let Some(leases) = &mut self.leases {
            leases.divides = true;
            leases.divide(&mut self.registry, now);
        }
    }

    /// Somebody else has changed something, or the store is in reach or isn't.
    pub(crate) fn take_in(&mut self, update: Update, now: MonoTime) {
        let left_out = self.registry.stats().left_out;
        let hold = match update {
            Update::Changed(write) => self.take_in_change(write, now),
            Update::Resync(Loaded {
                records,
                overrides,
                owned,
                members,
                next_incarnation,
                ..
            }) => {
                if let Some(first) = next_incarnation {
                    self.registry.number_from(first);
                }
                let kept = edgeproxy_registry::Kept {
                    records,
                    overrides,
                    ..edgeproxy_registry::Kept::default()
                };
                let hold = self.registry.handle_resync_ahead(kept, now);
                self.begin_with(owned, members, now);
                hold
            }
            other => {
                self.take_in_leases(other, now);
                None
            }
        };
        if let Some(leases) = &mut self.leases {
            leases.follow(&mut self.registry, now);
        }
        // Told once: the metric has the others.
        if left_out == 0 && self.registry.stats().left_out > 0 {
            tracing::warn!(
                "there is no room for a backend that another proxy has registered: requests here don't reach it; let the \
                 proxies have the same max_backends"
            );
        }
        self.generation += u64::from(self.registry.is_dirty());
        self.holds.extend(hold.map(|hold| (self.generation, hold)));
    }

    fn take_in_change(&mut self, write: Write, now: MonoTime) -> Option<edgeproxy_registry::Hold> {
        let Self { registry, leases, .. } = self;
        let mut ended = false;
        if let Some(leases) = leases {
            let ending = leases.ending.remove(write.id());
            if let Write::Gone { id, incarnation } = &write {
                ended = ending == Some(*incarnation);
                leases.cluster.deleted(id, *incarnation);
            }
        }
        match write {
            Write::Gone { id, incarnation } if ended => {
                registry.handle_ended(&id, incarnation, now);
                None
            }
            write => registry.handle_foreign_ahead(write, now),
        }
    }

    fn take_in_leases(&mut self, update: Update, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        let at = registry.awake(now);
        match update {
            Update::Owned(owned) => {
                leases.ending.remove(&owned.id);
                // Whoever adopts one has heard it.
                registry.handle_heard(&owned.id, now);
                leases.cluster.put(owned, at);
            }
            Update::Heard(ids) => {
                leases.cluster.heard(&ids, at);
                for id in &ids {
                    leases.spare(id);
                    registry.handle_heard(id, now);
                }
            }
            Update::Joined(proxy) => {
                tracing::info!(%proxy, "another proxy is there");
                leases.cluster.joined(proxy, at);
                leases.divide(registry, now);
            }
            Update::Parted(proxy) => {
                tracing::info!(%proxy, "another proxy is gone");
                leases.cluster.parted(&proxy, at);
                leases.divide(registry, now);
            }
            Update::Lost { .. } => {
                leases.cluster.lost(at);
                leases.put_off(at);
            }
            Update::Restored => leases.cluster.restored(at),
            Update::Changed(_) | Update::Resync(_) => {}
        }
    }

    /// Time has passed.
    pub(crate) fn pass_leases(&mut self, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        let Some(leases) = leases else { return };
        leases.cluster.tick(registry.awake(now));
        leases.follow(registry, now);
    }

    /// When leases are to be looked at next.
    pub(crate) fn leases_due(&mut self) -> Option<MonoTime> {
        let leases = self.leases.as_mut()?;
        leases.looked_at = leases.cluster.poll_timeout();
        leases.looked_at.map(|at| self.registry.when_awake(at))
    }

    /// What the store is to be asked for next.
    pub(crate) fn take_errand(&mut self) -> Errand {
        let leases = self.leases.as_mut();
        leases.map(|leases| leases.wanted.take()).unwrap_or_default()
    }

    /// Of those that were to end, who has not been heard while the store was asked for something else.
    pub(crate) fn still_to_end(&mut self, mut held: Vec<Held>, now: MonoTime) -> Vec<Held> {
        let now = self.registry.awake(now);
        if let Some(Leases { cluster, ending, .. }) = &mut self.leases {
            held.retain(|held| {
                let is_still = cluster.has_run_out(&held.id, held.incarnation, now);
                if !is_still {
                    ending.remove(&held.id);
                }
                is_still
            });
        }
        held
    }

    /// Telling has failed.
    pub(crate) fn was_not_told(&mut self, ids: Vec<BackendId>, now: MonoTime) {
        let Self { registry, leases, .. } = self;
        if let Some(leases) = leases {
            leases.cluster.not_told(ids, registry.awake(now));
        }
    }
}
