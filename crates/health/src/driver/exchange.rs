use std::convert::Infallible;
use std::error::Error as _;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::{Failure, connect};
use crate::monitor::excerpt;
use crate::{Header, HttpProbe};

/// The largest response head that is read, and the most fields in it.
pub(super) const HEAD_MAX: usize = 32 * 1024;
const FIELDS_MAX: usize = 100;
/// How much of a body is read, and for how long, only to part cleanly.
const PARTING_BYTES: u64 = 16 * 1024;
pub(super) const PARTING_TIME: Duration = Duration::from_secs(1);

const AGENT: HeaderValue = HeaderValue::from_static(concat!("edgeproxy-health/", env!("CARGO_PKG_VERSION")));
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Sends the probe's request, and judges the head of the response.
pub(super) async fn http1<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    probe: &HttpProbe,
    address: SocketAddr,
    id: Option<String>,
) -> Result<(), Failure> {
    let request = request(probe, address, id)?;
    let limit = probe.read_timeout();
    let mut builder = http1::Builder::new();
    // The buffer's limit alone lets a head pass that came in a large read.
    builder
        .max_buf_size(HEAD_MAX)
        .max_header_size(HEAD_MAX)
        .max_headers(FIELDS_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failure(&e))?;
    // What goes wrong on the connection also ends what waits for it, so its own end is no news; and once
    // it has ended it must not be polled again.
    let mut connection = pin!(async {
        let _ = connection.await;
        pending::<Infallible>().await
    });
    let answer = alongside(connection.as_mut(), sender.send_request(request));
    let response = match timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(failure(&error)),
        Err(_) => return Err(Failure::ReadTimeout { limit }),
    };
    let verdict = judge(probe, response.status(), response.headers());
    // To close with unread bytes would send an RST, which servers log as an error of their own.
    let _ = timeout(PARTING_TIME, alongside(connection, part(response.into_body()))).await;
    verdict
}

/// Does `work` while the connection that it needs makes progress.
async fn alongside<T>(
    mut connection: Pin<&mut impl Future<Output = Infallible>>,
    work: impl Future<Output = T>,
) -> T {
    tokio::select! {
        biased;
        done = work => done,
        never = &mut connection => match never {},
    }
}

async fn part(mut body: Incoming) {
    let mut left = PARTING_BYTES;
    if body.size_hint().lower() > left {
        return;
    }
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(len) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn request(
    probe: &HttpProbe,
    address: SocketAddr,
    id: Option<String>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = Request::new(Full::new(probe.body().clone()));
    *request.method_mut() = probe.method().clone();
    *request.uri_mut() = Uri::from(probe.path().clone());
    let headers = request.headers_mut();
    for (name, value) in probe.headers() {
        headers.append(name, value.clone());
    }
    if !headers.contains_key(HOST) {
        headers.insert(HOST, value(&address.to_string())?);
    }
    introduce(headers, id)?;
    headers.insert(CONNECTION, CLOSE);
    Ok(request)
}

/// Adds who asks, and which probe it is.
pub(super) fn introduce(headers: &mut HeaderMap, id: Option<String>) -> Result<(), Failure> {
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, AGENT);
    }
    if let Some(id) = id {
        headers.insert(HttpProbe::ID_HEADER, value(&id)?);
    }
    Ok(())
}

/// An address and a probe's id are visible ASCII, so this doesn't fail.
fn value(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text).map_err(|error| Failure::Exchange {
        what: error.to_string(),
    })
}

/// Judges the head of a response.
pub(super) fn judge(probe: &HttpProbe, found: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    let expected = *probe.success_codes();
    if !expected.contains(found) {
        return Err(Failure::Status { found, expected });
    }
    match probe.missing_header(headers) {
        Some(header) => Err(mismatch(header, headers)),
        None => Ok(()),
    }
}

fn mismatch((name, value): &Header, found: &HeaderMap) -> Failure {
    let text = |value: &HeaderValue| excerpt(String::from_utf8_lossy(value.as_bytes()));
    let (name, expected) = (name.clone(), text(value));
    match found.get(&name) {
        Some(found) => Failure::HeaderValue {
            found: text(found),
            name,
            expected,
        },
        None => Failure::HeaderMissing { name, expected },
    }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() && error.to_string().contains("too large") {
        return Failure::HeadTooLarge {
            max_bytes: HEAD_MAX,
            max_fields: FIELDS_MAX,
        };
    }
    let what = match error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(error) => connect::words(error),
        None if error.is_parse() => format!("not HTTP/1.1: {error}"),
        None => error.to_string(),
    };
    Failure::Exchange { what }
}
