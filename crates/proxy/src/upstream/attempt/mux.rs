//! HTTP/2 connections to backends, each shared by many requests. One set for each worker, without a lock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::{Endpoint, Gate, Incarnation, Meter, Protocol};
use h2::client::{self, SendRequest};
use hashbrown::HashMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Made;
use crate::Config;
use crate::exchange::retry::Failed;
use crate::http2::keep_alive::{KeepAlive, Pace};
use crate::http2::sections::Sections;
use crate::telemetry::counts::Tally;
use crate::transport::stream::Heard;
use crate::transport::tls::{BackendTls, Offer, Permit};
use crate::upstream::dialing::Dialing;
use crate::upstream::wire::{self, Wire};
use crate::worker::timer::Timers;

/// Requests at a time on one connection, or what the backend takes if that is fewer. One connection for everything
/// would be one core of the backend for everything, and one lost packet would hold up everybody.
const MAX_STREAMS: u32 = 100;
/// What a backend may send of one response that its client doesn't take.
const STREAM_WINDOW: u32 = 256 * 1024;
/// All streams together may have as much, so that no slow client holds up the others of the connection.
const CONNECTION_WINDOW: u32 = MAX_STREAMS * STREAM_WINDOW;
/// A response's head, at most, as HTTP/2 counts it.
const RESPONSE_HEAD: u32 = 64 * 1024;
/// Until the backend's settings have come, no request is sent, so that none is refused for their sake.
const UNKNOWN: usize = 0;
/// gRPC's servers take pings more often than every five minutes for an attack, unless they have sent something in
/// between.
const PACE: Pace = Pace {
    first: Duration::from_secs(30),
    again: Duration::from_secs(300),
    answer: Duration::from_secs(20),
};

/// The connections of one worker.
pub(crate) struct Muxes {
    muxes: RefCell<HashMap<Incarnation, Rc<Mux>, foldhash::fast::RandomState>>,
    idle_timeout: Cell<Duration>,
    timers: Timers,
}

/// The connections to one incarnation of a backend.
pub(crate) struct Mux {
    meter: Arc<Meter>,
    tally: Rc<Tally>,
    lines: RefCell<Vec<Rc<Line>>>,
    opening: RefCell<Option<Rc<Opening>>>,
    /// Inside TLS the backend chose HTTP/1.1 the last time.
    is_alone: Cell<bool>,
    /// The connection on which it did, for one of those who waited.
    spare: RefCell<Option<Wire>>,
    is_cut: Cell<bool>,
    timers: Timers,
}

/// How a request gets to a backend.
pub(crate) enum Way {
    /// As a stream.
    Stream(Slot),
    /// By HTTP/1.1, on this connection if there is one. The backend has chosen that.
    Alone(Option<Wire>),
}

/// One connection.
struct Line {
    sections: Rc<Sections>,
    /// `None`: it takes no more requests.
    sender: RefCell<Option<SendRequest<Bytes>>>,
    streams: Cell<usize>,
    /// The connection is gone.
    ended: Cell<bool>,
    used: Cell<Instant>,
    /// Of the task that drives it.
    driver: RefCell<Option<Waker>>,
    permit: Option<Permit>,
}

/// A connection that is being made, for everybody who waits for one.
#[derive(Default)]
struct Opening {
    outcome: Cell<Option<Result<(), Failed>>>,
    done: Notify,
    dialing: Dialing,
}

impl Opening {
    /// Waits for what comes of it.
    async fn opened(&self) -> Result<(), Failed> {
        let done = self.done.notified();
        if let Some(outcome) = self.outcome.get() {
            return outcome;
        }
        done.await;
        self.outcome.get().unwrap_or(Err(Failed::Connect))
    }

    /// How long whoever waits for it since `asked` has waited for the backend.
    fn took(&self, asked: Instant) -> Option<Duration> {
        self.dialing.began().map(|began| began.max(asked).elapsed())
    }
}

/// A stream's place on a connection, until it is dropped.
pub(crate) struct Slot {
    line: Rc<Line>,
    pub(crate) sender: SendRequest<Bytes>,
    /// Whether the connection was there already.
    pub(crate) reused: bool,
}

