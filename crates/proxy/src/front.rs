//! A client's connection: which protocol it speaks, and how it is driven to its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::Config;
use crate::encrypted::Encrypted;
use crate::exchange;
use crate::headers::forwarded;
use crate::http1::connection::{self, Ended};
use crate::http1::request::Client;
use crate::phase::{Overdue, Phase};
use crate::socket::Socket;
use crate::stream::Observed;
use crate::worker::Worker;

/// Serves a connection in the clear until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let client = client(&worker, peer, false);
    either(worker, stream, client).await;
}

/// Serves a connection inside TLS until it ends.
pub(crate) async fn serve_tls(worker: Rc<Worker>, stream: Encrypted, peer: SocketAddr) {
    let client = client(&worker, peer, true);
    if stream.protocol() == Some(b"h2") {
        Box::pin(http2(worker, stream, Vec::new(), client)).await;
    } else {
        either(worker, stream, client).await;
    }
}

fn client(worker: &Worker, peer: SocketAddr, tls: bool) -> Client {
    Client {
        ip: peer.ip().to_canonical(),
        trusted: forwarded::is_trusted(peer.ip(), &worker.config().trusted_proxies),
        tls,
    }
}

/// HTTP/1 or HTTP/2, as the first bytes say.
async fn either<S: Socket + 'static>(worker: Rc<Worker>, stream: S, client: Client) {
    match connection::serve(Rc::clone(&worker), stream, client).await {
        Ended::Closed => {}
        // On the heap, since few connections need so much.
        Ended::Http2(stream, first) => Box::pin(http2(worker, stream, first, client)).await,
    }
}

async fn http2<S: Socket + 'static>(worker: Rc<Worker>, stream: S, first: Vec<u8>, client: Client) {
    let phase = Rc::new(Phase::new(worker.config(), worker.draining().is_cancelled()));
    phase.multiplex();
    let config = worker.config();
    let io = TokioIo::new(Observed::new(stream, first, Rc::clone(&phase)));
    let service = service_fn(|request| {
        let (worker, turn) = (Rc::clone(&worker), phase.begin());
        async move { Ok::<_, Infallible>(exchange::serve(&worker, client, turn, request).await) }
    });
    let conn = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_pending_accept_reset_streams(config.max_reset_streams)
        .max_local_error_reset_streams(config.max_reset_streams)
        .max_header_list_size(header_list_size(config))
        // A client that has vanished without a word is found out.
        .keep_alive_interval(config.idle_timeout)
        .keep_alive_timeout(config.header_timeout)
        .serve_connection(io, service);
    let conn = std::pin::pin!(conn);
    match drive(conn, &phase, &worker, http2::Connection::graceful_shutdown).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(client = %client.ip, %error, "a client's connection ended"),
        Err(overdue) => tracing::debug!(client = %client.ip, ?overdue, "a client's connection timed out"),
    }
}

/// What HTTP/2 counts is larger: 32 bytes more for each field (RFC 9113 §6.5.2).
fn header_list_size(config: &Config) -> u32 {
    u32::try_from(config.max_head_bytes + config.max_fields * 32).unwrap_or(u32::MAX)
}

/// Polls a connection until it ends or is overdue. When the worker drains, the connection is asked to end
/// `gracefully`, once it has a request to answer: one that was accepted a moment ago may have one on its way.
async fn drive<C: Future>(
    mut conn: Pin<&mut C>,
    phase: &Phase,
    worker: &Worker,
    gracefully: impl Fn(Pin<&mut C>),
) -> Result<C::Output, Overdue> {
    let mut armed = phase.due();
    let mut timer = std::pin::pin!(tokio::time::sleep_until(armed));
    let mut drained = std::pin::pin!(worker.draining().cancelled());
    let (mut draining, mut told) = (false, false);
    poll_fn(|cx| {
        loop {
            if !draining && drained.as_mut().poll(cx).is_ready() {
                draining = true;
                phase.drain();
            }
            if draining && !told && phase.has_served() {
                told = true;
                gracefully(conn.as_mut());
            }
            if let Poll::Ready(ended) = conn.as_mut().poll(cx) {
                return Poll::Ready(Ok(ended));
            }
            if draining && !told && phase.has_served() {
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
                    gracefully(conn.as_mut());
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

/// Runs a connection's streams on the worker's own thread.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}
