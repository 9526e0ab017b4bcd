use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{BackendAddr, BackendId, Incarnation};

use crate::Monitor;

/// Something to probe: one life of a backend, for one purpose.
///
/// The incarnation and the class are its identity. A target that comes again with another address, id or
/// monitor is a new one: its probe is cancelled and its result void.
#[derive(Clone, Debug)]
pub struct Target {
    /// The backend.
    pub id: BackendId,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// What the probe is for.
    pub class: Class,
    /// Where the backend listens.
    pub addr: BackendAddr,
    /// How it is probed, and how often. Shared by the backends of an app.
    pub monitor: Arc<Monitor>,
    /// When a new target is first probed; on one that is known already it says nothing.
    pub first: First,
}

/// What a probe is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// The app's health monitor.
    Monitor,
    /// A backend whose lease ran out in a mass expiry, or as far as a proxy that shares its store knows, and which is routed
    /// to only while a probe reaches it: probed at once, and then at a fifth of its monitor's interval.
    Suspect,
}

/// When a new target is first probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum First {
    /// At a random moment of its first interval, so that a thousand that come together are not probed
    /// together ever after.
    #[default]
    Spread,
    /// As soon as there is room: for a backend restored from the store, or one that waits for its first
    /// passing probe.
    AtOnce,
}

/// How soon the next probe is due, which whoever counts the results decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pace {
    /// Nothing is changing: the usual interval.
    #[default]
    Settled,
    /// A streak has begun but has decided nothing yet: a fifth of it.
    Changing,
}

/// What identifies a [`Target`]. An incarnation's number is never used twice, so the id adds nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) incarnation: Incarnation,
    pub(crate) class: Class,
}

/// An interval is divided by this while a backend is changing state.
const CHANGING_DIVISOR: u32 = 5;

impl Target {
    pub(crate) const fn key(&self) -> Key {
        Key {
            incarnation: self.incarnation,
            class: self.class,
        }
    }

    /// Whether a probe of `other` says the same as one of this.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.key() == other.key()
            && self.id == other.id
            && self.addr == other.addr
            && (Arc::ptr_eq(&self.monitor, &other.monitor) || self.monitor == other.monitor)
    }

    /// Whether a new target waits for nothing.
    pub(crate) const fn begins_at_once(&self) -> bool {
        matches!((self.class, self.first), (Class::Suspect, _) | (_, First::AtOnce))
    }

    /// The time between two probes' beginnings, before jitter.
    pub(crate) fn interval(&self, pace: Pace) -> Duration {
        let interval = self.monitor.interval();
        match (self.class, pace) {
            (Class::Monitor, Pace::Settled) => interval,
            (Class::Suspect, _) | (_, Pace::Changing) => interval / CHANGING_DIVISOR,
        }
    }
}