impl Muxes {
    pub(crate) fn new(idle_timeout: Duration, timers: Timers) -> Self {
        Self {
            muxes: RefCell::default(),
            idle_timeout: Cell::new(idle_timeout),
            timers,
        }
    }

    /// Keeps what is idle for another time from now on.
    pub(crate) fn bound(&self, idle_timeout: Duration) {
        self.idle_timeout.set(idle_timeout);
    }

    /// What leads to `endpoint`, which `tally` says where to count.
    pub(crate) fn mux(&self, endpoint: &Endpoint, tally: impl FnOnce() -> Rc<Tally>) -> Rc<Mux> {
        let mut muxes = self.muxes.borrow_mut();
        let mux = muxes.entry(endpoint.incarnation).or_insert_with(|| {
            Rc::new(Mux {
                meter: Arc::clone(&endpoint.meter),
                tally: tally(),
                lines: RefCell::default(),
                opening: RefCell::default(),
                is_alone: Cell::new(false),
                spare: RefCell::default(),
                is_cut: Cell::new(false),
                timers: self.timers.clone(),
            })
        });
        Rc::clone(mux)
    }

    /// Closes what is idle for too long, or leads to a backend that takes no requests; ends what is in flight where
    /// the gate says so.
    pub(crate) fn prune(&self) {
        let now = Instant::now();
        self.muxes.borrow_mut().retain(|_, mux| {
            let gate = mux.meter.gate();
            if gate == Gate::Cut {
                mux.is_cut.set(true);
            }
            let open = matches!(gate, Gate::Open | Gate::Trial | Gate::TrialBusy);
            mux.lines.borrow_mut().retain(|line| {
                let idle = line.streams.get() == 0 && now - line.used.get() >= self.idle_timeout.get();
                if !open || idle || !line.is_open() {
                    line.close();
                }
                // Those that are in use are kept, to be cut should it come to that.
                !line.ended.get()
            });
            // A connection that nobody came for is closed.
            mux.spare.take();
            let knows = open && mux.is_alone.get();
            knows || !mux.lines.borrow().is_empty() || Rc::strong_count(mux) > 1
        });
    }

    /// Closes what has nothing under way.
    pub(crate) fn let_go(&self) {
        for mux in self.muxes.borrow().values() {
            for line in &*mux.lines.borrow() {
                if line.streams.get() == 0 {
                    line.close();
                }
            }
            mux.spare.take();
        }
    }
}

impl Mux {
    /// A place on a connection that has room, or else on a fresh one; or what the backend has chosen instead.
    pub(crate) async fn way(
        self: &Rc<Self>,
        endpoint: &Arc<Endpoint>,
        config: &Config,
        (connect_timeout, made): (Duration, &Made),
    ) -> Result<Way, Failed> {
        let mut reused = true;
        loop {
            if let Some(slot) = self.free(reused) {
                return Ok(Way::Stream(slot));
            }
            if self.is_alone.get() {
                return Ok(Way::Alone(self.spare.take()));
            }
            reused = false;
            let opening = self.opening(endpoint, config, connect_timeout);
            let asked = Instant::now();
            let opened = opening.opened().await;
            made.add(opening.took(asked));
            opened?;
        }
    }

    /// A place on a connection that is there; `reused`: it is not there for the sake of whoever asks.
    pub(crate) fn free(&self, reused: bool) -> Option<Slot> {
        let mut lines = self.lines.borrow_mut();
        lines.retain(|line| !line.ended.get());
        lines.iter().find_map(|line| line.slot(reused))
    }

    /// The connection that is being made, which begins now unless it has begun. It goes on without whoever waits
    /// for it, since others may.
    fn opening(self: &Rc<Self>, endpoint: &Arc<Endpoint>, config: &Config, timeout: Duration) -> Rc<Opening> {
        let mut current = self.opening.borrow_mut();
        if let Some(opening) = &*current {
            return Rc::clone(opening);
        }
        let opening = Rc::<Opening>::default();
        *current = Some(Rc::clone(&opening));
        let mux = Rc::clone(self);
        let (endpoint, tls) = (Arc::clone(endpoint), config.backend_tls.clone());
        let begun = Rc::clone(&opening);
        tokio::task::spawn_local(async move {
            let dialing = &begun.dialing;
            let opened = open(&endpoint, tls.as_ref(), (&mux.tally, dialing));
            let opened = tokio::time::timeout(timeout, opened).await;
            let outcome = match opened.unwrap_or_else(|_| Err(dialing.late())) {
                Ok(Opened::Http2(connected)) => {
                    mux.add(*connected, endpoint.addr.socket_addr());
                    Ok(())
                }
                Ok(Opened::Http1(wire)) => {
                    mux.is_alone.set(true);
                    mux.spare.replace(Some(wire));
                    Ok(())
                }
                Err(failed) => Err(failed),
            };
            begun.outcome.set(Some(outcome));
            mux.opening.borrow_mut().take();
            begun.done.notify_waiters();
        });
        opening
    }

