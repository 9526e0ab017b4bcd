use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Names of requests, that no other process is likely to give: `3f9a1c04-17`.
pub(crate) struct RequestIds {
    process: u32,
    next: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        // The keys of a hasher are random.
        let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_le_bytes();
        Self {
            process: u32::from_le_bytes([a, b, c, d]),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn next(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{:08x}-{number}", self.process)
    }
}
