//! The backend: it writes down every byte that reaches it, and answers by script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::arrival::Arrivals;
use crate::case::text;
use crate::wire::{Fault, Message, PATIENCE, Wire};

/// What reached the backend.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A whole request, and the number of the connection that it came by.
    Whole(Message, usize),
    /// What came of a request that was never completed, read and unread.
    Part(Message, String),
    /// Bytes that are no request.
    Malformed(Message, String),
}

/// A response to be played once, in one part or two. The second is sent when the proxy has read the first.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) parts: Vec<Vec<u8>>,
    /// The backend shuts its side down behind it.
    pub(crate) fin: bool,
}

struct Shared {
    records: Mutex<Vec<Record>>,
    script: Mutex<Option<Script>>,
    /// Whether the latest script has been played to its end.
    played: watch::Sender<bool>,
    open: watch::Sender<usize>,
    arrivals: Arrivals,
    /// A line for each plain answer.
    field: &'static str,
}

pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Origin {
    pub(crate) async fn keeping(arrivals: Arrivals) -> Self {
        Self::start(arrivals, "").await
    }

    /// Each plain answer asks for the connection's end.
    pub(crate) async fn closing(arrivals: Arrivals) -> Self {
        Self::start(arrivals, "connection: close\r\n").await
    }

    async fn start(arrivals: Arrivals, field: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            records: Mutex::default(),
            script: Mutex::default(),
            played: watch::Sender::new(true),
            open: watch::Sender::new(0),
            arrivals,
            field,
        });
        let serving = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let shared = Arc::clone(&serving);
                shared.open.send_modify(|open| *open += 1);
                tokio::spawn(async move {
                    shared.converse(Wire::new(stream), number).await;
                    shared.open.send_modify(|open| *open -= 1);
                });
            }
        });
        Self { addr, shared, task }
    }

    /// The next request is answered so.
    pub(crate) fn play(&self, script: Script) {
        self.shared.played.send_replace(false);
        *self.shared.script.lock().unwrap_or_else(PoisonError::into_inner) = Some(script);
    }

    /// Waits until all of the script has been sent.
    pub(crate) async fn has_played(&self) {
        let mut played = self.shared.played.subscribe();
        let waited = tokio::time::timeout(PATIENCE, played.wait_for(|played| *played));
        waited
            .await
            .expect("the script is not played to its end")
            .unwrap();
    }

    /// What has come since the last time, in order.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = (self.shared.records.lock()).unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *records)
    }

    /// Waits until the proxy has no connection to it any more; what has come by then is all that ever will.
    pub(crate) async fn left_alone(&self) {
        let mut open = self.shared.open.subscribe();
        let waited = tokio::time::timeout(PATIENCE, open.wait_for(|open| *open == 0));
        waited
            .await
            .expect("the proxy has ended and its connections have not")
            .unwrap();
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn record(&self, record: Record) {
        self.records
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(record);
    }

    async fn converse(&self, mut wire: Wire, number: usize) {
        loop {
            let mut request = Message::default();
            match read(&mut wire, &mut request).await {
                Ok(()) => {}
                // A proxy may give a kept connection up at any time, in whichever way, but between requests.
                Err(Fault::Nothing) => return,
                Err(Fault::Reset) if request.start.is_empty() && wire.buffer.is_empty() => return,
                Err(Fault::Silence) if request.start.is_empty() && wire.buffer.is_empty() => continue,
                Err(Fault::Malformed(what)) => return self.record(Record::Malformed(request, what)),
                Err(_) => return self.record(Record::Part(request, text(&wire.buffer))),
            }
            let to_head = request.start.starts_with("HEAD ");
            self.record(Record::Whole(request, number));
            let script = self.script.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(script) = script else {
                wire.write(self.plain(to_head).as_bytes()).await;
                continue;
            };
            for (number, part) in script.parts.iter().enumerate() {
                if number > 0 {
                    self.arrivals.read_by_peer_of(&wire.stream).await;
                }
                wire.write(part).await;
            }
            if script.fin {
                let _ = wire.stream.shutdown().await;
            }
            self.played.send_replace(true);
        }
    }

    fn plain(&self, to_head: bool) -> String {
        let field = self.field;
        let body = if to_head { "" } else { "ok" };
        format!("HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\n{body}")
    }
}

async fn read(wire: &mut Wire, request: &mut Message) -> Result<(), Fault> {
    wire.head(request).await?;
    if request
        .all("expect")
        .iter()
        .any(|value| value.eq_ignore_ascii_case("100-continue"))
    {
        wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    }
    let framing = request.request_framing()?;
    wire.body(framing, request).await
}
