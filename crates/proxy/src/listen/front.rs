//! A client's connection: which protocol it speaks, and how it is driven to its end.

use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use edgeproxy_balance::Client as Whereabouts;
use h2::ext::Protocol;
use h2::server;
use h2::{Reason, RecvStream};
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body::Body;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::Config;
use crate::exchange;
use crate::exchange::download::Download;
use crate::headers::forwarded;
use crate::http1::connection::{self, Ended};
use crate::http1::request::Client;
use crate::http2::flood::Flood;
use crate::http2::gather::{Gathering, Unsent};
use crate::http2::interim::Respond;
use crate::http2::keep_alive::{KeepAlive, Pace};
use crate::http2::pump::{Pump, Stopped};
use crate::http2::sections::Sections;
use crate::http2::served::Served;
use crate::http2::websocket;
use crate::listen::phase::{Overdue, Phase, Turn};
use crate::transport::encrypted::Encrypted;
use crate::transport::socket::Socket;
use crate::transport::stream::Observed;
use crate::worker::Worker;

/// Serves a connection in the clear until it ends. `hold` is dropped then.
pub(crate) fn serve<H>(
    worker: Rc<Worker>,
    stream: TcpStream,
    peer: SocketAddr,
    hold: H,
) -> impl Future<Output = ()> + use<H> {
    let client = client(&worker, peer, false);
    either(worker, stream, client, hold)
}

/// Serves a connection inside TLS until it ends.
pub(crate) async fn serve_tls(worker: Rc<Worker>, stream: Encrypted, peer: SocketAddr) {
    let client = client(&worker, peer, true);
    if stream.protocol() == Some(b"h2") {
        Box::pin(http2(worker, stream, Vec::new(), client, Guest::Client)).await;
    } else {
        either(worker, stream, client, ()).await;
    }
}

/// Serves a connection from inside of the process, which speaks HTTP/2, until it ends.
pub(crate) async fn serve_inside(worker: Rc<Worker>, stream: UnixStream) {
    let client = Client {
        ip: IpAddr::from(Ipv4Addr::LOCALHOST),
        whereabouts: Whereabouts::default(),
        // The program can say for whom it asks.
        trusted: true,
        tls: false,
    };
    Box::pin(http2(worker, stream, Vec::new(), client, Guest::Inside)).await;
}

/// Whom a connection is of, which decides what it may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Guest {
    /// Somebody, who has the limits of the configuration.
    Client,
    /// The program itself. It means no harm, and many of its requests share a connection.
    Inside,
}

impl Guest {
    /// What may be on its way on a stream of the program's own, before somebody takes it.
    pub(crate) const WINDOW: u32 = 256 * 1024;
    /// And on all of them together, so that one that nobody takes doesn't hold up the others.
    pub(crate) const CONNECTION_WINDOW: u32 = Self::WINDOW * Self::STREAMS;
    /// Requests of the program's own at a time, on each worker. The rest wait.
    const STREAMS: u32 = 1_024;

    fn builder(self, config: &Config) -> server::Builder {
        let mut builder = server::Builder::new();
        builder
            .max_header_list_size(header_list_size(config))
            .max_send_buffer_size(SEND_BUFFER)
            .enable_connect_protocol();
        match self {
            Self::Client => builder
                .initial_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .max_concurrent_streams(config.max_streams)
                .max_pending_accept_reset_streams(config.max_reset_streams)
                .max_local_error_reset_streams(Some(config.max_reset_streams)),
            Self::Inside => builder
                .initial_window_size(Self::WINDOW)
                .initial_connection_window_size(Self::CONNECTION_WINDOW)
                .max_concurrent_streams(Self::STREAMS)
                .max_pending_accept_reset_streams(usize::MAX)
                .max_local_error_reset_streams(None),
        };
        builder
    }

    fn flood(self, config: &Config) -> Flood {
        match self {
            Self::Client => Flood::new(config, Instant::now()),
            Self::Inside => Flood::unbounded(Instant::now()),
        }
    }
}

fn client(worker: &Worker, peer: SocketAddr, tls: bool) -> Client {
    let ip = peer.ip().to_canonical();
    Client {
        ip,
        whereabouts: worker.locate(ip),
        trusted: forwarded::is_trusted(peer.ip(), &worker.config().trusted_proxies),
        tls,
    }
}

/// HTTP/1 or HTTP/2, as the first bytes say.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn would hold its arguments twice, for thousands of clients"
)]
fn either<S: Socket + 'static, H>(
    worker: Rc<Worker>,
    stream: S,
    client: Client,
    hold: H,
) -> impl Future<Output = ()> + use<S, H> {
    async move {
        match connection::serve(Rc::clone(&worker), stream, client).await {
            Ended::Closed => {}
            // On the heap, since few connections need so much.
            Ended::Http2(stream, first) => {
                Box::pin(http2(worker, stream, first, client, Guest::Client)).await;
            }
        }
        drop(hold);
    }
}

