use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, IF_MATCH, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::lookup_host;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::reach::Reach;
use crate::answer::{Answer, Body, Reply};
use crate::api_url::{ApiUrl, Scheme};
use crate::registration::{Registration, heartbeat_body};
use crate::session::{Ask, Request};

/// A connection, with its TLS handshake.
const CONNECT: Duration = Duration::from_secs(3);
/// A whole exchange. The API waits with the answer to a registration until the backend is routed to.
const EXCHANGE: Duration = Duration::from_secs(5);
/// The same for whoever leaves, and is waited for.
const FAREWELL: Duration = Duration::from_secs(3);
/// Answers of the API to an agent are far shorter.
const LARGEST_BODY: usize = 256 << 10;
/// Tokens are far shorter.
const LARGEST_TOKEN: usize = 4 << 10;

/// What requests are made of.
pub(super) struct Terms {
    pub(super) apis: Vec<ApiUrl>,
    pub(super) registration: Registration,
    pub(super) token_file: Option<PathBuf>,
    #[cfg(feature = "tls")]
    pub(super) connector: Option<tokio_rustls::TlsConnector>,
}

/// Sends requests, over the same connection for as long as that lasts.
pub(super) struct Client {
    terms: Arc<Terms>,
    kept: Option<Kept>,
    /// By API.
    reaches: Vec<Reach>,
}

struct Kept {
    api: usize,
    sender: SendRequest<Full<Bytes>>,
    /// This machine's address in it.
    ip: IpAddr,
    /// Ends with the connection.
    task: JoinHandle<()>,
}

impl Client {
    pub(super) fn new(terms: Arc<Terms>) -> Self {
        let reaches = terms.apis.iter().map(|_| Reach::default()).collect();
        Self {
            terms,
            kept: None,
            reaches,
        }
    }

    /// Sends a request and reads the answer. A heartbeat is given up when the next one is due.
    pub(super) async fn send(mut self, request: Request, interval: Option<Duration>) -> (Self, Answer) {
        let limit = match request.ask {
            Ask::Register(_) => EXCHANGE,
            Ask::Heartbeat { .. } => EXCHANGE.min(interval.unwrap_or(EXCHANGE)),
            Ask::Look | Ask::Deregister { .. } => FAREWELL,
        };
        let answer = timeout(limit, self.exchange(request)).await;
        let answer = answer
            .unwrap_or_else(|_| Answer::Unanswered(format!("no answer within {} s", limit.as_secs_f64())));
        (self, answer)
    }

    /// Resolves when the connection that is kept has been closed by the other side. Cancel safe.
    pub(super) async fn closed(&mut self) {
        match &mut self.kept {
            Some(kept) => {
                let _ = (&mut kept.task).await;
                self.kept = None;
            }
            None => pending().await,
        }
    }

    async fn exchange(&mut self, request: Request) -> Answer {
        let authorization = match self.authorization().await {
            Ok(authorization) => authorization,
            Err(error) => return Answer::Unreachable(error),
        };
        let kept = self.kept.take().filter(|kept| kept.api == request.api);
        // Whether the API may have heard it, although no answer came.
        let mut sent = false;
        if let Some(kept) = kept.filter(|kept| !kept.sender.is_closed()) {
            // Every request can be repeated, and the API may have closed the connection in the same moment.
            if let Ok(reply) = self.converse(kept, &request, authorization.clone()).await {
                return Answer::Reply(reply);
            }
            sent = true;
        }
        let what = match timeout(CONNECT, self.connect(request.api)).await {
            Ok(Ok(kept)) => return self.first(kept, &request, authorization).await,
            Ok(Err(error)) => format!("no connection: {error}"),
            Err(_) => format!("no connection within {} s", CONNECT.as_secs()),
        };
        if sent {
            Answer::Unanswered(what)
        } else {
            Answer::Unreachable(what)
        }
    }

    /// Over a connection that has just been made.
    async fn first(&mut self, kept: Kept, request: &Request, authorization: Option<HeaderValue>) -> Answer {
        match self.converse(kept, request, authorization).await {
            Ok(reply) => Answer::Reply(reply),
            Err(error) => Answer::Unanswered(error),
        }
    }

