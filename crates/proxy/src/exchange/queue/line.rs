//! Who waits, in which order, and whose turn it is. No lock, no task, no clock.

use slab::Slab;

/// A line of waiters with turns, each of which lets one of them try once.
///
/// A turn is given to the longest waiter that has none. It is consumed by a try, and never lost: a waiter that
/// leaves with a turn, or can't use what it found, hands it on. What nobody in the line could use is remembered
/// for the next to join. A try that fails for want of room loses nothing: there was none.
pub(super) struct Line<W> {
    waiters: Slab<Waiter<W>>,
    /// Those without a turn, the longest first.
    first: u32,
    last: u32,
    /// How many have a turn that they haven't consumed.
    turned: u32,
    /// There may be room that nobody has a turn for.
    spare: bool,
    joined: u64,
}

struct Waiter<W> {
    ticket: u64,
    prev: u32,
    next: u32,
    /// Its turn. While it has one it isn't linked.
    turn: Option<Turn>,
    /// The turn that it has just consumed.
    tried: Option<Turn>,
    /// Whom to wake when it gets a turn.
    wake: Option<W>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Turn {
    /// One place has been given back.
    One,
    /// Nobody knows how much room there is: whoever finds some lets the next one try.
    More,
}

/// A waiter's name until it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(u32);

const NIL: u32 = u32::MAX;

impl<W> Line<W> {
    /// An empty line.
    pub(super) fn new() -> Self {
        Self {
            waiters: Slab::new(),
            first: NIL,
            last: NIL,
            turned: 0,
            spare: false,
            joined: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Joins at the end. The first in the line has a turn: what was given back before nobody was told of. So has
    /// the next one when there may be room that those before it can't use. `None`: as many as `max` wait already.
    pub(super) fn join(&mut self, max: usize) -> Option<Key> {
        let begins = self.waiters.is_empty();
        let index = u32::try_from(self.waiters.vacant_key())
            .ok()
            .filter(|index| *index != NIL && self.waiters.len() < max)?;
        self.joined += 1;
        self.waiters.insert(Waiter {
            ticket: self.joined,
            prev: NIL,
            next: NIL,
            turn: None,
            tried: None,
            wake: None,
        });
        // With other turns outstanding the spare room is tried by those first.
        if begins || (self.spare && self.turned == 0) {
            self.spare = false;
            self.turned += 1;
            self.waiters[index as usize].turn = Some(Turn::More);
        } else {
            self.link(index);
        }
        Some(Key(index))
    }

    /// Consumes the waiter's turn, if it has one; it must then try. If it has none, `wake` is kept for when it
    /// gets one. Either way an earlier try has failed.
    pub(super) fn take_turn(&mut self, key: Key, wake: impl FnOnce(&mut Option<W>)) -> bool {
        let Some(waiter) = self.waiters.get_mut(key.0 as usize) else {
            return false;
        };
        let turn = waiter.turn.take();
        waiter.tried = match turn {
            Some(_) if self.spare => {
                self.spare = false;
                Some(Turn::More)
            }
            other => other,
        };
        if turn.is_some() {
            self.turned -= 1;
            // It keeps its place, and may be given another turn while it tries.
            self.link(key.0);
        } else {
            wake(&mut waiter.wake);
        }
        turn.is_some()
    }

    /// The waiter has found room that it can't use: the next one behind it shall try.
    #[must_use = "wake it"]
    pub(super) fn pass_on(&mut self, key: Key) -> Option<W> {
        let waiter = self.waiters.get_mut(key.0 as usize)?;
        let turn = waiter.tried.take()?;
        // A turn that it was given meanwhile remains its own.
        let behind = if waiter.turn.is_none() {
            waiter.next
        } else {
            self.first
        };
        self.give(behind, turn)
    }

    /// Leaves the line, served or not. Whom to wake in its stead is returned.
    #[must_use = "wake it"]
    pub(super) fn leave(&mut self, key: Key) -> Option<W> {
        let waiter = self.waiters.get(key.0 as usize)?;
        let (turn, tried) = (waiter.turn, waiter.tried);
        if turn.is_some() {
            self.turned -= 1;
        } else {
            self.unlink(key.0);
        }
        self.waiters.remove(key.0 as usize);
        if self.waiters.is_empty() {
            // Whoever comes next picks for itself.
            self.spare = false;
            return None;
        }
        match (turn, tried) {
            (_, Some(Turn::More)) => self.give(self.first, Turn::More),
            (Some(turn), _) => self.give(self.first, turn),
            (None, _) => None,
        }
    }

    /// One place has been given back. Whom to wake is returned.
    #[must_use = "wake it"]
    pub(super) fn release_one(&mut self) -> Option<W> {
        self.give(self.first, Turn::One)
    }

    /// There may be any amount of room. Whom to wake is returned; while there is room, each wakes the next.
    #[must_use = "wake it"]
    pub(super) fn release_any(&mut self) -> Option<W> {
        self.give(self.first, Turn::More)
    }

    /// Gives a turn to `index`, which has none, or else keeps it for who comes next.
    fn give(&mut self, index: u32, turn: Turn) -> Option<W> {
        let Some(waiter) = self.waiters.get_mut(index as usize) else {
            self.spare = !self.waiters.is_empty();
            return None;
        };
        let turn = if self.spare { Turn::More } else { turn };
        self.spare = false;
        waiter.turn = Some(turn);
        let wake = waiter.wake.take();
        self.turned += 1;
        self.unlink(index);
        wake
    }

    /// Links a waiter where it belongs by its ticket. Before it are only those that are trying right now, one a
    /// worker, or that have passed a turn on.
    fn link(&mut self, index: u32) {
        let ticket = self.waiters[index as usize].ticket;
        let (mut prev, mut next) = (NIL, self.first);
        if let Some(last) = self.waiters.get(self.last as usize)
            && last.ticket < ticket
        {
            (prev, next) = (self.last, NIL);
        }
        while let Some(waiter) = self.waiters.get(next as usize)
            && waiter.ticket < ticket
        {
            (prev, next) = (next, waiter.next);
        }
        self.join_up(prev, index);
        self.join_up(index, next);
    }

    /// Takes a waiter that is linked out of the chain.
    fn unlink(&mut self, index: u32) {
        let waiter = &self.waiters[index as usize];
        self.join_up(waiter.prev, waiter.next);
    }

    /// Makes two waiters neighbours; without one, the other is at that end.
    fn join_up(&mut self, before: u32, after: u32) {
        match self.waiters.get_mut(before as usize) {
            Some(waiter) => waiter.next = after,
            None => self.first = after,
        }
        match self.waiters.get_mut(after as usize) {
            Some(waiter) => waiter.prev = before,
            None => self.last = before,
        }
    }
}

#[cfg(test)]
mod tests;
