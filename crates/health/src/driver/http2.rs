//! Probes over HTTP/2.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::{self, Connection, SendRequest};
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::exchange::{HEAD_MAX, PARTING_TIME, introduce, judge};
use super::{Failure, connect};
use crate::HttpProbe;

/// What a probe's connection is spoken on.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire for S {}

/// Sends the probe's request, and judges the head of the response.
pub(super) async fn exchange<S: Wire>(
    stream: S,
    probe: &HttpProbe,
    (scheme, address): (Scheme, &str),
    id: Option<String>,
) -> Result<(), Failure> {
    let request = request(probe, scheme, address, id)?;
    let limit = probe.read_timeout();
    let answer = async {
        let (mut sender, mut line) = open(stream).await?;
        let asked = async {
            let ends = probe.body().is_empty();
            let (response, mut body) = sender.send_request(request, ends)?;
            if !ends {
                // At most 64 KiB, which h2 keeps until the backend has room.
                body.send_data(probe.body().clone(), true)?;
            }
            response.await
        };
        let response = line.alongside(asked).await.map_err(|e| failure(&e))?;
        Ok((response.into_parts().0, sender, line))
    };
    let (head, sender, line) = match timeout(limit, answer).await {
        Ok(answered) => answered?,
        Err(_) => return Err(Failure::ReadTimeout { limit }),
    };
    let verdict = judge(probe, head.status, &head.headers);
    part(sender, line).await;
    verdict
}

fn request(
    probe: &HttpProbe,
    scheme: Scheme,
    address: &str,
    id: Option<String>,
) -> Result<Request<()>, Failure> {
    let host = probe
        .host()
        .and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let authority = match host {
        Some(host) => host,
        None => authority(address)?,
    };
    let mut request = Request::new(());
    *request.method_mut() = probe.method().clone();
    *request.uri_mut() = target(scheme, authority, probe.path().clone())?;
    let headers = request.headers_mut();
    for (name, value) in probe.headers().iter().filter(|(name, _)| name != HOST) {
        headers.append(name, value.clone());
    }
    introduce(headers, id)?;
    Ok(request)
}

/// An address in the form of a socket's is an authority, so this doesn't fail.
pub(super) fn authority(address: &str) -> Result<Authority, Failure> {
    Authority::try_from(address).map_err(|error| Failure::Exchange {
        what: error.to_string(),
    })
}

/// What an HTTP/2 request asks for. All three parts are there, so this doesn't fail.
pub(super) fn target(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, Failure> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|error| Failure::Exchange {
        what: error.to_string(),
    })
}

/// A connection that is driven by whoever waits for something on it.
pub(super) struct Line<S> {
    /// `None` once it has ended, since it must not be polled after that.
    connection: Option<Connection<S, Bytes>>,
}

/// Begins HTTP/2 on a stream.
pub(super) async fn open<S: Wire>(stream: S) -> Result<(SendRequest<Bytes>, Line<S>), Failure> {
    let mut builder = client::Builder::new();
    // What is larger than a head that is read over HTTP/1.1 is none here.
    builder
        .enable_push(false)
        .max_header_list_size(u32::try_from(HEAD_MAX).unwrap_or(u32::MAX));
    let (sender, connection) = builder.handshake(stream).await.map_err(|e| failure(&e))?;
    let connection = Some(connection);
    Ok((sender, Line { connection }))
}

impl<S: Wire> Line<S> {
    /// Does `work` while the connection that it needs makes progress.
    pub(super) async fn alongside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            // What goes wrong on the connection also ends what waits for it, which finds out by being asked again.
            match self.poll_end(cx) {
                Poll::Ready(()) => work.as_mut().poll(cx),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(connection) = &mut self.connection {
            // The error is told to whoever waits for a response.
            let _ = ready!(Pin::new(connection).poll(cx));
            self.connection = None;
        }
        Poll::Ready(())
    }
}

/// Ends a connection that has told all it had to, in good order: with GOAWAY, or else many servers log an error.
pub(super) async fn part<S: Wire>(sender: SendRequest<Bytes>, mut line: Line<S>) {
    drop(sender);
    let _ = timeout(PARTING_TIME, poll_fn(|cx| line.poll_end(cx))).await;
}

pub(super) fn failure(error: &h2::Error) -> Failure {
    let what = match (error.get_io(), error.reason()) {
        (Some(error), _) => connect::words(error),
        (None, Some(reason)) if error.is_remote() && error.is_go_away() => {
            format!("the backend ended the connection: {reason}")
        }
        (None, Some(reason)) if error.is_remote() => format!("the backend reset the stream: {reason}"),
        _ => format!("not HTTP/2: {error}"),
    };
    Failure::Exchange { what }
}
