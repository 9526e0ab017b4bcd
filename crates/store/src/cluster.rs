//! Who holds whose lease, among proxies that share a store: a state machine without I/O.
//!
//! # The rules
//!
//! A registration names its **owner**, the proxy that renews and ends its lease. A heartbeat writes nothing at the
//! owner. At another proxy it is told to the owner, gathered with others; after three in a row that proxy adopts the
//! backend, by one write. So what is written grows with changes, and with backends that wander, but not with heartbeats.
//!
//! | event | what follows |
//! |---|---|
//! | a lease runs out, and its owner is alone in the cluster | it expires |
//! | a lease runs out in a cluster | its owner probes it: refused, it is deleted at once |
//! | it answers the probe | it is held until a proxy that was cut off would have been missed; if none is missing then, it expires |
//! | one is to expire, and most of its app is silent too | it is distrusted: probed, and kept while it answers, for three TTLs at the most |
//! | a proxy's membership is gone | its backends are suspect for one TTL: whoever gets a heartbeat adopts them |
//! | nobody adopted one | the proxy that rendezvous hashing names probes it: refused, it is deleted |
//! | it answers | it is held until the missing proxy is back or forgotten; then it is adopted |
//! | the store is lost | no lease ends; whom a proxy hasn't heard for one TTL it probes, whosever it is, and who refuses is not routed to |
//! | there are more than a thousand | each has its turn, a thousand a second; who answers is doubted no more until its next one |
//! | the store is back | every lease of one's own is fresh; who is gone there is gone here |
//! | a probe is answered, and its lease runs or is another proxy's to end | nothing is doubted any more |
//!
//! # How it is called
//!
//! Inputs are methods; after any of them, [`poll_action`](Cluster::poll_action) until it is `None`, and
//! [`tick`](Cluster::tick) when [`poll_timeout`](Cluster::poll_timeout) has come. What is written comes back by
//! [`put`](Cluster::put) and [`deleted`](Cluster::deleted), as everybody else's does.

mod action;
mod ending;
mod entry;
mod members;
mod policy;
mod rendezvous;
mod spread;
mod timers;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};

use crate::ProxyName;
pub use action::{Action, Answer, Heard, Owned};
use entry::{Entry, Phase};
use members::Members;
pub use policy::ClusterPolicy;

/// Timers that one [`tick`](Cluster::tick) looks at: whoever calls it holds a lock that heartbeats wait for.
const WORK_BOUND: usize = 1_024;
/// Proxies that rendezvous hashing goes through at the cost of one such look.
const PROXIES_PER_LOOK: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub struct Cluster {
    me: ProxyName,
    policy: ClusterPolicy,
    members: Members,
    backends: HashMap<BackendId, Entry>,
    /// The same by their owners, so that what becomes of one proxy costs what that one has.
    owned: HashMap<ProxyName, HashSet<BackendId>>,
    /// Lazily kept: an entry that is due later than its timer is armed again when that fires. Each has one: others' are looked
    /// at once in a TTL, so that the loss of the store is noticed by each in its turn.
    timers: BTreeSet<(MonoTime, BackendId)>,
    /// Others' backends that have been heard here, since the last telling: those that are marked so, and some that are not
    /// any more.
    heard: Vec<BackendId>,
    tell_at: Option<MonoTime>,
    actions: VecDeque<Action>,
    /// Since when the store can't be reached.
    lost_at: Option<MonoTime>,
}

impl Cluster {
    /// Alone, with the store in reach.
    #[must_use]
    pub fn new(me: ProxyName, policy: ClusterPolicy) -> Self {
        Self {
            members: Members::new(me.clone()),
            me,
            policy,
            backends: HashMap::new(),
            owned: HashMap::new(),
            timers: BTreeSet::new(),
            heard: Vec::new(),
            tell_at: None,
            actions: VecDeque::new(),
            lost_at: None,
        }
    }

