//! Where what becomes spans waits: bounded by its items, and never by how many are handed on at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
    /// Items in the queue.
    waiting: AtomicUsize,
}

impl Counts {
    pub(crate) fn send(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    pub(crate) fn lose(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }

    /// Has so many more items wait, if they fit.
    fn admit(&self, items: usize) -> bool {
        let before = self.waiting.fetch_add(items, Ordering::Relaxed);
        let fits = before.saturating_add(items) <= MOST_WAITING;
        if !fits {
            self.release(items);
        }
        fits
    }

    fn release(&self, items: usize) {
        self.waiting.fetch_sub(items, Ordering::Relaxed);
    }
}

/// What is handed on at once, and of how many spans it is.
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) items: Vec<T>,
    pub(crate) spans: u64,
}

/// Where spans wait. Cheap to clone; a clone is the same.
#[derive(Debug)]
pub struct Queue<T> {
    sender: mpsc::UnboundedSender<Batch<T>>,
    counts: Arc<Counts>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            counts: Arc::clone(&self.counts),
        }
    }
}

/// Items that may wait. Where each is a request with its attempts, they are a few megabytes.
pub(crate) const MOST_WAITING: usize = 4_096;

impl<T> Queue<T> {
    /// Adds what becomes `spans` spans, or counts all of them as dropped where more than 4,096 items would wait. Never waits.
    pub fn push(&self, items: Vec<T>, spans: u64) {
        let count = items.len();
        // One without items would be room for ever more of them.
        if count == 0 || !self.counts.admit(count) {
            return self.counts.lose(spans);
        }
        if self.sender.send(Batch { items, spans }).is_err() {
            self.counts.release(count);
            self.counts.lose(spans);
        }
    }

    /// How many spans the collector has taken so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }

    /// How many it will never get: they did not fit, could not be delivered, or were refused.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.counts.dropped.load(Ordering::Relaxed)
    }

    pub(crate) const fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// The other end of a queue.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    receiver: mpsc::UnboundedReceiver<Batch<T>>,
    counts: Arc<Counts>,
}

pub(crate) fn open<T>() -> (Queue<T>, Waiting<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let counts = Arc::<Counts>::default();
    let queue = Queue {
        sender,
        counts: Arc::clone(&counts),
    };
    (queue, Waiting { receiver, counts })
}

impl<T> Waiting<T> {
    /// The next batch, once there is one; `None`: there will be none.
    pub(crate) async fn next(&mut self) -> Option<Batch<T>> {
        let batch = self.receiver.recv().await;
        self.taken(batch)
    }

    /// The next batch, if there is one.
    pub(crate) fn at_hand(&mut self) -> Option<Batch<T>> {
        let batch = self.receiver.try_recv().ok();
        self.taken(batch)
    }

    /// Nothing more gets in.
    pub(crate) fn close(&mut self) {
        self.receiver.close();
    }

    fn taken(&self, batch: Option<Batch<T>>) -> Option<Batch<T>> {
        if let Some(batch) = &batch {
            self.counts.release(batch.items.len());
        }
        batch
    }
}
