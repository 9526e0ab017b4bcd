mod heads;
mod watched;

use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tower::Service;

use crate::guard::rate::RateLimit;
use crate::router::router;
use crate::serve::networks::{Closings, Network, Share, Shares, TooMany};
use crate::serve::tls::{ClientNames, Tls, UnderWay};
use crate::state::{Bounds, State};
use crate::terms::Terms;
use heads::Heads;
use watched::Watched;

/// The largest head. The API's own requests need a tenth of it.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// One place for strangers to so many places of the others.
const STRANGERS: usize = 16;

/// Who is at the other end of a connection, as far as it tells.
#[derive(Clone)]
struct Origin {
    peer: SocketAddr,
    names: Option<ClientNames>,
}

/// What a connection takes of what all share, for as long as it is held.
struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    share: Option<Share>,
}

/// A network shakes hands more often than it may.
#[derive(Debug)]
pub(crate) struct TooFast(Network);

impl fmt::Display for TooFast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} begins more TLS handshakes than one network may", self.0)
    }
}

/// Why a connection gets none.
enum Unplaced {
    Strangers,
    TooMany(TooMany),
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strangers => f.write_str("strangers have all the places that there are for them"),
            Self::TooMany(too_many) => too_many.fmt(f),
        }
    }
}

/// Serves connections, each until it ends.
#[derive(Clone)]
pub(crate) struct Acceptor {
    router: Router,
    bounds: Bounds,
    terms: Terms,
    places: Arc<Semaphore>,
    /// Places for those who get nothing but a refusal, so that they take nobody else's.
    strangers: Arc<Semaphore>,
    /// Of the places, and of the strangers'.
    shares: [Arc<Shares>; 2],
    closings: Arc<Closings>,
    /// Of TLS handshakes, which cost the control thread more than anything else that a stranger can ask for.
    handshakes: Arc<RateLimit>,
    /// Closed when the server stops.
    stopping: watch::Receiver<()>,
    http: http1::Builder,
}

impl Acceptor {
    pub(crate) fn new(state: State, places: Arc<Semaphore>, stopping: watch::Receiver<()>) -> Self {
        let (bounds, terms) = (state.bounds, state.terms.clone());
        let strangers = (bounds.connections / STRANGERS).clamp(1, Semaphore::MAX_PERMITS);
        let mut http = http1::Builder::new();
        // hyper's timer begins with the wait for a head, so to it an idle connection and a slow head are
        // the same; the slow head is told apart by `Heads`.
        http.timer(TokioTimer::new())
            .header_read_timeout(bounds.idle_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        // Who sends a request and then closes its half still wants the answer.
        http.half_close(true);
        Self {
            router: router(state),
            bounds,
            terms,
            places,
            strangers: Arc::new(Semaphore::new(strangers)),
            shares: [Shares::of(bounds.connections), Shares::of(strangers)],
            closings: Arc::default(),
            handshakes: Arc::new(RateLimit::new(
                bounds.handshakes_per_sec,
                bounds.handshake_burst,
                bounds.peers,
            )),
            stopping,
            http,
        }
    }

    /// Whether that peer gets nothing but a refusal, whatever it asks.
    fn is_stranger(&self, peer: SocketAddr) -> bool {
        self.terms.in_force().access.check_peer(Some(peer)).is_err()
    }

    /// Counts a handshake that a network is about to begin, if it may.
    pub(crate) fn check_handshake(&self, network: Network) -> Result<(), TooFast> {
        let checked = self.handshakes.check(network.first());
        checked.map_err(|_| TooFast(network))
    }

    pub(crate) fn closings(&self) -> &Closings {
        &self.closings
    }

    /// A place of the pool that is this peer's; `usual` waits for, or already has, one of those that aren't strangers'.
    async fn place(
        &self,
        peer: SocketAddr,
        usual: impl Future<Output = Option<OwnedSemaphorePermit>>,
    ) -> Result<Place, Unplaced> {
        let [usual_shares, strangers_shares] = &self.shares;
        let is_stranger = self.is_stranger(peer);
        let shares = if is_stranger {
            strangers_shares
        } else {
            usual_shares
        };
        let network = Network::of(peer.ip());
        // Before it waits: a network is not to have more of the queue than of the places.
        let share = network.map(|network| shares.take(network)).transpose();
        let share = share.map_err(Unplaced::TooMany)?;
        let _permit = if is_stranger {
            // It doesn't wait for one: whoever fills them would have the others wait as well.
            let place = Arc::clone(&self.strangers).try_acquire_owned();
            Some(place.map_err(|_| Unplaced::Strangers)?)
        } else {
            usual.await
        };
        Ok(Place { _permit, share })
    }

    /// A connection in the clear, that has a place.
    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let place = match self.place(peer, ready(place)).await {
            Ok(place) => place,
            Err(why) => {
                self.closings.tell(&why);
                return;
            }
        };
        // An answer is one small write; waiting for more would delay it.
        let _ = stream.set_nodelay(true);
        self.converse(stream, Origin { peer, names: None }, place).await;
    }

