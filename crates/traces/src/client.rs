//! A client of one collector, over the same connection for as long as that lasts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Collector;
use crate::export::{Post, Refused, Taken};
use crate::otlp::Exported;

pub(crate) struct Client {
    collector: Collector,
    kept: Option<SendRequest<Full<Bytes>>>,
}

/// Answers of a collector are far shorter.
const LARGEST_ANSWER: usize = 64 << 10;
/// What one is asked for as the first of its times to come again, at most.
const LONGEST_PAUSE: u64 = 30;

impl Client {
    pub(crate) const fn new(collector: Collector) -> Self {
        Self {
            collector,
            kept: None,
        }
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let Collector { host, port, tls, .. } = &self.collector;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        match tls {
            None => speak(stream).await,
            Some(config) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let connector = TlsConnector::from(Arc::clone(config));
                speak(connector.connect(name, stream).await?).await
            }
        }
    }

    /// Sends one request on that connection, and keeps it if there is an answer.
    async fn ask(&mut self, mut sender: SendRequest<Full<Bytes>>, body: Bytes) -> Result<Answered, Refused> {
        let request = self
            .request(body)
            .map_err(|error| Refused::ForEver { why: told(&error) })?;
        sender.ready().await.map_err(|error| away(&error))?;
        let response = sender.send_request(request).await.map_err(|error| away(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_ANSWER).collect().await;
        let body = body.map_err(|error| away(&*error))?.to_bytes();
        self.kept = Some(sender);
        Ok(Answered {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    fn request(&self, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let Collector { host, port, path, .. } = &self.collector;
        let authority = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        Request::post(path.as_str())
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("edgeproxy/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
    }
}

/// What the collector has answered.
struct Answered {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answered {
    fn judge(&self) -> Result<Taken, Refused> {
        judge(self.status, &self.headers, &self.body)
    }
}

/// Nothing was answered.
fn away(error: &(dyn std::error::Error + 'static)) -> Refused {
    Refused::ForNow {
        why: told(error),
        pause: None,
    }
}

/// What a connection's own task does with it, until it ends.
async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Whoever sends hears of it.
        let _ = connection.await;
    });
    Ok(sender)
}

impl Post for Client {
    async fn post(&mut self, body: Bytes) -> Result<Taken, Refused> {
        if let Some(kept) = self.kept.take().filter(|sender| !sender.is_closed()) {
            match self.ask(kept, body.clone()).await {
                // A connection that nothing was said on for a while may be dead, which says nothing of the collector.
                Err(Refused::ForNow { why, pause: None }) => {
                    tracing::debug!(why, "a kept connection to the collector has ended");
                }
                answered => return answered?.judge(),
            }
        }
        let fresh = self.connect().await.map_err(|error| away(&error))?;
        self.ask(fresh, body).await?.judge()
    }
}

/// What an answer means (OTLP 1.9, OTLP/HTTP Response).
fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Taken, Refused> {
    if status.is_success() {
        // What can't be read says nothing.
        let partial = Exported::decode(body).unwrap_or_default().partial_success;
        let rejected = partial.as_ref().map_or(0, |partial| partial.rejected_spans);
        return Ok(Taken {
            rejected: u64::try_from(rejected).unwrap_or(0),
            why: partial
                .map(|partial| partial.error_message)
                .filter(|why| !why.is_empty()),
        });
    }
    let why = format!("it answered with {status}");
    let is_for_now = matches!(status.as_u16(), 429 | 502 | 503 | 504);
    if !is_for_now {
        return Err(Refused::ForEver { why });
    }
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let pause = seconds
        .and_then(|seconds| seconds.parse().ok())
        .map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    Err(Refused::ForNow { why, pause })
}

/// An error and what it is because of.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::otlp::PartialSuccess;

    fn judged(status: u16, retry_after: Option<&str>) -> Result<Taken, Refused> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        judge(StatusCode::from_u16(status).unwrap(), &headers, b"")
    }

    #[test]
    fn only_what_otlp_calls_retryable_is_tried_again() {
        for status in [429, 502, 503, 504] {
            assert!(
                matches!(judged(status, None), Err(Refused::ForNow { pause: None, .. })),
                "{status}"
            );
        }
        for status in [301, 400, 401, 404, 413, 500, 501] {
            assert!(
                matches!(judged(status, None), Err(Refused::ForEver { .. })),
                "{status}"
            );
        }
    }

    /// Reads a request up to the end of its body, which is `end`.
    async fn read_until(stream: &mut TcpStream, end: &[u8]) {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_turns_out_to_be_dead_is_replaced_at_once() {
        const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::new(Collector {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            path: "/v1/traces".to_owned(),
            tls: None,
        });
        let collector = tokio::spawn(async move {
            let (mut kept, _) = listener.accept().await.unwrap();
            read_until(&mut kept, b"first").await;
            kept.write_all(OK).await.unwrap();
            // It ends while the next one is on its way.
            read_until(&mut kept, b"second").await;
            drop(kept);
            let (mut fresh, _) = listener.accept().await.unwrap();
            read_until(&mut fresh, b"second").await;
            fresh.write_all(OK).await.unwrap();
            // A fresh one that ends as well is the collector's fault.
            read_until(&mut fresh, b"third").await;
            drop((fresh, listener));
        });
        for body in ["first", "second"] {
            let taken = client.post(Bytes::from_static(body.as_bytes())).await;
            assert_eq!(taken.unwrap().rejected, 0, "{body}");
        }
        let refused = client.post(Bytes::from_static(b"third")).await;
        assert!(matches!(refused, Err(Refused::ForNow { .. })), "{refused:?}");
        collector.await.unwrap();
    }

    #[test]
    fn a_collector_says_when_to_come_again_but_not_in_an_hour() {
        for (said, expected) in [("7", Some(7)), ("3600", Some(30)), ("soon", None)] {
            let Err(Refused::ForNow { pause, .. }) = judged(503, Some(said)) else {
                panic!("{said}");
            };
            assert_eq!(pause, expected.map(Duration::from_secs), "{said}");
        }
    }

    #[test]
    fn what_was_rejected_is_read() {
        let answer = Exported {
            partial_success: Some(PartialSuccess {
                rejected_spans: 3,
                error_message: "too old".to_owned(),
            }),
        };
        let taken = judge(StatusCode::OK, &HeaderMap::new(), &answer.encode_to_vec()).unwrap();
        assert_eq!((taken.rejected, taken.why.as_deref()), (3, Some("too old")));
        assert_eq!(judged(200, None).unwrap().rejected, 0);
    }
}
