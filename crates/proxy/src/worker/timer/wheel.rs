//! When what is due, without a clock.

use slab::Slab;

/// A hashed timer wheel: scheme 6 of Varghese and Lauck, *Hashed and Hierarchical Timing Wheels* (1987), made
/// lazy for deadlines that are put off far more often than they pass.
///
/// Time is a count of ticks, and comes in by [`advance`](Self::advance). An entry is filed in the slot of a tick
/// that is no later than its deadline. Putting the deadline off, or lifting it, is a store: that the entry is
/// filed too early is noticed when its slot comes up, and then it is filed anew. Only a deadline that is moved to
/// before its slot costs four writes to the neighbours in two lists. So a connection that gets a new deadline for
/// every step of every request is touched by the wheel once in its shortest time-out.
///
/// Nothing fires early. An entry fires in the first `advance` to its tick or later; one that was armed for the
/// wheel's present or past fires in the first that moves time at all.
///
/// A driver calls `advance`, then [`next_wake`](Self::next_wake), and sleeps until then, or until
/// [`arm`](Self::arm) says that this has become too late.
pub(crate) struct Wheel<T> {
    entries: Slab<Entry<T>>,
    heads: [u32; SLOTS],
    now: u64,
    armed: usize,
    /// When the driver looks again; no later than any entry is filed, while one is armed.
    alarm: u64,
}

/// Names an entry until it is removed. Afterwards it names nothing, or one that was inserted later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Key(u32);

struct Entry<T> {
    /// [`NEVER`]: not armed.
    due: u64,
    /// The tick whose slot it is in; [`NEVER`]: in none.
    filed: u64,
    prev: u32,
    next: u32,
    payload: T,
}

/// One revolution; a deadline further away is looked at once in each. A power of two.
pub(crate) const SLOTS: usize = 512;

const NEVER: u64 = u64::MAX;
const NIL: u32 = u32::MAX;

impl<T> Wheel<T> {
    /// An empty one, at tick 0.
    pub(crate) fn new() -> Self {
        Self {
            entries: Slab::new(),
            heads: [NIL; SLOTS],
            now: 0,
            armed: 0,
            alarm: NEVER,
        }
    }

    /// Adds an entry that isn't armed. Beyond four thousand million of them the key names nothing.
    pub(crate) fn insert(&mut self, payload: T) -> Key {
        let vacant = self.entries.vacant_entry();
        let Ok(index) = u32::try_from(vacant.key()) else {
            return Key(NIL);
        };
        if index != NIL {
            vacant.insert(Entry {
                due: NEVER,
                filed: NEVER,
                prev: NIL,
                next: NIL,
                payload,
            });
        }
        Key(index)
    }

    /// Removes an entry. Its payload is returned so that it can be dropped where it does no harm.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.disarm(key);
        if self.entries.get(key.0 as usize)?.filed != NEVER {
            self.unlink(key.0);
        }
        Some(self.entries.remove(key.0 as usize).payload)
    }

    /// The payload of an entry.
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.entries.get(key.0 as usize).map(|entry| &entry.payload)
    }

    /// The payload of an entry.
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.entries
            .get_mut(key.0 as usize)
            .map(|entry| &mut entry.payload)
    }

    /// Every payload, in no order.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|(_, entry)| &entry.payload)
    }

    /// Lets an entry fire at `due`, and not before. Whether the driver must look at the wheel again: it would
    /// sleep for too long.
    #[must_use = "the driver may sleep for too long"]
    pub(crate) fn arm(&mut self, key: Key, due: u64) -> bool {
        let due = due.min(NEVER - 1);
        let Some(entry) = self.entries.get_mut(key.0 as usize) else {
            return false;
        };
        if entry.due == NEVER {
            self.armed += 1;
        }
        entry.due = due;
        let mut filed = entry.filed;
        if due < filed {
            if filed != NEVER {
                self.unlink(key.0);
            }
            filed = self.file(key.0, due);
        }
        let sooner = filed < self.alarm;
        if sooner {
            self.alarm = filed;
        }
        sooner
    }

    /// Lets an entry not fire.
    pub(crate) fn disarm(&mut self, key: Key) {
        if let Some(entry) = self.entries.get_mut(key.0 as usize)
            && entry.due != NEVER
        {
            entry.due = NEVER;
            self.armed -= 1;
        }
    }

    /// Moves time to `now`, and calls `fire` for what is due, which isn't armed any more then. Time never goes
    /// back. Costs what slots are passed, one revolution at most, and the entries in them.
    pub(crate) fn advance(&mut self, now: u64, mut fire: impl FnMut(&mut T)) {
        let passed = now.saturating_sub(self.now).min(SLOTS as u64);
        let first = self.now + 1;
        self.now = self.now.max(now);
        for tick in first..first + passed {
            // Taken off as a whole: what is filed anew may belong in this very slot.
            let mut index = std::mem::replace(&mut self.heads[slot(tick)], NIL);
            while let Some(entry) = self.entries.get_mut(index as usize) {
                let (due, next) = (entry.due, entry.next);
                entry.filed = NEVER;
                if due <= now {
                    entry.due = NEVER;
                    self.armed -= 1;
                    fire(&mut entry.payload);
                } else if due != NEVER {
                    self.file(index, due);
                }
                index = next;
            }
        }
    }

    /// When to call [`advance`](Self::advance) next, which is later than now: `None` while nothing is armed.
    /// From here on [`arm`](Self::arm) tells what must be looked at before then.
    pub(crate) fn next_wake(&mut self) -> Option<u64> {
        let next = if self.armed == 0 {
            None
        } else {
            let revolution = self.now + 1..=self.now + SLOTS as u64;
            revolution.into_iter().find(|tick| self.heads[slot(*tick)] != NIL)
        };
        self.alarm = next.unwrap_or(NEVER);
        next
    }

    /// Files an entry that is in no slot. Returns the tick.
    fn file(&mut self, index: u32, due: u64) -> u64 {
        let tick = due.clamp(self.now + 1, self.now + SLOTS as u64);
        let head = std::mem::replace(&mut self.heads[slot(tick)], index);
        let entry = &mut self.entries[index as usize];
        entry.filed = tick;
        entry.prev = NIL;
        entry.next = head;
        if let Some(second) = self.entries.get_mut(head as usize) {
            second.prev = index;
        }
        tick
    }

    /// Takes an entry out of its slot.
    fn unlink(&mut self, index: u32) {
        let entry = &mut self.entries[index as usize];
        let (prev, next, filed) = (entry.prev, entry.next, entry.filed);
        entry.filed = NEVER;
        match self.entries.get_mut(prev as usize) {
            Some(before) => before.next = next,
            None => self.heads[slot(filed)] = next,
        }
        if let Some(after) = self.entries.get_mut(next as usize) {
            after.prev = prev;
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the remainder is less than SLOTS")]
fn slot(tick: u64) -> usize {
    (tick % SLOTS as u64) as usize
}

#[cfg(test)]
mod tests;
