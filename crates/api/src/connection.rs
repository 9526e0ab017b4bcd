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
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::Service;

use crate::state::Bounds;
use heads::Heads;
use watched::Watched;

/// The largest head. The API's own requests need a tenth of it.
const MAX_HEAD_BYTES: usize = 16 * 1024;

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

    pub(crate) async fn serve(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let Self {
            router,
            bounds,
            places,
            mut stopping,
            http,
        } = self;
        let _place = place;
        // An answer is one small write; waiting for more would delay it.
        let _ = stream.set_nodelay(true);
        let (heads, mut reading) = Heads::new();
        let service = service_fn(|request: Request<Incoming>| {
            heads.finished();
            let answer = answer(router.clone(), request, peer);
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
    peer: SocketAddr,
) -> Result<Response, Infallible> {
    request.extensions_mut().insert(ConnectInfo(peer));
    router.call(request).await
}

/// Three quarters of the places are taken, the one held for whoever comes next included: from here on
/// nobody keeps one between requests, or backends that came early and heartbeat now and then would keep
/// everyone else out.
fn is_crowded(places: &Semaphore, all: usize) -> bool {
    places.available_permits().saturating_mul(4) < all
}