    /// A connection inside TLS. It takes a place once it has shaken hands, so that whoever doesn't takes nobody's.
    pub(crate) async fn serve_tls(self, tls: Tls, stream: TcpStream, peer: SocketAddr, under_way: UnderWay) {
        let _ = stream.set_nodelay(true);
        let mut stopping = self.stopping.clone();
        let shaking = timeout(self.bounds.handshake_timeout, async {
            let stream = tls.accept(stream).await?;
            // Closed when no more are accepted: those that shake hands by then, a bounded number, need no place.
            let usual = async { Arc::clone(&self.places).acquire_owned().await.ok() };
            Ok::<_, io::Error>((stream, self.place(peer, usual).await))
        });
        let shaken = tokio::select! {
            shaken = shaking => shaken,
            // Nothing has been asked yet, so nothing is lost; one that is silent would hold up the stop.
            _ = stopping.changed() => return,
        };
        drop(under_way);
        let (stream, place) = match shaken {
            Ok(Ok((stream, Ok(place)))) => (stream, place),
            Ok(Ok((_, Err(why)))) => {
                self.closings.tell(&why);
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a TLS handshake with the API came to nothing");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "closing a connection: its TLS handshake took too long");
                return;
            }
        };
        let names = ClientNames::of(&stream);
        self.converse(stream, Origin { peer, names }, place).await;
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin, origin: Origin, place: Place) {
        let peer = origin.peer;
        let Self {
            router,
            bounds,
            places,
            mut stopping,
            http,
            ..
        } = self;
        let (heads, mut reading) = Heads::new();
        let service = service_fn(|request: Request<Incoming>| {
            heads.finished();
            let answer = answer(router.clone(), request, origin.clone());
            let (heads, places, place) = (heads.clone(), Arc::clone(&places), &place);
            async move {
                let mut response = answer.await?;
                heads.expected();
                if is_crowded(&places, bounds.connections)
                    || place.share.as_ref().is_some_and(Share::is_large)
                {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let stream = Watched::new(stream, heads.clone(), bounds.write_timeout);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = reading.overdue(bounds.head_timeout) => {
                tracing::debug!(%peer, "closing a connection: its request's head took too long");
                return;
            }
            _ = stopping.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "an API connection ended early");
        }
    }
}

async fn answer(
    mut router: Router,
    mut request: Request<Incoming>,
    origin: Origin,
) -> Result<Response, Infallible> {
    let Origin { peer, names } = origin;
    request.extensions_mut().insert(ConnectInfo(peer));
    if let Some(names) = names {
        request.extensions_mut().insert(names);
    }
    router.call(request).await
}

/// Three quarters of the places are taken, the one held for whoever comes next included: from here on
/// nobody keeps one between requests, or backends that came early and heartbeat now and then would keep
/// everyone else out. The same once another process accepts, which everyone is to go over to.
fn is_crowded(places: &Semaphore, all: usize) -> bool {
    places.is_closed() || places.available_permits().saturating_mul(4) < all
}
