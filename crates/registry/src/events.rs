//! Events on their way out, and no more of them than allowed.

use std::collections::VecDeque;

use crate::Event;

/// The events that nobody has polled yet. When it is full, the oldest goes; the gap in the sequence tells.
#[derive(Debug)]
pub(crate) struct Events {
    waiting: VecDeque<Event>,
    max: usize,
    sequence: u64,
    dropped: u64,
}

impl Events {
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            max,
            sequence: 0,
            dropped: 0,
        }
    }

    /// Takes it in, whatever sequence it has, and gives it the next.
    pub(crate) fn push(&mut self, event: Event) {
        self.sequence += 1;
        if self.waiting.len() >= self.max {
            self.dropped += 1;
            if self.waiting.pop_front().is_none() {
                return;
            }
        }
        self.waiting.push_back(Event {
            sequence: self.sequence,
            ..event
        });
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn is_within_limit(&self) -> bool {
        self.waiting.len() <= self.max
    }
}
