//! A balanced HTTP client for the program that holds the data plane: Apigee's `ServiceCallout`, as an embedder calls it.

mod body;
mod error;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::header::{self, HeaderMap, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::sync::{mpsc, oneshot};
use tower_service::Service;

use crate::listen::inside::Asking;
use body::Exchange;

pub use body::OutboundBody;
pub use error::{CalledFrom, OutboundError};

/// Any error of a request's body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client of one's own data plane, without a socket that others could reach. Cheap to clone, and a clone is the same.
///
/// The host of a request's URI decides as a client's `Host` does: it names the app, unless there are routes. From there on
/// a request is a client's: it is picked for, waits in the app's queue, is tried again within the app's budget, and its
/// outcome is in the backend's ledger. Bodies stream in both directions, each as fast as it is taken. A future, or a
/// response's body, that is dropped before its end gives the backend's place back at once. The backend sees a client at
/// 127.0.0.1, whose own `X-Forwarded-For` is believed.
///
/// ```no_run
/// use edgeproxy_proxy::{CalledFrom, OutboundError, Running};
/// use http::{Request, Response};
/// use http_body_util::{BodyExt, Empty};
/// use tower_service::Service;
///
/// # async fn stock(running: &Running) -> Result<(), Box<dyn std::error::Error>> {
/// let mut outbound = running.outbound();
/// let request = Request::get("http://stock/items/7").body(Empty::new())?;
/// let answer = match outbound.call(request).await {
///     Ok(response) => response.into_body().collect().await?.to_bytes(),
///     // 500 in a flow that goes on with it, 503 where it is the answer.
///     Err(error) => format!("{}: {error}", error.status(CalledFrom::Flow)).into(),
/// };
/// # drop(answer);
/// # Ok(())
/// # }
/// ```
///
/// # As a tower `Service`
///
/// It is always ready: what bounds it are the backends' hard limits, and behind them the app's queue. A layer for
/// time-outs, tracing or concurrency goes around it as around any other client.
#[derive(Clone)]
pub struct Outbound {
    lines: Arc<[Line]>,
    turn: Arc<AtomicUsize>,
}

/// The way to one worker.
struct Line {
    ask: mpsc::Sender<Asking>,
    /// The connection to it, and when it was last used.
    kept: Mutex<Option<(SendRequest<Bytes>, Instant)>>,
    /// A connection that has been idle for longer may be about to be closed.
    fresh_for: Duration,
}

impl Outbound {
    /// `asks` is a worker's each; `idle_timeout` that of clients.
    pub(crate) fn new(asks: &[mpsc::Sender<Asking>], idle_timeout: Duration) -> Self {
        let line = |ask: &mpsc::Sender<Asking>| Line {
            ask: ask.clone(),
            kept: Mutex::default(),
            fresh_for: idle_timeout / 2,
        };
        Self {
            lines: asks.iter().map(line).collect(),
            turn: Arc::default(),
        }
    }

    async fn send(
        self,
        request: Request<UnsyncBoxBody<Bytes, BoxError>>,
    ) -> Result<Response<OutboundBody>, OutboundError> {
        let (parts, body) = request.into_parts();
        let mut head = Request::new(());
        *head.method_mut() = parts.method;
        *head.uri_mut() = absolute(&parts.uri)?;
        *head.version_mut() = Version::HTTP_2;
        *head.headers_mut() = of_the_message(parts.headers, &body);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let Some(line) = self.lines.get(turn % self.lines.len().max(1)) else {
            return Err(OutboundError::Ended);
        };
        let mut sender = line.sender().await?;
        let ended = body.is_end_stream();
        let (response, stream) = sender
            .send_request(head, ended)
            .map_err(|error| OutboundError::of_h2(&error))?;
        let exchange = Exchange::new(body, (!ended).then_some(stream));
        body::answer(exchange, response).await
    }
}

impl Line {
    async fn sender(&self) -> Result<SendRequest<Bytes>, OutboundError> {
        let now = Instant::now();
        let kept = self.kept().clone();
        if let Some((sender, used)) = kept
            && now.saturating_duration_since(used) < self.fresh_for
            && let Ok(ready) = sender.ready().await
        {
            self.keep(&ready, now);
            return Ok(ready);
        }
        let (asking, answer) = oneshot::channel();
        self.ask.send(asking).await.map_err(|_| OutboundError::Ended)?;
        let fresh = answer.await.map_err(|_| OutboundError::Ended)?;
        self.keep(&fresh, now);
        fresh.ready().await.map_err(|_| OutboundError::Ended)
    }

    fn keep(&self, sender: &SendRequest<Bytes>, now: Instant) {
        *self.kept() = Some((sender.clone(), now));
    }

    fn kept(&self) -> MutexGuard<'_, Option<(SendRequest<Bytes>, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Service<Request<B>> for Outbound
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<OutboundBody>;
    type Error = OutboundError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, OutboundError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), OutboundError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        Box::pin(self.clone().send(request))
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound")
            .field("workers", &self.lines.len())
            .finish_non_exhaustive()
    }
}

/// With a scheme, which says nothing here, and a path. Nobody decides without a host.
fn absolute(uri: &Uri) -> Result<Uri, OutboundError> {
    let authority = uri.authority().ok_or(OutboundError::NoHost)?;
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority.clone());
    let path = uri.path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    Uri::from_parts(parts).map_err(|_| OutboundError::NoHost)
}

/// Fields of a connection say nothing of this one (RFC 9113 §8.2.2), and the host is the URI's.
const OF_A_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    header::HOST,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn of_the_message(mut headers: HeaderMap, body: &impl Body) -> HeaderMap {
    for name in &OF_A_CONNECTION {
        headers.remove(name);
    }
    // Known, it frames the body on its way to an HTTP/1.1 backend.
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    headers
}
