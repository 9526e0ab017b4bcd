//! The atomics, or loom's in their place where models play all interleavings of some threads (`cargo xtask nightly --only loom`).

#[cfg(edgeproxy_loom)]
pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
#[cfg(not(edgeproxy_loom))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
