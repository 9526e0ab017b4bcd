use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeproxy_backend::TrafficReport;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender};

/// A bounded queue of reports from the data plane, for `capacity` of them.
///
/// What doesn't fit is dropped, and the drop remembered: the registry then compares every meter with its
/// ledger, so a lost report costs time but no truth.
#[must_use]
pub fn reports(capacity: usize) -> (ReportSender, Reports) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let loss = Arc::new(Loss::default());
    (
        ReportSender {
            sender,
            loss: Arc::clone(&loss),
        },
        Reports { receiver, loss },
    )
}

#[derive(Debug, Default)]
struct Loss {
    happened: AtomicBool,
    notify: Notify,
}

/// The data plane's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReportSender {
    sender: Sender<TrafficReport>,
    loss: Arc<Loss>,
}

impl ReportSender {
    /// Hands a report over. Never waits.
    pub fn send(&self, report: TrafficReport) {
        if self.sender.try_send(report).is_err() {
            self.loss.happened.store(true, Ordering::Release);
            self.loss.notify.notify_one();
        }
    }
}

/// The registry's end.
#[derive(Debug)]
pub struct Reports {
    receiver: Receiver<TrafficReport>,
    loss: Arc<Loss>,
}

/// What the registry is told at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) reports: Vec<TrafficReport>,
    pub(crate) lost: bool,
}

/// Reports taken under one lock of the registry.
const BATCH: usize = 256;

impl Reports {
    /// Waits for reports, or for news of a loss. Cancel-safe: what was not returned is still queued.
    pub(crate) async fn next(&mut self) -> Batch {
        let mut reports = Vec::new();
        let Self { receiver, loss } = self;
        tokio::select! {
            biased;
            received = receiver.recv_many(&mut reports, BATCH) => {
                if received == 0 {
                    // Every sender is gone: nothing will come any more.
                    std::future::pending::<()>().await;
                }
            }
            () = loss.notify.notified() => {}
        }
        Batch {
            reports,
            lost: loss.happened.swap(false, Ordering::AcqRel),
        }
    }
}
