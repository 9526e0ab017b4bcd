use std::mem::discriminant;

use crate::fleet::Action;

/// What changes how a backend behaves and hasn't ended, in the order of its beginnings. Of a kind the latest counts; when it
/// ends, the one before counts again.
#[derive(Default)]
pub(crate) struct LaidOver {
    all: Vec<(u64, Action)>,
    next: u64,
}

impl LaidOver {
    /// It begins. The number by which it ends.
    pub(crate) fn begin(&mut self, action: Action) -> u64 {
        let number = self.next;
        self.next += 1;
        self.all.push((number, action));
        number
    }

    pub(crate) fn end(&mut self, number: u64) {
        self.all.retain(|(other, _)| *other != number);
    }

    /// The one that counts, of those of its kind.
    pub(crate) fn latest(&self, kind: Action) -> Option<Action> {
        let alike = |(_, action): &&(u64, Action)| discriminant(action) == discriminant(&kind);
        self.all.iter().rev().find(alike).map(|(_, action)| *action)
    }
}
