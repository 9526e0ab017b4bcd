//! One attempt: a connection to a backend, a request written to it, a response's head read from it.

pub(crate) mod http2;
pub(crate) mod mux;

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use edgeproxy_backend::Endpoint;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::Config;
use crate::pool::{Conn, Pool, Upstream};
use crate::retry::Failed;
use crate::stream::Heard;
use crate::timer::Timer;
use crate::upload::{Broken, Draw, Stall, Upload};
use crate::wire;

/// Why an attempt brought no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unanswered {
    /// The backend's failure.
    Failed(Failed),
    /// The client's own fault; the backend is not to blame.
    Client(Broken),
    /// The client sends its body too slowly.
    ClientStalled,
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// A kept connection, or else a fresh one.
pub(crate) async fn connection(
    pool: &Pool<Conn>,
    upstream: &Rc<Upstream<Conn>>,
    endpoint: &Endpoint,
    config: &Config,
) -> Result<Conn, Failed> {
    match pool.take(upstream, Instant::now()) {
        Some(conn) => Ok(conn),
        None => Box::pin(connect(upstream, endpoint, config)).await,
    }
}

/// A fresh connection.
pub(crate) async fn connect(
    upstream: &Rc<Upstream<Conn>>,
    endpoint: &Endpoint,
    config: &Config,
) -> Result<Conn, Failed> {
    let wire = tokio::time::timeout(config.connect_timeout, wire::connect(endpoint, config))
        .await
        .map_err(|_| Failed::ConnectTimeout)??;
    let heard = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Heard::new(wire, Arc::clone(&heard)));
    let (sender, conn) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .max_header_size(RESPONSE_HEAD)
        .handshake(io)
        .await
        .map_err(|_| Failed::Connect)?;
    let (cut, addr) = (upstream.cut().clone(), endpoint.addr);
    tokio::task::spawn_local(async move {
        tokio::select! {
            ended = conn.with_upgrades() => if let Err(error) = ended {
                tracing::debug!(%addr, %error, "a connection to a backend ended");
            },
            () = cut.cancelled() => tracing::debug!(%addr, "a connection to a backend was cut"),
        }
    });
    Ok(Conn {
        sender,
        heard,
        reused: false,
    })
}

/// What is read at a time, at most, for each connection.
const READ_BUFFER: usize = 128 * 1024;
/// A response's head, at most.
const RESPONSE_HEAD: usize = 64 * 1024;

/// Writes a request and waits for its response's head.
pub(crate) async fn send(
    conn: &mut Conn,
    request: Request<Draw>,
    upload: &Upload,
    (timer, timeout): (&Timer, Duration),
) -> Result<Response<Incoming>, Unanswered> {
    conn.heard.store(false, Ordering::Relaxed);
    let sent = Instant::now();
    let response = conn.sender.try_send_request(request);
    let response = await_response(response, upload, timer, (sent, timeout)).await?;
    response.map_err(|mut error| {
        let unsent = error.take_message().is_some();
        unanswered(
            error.error(),
            unsent,
            conn.reused,
            conn.heard.load(Ordering::Relaxed),
            upload,
        )
    })
}

/// Waits for a response's head for as long as the request's body moves, and `timeout` from then on.
async fn await_response<R>(
    response: impl Future<Output = R>,
    upload: &Upload,
    timer: &Timer,
    (sent, timeout): (Instant, Duration),
) -> Result<R, Unanswered> {
    let mut response = pin!(response);
    timer.arm(sent + timeout);
    poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        while timer.poll_due(cx).is_ready() {
            match upload.stall(sent, timeout) {
                Stall::Until(due) => timer.arm(due),
                Stall::Client => return Poll::Ready(Err(Unanswered::ClientStalled)),
                Stall::Backend => return Poll::Ready(Err(Failed::ResponseTimeout.into())),
            }
        }
        Poll::Pending
    })
    .await
}

fn unanswered(error: &hyper::Error, unsent: bool, reused: bool, heard: bool, upload: &Upload) -> Unanswered {
    tracing::debug!(%error, source = error.source(), unsent, reused, heard, "a request got no response");
    if let Some(broken) = upload.broken() {
        return Unanswered::Client(broken);
    }
    let failed = if unsent && reused {
        Failed::NotSent
    } else if unsent {
        // It was taken and closed at once: as good as refused.
        Failed::Connect
    } else if error.is_parse() {
        Failed::Malformed
    } else if reused && !heard {
        Failed::Stale
    } else {
        Failed::NoResponse
    };
    failed.into()
}
