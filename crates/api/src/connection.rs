mod heads;
mod watched;

use std::convert::Infallible;
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

use crate::state::Bounds;
use crate::tls::{ClientNames, Tls, UnderWay};
use heads::Heads;
use watched::Watched;

/// The largest head. The API's own requests need a tenth of it.
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Who is at the other end of a connection, as far as it tells.
#[derive(Clone)]
struct Origin {
    peer: SocketAddr,
    names: Option<ClientNames>,
}

/// Serves connections, each until it ends.
#[derive(Clone)]
pub(crate) struct Acceptor {
    router: Router,
    bounds: Bounds,
    places: Arc<Semaphore>,
    /// Closed when the server stops.
    stopping: watch::Receiver<()>,
    http: http1::Builder,
}

impl Acceptor {
    pub(crate) fn new(
        router: Router,
        bounds: Bounds,
        places: Arc<Semaphore>,
        stopping: watch::Receiver<()>,
    ) -> Self {
        let mut http = http1::Builder::new();
        // hyper's timer begins with the wait for a head, so to it an idle connection and a slow head are
        // the same; the slow head is told apart by `Heads`.
        http.timer(TokioTimer::new())
            .header_read_timeout(bounds.idle_timeout)
            .max_buf_size(MAX_HEAD_BYTES);
        // Who sends a request and then closes its half still wants the answer.
        http.half_close(true);
        Self {
            router,
            bounds,
            places,
            stopping,
            http,
        }
    }

    /// A connection in the clear, that has a place.
    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) {
        // An answer is one small write; waiting for more would delay it.
        let _ = stream.set_nodelay(true);
        self.converse(stream, Origin { peer, names: None }, place).await;
    }

    /// A connection inside TLS. It takes a place once it has shaken hands, so that whoever doesn't takes nobody's.
    pub(crate) async fn serve_tls(self, tls: Tls, stream: TcpStream, peer: SocketAddr, under_way: UnderWay) {
        let _ = stream.set_nodelay(true);
        let shaken = timeout(self.bounds.handshake_timeout, async {
            let stream = tls.accept(stream).await?;
            // The semaphore is never closed.
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            Ok::<_, std::io::Error>((stream, place))
        })
        .await;
        drop(under_way);
        let (stream, place) = match shaken {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "a TLS handshake with the API failed");
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

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        origin: Origin,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let peer = origin.peer;
        let Self {
            router,
            bounds,
            places,
            mut stopping,
            http,
        } = self;
        let _place = place;
        let (heads, mut reading) = Heads::new();
        let service = service_fn(|request: Request<Incoming>| {
            heads.finished();
            let answer = answer(router.clone(), request, origin.clone());
            let (heads, places) = (heads.clone(), Arc::clone(&places));
            async move {
                let mut response = answer.await?;
                heads.expected();
                if is_crowded(&places, bounds.connections) {
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
/// everyone else out.
fn is_crowded(places: &Semaphore, all: usize) -> bool {
    places.available_permits().saturating_mul(4) < all
}
