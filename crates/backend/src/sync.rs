//! The atomics, or loom's in their place where models play all interleavings of some threads (`cargo xtask nightly --only loom`).

#[cfg(edgeproxy_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(edgeproxy_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Between a write and a read of something else that both are [`Ordering::SeqCst`] anyway. loom takes those for weaker ones
/// than they are, and believes fences alone.
#[inline]
pub(crate) fn write_then_read() {
    #[cfg(edgeproxy_loom)]
    fence(Ordering::SeqCst);
}
