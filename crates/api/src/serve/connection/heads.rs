use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Where a connection is with its requests' heads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Progress {
    /// Counts heads, so that two in a row are not taken for one slow one.
    number: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing of the next head has come.
    Idle,
    /// Some of it has, or the connection is new.
    Head,
    /// It is complete, and being answered.
    Answering,
}

#[derive(Clone)]
pub(super) struct Heads(Arc<watch::Sender<Progress>>);

pub(super) struct Reading(watch::Receiver<Progress>);

impl Heads {
    pub(super) fn new() -> (Self, Reading) {
        let (sender, receiver) = watch::channel(Progress {
            number: 0,
            phase: Phase::Head,
        });
        (Self(Arc::new(sender)), Reading(receiver))
    }

    pub(super) fn began(&self) {
        self.0.send_if_modified(|progress| {
            let begins = progress.phase == Phase::Idle;
            if begins {
                *progress = Progress {
                    number: progress.number + 1,
                    phase: Phase::Head,
                };
            }
            begins
        });
    }

    pub(super) fn finished(&self) {
        self.0.send_modify(|progress| progress.phase = Phase::Answering);
    }

    pub(super) fn expected(&self) {
        self.0.send_modify(|progress| progress.phase = Phase::Idle);
    }
}

impl Reading {
    /// Resolves when a head has taken longer than `limit`.
    pub(super) async fn overdue(&mut self, limit: Duration) {
        loop {
            let Ok(head) = self
                .0
                .wait_for(|progress| progress.phase == Phase::Head)
                .await
                .map(|head| *head)
            else {
                // The connection is over.
                return std::future::pending().await;
            };
            if timeout(limit, self.0.wait_for(|progress| *progress != head))
                .await
                .is_err()
            {
                return;
            }
        }
    }
}