/// What a client may send on a stream, and on all of them together, before somebody takes it.
const WINDOW: u32 = 1024 * 1024;
/// What is written to a client's stream, and waits for the client to take it.
const SEND_BUFFER: usize = 256 * 1024;

async fn http2<S: Socket>(worker: Rc<Worker>, stream: S, first: Vec<u8>, client: Client, guest: Guest) {
    let config = worker.config();
    let hurries = worker.is_draining() && worker.patience(false).is_some();
    let phase = Rc::new(Phase::new(config, hurries));
    let heard = Arc::new(AtomicBool::new(false));
    let flood = guest.flood(config);
    let sections = Rc::<Sections>::default();
    let out = Gathering::new(stream, worker.buffers(), Rc::clone(&phase));
    let io = Observed::new(
        out.clone(),
        first,
        Rc::clone(&phase),
        Arc::clone(&heard),
        flood,
        Rc::clone(&sections),
    );
    let mut handshake = guest.builder(config).handshake(io);
    let handshake = poll_fn(|cx| {
        let polled = Pin::new(&mut handshake).poll(cx);
        // If it fails, so does the connection, in its own time.
        let _ = out.poll_send(cx);
        polled
    });
    let mut conn = match tokio::time::timeout(config.header_timeout, handshake).await {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => {
            return tracing::debug!(client = %client.ip, %error, "a client does not speak HTTP/2 after all");
        }
        Err(_) => {
            return tracing::debug!(client = %client.ip, "a client did not begin to speak HTTP/2 in time");
        }
    };
    // A client that has vanished without a word is found out.
    let pace = Pace {
        first: config.idle_timeout,
        again: config.idle_timeout,
        answer: config.header_timeout,
    };
    let pings = conn.ping_pong();
    let keep_alive = pings.map(|pings| KeepAlive::new(pings, worker.timers().timer(), heard, pace));
    let front = Front {
        conn,
        out,
        served: Served::new(),
        keep_alive,
        worker: Rc::clone(&worker),
        phase: Rc::clone(&phase),
        sections,
        client,
    };
    match drive(front, &phase, &worker).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(client = %client.ip, %error, "a client's connection ended"),
        Err(overdue) => tracing::debug!(client = %client.ip, ?overdue, "a client's connection timed out"),
    }
}

/// What HTTP/2 counts is larger: 32 bytes more for each field (RFC 9113 §6.5.2).
fn header_list_size(config: &Config) -> u32 {
    u32::try_from(config.max_head_bytes + config.max_fields * 32).unwrap_or(u32::MAX)
}

/// A client's HTTP/2 connection.
struct Front<S: Socket> {
    conn: server::Connection<Observed<S>, Bytes>,
    /// The connection's own socket.
    out: Gathering<S>,
    served: Served,
    keep_alive: Option<KeepAlive>,
    worker: Rc<Worker>,
    phase: Rc<Phase>,
    sections: Rc<Sections>,
    client: Client,
}

impl<S: Socket> Front<S> {
    /// Serves what comes. Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if let Poll::Ready(ended) = self.poll_accept(cx) {
                return Poll::Ready(ended);
            }
            // Once: whoever is ready again comes after other connections.
            if self.served.poll(cx)
                && let Poll::Ready(ended) = self.poll_accept(cx)
            {
                return Poll::Ready(ended);
            }
            // All that this turn has brought, in one go.
            match self.out.poll_send(cx) {
                // The connection is told, and ends.
                Poll::Ready(Err(Unsent)) => {}
                Poll::Ready(Ok(())) | Poll::Pending => break,
            }
        }
        match self.keep_alive.as_mut().map(|pings| pings.poll(cx, true)) {
            Some(Poll::Ready(())) => {
                tracing::debug!(client = %self.client.ip, "a client answers no ping");
                Poll::Ready(Ok(()))
            }
            _ => Poll::Pending,
        }
    }

    /// Takes on what is asked for, and moves what is to be written. Ready when the connection has ended.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some(accepted) = ready!(self.conn.poll_accept(cx)) {
            let (request, respond) = accepted?;
            let respond = Respond::new(respond, Rc::clone(&self.sections));
            let (worker, client, turn) = (Rc::clone(&self.worker), self.client, self.phase.begin());
            if request.extensions().get::<Protocol>().is_some() {
                // A task of its own: it ends by itself, and so that both sides can tell how, whatever ends the
                // connection.
                tokio::task::spawn_local(async move {
                    websocket::serve(&worker, client, turn, request, respond).await;
                });
            } else {
                self.served
                    .push(Box::pin(stream(worker, client, turn, request, respond)));
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Serves one request, until the client has the whole answer or wants it no more.
async fn stream(
    worker: Rc<Worker>,
    client: Client,
    turn: Turn,
    request: Request<RecvStream>,
    respond: Respond,
) {
    let answered = {
        let mut serving = pin!(exchange::serve(&worker, client, turn, request, &respond));
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => respond.poll_reset(cx).map(|()| None),
        })
        .await
    };
    if let Some(response) = answered {
        answer(&worker, response, &respond).await;
    }
}