    /// A backend has registered here, or renewed with a change: this proxy is its owner, and writes that itself.
    pub fn registered(&mut self, id: &BackendId, incarnation: Incarnation, ttl: Duration, now: MonoTime) {
        let mut entry = Entry::new(incarnation, ttl, self.me.clone(), now);
        if let Some(known) = self.backends.get(id) {
            entry.is_written = known.is_written && known.incarnation == incarnation;
            entry.armed = known.armed;
        }
        self.place(id, entry);
        self.arm(id, now);
        self.check();
    }

    /// A backend has been taken out here.
    pub fn left(&mut self, id: &BackendId) {
        self.forget_backend(id);
        self.check();
    }

    /// A heartbeat has come here.
    pub fn heartbeat(&mut self, id: &BackendId, now: MonoTime) -> Heard {
        let is_lost = self.is_lost();
        let Some(entry) = self.backends.get_mut(id) else {
            return Heard::Unknown;
        };
        let in_row = entry.heard_here(now);
        if entry.owner == self.me {
            return Heard::Renewed;
        }
        let is_alive = self.members.is_alive(&entry.owner);
        let may_adopt = !is_alive || (in_row >= self.policy.adopt_after && now >= entry.settled);
        if may_adopt && !is_lost {
            // Asked for again by the next heartbeat, should it fail.
            self.actions.push_back(entry.adoption(id));
        }
        // Told as well: until it is adopted its owner has to know.
        if !std::mem::replace(&mut entry.is_to_be_told, true) {
            self.heard.push(id.clone());
        }
        let tell_at = plus(now, self.policy.gather);
        self.tell_at = Some(self.tell_at.map_or(tell_at, |at| at.min(tell_at)));
        Heard::Renewed
    }

    /// A registration is in the store, written by whomever.
    pub fn put(&mut self, owned: Owned, now: MonoTime) {
        let Owned {
            id,
            incarnation,
            ttl,
            owner,
        } = owned;
        self.members.note(&owner, now);
        let known = self.backends.get(&id);
        if known.is_some_and(|known| known.incarnation > incarnation && !known.is_written) {
            // A life that has begun here and is still to be written.
            return;
        }
        let mut entry = Entry::new(incarnation, ttl, owner, now);
        entry.is_written = true;
        match known {
            Some(known) if known.incarnation == incarnation => {
                entry.last_here = known.last_here;
                entry.in_row = known.in_row;
                entry.lease_ends = entry.lease_ends.max(known.lease_ends);
                entry.armed = known.armed;
                entry.settled = known.settled;
                entry.is_to_be_told = known.is_to_be_told;
                if known.owner != entry.owner {
                    entry.in_row = 0;
                    entry.settled = plus(now, ttl * self.policy.settle);
                }
            }
            Some(known) => entry.armed = known.armed,
            None => {}
        }
        let is_another_s = entry.owner != self.me && self.members.is_alive(&entry.owner);
        let look = plus(now, spread::look(&id, ttl));
        self.place(&id, entry);
        if is_another_s {
            self.arm_at(&id, look);
        } else {
            self.arm(&id, now);
        }
        self.check();
    }

    /// A registration is not in the store any more.
    pub fn deleted(&mut self, id: &BackendId, incarnation: Incarnation) {
        if self
            .backends
            .get(id)
            .is_some_and(|known| known.incarnation <= incarnation)
        {
            self.forget_backend(id);
        }
        self.check();
    }

    /// Another proxy has told that it has heard these.
    pub fn heard(&mut self, ids: &[BackendId], now: MonoTime) {
        for id in ids {
            if let Some(entry) = self.backends.get_mut(id) {
                entry.renew(now);
            }
        }
    }

    /// Telling has failed; it is tried again.
    pub fn not_told(&mut self, ids: impl IntoIterator<Item = BackendId>, now: MonoTime) {
        for id in ids {
            if let Some(entry) = self.backends.get_mut(&id)
                && !std::mem::replace(&mut entry.is_to_be_told, true)
            {
                self.heard.push(id);
            }
        }
        self.tell_at = Some(plus(now, self.policy.gather));
    }

    /// A proxy is a member.
    pub fn joined(&mut self, proxy: ProxyName, now: MonoTime) {
        self.members.join(proxy, now);
    }

