use std::sync::atomic::{AtomicU64, Ordering};

/// A number that **one** thread changes and any may read.
///
/// Two threads that add to the same one lose additions of each other, and do no other harm.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it. A load and a store: on one thread nothing comes between them.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(more),
            Ordering::Relaxed,
        );
    }

    /// Takes from it, for what comes and goes.
    #[inline]
    pub fn take(&self, less: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_sub(less),
            Ordering::Relaxed,
        );
    }

    /// What it is at about this moment.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_was_added_less_what_was_taken() {
        let count = Count::default();
        count.add(3);
        count.take(1);
        assert_eq!(count.get(), 2);
    }
}