/// Sends an answer, as fast as the client takes it.
pub(crate) async fn answer(worker: &Worker, response: Response<Download>, respond: &Respond) {
    if let Some(reason) = respond.fault() {
        return respond.reset(reason);
    }
    let (mut parts, body) = response.into_parts();
    if !parts.headers.contains_key(header::DATE)
        && let Ok(date) = HeaderValue::from_bytes(&worker.date())
    {
        parts.headers.insert(header::DATE, date);
    }
    let ended = body.is_end_stream();
    let Ok(sender) = respond.answer(Response::from_parts(parts, ()), ended) else {
        return;
    };
    if ended {
        return;
    }
    let mut pump = Pump::new(body, sender);
    let (timer, timeout) = (worker.timers().timer(), worker.config().send_timeout);
    let mut blocked = None;
    let pumped = poll_fn(|cx| {
        if let Some(reason) = respond.fault() {
            respond.reset(reason);
            return Poll::Ready(Some(Err(Stopped::Peer)));
        }
        let mut polled = pump.poll(cx);
        if polled.is_pending()
            && pump.is_blocked()
            && let Err(error) = pump.body_mut().poll_request(cx)
        {
            polled = Poll::Ready(Err(Stopped::Source(error)));
        }
        // A window that doesn't open holds a backend as a socket that takes nothing does.
        match (polled.is_pending() && pump.is_blocked(), blocked) {
            (true, Some(sent)) if sent == pump.sent() => {}
            (true, _) => {
                blocked = Some(pump.sent());
                timer.arm(Instant::now() + timeout);
            }
            (false, Some(_)) => {
                blocked = None;
                timer.disarm();
            }
            (false, None) => {}
        }
        match polled {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending => timer.poll_due(cx).map(|()| None),
        }
    });
    match pumped.await {
        Some(Err(Stopped::Source(truncated))) => {
            // The connection's turn first: a reset takes back what has not been written yet, and the client should
            // have what the backend did say.
            tokio::task::yield_now().await;
            pump.reset(respond.fault().unwrap_or_else(|| truncated.reason()));
        }
        None => pump.reset(Reason::CANCEL),
        Some(_) => {}
    }
}

/// Polls a connection until it ends or is overdue. When the worker drains, the connection is asked to end
/// gracefully, once it has a request to answer: one that was accepted a moment ago may have one on its way.
async fn drive<S: Socket>(
    mut front: Front<S>,
    phase: &Phase,
    worker: &Worker,
) -> Result<Result<(), h2::Error>, Overdue> {
    let mut armed = phase.due();
    let mut timer = pin!(tokio::time::sleep_until(armed));
    let mut drained = pin!(worker.draining().cancelled());
    let (mut draining, mut told, mut ending) = (false, false, false);
    poll_fn(|cx| {
        loop {
            if !draining && drained.as_mut().poll(cx).is_ready() {
                draining = true;
                // Where somebody else has the sockets, nobody waits for the end.
                if worker.patience(false).is_some() {
                    phase.drain();
                }
            }
            if draining && !told && phase.has_served() {
                told = true;
                phase.drain();
                front.conn.graceful_shutdown();
            }
            if let Poll::Ready(ended) = front.poll(cx) {
                return Poll::Ready(Ok(ended));
            }
            if draining && !told && phase.has_served() {
                continue;
            }
            if let Some(breach) = phase.breached()
                && !ending
            {
                breach.log(front.client.ip);
                worker.books().own.breaches.count(breach.kind());
                (ending, told) = (true, true);
                front.conn.abrupt_shutdown(breach.reason());
                continue;
            }
            // A timer that is set too early is looked at again when it fires; that costs less than to set it
            // anew for every request.
            let due = phase.due();
            if due < armed {
                armed = due;
                timer.as_mut().reset(due);
            }
            ready!(timer.as_mut().poll(cx));
            match phase.overdue() {
                // Idle long enough: told to end, as in a drain, and dropped if it doesn't.
                Some(Overdue::Idle) if !told => {
                    told = true;
                    phase.drain();
                    front.conn.graceful_shutdown();
                    continue;
                }
                Some(overdue) => return Poll::Ready(Err(overdue)),
                None => {}
            }
            armed = phase.due();
            timer.as_mut().reset(armed);
        }
    })
    .await
}