    /// Read for every request, so that it can be replaced.
    async fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        let Some(file) = self.terms.token_file.clone() else {
            return Ok(None);
        };
        let shown = file.display().to_string();
        let read = spawn_blocking(move || std::fs::read(file)).await;
        let text = read
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| format!("the token file {shown} can't be read: {error}"))?;
        token(&text).map(Some).ok_or_else(|| {
            format!(
                "the token file {shown} has {} bytes and holds no token; expected one line of visible characters",
                text.len()
            )
        })
    }

    async fn connect(&mut self, api: usize) -> io::Result<Kept> {
        let (Some(url), Some(reach)) = (self.terms.apis.get(api), self.reaches.get_mut(api)) else {
            return Err(io::Error::other("no such API"));
        };
        let addrs: Vec<_> = lookup_host((url.host(), url.port())).await?.collect();
        let stream = reach.connect(&addrs).await?;
        stream.set_nodelay(true)?;
        let ip = stream.local_addr()?.ip().to_canonical();
        let (sender, task) = match url.scheme() {
            Scheme::Http => converse_over(stream).await?,
            #[cfg(feature = "tls")]
            Scheme::Https => {
                let connector = self.terms.connector.as_ref();
                let connector = connector.ok_or_else(|| io::Error::other("TLS is not set up"))?;
                converse_over(super::trust::encrypt(connector, url.host(), stream).await?).await?
            }
            #[cfg(not(feature = "tls"))]
            Scheme::Https => return Err(io::Error::other("this build has no TLS")),
        };
        Ok(Kept {
            api,
            sender,
            ip,
            task,
        })
    }

    async fn converse(
        &mut self,
        mut kept: Kept,
        request: &Request,
        authorization: Option<HeaderValue>,
    ) -> Result<Reply, String> {
        let ip = match request.ask {
            Ask::Register(ip) => Some(ip.unwrap_or(kept.ip)),
            _ => None,
        };
        let request = self
            .terms
            .compose(request, ip, authorization)
            .map_err(|error| error.to_string())?;
        kept.sender.ready().await.map_err(|error| told(&error))?;
        let response = kept
            .sender
            .send_request(request)
            .await
            .map_err(|error| told(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect().await;
        let body = body
            .map_err(|error| format!("a truncated answer: {error}"))?
            .to_bytes();
        if !announces_close(&head.headers) {
            self.kept = Some(kept);
        }
        Ok(Reply {
            status: head.status.as_u16(),
            retry_after: retry_after(&head.headers),
            ip,
            body: Body::parse(&body),
        })
    }
}

impl Terms {
    fn compose(
        &self,
        request: &Request,
        ip: Option<IpAddr>,
        authorization: Option<HeaderValue>,
    ) -> Result<http::Request<Full<Bytes>>, http::Error> {
        // The characters of an id need no escaping (RFC 3986 §3.3).
        let id = &self.registration.id;
        let one = format!("/api/v1/backends/{id}");
        let (method, path, body, fence) = match request.ask {
            Ask::Register(_) => {
                let body = ip.map(|ip| self.registration.to_json(ip)).unwrap_or_default();
                (Method::POST, "/api/v1/register".to_owned(), body, None)
            }
            Ask::Heartbeat {
                incarnation,
                report,
                draining,
            } => {
                let path = format!("/api/v1/heartbeat/{id}");
                (
                    Method::POST,
                    path,
                    heartbeat_body(report, draining),
                    Some(incarnation),
                )
            }
            Ask::Look => (Method::GET, one, Vec::new(), None),
            Ask::Deregister { incarnation, drain } => {
                let path = match drain.as_millis() {
                    0 => one,
                    millis => format!("{one}?drain={millis}ms"),
                };
                (Method::DELETE, path, Vec::new(), Some(incarnation))
            }
        };
        let host = self
            .apis
            .get(request.api)
            .map(ApiUrl::authority)
            .unwrap_or_default();
        let mut builder = http::Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host);
        builder = builder.header(USER_AGENT, concat!("edgeproxy-agent/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        if let Some(incarnation) = fence {
            builder = builder.header(IF_MATCH, format!("\"{incarnation}\""));
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        builder.body(Full::new(body.into()))
    }
}

/// The value of `Authorization` (RFC 6750 §2.1), or `None` for a text that is no token.
fn token(text: &[u8]) -> Option<HeaderValue> {
    let token = text.trim_ascii();
    let legal = token.iter().all(u8::is_ascii_graphic);
    if token.is_empty() || token.len() > LARGEST_TOKEN || !legal {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn converse_over<S>(stream: S) -> io::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends when the sender is dropped; its error is the sender's as well.
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, task))
}

fn announces_close(headers: &HeaderMap) -> bool {
    headers
        .get(CONNECTION)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

/// Whole seconds (RFC 9110 §10.2.3). A date is not looked at: it would need this machine's clock to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let secs = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(secs))
}

/// With what lies beneath: hyper's own words are short.
fn told(error: &hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("no answer: {error}: {source}"),
        None => format!("no answer: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_of_visible_characters() {
        for (text, expected) in [
            (&b"abc\n"[..], "Bearer abc"),
            (b"  a.b-c_d~e+f/g= \r\n", "Bearer a.b-c_d~e+f/g="),
        ] {
            let value = token(text).unwrap();
            assert_eq!(value.as_bytes(), expected.as_bytes());
            assert!(
                !format!("{value:?}").contains("abc"),
                "it is not shown: {value:?}"
            );
        }
        for bad in [&b""[..], b" \n", b"a b", b"a\nb", b"\xff", &[b'x'; 5_000]] {
            assert_eq!(token(bad), None);
        }
    }

    #[test]
    fn a_retry_after_is_whole_seconds() {
        let read = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        for other in ["-1", "1.5", "", "Wed, 21 Oct 2015 07:28:00 GMT"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