    /// A proxy's membership has ended.
    pub fn parted(&mut self, proxy: &ProxyName, now: MonoTime) {
        if *proxy == self.me || !self.members.part(proxy, now) {
            return;
        }
        // Whoever was to care for others' orphans may have been that one.
        self.orphans(now, |owner| owner == proxy);
        self.check();
    }

    /// The store can't be reached. From now on nobody is told of others' backends: for one TTL they count as heard, and where
    /// there are many for a little longer, each for another time, so that they are not all probed at once.
    ///
    /// O(what this proxy has yet to do): each of the others is found to count so when it is looked at.
    pub fn lost(&mut self, now: MonoTime) {
        // What could not be done is done by what comes back.
        self.actions
            .retain(|action| matches!(action, Action::Probe { .. } | Action::Believe { .. }));
        self.lost_at.get_or_insert(now);
        self.check();
    }

    /// The store can be reached again, and nothing was missed. O(this proxy's own, and those whose owners are missing).
    pub fn restored(&mut self, now: MonoTime) {
        self.lost_at = None;
        let own: Vec<_> = self.owned.get(&self.me).into_iter().flatten().cloned().collect();
        for id in own {
            if let Some(entry) = self.backends.get_mut(&id) {
                entry.renew(now);
            }
            self.arm_in_time(&id, now);
        }
        self.orphans(now, |_| true);
        if !self.heard.is_empty() {
            self.tell_at = Some(now);
        }
        self.check();
    }

    /// The store can be reached again, and this is all that is there.
    pub fn resync(&mut self, owned: Vec<Owned>, members: Vec<ProxyName>, now: MonoTime) {
        self.lost_at = None;
        self.members.replace(members, now);
        self.backends
            .reserve(owned.len().saturating_sub(self.backends.len()));
        let there: HashMap<_, _> = owned
            .iter()
            .map(|owned| (owned.id.clone(), owned.incarnation))
            .collect();
        let is_gone = |(id, entry): &(&BackendId, &Entry)| match there.get(*id) {
            Some(incarnation) => *incarnation < entry.incarnation && entry.is_written,
            None => entry.is_written,
        };
        let gone: Vec<_> = self
            .backends
            .iter()
            .filter(is_gone)
            .map(|(id, _)| id.clone())
            .collect();
        for id in gone {
            self.forget_backend(&id);
        }
        for owned in owned {
            // Of most there is no news.
            if !self.is_known(&owned) {
                self.put(owned, now);
            }
        }
        self.restored(now);
    }

    /// A probe that was asked for has its result.
    pub fn probed(&mut self, id: &BackendId, incarnation: Incarnation, answer: Answer, now: MonoTime) {
        let Some(entry) = self
            .backends
            .get(id)
            .filter(|entry| entry.incarnation == incarnation)
        else {
            return;
        };
        let phase = if self.is_heard(entry, now) {
            Phase::Held
        } else {
            entry.phase
        };
        if phase == Phase::Held || !self.is_to_ask(id) {
            if answer == Answer::Answers {
                self.set_phase(id, Phase::Held);
                self.actions.push_back(Action::Believe {
                    id: id.clone(),
                    incarnation,
                });
            }
            return;
        }
        let Phase::Asked { since } = phase else {
            return;
        };
        match answer {
            Answer::Refuses if !self.is_lost() => self.end(id, now),
            // Asked again in a while, until the store is back.
            Answer::Refuses => {}
            Answer::Answers => {
                self.hold(id, since, now);
                // In a large fleet its next turn is far away: one that stayed in doubt would be asked again and again until then.
                if self.is_lost() && self.is_in_turns() {
                    self.actions.push_back(Action::Believe {
                        id: id.clone(),
                        incarnation,
                    });
                }
            }
        }
        self.check();
    }

    /// Whether its lease may have run out unseen: its owner is missing.
    #[must_use]
    pub fn is_suspect(&self, id: &BackendId) -> bool {
        self.backends
            .get(id)
            .is_some_and(|entry| !self.members.is_alive(&entry.owner))
    }

