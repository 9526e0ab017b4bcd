//! Looking for a backend that takes a TCP connection.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Incarnation};
use edgeproxy_balance::{Client, PickError};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::AppRoute;
use crate::exchange::pick::{self, Front, Taken};
use crate::exchange::queue::Waiting;
use crate::exchange::retry::Failed;
use crate::request::keys::Standing;
use crate::telemetry::counts::Tally;
use crate::upstream::dialing::Dialing;
use crate::worker::Worker;
use crate::worker::clock;

/// A connection to a backend.
pub(super) struct Connected {
    pub(super) taken: Taken,
    pub(super) backend: TcpStream,
    /// Its app, as it was when it was picked for.
    pub(super) app: Arc<AppRoute>,
}

/// A connection to a backend, tried on one after the other as far as the rules and the budget allow.
///
/// A `header` that could not be written is a connection that could not be made: nothing of the client's has
/// been sent.
pub(super) async fn connected(
    worker: &Worker,
    name: &AppName,
    header: &[u8],
    peer: SocketAddr,
) -> Option<Connected> {
    let address = peer.ip().to_canonical();
    let mut seeking = Seeking {
        worker,
        name,
        address,
        client: worker.locate(address),
        standing: Standing::Unknown,
        until: None,
        tried: Vec::new(),
        failed: None,
    };
    match seeking.connected(header).await {
        Ok(connected) => Some(connected),
        Err(refused) => {
            tracing::debug!(%peer, app = %name, %refused, "a TCP connection was reset");
            worker.books().app(name).sessions_refused.add(1);
            None
        }
    }
}

/// A client's connection that has no backend yet.
struct Seeking<'a> {
    worker: &'a Worker,
    name: &'a AppName,
    address: IpAddr,
    client: Client,
    /// What it means for its client's binding to be connected.
    standing: Standing,
    /// When it has waited too long for places, once its app is known.
    until: Option<Instant>,
    /// Whom it was tried on without success, the latest last, and how that one failed.
    tried: Vec<Incarnation>,
    failed: Option<Failed>,
}

/// Why a connection got no backend.
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
    #[error("none of {attempts} took it")]
    NotTaken { attempts: usize },
}

impl Seeking<'_> {
    async fn connected(&mut self, header: &[u8]) -> Result<Connected, Refused> {
        loop {
            let (taken, app) = self.place().await?;
            let (place, settings) = (&taken.place, &app.settings);
            let endpoint = place.endpoint();
            match connect(endpoint.addr.socket_addr(), header, settings.connect_timeout).await {
                Ok((backend, took)) => {
                    let now = clock::now();
                    endpoint.meter.connected(took);
                    count_session(&self.worker.tally(endpoint), took);
                    self.worker.tell(place, place.succeeded(took, now));
                    if let Some(keys) = &app.keys {
                        keys.settle(self.standing, endpoint, now);
                    }
                    return Ok(Connected { taken, backend, app });
                }
                Err(failed) => {
                    self.worker.failed(&app, place, failed);
                    self.standing.failed(failed, &self.client, endpoint);
                    self.tried.push(endpoint.incarnation);
                    self.failed = Some(failed);
                }
            }
            let attempts = self.tried.len();
            let most = usize::try_from(settings.max_attempts).unwrap_or(usize::MAX);
            if !settings.retry_enabled || attempts >= most {
                return Err(Refused::NotTaken { attempts });
            }
        }
    }

    /// A place on a backend, at once or when it is this connection's turn; whoever waits already goes first. With it, its
    /// app.
    async fn place(&mut self) -> Result<(Taken, Arc<AppRoute>), Refused> {
        let mut turn: Option<Waiting> = None;
        loop {
            // The table is not held while it waits.
            let Some(app) = self.worker.table().load().app(self.name).cloned() else {
                // So it is for the next in line, who is to hear of it.
                if let Some(waiting) = &mut turn {
                    waiting.pass_on();
                }
                return Err(Refused::NoApp);
            };
            let until = match self.until {
                Some(until) => until,
                None => self.come(&app),
            };
            if turn.is_some() || app.queue.is_empty() {
                match self.pick(&app) {
                    Ok(place) => {
                        // The place first: a retry that there is nobody for costs nothing.
                        if let Some(failed) = self.failed
                            && !self.worker.may_retry(&app, failed)
                        {
                            return Err(Refused::NoRetry);
                        }
                        return Ok((place, app));
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
                    if !self.tried.is_empty() {
                        // There may be room on one that has failed it; the next in line can use that.
                        waiting.pass_on();
                    }
                    waiting
                }
                None => {
                    let queue_max = app.settings.queue_max;
                    let waiting = app.queue.join(queue_max).map_err(|_| Refused::Full)?;
                    self.worker.books().app(self.name).queued.add(1);
                    turn.insert(waiting)
                }
            };
            let next = poll_fn(|cx| waiting.poll_turn(cx));
            tokio::time::timeout_at(until, next)
                .await
                .map_err(|_| Refused::Late)?;
        }
    }

    /// It has come to its app. Until when it may wait for places.
    fn come(&mut self, app: &AppRoute) -> Instant {
        self.worker.count_request(app);
        if let Some(keys) = &app.keys {
            self.standing = keys.complete_tcp(&mut self.client, self.address, clock::now());
        }
        *self.until.insert(Instant::now() + app.settings.queue_timeout)
    }

    fn pick(&self, app: &AppRoute) -> Result<Taken, PickError> {
        let (now, random) = (clock::now(), || self.worker.random());
        let place = pick::pick(app, Front::Tcp, self.client, now, random, &self.tried)?;
        // Whoever doesn't use it gives it to the next in line.
        Ok(Taken::new(place, Arc::clone(&app.queue)))
    }
}

fn count_session(tally: &Tally, connecting: Duration) {
    tally.backend.heads.record(connecting);
    tally.backend.sessions.add(1);
    tally.app.sessions.add(1);
}

/// Connects, and says how long that took.
async fn connect(
    addr: SocketAddr,
    header: &[u8],
    timeout: Duration,
) -> Result<(TcpStream, Duration), Failed> {
    let dialing = Dialing::default();
    let connecting = async {
        let mut stream = dialing.dial(addr).await?;
        let took = dialing.took().unwrap_or_default();
        if !header.is_empty() {
            stream.write_all(header).await.map_err(|_| Failed::Connect)?;
        }
        Ok((stream, took))
    };
    let connected = tokio::time::timeout(timeout, connecting).await;
    connected.unwrap_or_else(|_| Err(dialing.late()))
}
