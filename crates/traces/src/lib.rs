//! Spans for an [OpenTelemetry](https://opentelemetry.io/docs/specs/otlp/) collector: sent as OTLP over HTTP, in
//! protobuf, by a thread of its own, behind a queue that never makes anybody wait.
//!
//! A collector that is slow, away, or says no costs spans, which are counted, and nothing else: what doesn't fit into the
//! queue is dropped there, and what can't be delivered after a few tries as well. One request is under way at a time, so the
//! collector is never asked for more than it can do.
//!
//! ```no_run
//! use edgeproxy_traces::{Collector, Origin, open, otlp};
//!
//! # fn main() -> std::io::Result<()> {
//! let collector = Collector {
//!     host: "127.0.0.1".to_owned(),
//!     port: 4318,
//!     path: "/v1/traces".to_owned(),
//!     tls: None,
//! };
//! let origin = Origin {
//!     attributes: vec![otlp::Attribute::text("service.name", "greeter")],
//!     scope: otlp::Scope { name: "greeter".to_owned(), version: "1.0.0".to_owned() },
//!     schema_url: String::new(),
//! };
//! // Whatever is pushed is made into spans on the thread that sends them.
//! let (queue, exporter) = open(collector, origin, |greeted: String, spans| {
//!     spans.push(otlp::Span { name: greeted, ..otlp::Span::default() });
//! })?;
//! queue.push(vec!["hello".to_owned()], 1);
//! // Waits until everything is sent, two seconds at most.
//! exporter.finish();
//! # Ok(())
//! # }
//! ```
//!
//! # What it leaves to the caller
//!
//! Which spans there are, what they are called and what is told of them.

mod client;
mod export;
pub mod otlp;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use client::Client;
use export::{Ending, Exporting};

/// Where a collector takes spans.
#[derive(Clone, Debug)]
pub struct Collector {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Such as `/v1/traces`.
    pub path: String,
    /// By what it is known, inside TLS; `None`: it is spoken to in the clear.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// What all of the spans have in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// What they are of, such as `service.name`.
    pub attributes: Vec<otlp::Attribute>,
    /// What tells of them.
    pub scope: otlp::Scope,
    /// The conventions that the attributes' names follow.
    pub schema_url: String,
}

/// What became of spans.
#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn send(&self, spans: u64) {
        self.sent.fetch_add(spans, Ordering::Relaxed);
    }

    fn lose(&self, spans: u64) {
        self.dropped.fetch_add(spans, Ordering::Relaxed);
    }
}

/// What is handed on at once, and of how many spans it is.
struct Batch<T> {
    items: Vec<T>,
    spans: u64,
}

/// Where spans wait. Cheap to clone; a clone is the same.
#[derive(Debug)]
pub struct Queue<T> {
    sender: mpsc::Sender<Batch<T>>,
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

/// Batches that may wait. With 64 requests in each, some 4,000 requests, or a few megabytes.
const WAITING: usize = 64;

impl<T> Queue<T> {
    /// Adds what becomes `spans` spans, or counts them as dropped. Never waits.
    pub fn push(&self, items: Vec<T>, spans: u64) {
        if self.sender.try_send(Batch { items, spans }).is_err() {
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
}

/// The thread that sends.
#[derive(Debug)]
pub struct Exporter {
    ending: Arc<Ending>,
    thread: JoinHandle<()>,
}

/// How long what is left may take at the end.
const FLUSH: Duration = Duration::from_secs(2);

impl Exporter {
    /// Sends what is left, and ends; after two seconds it ends without.
    pub fn finish(self) {
        self.ending.begin();
        if self.thread.join().is_err() {
            tracing::error!("the thread that sends spans has panicked");
        }
    }
}

/// Begins to send. `spans` makes one item into spans, on the thread that sends them.
///
/// # Errors
/// When a thread can't be started.
pub fn open<T: Send + 'static>(
    collector: Collector,
    origin: Origin,
    spans: impl FnMut(T, &mut Vec<otlp::Span>) + Send + 'static,
) -> io::Result<(Queue<T>, Exporter)> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let counts = Arc::<Counts>::default();
    let ending = Arc::<Ending>::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exporting = Exporting::new(
        Client::new(collector),
        origin,
        spans,
        Arc::clone(&counts),
        Arc::clone(&ending),
    );
    let thread = std::thread::Builder::new()
        .name("edgeproxy-traces".to_owned())
        .spawn(move || runtime.block_on(exporting.run(receiver)))?;
    Ok((Queue { sender, counts }, Exporter { ending, thread }))
}
