//! One deadline for each slot, the earliest first.

use crate::clock::Active;

/// A binary heap that knows where each slot's entry is, so that a slot never has two: its size is bounded
/// by the number of slots, whatever is registered, shortened and removed in between. A plain heap would
/// keep dead entries for up to the longest lease.
///
/// A lease's entry is *lazy*: a heartbeat moves the deadline in the backend's own entry only. The heap's
/// may be earlier than that, never later; when it surfaces, it is set to the true deadline.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: Vec<Timer>,
    /// By slot: its place in the heap, or `ABSENT`.
    places: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    at: Active,
    slot: u32,
}

const ABSENT: u32 = u32::MAX;

impl Timers {
    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.heap.reserve(more);
        self.places.reserve(more);
    }

    /// The earliest, with its slot.
    pub(crate) fn peek(&self) -> Option<(Active, u32)> {
        self.heap.first().map(|timer| (timer.at, timer.slot))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// When the slot's timer surfaces.
    pub(crate) fn armed(&self, slot: u32) -> Option<Active> {
        self.place(slot).map(|place| self.heap[place].at)
    }

    /// Makes sure that the slot surfaces at `at` or earlier.
    pub(crate) fn ensure(&mut self, slot: u32, at: Active) {
        if self.armed(slot).is_none_or(|armed| armed > at) {
            self.set(slot, at);
        }
    }

    /// Makes the slot surface at `at`.
    pub(crate) fn set(&mut self, slot: u32, at: Active) {
        let timer = Timer { at, slot };
        let Some(place) = self.place(slot) else {
            if self.places.len() <= slot as usize {
                self.places.resize(slot as usize + 1, ABSENT);
            }
            self.heap.push(timer);
            self.rise(self.heap.len() - 1, timer);
            return;
        };
        if at < self.heap[place].at {
            self.rise(place, timer);
        } else {
            self.sink(place, timer);
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        let Some(place) = self.place(slot) else { return };
        self.places[slot as usize] = ABSENT;
        let Some(last) = self.heap.pop() else { return };
        if place == self.heap.len() {
            return;
        }
        // The last one fills the hole; it may belong above it or below it.
        if last.at < self.heap[place].at {
            self.rise(place, last);
        } else {
            self.sink(place, last);
        }
    }

    fn place(&self, slot: u32) -> Option<usize> {
        match self.places.get(slot as usize) {
            Some(&place) if place != ABSENT => Some(place as usize),
            _ => None,
        }
    }

    /// Moves the hole at `place` up to where `timer` belongs, and fills it.
    fn rise(&mut self, mut place: usize, timer: Timer) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.heap[parent].at <= timer.at {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, timer);
    }

    /// Moves the hole at `place` down to where `timer` belongs, and fills it.
    fn sink(&mut self, mut place: usize, timer: Timer) {
        loop {
            let mut child = 2 * place + 1;
            if child >= self.heap.len() {
                break;
            }
            if child + 1 < self.heap.len() && self.heap[child + 1].at < self.heap[child].at {
                child += 1;
            }
            if timer.at <= self.heap[child].at {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, timer);
    }

    // The heap holds a slot at most once and slots are u32, so a place fits.
    #[allow(clippy::cast_possible_truncation)]
    fn put(&mut self, place: usize, timer: Timer) {
        self.heap[place] = timer;
        self.places[timer.slot as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(micros: u16) -> Active {
        Active::ZERO + Duration::from_micros(u64::from(micros))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u16),
        Ensure(u32, u16),
        Remove(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..12_u32, any::<u16>()).prop_map(|(slot, at)| Step::Set(slot, at)),
            (0..12_u32, any::<u16>()).prop_map(|(slot, at)| Step::Ensure(slot, at)),
            (0..12_u32).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_map(steps in prop::collection::vec(step(), 0..200)) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Set(slot, micros) => {
                        timers.set(slot, at(micros));
                        model.insert(slot, at(micros));
                    }
                    Step::Ensure(slot, micros) => {
                        timers.ensure(slot, at(micros));
                        let earliest = model.get(&slot).copied().unwrap_or(Active::NEVER).min(at(micros));
                        model.insert(slot, earliest);
                    }
                    Step::Remove(slot) => {
                        timers.remove(slot);
                        model.remove(&slot);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.peek().map(|(at, _)| at), model.values().min().copied());
                for slot in 0..12 {
                    prop_assert_eq!(timers.armed(slot), model.get(&slot).copied());
                }
            }
        }
    }
}
