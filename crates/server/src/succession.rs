//! Drains while two processes serve: one that is asked for at the new process waits for what the old one has in flight, too.

use std::sync::Arc;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation};
use edgeproxy_control::Handle;

/// An incarnation of a backend: its id, and its number.
pub type Life = (String, u64);

/// What the new process is told by the old one, which may still have requests under way. See
/// [`Running::predecessor`](crate::Running::predecessor).
#[derive(Clone, Debug)]
pub struct Predecessor(pub(crate) Handle);

impl Predecessor {
    /// The backends that have begun to drain since this was last asked, for the old process to begin no more requests there.
    /// `None`: there is nothing that it would have to be asked.
    #[must_use = "nobody is told twice"]
    pub fn ask(&self) -> Option<Vec<Life>> {
        let asked = self.0.ask_predecessor()?;
        let named = |(id, incarnation): (BackendId, Incarnation)| (id.as_str().to_owned(), incarnation.get());
        Some(asked.into_iter().map(named).collect())
    }

    /// On these it has nothing under way any more, and begins nothing.
    pub fn is_done(&self, with: &[Life]) {
        for (id, incarnation) in with.iter().filter_map(read) {
            self.0.predecessor_is_done(&id, incarnation);
        }
    }

    /// It has ended.
    pub fn is_gone(&self) {
        self.0.predecessor_is_gone();
    }
}

/// What the old process answers the new one, while it has requests under way. See
/// [`Running::successor`](crate::Running::successor).
#[derive(Debug)]
pub struct Successor {
    handle: Handle,
    /// Whom it has named, and what they have here.
    drain: Vec<(Life, Option<Arc<Endpoint>>)>,
}

impl Successor {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self {
            handle,
            drain: Vec::new(),
        }
    }

    /// These drain there, so they get no more requests here. Returns which of all that it named before are done: a request that
    /// was let in the instant before is on the meter by the next time.
    pub fn answer(&mut self, draining: Vec<Life>) -> Vec<Life> {
        let is_done =
            |endpoint: Option<&Endpoint>| endpoint.is_none_or(|endpoint| endpoint.meter.in_flight() == 0);
        let before = std::mem::take(&mut self.drain);
        let (done, rest): (Vec<_>, Vec<_>) = before
            .into_iter()
            .partition(|(_, endpoint)| is_done(endpoint.as_deref()));
        self.drain = rest;
        self.drain.extend(draining.into_iter().map(|life| {
            let endpoint =
                read(&life).and_then(|(id, incarnation)| self.handle.drain_with_successor(&id, incarnation));
            (life, endpoint)
        }));
        done.into_iter().map(|(life, _)| life).collect()
    }
}

/// `None`: nobody can be called that.
fn read((id, incarnation): &Life) -> Option<(BackendId, Incarnation)> {
    Some((BackendId::parse(id).ok()?, Incarnation::new(*incarnation)?))
}
