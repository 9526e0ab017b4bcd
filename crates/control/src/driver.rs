use std::sync::Arc;

use edgeproxy_registry::{Event, Snapshot};
use tokio::time::{Instant, sleep_until};

use crate::handle::Shared;
use crate::keeper::Keeper;
use crate::reports::{Batch, Reports};
use crate::sharing::Sharing;

/// Feeds the registry time and reports, and hands out its snapshots and events. There is one for each
/// [`Handle`](crate::Handle)'s registry; without it nothing expires and no registration resolves.
#[must_use = "nothing expires and nothing is published until it runs"]
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    /// Publish no sooner than this.
    not_before: Instant,
}

/// Events handed out between two looks at anything else.
const EVENT_BATCH: usize = 1_024;

enum Next {
    /// Look again at once.
    Now,
    /// Look again then, or when woken.
    At(Instant),
    /// Look again when woken.
    Woken,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            not_before: Instant::now(),
        }
    }

    /// The snapshot that is due, for whoever wants a table before anything runs. [`run`](Self::run) publishes what
    /// changes after it.
    #[must_use = "it isn't published again"]
    pub fn first(&mut self) -> Option<Snapshot> {
        let now = self.shared.clock.now();
        self.shared.lock().registry.poll_snapshot(now)
    }

    /// Runs until the future is dropped. `publish` and `on_event` are called on this task, without a lock
    /// held. The store, if there is one, is written to meanwhile.
    pub async fn run(self, reports: Reports, publish: impl FnMut(&Snapshot), on_event: impl FnMut(&Event)) {
        match self.shared.keeping.clone() {
            None => self.turns(reports, publish, on_event).await,
            Some(keeping) => {
                let keeper = Keeper::new(Arc::clone(&self.shared), Arc::clone(&keeping));
                let sharing = Sharing::new(Arc::clone(&self.shared), keeping);
                tokio::join!(
                    self.turns(reports, publish, on_event),
                    keeper.run(),
                    sharing.run()
                );
            }
        }
    }

    async fn turns(
        mut self,
        mut reports: Reports,
        mut publish: impl FnMut(&Snapshot),
        mut on_event: impl FnMut(&Event),
    ) {
        loop {
            let batch = match self.turn(&mut publish, &mut on_event) {
                Next::Now => {
                    tokio::task::yield_now().await;
                    continue;
                }
                // In a fixed order, as everywhere in this crate: what happens is the same each time, and can be replayed.
                Next::At(deadline) => tokio::select! {
                    biased;
                    batch = reports.next() => batch,
                    () = self.shared.wake.notified() => Batch::default(),
                    () = sleep_until(deadline) => Batch::default(),
                },
                Next::Woken => tokio::select! {
                    biased;
                    batch = reports.next() => batch,
                    () = self.shared.wake.notified() => Batch::default(),
                },
            };
            self.apply(&batch);
            // The tasks that are ready go first: what they change is published in one go.
            tokio::task::yield_now().await;
        }
    }

    fn apply(&self, batch: &Batch) {
        if batch.reports.is_empty() && !batch.lost {
            return;
        }
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        for report in &batch.reports {
            state.registry.handle_traffic(report, now);
        }
        if batch.lost {
            tracing::warn!("the queue of traffic reports was full; comparing every backend with its ledger");
            state.registry.handle_lost_reports(now);
        }
    }

    /// One look at the registry: time, events, a snapshot where one is due.
    fn turn(&mut self, publish: &mut impl FnMut(&Snapshot), on_event: &mut impl FnMut(&Event)) -> Next {
        let may_publish = Instant::now() >= self.not_before;
        let mut events = Vec::new();
        let (snapshot, published, dirty, timeout, holds) = {
            let now = self.shared.clock.now();
            let mut state = self.shared.lock();
            let stands_still = self.shared.stands_still(&state);
            if !stands_still {
                state.registry.handle_timeout(now);
                state.pass_leases(now);
            }
            while events.len() < EVENT_BATCH
                && let Some(event) = state.registry.poll_event()
            {
                events.push(event);
            }
            let snapshot = may_publish.then(|| state.registry.poll_snapshot(now)).flatten();
            self.shared.keep(&state);
            let dirty = state.registry.is_dirty();
            let due = [state.leases_due(), state.registry.poll_timeout()];
            let due = due.into_iter().flatten().min();
            (
                snapshot,
                (!dirty).then_some(state.generation),
                dirty,
                due.filter(|_| !stands_still),
                !state.holds.is_empty(),
            )
        };
        if let Some(snapshot) = snapshot {
            self.publish(&snapshot, publish);
        }
        if let Some(generation) = published {
            self.shared.published.send_if_modified(|published| {
                let newer = *published != generation;
                *published = generation;
                newer
            });
            if holds {
                self.shared.lock().release_until(generation);
            }
        }
        events.iter().for_each(&mut *on_event);
        if events.len() == EVENT_BATCH {
            return Next::Now;
        }
        let timeout = timeout.map(|time| self.shared.clock.instant(time));
        let publication = dirty.then_some(self.not_before);
        match (timeout, publication) {
            (Some(timeout), Some(publication)) => Next::At(timeout.min(publication)),
            (Some(at), None) | (None, Some(at)) => Next::At(at),
            (None, None) => Next::Woken,
        }
    }

    fn publish(&mut self, snapshot: &Snapshot, publish: &mut impl FnMut(&Snapshot)) {
        let began = Instant::now();
        publish(snapshot);
        let ended = Instant::now();
        self.not_before = ended + (ended - began);
    }
}
