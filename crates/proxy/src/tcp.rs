//! A TCP connection: a backend is picked for it as for a request, and then bytes go both ways until both sides
//! have said all, or one of them breaks.
//!
//! Connecting is what is tried again and what the backend's ledger hears of: once connected, who closes, when
//! and why is a matter between the two ends. A connection holds its place on the backend to its end. Whatever
//! ends it other than both sides' own FIN or silence ends it by a reset, so that neither side takes the part
//! for the whole: the other side's reset, the backend's cut, the end of a drain, an abort. So does a client
//! for which there is no backend. One that finds every backend at its hard limit waits in the app's queue, as
//! a request does.

mod bounds;
mod direction;
mod relay;
mod supplies;
mod terminated;

#[cfg(any(test, not(target_os = "linux")))]
mod copy;
#[cfg(target_os = "linux")]
mod splice;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, InFlight, Incarnation, MonoTime, Signal};
use edgeproxy_balance::{Client, PickError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::counts::{Open, Tally, place_of};
use crate::encrypted::Encrypted;
use crate::pick::{self, Front, Taken};
use crate::proxy_protocol::{self, Named};
use crate::queue::Waiting;
use crate::retry::Failed;
use crate::worker::Worker;
use crate::{AppRoute, Listener, Protocol, clock, wire};
pub(crate) use relay::Ended;
use relay::relay;
pub(crate) use supplies::Supplies;

/// Serves a connection until it ends. `named` is what a proxy said of it. Nothing is done for a listener that
/// doesn't speak TCP.
pub(crate) async fn serve(
    worker: &Worker,
    listener: usize,
    client: TcpStream,
    peer: SocketAddr,
    named: Option<Named>,
) {
    let Some(listener) = worker.config().listeners.get(listener) else {
        return;
    };
    let Protocol::Tcp { app, .. } = &listener.protocol else {
        return;
    };
    let lead = lead(listener, named, peer, || client.local_addr());
    pass(worker, listener, client, app, lead, peer).await;
}

/// Serves a connection whose TLS ends here until it ends: what is inside is passed on.
pub(crate) async fn serve_tls(
    worker: &Worker,
    listener: usize,
    client: Encrypted,
    peer: SocketAddr,
    named: Option<Named>,
) {
    let Some(listener) = worker.config().listeners.get(listener) else {
        return;
    };
    let Protocol::Tcp { app, .. } = &listener.protocol else {
        return;
    };
    let lead = lead(listener, named, peer, || client.local_addr());
    terminated::pass(worker, listener, client, app, &lead, peer).await;
}

/// What a backend gets before anything that the client says.
pub(crate) fn lead(
    listener: &Listener,
    named: Option<Named>,
    peer: SocketAddr,
    local_addr: impl FnOnce() -> io::Result<SocketAddr>,
) -> Vec<u8> {
    let (Protocol::Tcp { send_proxy, .. } | Protocol::Sni { send_proxy, .. }) = &listener.protocol else {
        return Vec::new();
    };
    let header = send_proxy.map(|version| {
        let ends = named.unwrap_or_else(|| Named {
            client: peer,
            // A socket whose own address can't be told is one that is gone already.
            server: local_addr().unwrap_or(peer),
        });
        proxy_protocol::header(version, ends)
    });
    header.unwrap_or_default()
}

fn idle_timeout(listener: &Listener, app: &AppRoute) -> Duration {
    match &listener.protocol {
        Protocol::Tcp { idle_timeout, .. } | Protocol::Sni { idle_timeout, .. } => *idle_timeout,
        Protocol::Http => None,
    }
    .unwrap_or(app.settings.tcp_idle_timeout)
}

/// Passes a connection on to a backend of `app`, which gets `lead` first, until it ends.
pub(crate) async fn pass(
    worker: &Worker,
    listener: &Listener,
    client: TcpStream,
    app: &AppName,
    lead: Vec<u8>,
    peer: SocketAddr,
) {
    let mut ends = Ends::new(client);
    let Some(Connected { taken, backend, app }) = connected(worker, app, &lead, peer).await else {
        return;
    };
    drop(lead);
    let backend = ends.backend.insert(backend);
    // Held to the end, so that it can be cut.
    let place = &taken.place;
    let upstream = worker.upstream(place.endpoint());
    let idle = idle_timeout(listener, &app);
    drop(app);
    let open = Open::new(Rc::clone(upstream.tally()));
    let relayed = relay(&ends.client, backend, (worker.supplies(), &open), idle);
    let ended = tokio::select! {
        biased;
        ended = relayed => ended,
        () = upstream.cut().cancelled() => Ended::Cut,
    };
    ends.whole = ended.is_whole();
    tell_end(&ended, listener, place, peer);
}

fn tell_end(ended: &Ended, listener: &Listener, place: &InFlight, peer: SocketAddr) {
    let (backend, listener) = (&place.endpoint().id, listener.name.as_str());
    match ended {
        Ended::Broken(error) => {
            tracing::debug!(%peer, listener, %backend, %error, "a TCP connection broke");
        }
        ended => tracing::debug!(%peer, listener, %backend, ?ended, "a TCP connection ended"),
    }
}

/// Both sockets. Dropped before they have said all, they are closed by a reset.
struct Ends {
    client: TcpStream,
    backend: Option<TcpStream>,
    whole: bool,
}

impl Ends {
    fn new(client: TcpStream) -> Self {
        Self {
            client,
            backend: None,
            whole: false,
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        if self.whole {
            return;
        }
        for stream in std::iter::once(&self.client).chain(&self.backend) {
            // A socket that can't be told to has no peer to hear it.
            let _ = stream.set_zero_linger();
        }
    }
}

/// A connection to a backend.
struct Connected {
    taken: Taken,
    backend: TcpStream,
    /// Its app, as it was when it was picked for.
    app: Arc<AppRoute>,
}

/// A connection to a backend, tried on one after the other as far as the rules and the budget allow.
///
/// A `header` that could not be written is a connection that could not be made: nothing of the client's has
/// been sent.
async fn connected(worker: &Worker, name: &AppName, header: &[u8], peer: SocketAddr) -> Option<Connected> {
    let address = peer.ip().to_canonical();
    let client = (address, worker.locate(address));
    let mut until = None;
    let mut tried: Vec<Incarnation> = Vec::new();
    loop {
        let (taken, app) = match place(worker, name, &tried, &mut until, client).await {
            Ok(placed) => placed,
            Err(refused) => {
                tracing::debug!(%peer, app = %name, %refused, "a TCP connection was reset");
                worker.books().app(name).sessions_refused.add(1);
                return None;
            }
        };
        let (place, begun, settings) = (&taken.place, Instant::now(), &app.settings);
        match connect(
            place.endpoint().addr.socket_addr(),
            header,
            settings.connect_timeout,
        )
        .await
        {
            Ok(backend) => {
                let now = Instant::now();
                let latency = now.saturating_duration_since(begun);
                place.endpoint().meter.connected(latency);
                count_session(&worker.tally(place.endpoint()), latency);
                tell(worker, place, place.succeeded(latency, clock::at(now)));
                return Some(Connected { taken, backend, app });
            }
            Err(failed) => {
                tracing::debug!(backend = %place.endpoint().id, ?failed, "a backend could not be connected to");
                let tally = worker.tally(place.endpoint());
                tally.backend.failures.count(place_of(failed));
                if failed.is_the_backends() {
                    tell(worker, place, place.failed(settings.max_failures, clock::now()));
                }
            }
        }
        tried.push(place.endpoint().incarnation);
        let attempts = u32::try_from(tried.len()).unwrap_or(u32::MAX);
        if !settings.retry_enabled || attempts >= settings.max_attempts {
            tracing::debug!(%peer, app = %name, attempts, "a TCP connection was reset: no backend took it");
            worker.books().app(name).sessions_refused.add(1);
            return None;
        }
    }
}

fn count_session(tally: &Tally, connecting: Duration) {
    tally.backend.heads.record(connecting);
    tally.backend.sessions.add(1);
    tally.app.sessions.add(1);
}

/// Why a connection got no place on any backend.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no such app")]
    NoApp,
    #[error("no backend can be had ({summary})")]
    NoBackend { summary: String },
    #[error("every backend is at its hard limit, and the queue is full")]
    Full,
    #[error("every backend was at its hard limit for as long as a connection may wait")]
    Late,
    #[error("the budget has no retry left")]
    NoRetry,
}

/// A place on a backend, at once or when it is this connection's turn; whoever waits already goes first. With it, its
/// app. `until` is when the connection has waited too long, once that is known.
async fn place(
    worker: &Worker,
    name: &AppName,
    tried: &[Incarnation],
    until: &mut Option<Instant>,
    (address, mut client): (IpAddr, Client),
) -> Result<(Taken, Arc<AppRoute>), Refused> {
    let mut turn: Option<Waiting> = None;
    loop {
        // The table is not held while it waits.
        let Some(app) = worker.table().load().app(name).cloned() else {
            // So it is for the next in line, who is to hear of it.
            if let Some(waiting) = &mut turn {
                waiting.pass_on();
            }
            return Err(Refused::NoApp);
        };
        let settings = &app.settings;
        let until = *until.get_or_insert_with(|| {
            // It has just come.
            worker.count_request(&app);
            Instant::now() + settings.queue_timeout
        });
        if turn.is_some() || app.queue.is_empty() {
            let now = clock::now();
            let keys = app.keys.as_ref();
            let standing = keys.map(|keys| keys.complete_tcp(&mut client, address, now));
            match pick::pick(&app, Front::Tcp, client, now, || worker.random(), tried) {
                Ok(place) => {
                    // Whoever doesn't use it gives it to the next in line.
                    let taken = Taken::new(place, Arc::clone(&app.queue));
                    // The place first: a retry that there is nobody for costs nothing.
                    if !tried.is_empty() && !may_retry(worker, &app, now) {
                        return Err(Refused::NoRetry);
                    }
                    if let (Some(keys), Some(standing)) = (keys, standing) {
                        keys.settle(standing, taken.place.endpoint(), now);
                    }
                    return Ok((taken, app));
                }
                Err(PickError::AllFull) => {}
                Err(_) => {
                    if let Some(waiting) = &mut turn {
                        // There may be room on one that has failed it; the next in line can use that.
                        waiting.pass_on();
                    }
                    let summary = app.summary.clone();
                    return Err(Refused::NoBackend { summary });
                }
            }
        }
        let waiting = match &mut turn {
            Some(waiting) => {
                if !tried.is_empty() {
                    // There may be room on one that has failed it; the next in line can use that.
                    waiting.pass_on();
                }
                waiting
            }
            None => {
                let waiting = app.queue.join(settings.queue_max).map_err(|_| Refused::Full)?;
                worker.books().app(name).queued.add(1);
                turn.insert(waiting)
            }
        };
        let next = poll_fn(|cx| waiting.poll_turn(cx));
        tokio::time::timeout_at(until, next)
            .await
            .map_err(|_| Refused::Late)?;
    }
}

/// Whether the app's budget has a retry left, which is spent then.
fn may_retry(worker: &Worker, app: &AppRoute, now: MonoTime) -> bool {
    let granted = app.retry_budget.withdraw(app.settings.allowance(), now);
    worker.books().app(&app.name).retried(granted);
    granted
}

fn tell(worker: &Worker, place: &InFlight, signal: Option<Signal>) {
    if let Some(signal) = signal {
        worker.report(place.report(signal));
    }
}

async fn connect(addr: SocketAddr, header: &[u8], timeout: Duration) -> Result<TcpStream, Failed> {
    let connecting = async {
        let mut stream = wire::dial(addr).await?;
        if !header.is_empty() {
            stream.write_all(header).await.map_err(|_| Failed::Connect)?;
        }
        Ok(stream)
    };
    let connected = tokio::time::timeout(timeout, connecting).await;
    connected.unwrap_or(Err(Failed::ConnectTimeout))
}
