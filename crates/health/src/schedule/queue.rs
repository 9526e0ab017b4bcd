use std::collections::BTreeMap;

use edgeproxy_backend::MonoTime;

use crate::target::Key;

/// Who waits for a probe, the longest overdue first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    turns: BTreeMap<Turn, Key>,
    last: u64,
}

/// A place in the queue. Of those that are due at the same time, the one that has waited longer is
/// first: under saturation many are, and any other order would favour some of them for ever.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Turn {
    due: MonoTime,
    sequence: u64,
}

impl Queue {
    pub(super) fn push(&mut self, key: Key, due: MonoTime) -> Turn {
        self.last += 1;
        let turn = Turn {
            due,
            sequence: self.last,
        };
        self.turns.insert(turn, key);
        turn
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        self.turns.remove(&turn);
    }

    /// Takes the first out if it is due.
    pub(super) fn pop_due(&mut self, now: MonoTime) -> Option<Key> {
        Some(
            self.turns
                .first_entry()
                .filter(|first| first.key().due <= now)?
                .remove(),
        )
    }

    pub(super) fn next_due(&self) -> Option<MonoTime> {
        self.turns.first_key_value().map(|(turn, _)| turn.due)
    }

    pub(super) fn len(&self) -> usize {
        self.turns.len()
    }
}
