//! A client's connection: which protocol it speaks, and how it is driven to its end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::Config;
use crate::answer::Answer;
use crate::exchange;
use crate::phase::{Overdue, Phase};
use crate::stream::Observed;
use crate::worker::Worker;

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read at a time, at most, for each HTTP/1 connection.
const READ_BUFFER: usize = 128 * 1024;

/// The codecs refuse heads on their own, in a few bytes of plain HTTP. With limits a little above the
/// configured ones they leave it to [`inbound`](crate::inbound), which says what is wrong.
const ABOVE_OURS: usize = 2;

/// Serves a connection until it ends.
pub(crate) async fn serve(worker: Rc<Worker>, mut stream: TcpStream, peer: SocketAddr) {
    let phase = Rc::new(Phase::new(worker.config(), worker.draining().is_cancelled()));
    let mut first = Vec::new();
    let sniffed = {
        let sniffing = std::pin::pin!(sniff(&mut stream, &mut first, &phase));
        drive(sniffing, &phase, &worker, |_| ()).await
    };
    match sniffed {
        Ok(Ok(Some(Protocol::Http1))) => http1(worker, stream, first, phase, peer).await,
        Ok(Ok(Some(Protocol::Http2))) => http2(worker, stream, first, phase, peer).await,
        Ok(Ok(None) | Err(_)) => {}
        Err(Overdue::Head) => Observed::new(stream, first, phase).write_at_once(&slow_head()),
        Err(_) => {}
    }
}

enum Protocol {
    Http1,
    Http2,
}

/// Reads until what comes is the preface of HTTP/2, or can't become it. `None`: the client has left.
///
/// It waits as every other phase does, unlike hyper-util's, which would wait for ever for the second byte.
async fn sniff(stream: &mut TcpStream, first: &mut Vec<u8>, phase: &Phase) -> io::Result<Option<Protocol>> {
    first.reserve_exact(PREFACE.len());
    loop {
        let missing = PREFACE.len() - first.len();
        let count = (&mut *stream).take(missing as u64).read_buf(first).await?;
        if count == 0 {
            return Ok((!first.is_empty()).then_some(Protocol::Http1));
        }
        phase.received();
        if !PREFACE.starts_with(first) {
            return Ok(Some(Protocol::Http1));
        }
        if first.len() == PREFACE.len() {
            return Ok(Some(Protocol::Http2));
        }
    }
}

async fn http1(worker: Rc<Worker>, stream: TcpStream, first: Vec<u8>, phase: Rc<Phase>, peer: SocketAddr) {
    let config = worker.config();
    let io = TokioIo::new(Observed::new(stream, first, Rc::clone(&phase)));
    let service = service_fn(|request| {
        let (worker, turn) = (Rc::clone(&worker), phase.begin());
        async move { Ok::<_, Infallible>(exchange::serve(&worker, peer.ip(), turn, request).await) }
    });
    let mut conn = http1::Builder::new()
        // A request that is followed by FIN is still answered.
        .half_close(true)
        .header_read_timeout(None)
        .max_buf_size(READ_BUFFER.max(config.max_head_bytes * ABOVE_OURS))
        .max_header_size(config.max_head_bytes * ABOVE_OURS)
        .max_headers(config.max_fields * ABOVE_OURS)
        .serve_connection(io, service);
    let driven = drive(
        Pin::new(&mut conn),
        &phase,
        &worker,
        http1::Connection::graceful_shutdown,
    )
    .await;
    match driven {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a client's connection ended"),
        Err(Overdue::Head) => conn.into_parts().io.inner().write_at_once(&slow_head()),
        Err(overdue) => tracing::debug!(%peer, ?overdue, "a client's connection timed out"),
    }
}

async fn http2(worker: Rc<Worker>, stream: TcpStream, first: Vec<u8>, phase: Rc<Phase>, peer: SocketAddr) {
    phase.multiplex();
    let config = worker.config();
    let io = TokioIo::new(Observed::new(stream, first, Rc::clone(&phase)));
    let service = service_fn(|request| {
        let (worker, turn) = (Rc::clone(&worker), phase.begin());
        async move { Ok::<_, Infallible>(exchange::serve(&worker, peer.ip(), turn, request).await) }
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
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a client's connection ended"),
        Err(overdue) => tracing::debug!(%peer, ?overdue, "a client's connection timed out"),
    }
}

/// What HTTP/2 counts is larger: 32 bytes more for each field (RFC 9113 §6.5.2).
fn header_list_size(config: &Config) -> u32 {
    u32::try_from(config.max_head_bytes + config.max_fields * 32).unwrap_or(u32::MAX)
}

fn slow_head() -> Vec<u8> {
    Answer::request_timeout("the request's head did not arrive in time").into_bytes()
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
