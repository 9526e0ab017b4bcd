//! Spans for an [OpenTelemetry](https://opentelemetry.io/docs/specs/otlp/) collector, sent as OTLP over HTTP in protobuf, by a
//! thread of their own behind a bounded queue that never makes a caller wait.
//!
//! # The key decision: lose spans rather than time
//!
//! A collector that is slow, away, or refuses costs spans and nothing else. Spans that don't fit into the queue, or can't be
//! delivered after a few tries, are dropped and counted. Only one request to the collector is under way at a time, so it is
//! never asked for more than it can take.
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
//! Which spans there are, their names and their attributes.

mod client;
mod export;
pub mod otlp;
mod queue;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use export::{Ending, Exporting};

pub use queue::Queue;

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
    let (queue, waiting) = queue::open();
    let ending = Arc::<Ending>::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let exporting = Exporting::new(
        Client::new(collector),
        origin,
        spans,
        Arc::clone(queue.counts()),
        Arc::clone(&ending),
    );
    let thread = std::thread::Builder::new()
        .name("edgeproxy-traces".to_owned())
        .spawn(move || {
            runtime.block_on(exporting.run(waiting));
            // Looking up a name can't be broken off, and may take minutes.
            runtime.shutdown_background();
        })?;
    Ok((queue, Exporter { ending, thread }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_does_not_wait_for_a_name_that_is_looked_up() {
        let collector = Collector {
            // Nobody listens there.
            host: "127.0.0.1".to_owned(),
            port: 1,
            path: "/".to_owned(),
            tls: None,
        };
        let origin = Origin {
            attributes: Vec::new(),
            scope: otlp::Scope::default(),
            schema_url: String::new(),
        };
        // On the threads on which names are looked up, one hangs until the end of the test.
        let (release, hangs) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = std::sync::mpsc::channel();
        let (queue, exporter) = open(
            collector,
            origin,
            move |hangs: std::sync::mpsc::Receiver<()>, _| {
                let begin = begin.clone();
                tokio::task::spawn_blocking(move || {
                    begin.send(()).unwrap();
                    let _ = hangs.recv();
                });
            },
        )
        .unwrap();
        queue.push(vec![hangs], 1);
        begun.recv().unwrap();
        let (finish, finished) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            exporter.finish();
            finish.send(()).unwrap();
        });
        finished.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((queue.sent(), queue.dropped()), (0, 1));
        drop(release);
    }
}
