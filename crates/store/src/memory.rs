//! The store that keeps nothing beyond the process.

use std::sync::{Arc, Mutex, PoisonError};

use edgeproxy_registry::Write;

use crate::kept::Kept;
use crate::{CommitError, LoadError, Loaded, Store, Task, Update};

/// Keeps registrations in memory: what is committed lives as long as the longest-lived clone, and clones share it.
///
/// For proxies whose backends shall register again after a restart, and for tests: one that drops a proxy and starts
/// another with a clone has restarted it.
///
/// ```
/// use edgeproxy_backend::{BackendId, Incarnation};
/// use edgeproxy_registry::Write;
/// use edgeproxy_store::{Memory, Store as _};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let store = Memory::new();
/// let gone = Write::Gone {
///     id: BackendId::parse("backend-eu-1")?,
///     incarnation: Incarnation::FIRST,
/// };
/// store.commit(&[gone]).await?;
/// let again = store.clone().load().await?;
/// assert!(again.records.is_empty());
/// assert_eq!(again.next_incarnation, Incarnation::new(2)); // the first was used
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, Default)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    // Whoever panicked in here left nothing half done that a later write doesn't put right.
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn load(&self) -> Task<'_, Result<Loaded, LoadError>> {
        Box::pin(async { Ok(self.kept().loaded()) })
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let mut kept = self.kept();
            for write in writes {
                kept.apply(write.clone(), 0);
            }
            Ok(())
        })
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(std::future::pending())
    }
}
