//! The store, as a model: one order of changes, which everybody hears of in that order.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_store::ProxyName;
use edgeproxy_store::cluster::Owned;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Put(Owned),
    Deleted(BackendId, Incarnation),
    Joined(ProxyName),
    Parted(ProxyName),
    Heard(Vec<BackendId>),
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) backends: BTreeMap<BackendId, Owned>,
    pub(crate) members: BTreeMap<ProxyName, MonoTime>,
    pub(crate) log: Vec<(MonoTime, Event)>,
    /// Lives that a DELETE has ended, and when.
    pub(crate) ended: BTreeMap<BackendId, (Incarnation, MonoTime)>,
    /// Registrations that were put or deleted.
    pub(crate) writes: usize,
    highest: BTreeMap<BackendId, Incarnation>,
}

impl Store {
    pub(crate) fn keep_alive(&mut self, proxy: &ProxyName, ttl: Duration, now: MonoTime) {
        let ends = after(now, ttl);
        if self.members.insert(proxy.clone(), ends).is_none() {
            self.log.push((now, Event::Joined(proxy.clone())));
        }
    }

    pub(crate) fn expire(&mut self, now: MonoTime) {
        let dead: Vec<_> = self
            .members
            .iter()
            .filter(|(_, ends)| **ends <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in dead {
            self.members.remove(&name);
            self.log.push((now, Event::Parted(name)));
        }
    }

    /// A registration of a proxy's own, or a renewal. Not if a later life is or was there.
    pub(crate) fn register(&mut self, owned: Owned, now: MonoTime) {
        let known = self.backends.get(&owned.id).map(|known| known.incarnation);
        let highest = self.highest.get(&owned.id).copied();
        // A life that was there and is gone does not return.
        let is_late = highest.is_some_and(|highest| {
            highest > owned.incarnation || (highest == owned.incarnation && known.is_none())
        });
        if !is_late {
            self.put(owned, now);
        }
    }

    pub(crate) fn adopt(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        from: &ProxyName,
        to: &ProxyName,
        now: MonoTime,
    ) {
        let is_there = |owned: &&Owned| owned.incarnation == incarnation && owned.owner == *from;
        if let Some(owned) = self.backends.get(id).filter(is_there) {
            let owner = to.clone();
            self.put(
                Owned {
                    owner,
                    ..owned.clone()
                },
                now,
            );
        }
    }

    fn put(&mut self, owned: Owned, now: MonoTime) {
        let highest = self.highest.entry(owned.id.clone()).or_insert(owned.incarnation);
        assert!(
            *highest <= owned.incarnation,
            "an older life was written over a later one: {owned:?}"
        );
        *highest = owned.incarnation;
        let ended = self.ended.get(&owned.id);
        assert!(
            ended.is_none_or(|(ended, _)| *ended < owned.incarnation),
            "a removed one has returned: {owned:?}"
        );
        self.writes += 1;
        self.backends.insert(owned.id.clone(), owned.clone());
        self.log.push((now, Event::Put(owned)));
    }

    /// An owner's deletion, whose fence is incarnation and owner.
    pub(crate) fn delete(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        owner: &ProxyName,
        now: MonoTime,
    ) -> bool {
        let is_there = |owned: &Owned| owned.incarnation == incarnation && owned.owner == *owner;
        let deleted = self.backends.get(id).is_some_and(is_there);
        if deleted {
            self.remove(id, incarnation, now);
        }
        deleted
    }

    /// A backend's own leaving.
    pub(crate) fn deregister(&mut self, id: &BackendId, incarnation: Incarnation, now: MonoTime) {
        if self
            .backends
            .get(id)
            .is_some_and(|owned| owned.incarnation <= incarnation)
        {
            self.remove(id, incarnation, now);
        }
        self.ended.insert(id.clone(), (incarnation, now));
        let highest = self.highest.entry(id.clone()).or_insert(incarnation);
        *highest = incarnation.max(*highest);
    }

    fn remove(&mut self, id: &BackendId, incarnation: Incarnation, now: MonoTime) {
        self.writes += 1;
        self.backends.remove(id);
        self.log.push((now, Event::Deleted(id.clone(), incarnation)));
    }

    pub(crate) fn tell(&mut self, ids: Vec<BackendId>, now: MonoTime) {
        self.log.push((now, Event::Heard(ids)));
    }
}

pub(crate) fn after(time: MonoTime, span: Duration) -> MonoTime {
    MonoTime::from_micros(time.as_micros() + u64::try_from(span.as_micros()).unwrap())
}