    fn add(self: &Rc<Self>, connected: Connected, addr: std::net::SocketAddr) {
        let Connected {
            sender,
            mut conn,
            heard,
            sections,
            permit,
        } = connected;
        let line = Rc::new(Line {
            sections,
            sender: RefCell::new(Some(sender)),
            streams: Cell::new(0),
            ended: Cell::new(false),
            used: Cell::new(Instant::now()),
            driver: RefCell::default(),
            permit,
        });
        self.lines.borrow_mut().push(Rc::clone(&line));
        // It can be taken once, and nobody has.
        let pings = conn.ping_pong();
        let mut keep_alive = pings.map(|pings| KeepAlive::new(pings, self.timers.timer(), heard, PACE));
        let mux = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let ended = poll_fn(|cx| {
                if mux.is_cut.get() {
                    return Poll::Ready("it was cut".to_owned());
                }
                line.register(cx);
                if let Poll::Ready(ended) = std::pin::Pin::new(&mut conn).poll(cx) {
                    return Poll::Ready(
                        ended.map_or_else(|error| error.to_string(), |()| "in peace".to_owned()),
                    );
                }
                let wanted = line.streams.get() > 0;
                match keep_alive.as_mut().map(|pings| pings.poll(cx, wanted)) {
                    Some(Poll::Ready(())) => Poll::Ready("it answers no ping".to_owned()),
                    _ => Poll::Pending,
                }
            })
            .await;
            tracing::debug!(%addr, ended, "a connection to a backend ended");
            line.ended.set(true);
            line.close();
        });
    }

    /// The next connection is offered as either again.
    pub(crate) fn choose_anew(&self) {
        self.is_alone.set(false);
    }

    /// Where it is counted.
    pub(crate) fn tally(&self) -> &Rc<Tally> {
        &self.tally
    }

    /// Whether every connection shall end.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }
}

