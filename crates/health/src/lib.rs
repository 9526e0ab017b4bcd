//! When to probe which backend, and the tokio driver that does it.
