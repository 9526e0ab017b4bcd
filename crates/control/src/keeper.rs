//! Writes what changes to the store, and takes in what others have changed there.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use edgeproxy_registry::Write;
use edgeproxy_store::{CommitError, Task, Update};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::handle::Shared;
use crate::keeping::{FIRST_PAUSE, Keeping, PATIENCE};

/// Commits one batch after the other; what changes meanwhile is the next. Nothing but those who asked for durability
/// waits for it.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    keeping: Arc<Keeping>,
    /// Failed commits in a row.
    failures: u32,
}

/// Ids in one commit. At some 200 bytes each it is a write of a few megabytes.
const BATCH: usize = 16_384;
/// The same where others write as well, whose changes wait for its end: eight of etcd's transactions.
const SHARED_BATCH: usize = 960;
/// What others have changed that is taken in between two commits.
const UPDATES: usize = 4_096;
/// The longest pause after a failed commit; the first is [`FIRST_PAUSE`], and each further one is twice as long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

struct Batch {
    writes: Vec<Write>,
    /// The newest change that is kept with it, if nothing was left behind.
    through: Option<u64>,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, keeping: Arc<Keeping>) -> Self {
        Self {
            shared,
            keeping,
            failures: 0,
        }
    }

    pub(crate) async fn run(mut self) {
        loop {
            if self.keeping.is_given.load(Ordering::Acquire) {
                self.take_again().await;
                continue;
            }
            self.take_in_all().await;
            let batch = self.take();
            if batch.writes.is_empty() {
                self.reach(batch.through);
                tokio::select! {
                    biased;
                    () = self.keeping.wake.notified() => {}
                    update = self.keeping.store.update() => self.take_in(update),
                }
                // The tasks that are ready go first: what they change is kept in one go.
                tokio::task::yield_now().await;
                continue;
            }
            if !self.commit(batch).await {
                self.pause().await;
            }
        }
    }

    /// Takes the store again, once nothing is paused any more.
    async fn take_again(&mut self) {
        if self.shared.lock().paused {
            self.keeping.wake.notified().await;
            return;
        }
        match self.keeping.store.load().await {
            Ok(loaded) => {
                // A store that is this process's alone has what the registry knows.
                if self.keeping.store.shared().is_some() {
                    self.take_in(Update::Resync(loaded));
                }
                self.failures = 0;
                self.keeping.is_given.store(false, Ordering::Release);
                self.recovered();
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.degrade(&error.message);
                self.pause().await;
            }
        }
    }

    /// What others have changed, as far as it is known by now. No more than so much at once: what is changed here has its
    /// turn as well.
    async fn take_in_all(&self) {
        for _ in 0..UPDATES {
            tokio::select! {
                biased;
                update = self.keeping.store.update() => self.take_in(update),
                () = std::future::ready(()) => return,
            }
        }
    }

    fn take(&self) -> Batch {
        let is_shared = self.keeping.store.shared().is_some();
        let most = if is_shared { SHARED_BATCH } else { BATCH };
        let mut state = self.shared.lock();
        let writes = state.registry.take_writes(most);
        let all = state.registry.writes_waiting() == 0;
        Batch {
            writes,
            through: all.then_some(state.change),
        }
    }

    /// Whether it succeeded.
    async fn commit(&mut self, batch: Batch) -> bool {
        let keeping = Arc::clone(&self.keeping);
        let began = Instant::now();
        // What others change meanwhile waits: an id that is being written counts as one that the store is yet to know, and
        // what is told of it would be ignored.
        let committed = self.patiently(keeping.store.commit(&batch.writes), began).await;
        let mut state = self.shared.lock();
        match committed {
            Ok(()) => {
                state.registry.handle_kept(&batch.writes);
                state.were_committed(&batch.writes, self.shared.clock.now());
                self.shared.keep(&state);
                drop(state);
                self.succeeded(batch.through, began.elapsed());
                true
            }
            Err(error) => {
                state.registry.handle_not_kept(&batch.writes);
                drop(state);
                self.failures = self.failures.saturating_add(1);
                self.degrade(&told(&error));
                false
            }
        }
    }

    /// Awaits a commit to its end, however long that takes; once it is late, nobody else waits for it.
    async fn patiently(
        &self,
        mut commit: Task<'_, Result<(), CommitError>>,
        began: Instant,
    ) -> Result<(), CommitError> {
        if Instant::now() < began + PATIENCE
            && let Ok(committed) = timeout_at(began + PATIENCE, &mut commit).await
        {
            return committed;
        }
        self.degrade(&format!("it has not answered for {} s", PATIENCE.as_secs()));
        commit.await
    }

    fn succeeded(&mut self, through: Option<u64>, took: Duration) {
        self.failures = 0;
        self.keeping.progress.send_modify(|progress| {
            progress.through = through.map_or(progress.through, |through| progress.through.max(through));
            progress.last_commit = Some(took);
        });
        self.recovered();
    }

    /// Nothing of what has changed so far is left to be written: what came was gone again before it was.
    fn reach(&self, through: Option<u64>) {
        self.keeping.progress.send_if_modified(|progress| {
            let is_later = through.is_some_and(|through| through > progress.through);
            progress.through = through.map_or(progress.through, |through| progress.through.max(through));
            is_later
        });
    }

    /// A commit that gets through shows nothing while the store is lost: it is told when it is back, once, and so is its
    /// next loss.
    fn recovered(&self) {
        let mut lasted = None;
        self.keeping.progress.send_if_modified(|progress| {
            if progress.is_lost {
                return false;
            }
            lasted = progress.degraded.take().map(|(since, _)| since.elapsed());
            lasted.is_some()
        });
        if let Some(lasted) = lasted {
            tracing::info!(
                store = self.keeping.store.name(),
                lasted_secs = lasted.as_secs(),
                "the store can be written again; what was kept in memory only is kept now"
            );
        }
    }

    fn degrade(&self, reason: &str) {
        let reason: Arc<str> = Arc::from(reason);
        let mut is_first = false;
        self.keeping.progress.send_modify(|progress| {
            is_first = progress.degraded.is_none();
            let since = progress.degraded.take().map(|(since, _)| since);
            progress.degraded = Some((since.unwrap_or_else(Instant::now), Arc::clone(&reason)));
        });
        if is_first {
            tracing::error!(
                store = self.keeping.store.name(),
                "the store cannot be written: {reason}; registrations are kept in memory only and would be lost by a \
                 restart; it is tried again until it can"
            );
        }
    }

    async fn pause(&self) {
        let doublings = self.failures.saturating_sub(1).min(16);
        let pause = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        // Between half of it and all of it, so that several don't come back at once.
        let pause = pause.mul_f64(fastrand::f64().mul_add(0.5, 0.5));
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return,
                () = self.keeping.hurry.notified() => {
                    // Whoever is in a hurry asks once, and a store that fails at once is not asked in circles.
                    sleep(FIRST_PAUSE / 10).await;
                    return;
                }
                update = self.keeping.store.update() => self.take_in(update),
            }
        }
    }

    fn take_in(&self, update: Update) {
        let now = self.shared.clock.now();
        let reach = match &update {
            Update::Lost { reason } => Some(Err(reason.clone())),
            Update::Restored | Update::Resync(_) => Some(Ok(())),
            _ => None,
        };
        let all_kept = {
            let mut state = self.shared.lock();
            state.take_in(update, now);
            self.shared.keep(&state);
            state.registry.unwritten() == 0
        };
        if let Some(reach) = &reach {
            self.keeping
                .progress
                .send_modify(|progress| progress.is_lost = reach.is_err());
        }
        match reach {
            Some(Err(reason)) => self.degrade(&reason),
            // What is still to be written tells by being written.
            Some(Ok(())) if all_kept => self.recovered(),
            Some(Ok(())) => self.keeping.hurry.notify_one(),
            None => {}
        }
        self.shared.changed_elsewhere();
    }
}

/// What a store says, with what the system said.
fn told(error: &CommitError) -> String {
    match &error.source {
        None => error.message.clone(),
        Some(source) => format!("{}: {source}", error.message),
    }
}