impl Line {
    /// Whether it takes requests: neither side has said that it ends.
    fn is_open(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut sender = self.sender.borrow_mut();
        let stands = self.permit.as_ref().is_none_or(Permit::stands);
        let open = stands
            && sender
                .as_mut()
                .is_some_and(|sender| matches!(sender.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        if !open {
            *sender = None;
        }
        open
    }

    /// Takes no more requests, and ends when those that are there have ended.
    fn close(&self) {
        self.sender.borrow_mut().take();
        // A connection doesn't notice by itself that nobody holds it any more, or that it is cut.
        let driver = self.driver.borrow().clone();
        if let Some(driver) = driver {
            driver.wake();
        }
    }

    fn slot(self: &Rc<Self>, reused: bool) -> Option<Slot> {
        if !self.is_open() {
            return None;
        }
        let sender = self.sender.borrow();
        let sender = sender.as_ref()?;
        let max = sender.current_max_send_streams().min(MAX_STREAMS as usize);
        if self.streams.get() >= max {
            return None;
        }
        self.streams.set(self.streams.get() + 1);
        Some(Slot {
            line: Rc::clone(self),
            sender: sender.clone(),
            reused,
        })
    }

    fn register(&self, cx: &Context<'_>) {
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
    }
}

impl Slot {
    /// What is known of the trailers that come on its connection.
    pub(crate) fn sections(&self) -> &Rc<Sections> {
        &self.line.sections
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.line.streams.set(self.line.streams.get().saturating_sub(1));
        self.line.used.set(Instant::now());
    }
}

/// A connection whose other side has shown that it speaks HTTP/2.
struct Connected {
    sender: SendRequest<Bytes>,
    conn: client::Connection<Heard, Bytes>,
    heard: Arc<AtomicBool>,
    sections: Rc<Sections>,
    permit: Option<Permit>,
}

/// What came of a connection that was made.
enum Opened {
    Http2(Box<Connected>),
    /// The backend has chosen that.
    Http1(Wire),
}

async fn open(
    endpoint: &Endpoint,
    tls: Option<&BackendTls>,
    counted: (&Rc<Tally>, &Dialing),
) -> Result<Opened, Failed> {
    let wire = wire::connect_for(endpoint, tls, Offer::Either, counted).await?;
    if endpoint.protocol == Protocol::Https && !wire.has_chosen_http2() {
        return Ok(Opened::Http1(wire));
    }
    let (heard, sections) = (Arc::new(AtomicBool::new(false)), Rc::<Sections>::default());
    let permit = wire.permit();
    let io = Heard::new(wire, Arc::clone(&heard), Rc::clone(&sections));
    match handshake(io).await {
        Ok((sender, conn)) => Ok(Opened::Http2(Box::new(Connected {
            sender,
            conn,
            heard,
            sections,
            permit,
        }))),
        Err(error) => {
            tracing::debug!(addr = %endpoint.addr, %error, "a backend does not speak HTTP/2");
            Err(Failed::Connect)
        }
    }
}

/// Says hello and waits until the other side has done so. What is no HTTP/2 server is found out before it has got
/// a request.
async fn handshake<S>(io: S) -> Result<(SendRequest<Bytes>, client::Connection<S, Bytes>), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (sender, mut conn) = client::Builder::new()
        .initial_max_send_streams(UNKNOWN)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(RESPONSE_HEAD)
        // What is still on its way for a request that was given up counts as an error there, over the whole life of a
        // connection, and beyond the number all other requests on it would fail.
        .max_local_error_reset_streams(None)
        .enable_push(false)
        .handshake(io)
        .await?;
    poll_fn(|cx| {
        let polled = std::pin::Pin::new(&mut conn).poll(cx);
        match polled {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => Poll::Ready(Err(h2::Reason::NO_ERROR.into())),
            Poll::Pending if sender.current_max_send_streams() == UNKNOWN => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        }
    })
    .await?;
    Ok((sender, conn))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// Reads as many frames of that kind, and what is in between. The streams that they are of.
    async fn read(backend: &mut DuplexStream, kind: u8, count: usize) -> Vec<u32> {
        let mut streams = Vec::new();
        while streams.len() < count {
            let mut head = [0; 9];
            backend.read_exact(&mut head).await.unwrap();
            let [a, b, c, found, _, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            backend.read_exact(&mut payload).await.unwrap();
            if found == kind {
                streams.push(u32::from_be_bytes(stream));
            }
        }
        streams
    }

    #[tokio::test]
    async fn what_is_on_its_way_for_requests_that_were_given_up_ends_no_other_request() {
        let (near, mut backend) = tokio::io::duplex(1 << 20);
        backend.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        let (sender, conn) = handshake(near).await.unwrap();
        let conn = tokio::spawn(conn);
        let ask = || {
            let request = Request::get("http://a/").body(()).unwrap();
            sender.clone().send_request(request, true).unwrap().0
        };
        backend.read_exact(&mut [0; 24]).await.unwrap();
        // h2 remembers fifty at a time that were given up; of each of the others one frame is an error, of which it takes
        // 1,024 by itself.
        for _ in 0..12 {
            let asked: Vec<_> = (0..MAX_STREAMS).map(|_| ask()).collect();
            let streams = read(&mut backend, HEADERS, asked.len()).await;
            drop(asked);
            read(&mut backend, RST_STREAM, streams.len()).await;
            for stream in streams {
                backend.write_all(&frame(DATA, 0, stream, b"late")).await.unwrap();
            }
        }
        let answer = ask();
        let answering = async {
            let asked = read(&mut backend, HEADERS, 1).await;
            // END_STREAM and END_HEADERS; 200 of the static table.
            backend
                .write_all(&frame(HEADERS, 5, asked[0], &[0x88]))
                .await
                .unwrap();
        };
        let (answer, ()) = tokio::join!(answer, answering);
        assert_eq!(answer.unwrap().status(), 200);
        assert!(!conn.is_finished());
    }
}
