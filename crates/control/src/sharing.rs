//! Asks the store for what is to become of others' leases, and of those that have ended.

use std::sync::Arc;

use edgeproxy_store::{CommitError, Shared as SharedStore};

use crate::handle::Shared;
use crate::keeping::{FIRST_PAUSE, Keeping};
use crate::leases::Errand;

/// Beside the [keeper](crate::keeper): a commit that hangs keeps no heartbeat from being told.
pub(crate) struct Sharing {
    shared: Arc<Shared>,
    keeping: Arc<Keeping>,
}

impl Sharing {
    pub(crate) const fn new(shared: Arc<Shared>, keeping: Arc<Keeping>) -> Self {
        Self { shared, keeping }
    }

    pub(crate) async fn run(self) {
        let Some(store) = self.keeping.store.shared() else {
            return;
        };
        loop {
            let errand = self.shared.lock().take_errand();
            if errand.is_empty() {
                self.keeping.share.notified().await;
            } else if self.carry_out(store, errand).await.is_err() {
                // What could not be done is wished for again by whoever wished for it.
                tokio::time::sleep(FIRST_PAUSE).await;
            }
        }
    }

    async fn carry_out(&self, store: &dyn SharedStore, errand: Errand) -> Result<(), CommitError> {
        let Errand { adopt, end, tell } = errand;
        let mut all = Ok(());
        if !tell.is_empty()
            && let Err(error) = store.tell(&tell).await
        {
            self.shared.lock().was_not_told(tell, self.shared.clock.now());
            all = Err(error);
        }
        if !adopt.is_empty() {
            all = all.and(store.adopt(&adopt).await);
        }
        let end = self.shared.lock().still_to_end(end, self.shared.clock.now());
        if !end.is_empty() {
            all = all.and(store.end(&end).await);
        }
        if let Err(error) = &all {
            tracing::debug!(%error, "leases could not be shared; it is tried again");
        }
        all
    }
}
