use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use bytes::Bytes;
use edgeproxy_registry::Event;

/// An event that was taken in.
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) at: SystemTime,
    pub(super) event: Event,
    /// As it is sent, made for the first who reads it.
    pub(super) text: OnceLock<Bytes>,
}

/// The latest events, by numbers without a gap.
pub(super) struct Ring {
    kept: VecDeque<Arc<Told>>,
    max: usize,
    /// The number of the newest; 0 before the first.
    newest: u64,
    /// The registry's own number of what it told last.
    told: u64,
}

/// A look into the ring.
pub(super) struct Read {
    /// In order, and without a gap after the one that was asked for.
    pub(super) events: Vec<Arc<Told>>,
    /// What followed is partly gone.
    pub(super) has_forgotten: bool,
    /// The number of the newest.
    pub(super) newest: u64,
}

impl Ring {
    pub(super) fn new(max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            max: max.max(1),
            newest: 0,
            told: 0,
        }
    }

    /// Takes one in and gives the number of the newest.
    pub(super) fn push(&mut self, event: &Event, at: SystemTime) -> u64 {
        let missed = event.sequence.saturating_sub(self.told.saturating_add(1));
        self.told = event.sequence;
        if missed > 0 {
            // The registry has dropped some unread. Whoever follows is to know, so nobody's place may be in the ring.
            self.kept.clear();
            self.newest = self.newest.saturating_add(missed);
        }
        if !event.is_news {
            return self.newest;
        }
        self.newest = self.newest.saturating_add(1);
        if self.kept.len() >= self.max {
            self.kept.pop_front();
        }
        self.kept.push_back(Arc::new(Told {
            number: self.newest,
            at,
            event: event.clone(),
            text: OnceLock::new(),
        }));
        self.newest
    }

    pub(super) const fn newest(&self) -> u64 {
        self.newest
    }

    /// The number before the oldest that is kept.
    fn forgotten(&self) -> u64 {
        self.newest - self.kept.len() as u64
    }

    /// Whether all that followed that one is here.
    pub(super) fn holds_what_follows(&self, number: u64) -> bool {
        (self.forgotten()..=self.newest).contains(&number)
    }

    /// What follows that one, `most` at the most.
    pub(super) fn after(&self, number: u64, most: usize) -> Read {
        let (newest, has_forgotten) = (self.newest, !self.holds_what_follows(number));
        let passed = usize::try_from(number.saturating_sub(self.forgotten())).unwrap_or(usize::MAX);
        let events = if has_forgotten {
            Vec::new()
        } else {
            self.kept.iter().skip(passed).take(most).map(Arc::clone).collect()
        };
        Read {
            events,
            has_forgotten,
            newest,
        }
    }

    /// All that is kept, the newest first.
    pub(super) fn backwards(&self) -> impl Iterator<Item = &Arc<Told>> {
        self.kept.iter().rev()
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_registry::EventKind;

    use super::super::view::tests::event;
    use super::*;

    fn told(sequence: u64) -> Event {
        event(sequence, EventKind::Changed)
    }

    fn numbers(read: &Read) -> Vec<u64> {
        read.events.iter().map(|told| told.number).collect()
    }

    #[test]
    fn it_keeps_the_latest_and_says_when_what_is_asked_for_is_gone() {
        let mut ring = Ring::new(3);
        assert!(ring.holds_what_follows(0));
        for sequence in 1..=5 {
            ring.push(&told(sequence), SystemTime::now());
        }
        assert_eq!(numbers(&ring.after(2, 10)), [3, 4, 5]);
        assert_eq!(numbers(&ring.after(3, 1)), [4]);
        assert!(ring.after(5, 10).events.is_empty() && !ring.after(5, 10).has_forgotten);
        for gone in [0, 1, 6] {
            let read = ring.after(gone, 10);
            assert!(read.has_forgotten && read.events.is_empty(), "{gone}");
            assert_eq!(read.newest, 5);
        }
    }

    #[test]
    fn what_the_registry_dropped_unread_is_forgotten_for_everybody() {
        let mut ring = Ring::new(10);
        ring.push(&told(1), SystemTime::now());
        ring.push(&told(2), SystemTime::now());
        ring.push(&told(7), SystemTime::now());
        assert_eq!(ring.newest(), 7);
        assert!(ring.after(2, 10).has_forgotten);
        assert_eq!(numbers(&ring.after(6, 10)), [7]);
    }

    #[test]
    fn a_renewal_that_changed_nothing_takes_no_number() {
        let mut ring = Ring::new(10);
        ring.push(&told(1), SystemTime::now());
        let same = Event {
            is_news: false,
            ..told(2)
        };
        assert_eq!(ring.push(&same, SystemTime::now()), 1);
        assert_eq!(ring.push(&told(3), SystemTime::now()), 2);
        assert_eq!(numbers(&ring.after(0, 10)), [1, 2]);
    }

    #[test]
    fn a_renewal_that_changed_nothing_wakes_nobody_who_follows() {
        let events = super::super::Events::default();
        let mut progress = events.0.progress.subscribe();
        events.tell(&told(1));
        assert!(progress.has_changed().unwrap());
        progress.mark_unchanged();
        events.tell(&Event {
            is_news: false,
            ..told(2)
        });
        assert!(!progress.has_changed().unwrap());
        events.tell(&told(3));
        assert!(progress.has_changed().unwrap());
    }
}
