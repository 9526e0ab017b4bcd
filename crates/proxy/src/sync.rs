//! The atomics and locks that workers share, or loom's in their place where models play all interleavings of some threads
//! (`cargo xtask nightly --only loom`).

#[cfg(edgeproxy_loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(edgeproxy_loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
