//! Drains while two processes serve: one that is asked for at the new process waits for what the old one has in flight, too.

use std::collections::VecDeque;
use std::sync::Arc;

use edgeproxy_backend::{BackendId, Endpoint, Incarnation};
use edgeproxy_control::Handle;

/// An incarnation of a backend: its id, and its number.
pub type Life = (String, u64);

/// Backends that are named, or looked at, in one message at the most: the registry waits for no more than that, however many
/// drain.
const AT_ONCE: usize = 1_024;

/// What the new process is told by the old one, which may still have requests under way. See
/// [`Running::predecessor`](crate::Running::predecessor).
#[derive(Clone, Debug)]
pub struct Predecessor(pub(crate) Handle);

impl Predecessor {
    /// The backends that have begun to drain, or were disabled, since this was last asked, for the old process to begin no more
    /// requests there; 1,024 at the most, and the others the next time. `None`: there is nothing that it would have to be asked.
    #[must_use = "nobody is told twice"]
    pub fn ask(&self) -> Option<Vec<Life>> {
        let asked = self.0.ask_predecessor(AT_ONCE)?;
        let named = |(id, incarnation): (BackendId, Incarnation)| (id.as_str().to_owned(), incarnation.get());
        Some(asked.into_iter().map(named).collect())
    }

    /// On these it has nothing under way any more, and begins nothing.
    pub fn is_done(&self, with: &[Life]) {
        let with: Vec<_> = with.iter().filter_map(read).collect();
        self.0.predecessor_is_done(&with);
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
    /// Whom it has named, and what they have here; who was looked at last comes last.
    drain: VecDeque<(Life, Option<Arc<Endpoint>>)>,
}

impl Successor {
    pub(crate) const fn new(handle: Handle) -> Self {
        Self {
            handle,
            drain: VecDeque::new(),
        }
    }

    /// These drain there, or are disabled, so they get no more requests here. Returns which of all that it named before are
    /// done, of which it looks at 1,024 each time: a request that was let in the instant before is on the meter by the next
    /// time.
    pub fn answer(&mut self, draining: Vec<Life>) -> Vec<Life> {
        let is_done =
            |endpoint: Option<&Endpoint>| endpoint.is_none_or(|endpoint| endpoint.meter.remaining() == 0);
        let looked_at = self.drain.len().min(AT_ONCE);
        let (done, rest): (Vec<_>, Vec<_>) = self
            .drain
            .drain(..looked_at)
            .partition(|(_, endpoint)| is_done(endpoint.as_deref()));
        self.drain.extend(rest);
        if !draining.is_empty() {
            self.begin(draining);
        }
        done.into_iter().map(|(life, _)| life).collect()
    }

    fn begin(&mut self, draining: Vec<Life>) {
        let (mut lives, mut named) = (Vec::new(), Vec::new());
        for life in draining {
            match read(&life) {
                Some(one) => {
                    named.push(one);
                    lives.push(life);
                }
                None => self.drain.push_back((life, None)),
            }
        }
        let endpoints = self.handle.drain_with_successor(&named);
        self.drain.extend(lives.into_iter().zip(endpoints));
    }
}

/// `None`: nobody can be called that.
fn read((id, incarnation): &Life) -> Option<(BackendId, Incarnation)> {
    Some((BackendId::parse(id).ok()?, Incarnation::new(*incarnation)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_that_drain_a_message_names_1024_and_none_is_forgotten() {
        let (handle, _driver) = edgeproxy_control::registry(edgeproxy_registry::Config::default());
        let mut successor = Successor::new(handle);
        let all: Vec<Life> = (1..=2_500).map(|n| (format!("gone-{n}"), n)).collect();
        assert_eq!(
            successor.answer(all.clone()),
            [],
            "not before it is looked at again"
        );
        let mut done = Vec::new();
        for expected in [1_024, 1_024, 452, 0] {
            let some = successor.answer(Vec::new());
            assert_eq!(some.len(), expected);
            done.extend(some);
        }
        assert_eq!(done, all);
    }
}