    /// Whether that life's lease has run out, it hasn't been heard since, and it is not [kept](Self::keep).
    #[must_use]
    pub fn has_run_out(&self, id: &BackendId, incarnation: Incarnation, now: MonoTime) -> bool {
        self.backends.get(id).is_some_and(|entry| {
            entry.incarnation == incarnation
                && entry.phase != Phase::Held
                && !self.is_heard(entry, now)
                && entry.distrusted_until.is_none_or(|until| until <= now)
        })
    }

    /// Which life of it is registered, as far as is known here.
    #[must_use]
    pub fn knows(&self, id: &BackendId) -> Option<Incarnation> {
        Some(self.backends.get(id)?.incarnation)
    }

    /// How many proxies there are, and how many of them come before this one in the order of their names.
    #[must_use]
    pub fn rank(&self) -> (usize, usize) {
        let before = self.members.alive().filter(|name| **name < self.me);
        (before.count(), self.members.alive().count())
    }

    /// How many backends it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.backends.len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    /// What is to be done next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`tick`](Self::tick) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let tell_at = self.tell_at.filter(|_| !self.is_lost());
        [timer, tell_at].into_iter().flatten().min()
    }

    /// Time has passed. Where much is due at once, [`poll_timeout`](Self::poll_timeout) has come again afterwards.
    pub fn tick(&mut self, now: MonoTime) {
        let mut work = 0;
        while work < WORK_BOUND {
            if self.timers.first().is_none_or(|(at, _)| *at > now) {
                break;
            }
            let Some((_, id)) = self.timers.pop_first() else {
                break;
            };
            work += 1;
            if let Some(entry) = self.backends.get_mut(&id) {
                entry.armed = None;
                if !self.members.is_alive(&entry.owner) {
                    work += self.members.len() / PROXIES_PER_LOOK;
                }
                self.due(&id, now);
            }
        }
        if !self.is_lost() && self.tell_at.is_some_and(|at| at <= now) {
            self.tell(now);
        }
        self.check();
    }

    fn tell(&mut self, now: MonoTime) {
        self.tell_at = None;
        // Heard so long ago that its lease would have run out since says nothing any more.
        let mut heard = std::mem::take(&mut self.heard);
        heard.retain(|id| {
            let Some(entry) = self.backends.get_mut(id) else {
                return false;
            };
            let is_recent = entry.last_here.is_some_and(|at| plus(at, entry.ttl) > now);
            std::mem::take(&mut entry.is_to_be_told) && entry.owner != self.me && is_recent
        });
        for ids in heard.chunks(self.policy.told_max.max(1)) {
            self.actions.push_back(Action::Tell { ids: ids.to_vec() });
        }
    }

    /// How much later than told a lease runs out: others may have heard it, and their telling takes its time.
    fn grace(&self, now: MonoTime) -> Duration {
        if self.members.is_alone(now, self.policy.forget) {
            Duration::ZERO
        } else {
            self.policy.gather + self.policy.grace
        }
    }

    /// Whether this proxy is the one that ends its lease.
    #[must_use]
    pub fn is_mine(&self, id: &BackendId) -> bool {
        let Some(entry) = self.backends.get(id) else {
            return false;
        };
        if self.members.is_alive(&entry.owner) {
            return entry.owner == self.me;
        }
        rendezvous::winner(self.members.alive(), id) == Some(&self.me)
    }

    /// Whether this proxy probes it once its lease has run out: all do where nobody can be told what one has found.
    fn is_to_ask(&self, id: &BackendId) -> bool {
        self.is_lost() || self.is_mine(id)
    }

    /// How many are other proxies'.
    fn others(&self) -> usize {
        self.backends.len() - self.owned.get(&self.me).map_or(0, HashSet::len)
    }

    /// Whether there are so many that they are asked in turns while the store is lost.
    fn is_in_turns(&self) -> bool {
        !spread::all(self.backends.len()).is_zero()
    }

    const fn is_lost(&self) -> bool {
        self.lost_at.is_some()
    }

    /// Until when its lease runs as far as can be known here, before what telling may take.
    fn runs_until(&self, id: &BackendId, entry: &Entry) -> MonoTime {
        match self.lost_at {
            Some(lost) if entry.owner != self.me => {
                let turn = spread::turn(id, self.others());
                entry.lease_ends.max(plus(lost, entry.ttl + turn))
            }
            _ => entry.lease_ends,
        }
    }

    /// Whether that is all there is to say of it: nobody could have been told otherwise since the store was lost.
    fn is_heard(&self, entry: &Entry, now: MonoTime) -> bool {
        self.lost_at
            .is_some_and(|lost| entry.owner != self.me && now < plus(lost, entry.ttl))
    }

    /// Whether exactly that is known of it.
    fn is_known(&self, owned: &Owned) -> bool {
        self.backends.get(&owned.id).is_some_and(|known| {
            known.is_written
                && known.incarnation == owned.incarnation
                && known.ttl == owned.ttl
                && known.owner == owned.owner
        })
    }

    /// Those whose owner is missing are suspect; with a fresh TTL where that is news.
    fn orphans(&mut self, now: MonoTime, is_fresh: impl Fn(&ProxyName) -> bool) {
        let mut ids = Vec::new();
        for (owner, owned) in &self.owned {
            if !self.members.is_alive(owner) {
                let is_fresh = is_fresh(owner);
                ids.extend(owned.iter().map(|id| (id.clone(), is_fresh)));
            }
        }
        for (id, is_fresh) in ids {
            if let Some(entry) = self.backends.get_mut(&id).filter(|_| is_fresh) {
                entry.renew(now);
            }
            self.arm(&id, now);
        }
    }

    /// Puts what is known of it in the place of what was.
    fn place(&mut self, id: &BackendId, entry: Entry) {
        let owner = entry.owner.clone();
        let before = self.backends.insert(id.clone(), entry).map(|before| before.owner);
        if before.as_ref() == Some(&owner) {
            return;
        }
        if let Some(before) = before {
            self.disown(&before, id);
        }
        self.owned.entry(owner).or_default().insert(id.clone());
    }

    fn disown(&mut self, owner: &ProxyName, id: &BackendId) {
        if let Some(owned) = self.owned.get_mut(owner) {
            owned.remove(id);
            if owned.is_empty() {
                self.owned.remove(owner);
            }
        }
    }

    fn set_phase(&mut self, id: &BackendId, phase: Phase) {
        if let Some(entry) = self.backends.get_mut(id) {
            entry.phase = phase;
        }
    }

    fn forget_backend(&mut self, id: &BackendId) {
        let Some(entry) = self.backends.remove(id) else {
            return;
        };
        self.disown(&entry.owner, id);
        if let Some(at) = entry.armed {
            self.timers.remove(&(at, id.clone()));
        }
    }

    /// All of it only where there are few: after each call it would cost what there is.
    fn check(&self) {
        const FEW: usize = 64;
        debug_assert!(
            self.timers.len() <= self.backends.len(),
            "more timers than backends"
        );
        debug_assert!(
            self.backends.len() > FEW
                || self.backends.iter().all(|(id, entry)| self
                    .owned
                    .get(&entry.owner)
                    .is_some_and(|owned| owned.contains(id)))
                    && self.owned.values().map(HashSet::len).sum::<usize>() == self.backends.len(),
            "the backends by their owners are not the backends"
        );
        debug_assert!(
            self.backends.len() > FEW
                || self.timers.iter().all(|(at, id)| self
                    .backends
                    .get(id)
                    .is_some_and(|entry| entry.armed == Some(*at)))
                    && self
                        .backends
                        .iter()
                        .all(|(id, entry)| !entry.is_to_be_told || self.heard.contains(id)),
            "a timer of nobody, or a mark that is not told"
        );
    }
}

fn plus(time: MonoTime, span: Duration) -> MonoTime {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    MonoTime::from_micros(time.as_micros().saturating_add(micros))
}

#[cfg(test)]
mod tests;
