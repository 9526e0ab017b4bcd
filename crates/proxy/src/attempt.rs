//! One attempt: a connection to a backend, a request written to it, a response's head read from it.

use std::cell::Cell;
use std::error::Error as _;
use std::rc::Rc;
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
        None => connect(upstream, endpoint, config).await,
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
    let heard = Rc::new(Cell::new(false));
    let io = TokioIo::new(Heard::new(wire, Rc::clone(&heard)));
    let (sender, conn) = http1::Builder::new()
        .max_buf_size(READ_BUFFER)
        .max_header_size(RESPONSE_HEAD)
        .handshake(io)
        .await
        .map_err(|_| Failed::Connect)?;
    let (cut, addr) = (upstream.cut().clone(), endpoint.addr);
    tokio::task::spawn_local(async move {
        tokio::select! {
            ended = conn => if let Err(error) = ended {
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
    timeout: Duration,
) -> Result<Response<Incoming>, Unanswered> {
    conn.heard.set(false);
    let sent = Instant::now();
    let mut response = std::pin::pin!(conn.sender.try_send_request(request));
    let mut timer = std::pin::pin!(tokio::time::sleep_until(sent + timeout));
    loop {
        tokio::select! {
            biased;
            response = &mut response => return response.map_err(|mut error| {
                let unsent = error.take_message().is_some();
                unanswered(error.error(), unsent, conn.reused, conn.heard.get(), upload)
            }),
            () = &mut timer => match upload.stall(sent, timeout) {
                Stall::Until(due) => timer.as_mut().reset(due),
                Stall::Client => return Err(Unanswered::ClientStalled),
                Stall::Backend => return Err(Failed::ResponseTimeout.into()),
            },
        }
    }
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
