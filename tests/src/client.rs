use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Reply;

/// How long one answer may take; a hang is a failure.
const ANSWER: Duration = Duration::from_secs(20);

/// A client that sends one request after the other over one kept-alive connection.
///
/// It makes a new connection only where a careful client would: at first, after a failure, and after an
/// answer that announced the close. A connection closed unannounced is an error of the other side, and shows.
pub struct Client {
    addr: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// A client without a connection yet.
    #[must_use]
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            connection: None,
        }
    }

    /// The address that it connects to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A GET.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn get(&mut self, host: &str, path: &str) -> Result<Reply> {
        self.send(request(Method::GET, host, path, "")).await
    }

    /// A POST.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn post(&mut self, host: &str, path: &str, body: impl Into<Bytes>) -> Result<Reply> {
        self.send(request(Method::POST, host, path, body)).await
    }

    /// A request of the caller's making.
    ///
    /// # Errors
    /// If there is no whole answer within 20 seconds.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        tokio::time::timeout(ANSWER, self.exchange(request))
            .await
            .context("no answer within 20 s")?
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(self.addr).await?,
        };
        connection
            .ready()
            .await
            .context("the kept-alive connection was closed unannounced")?;
        let response = connection.send_request(request).await.context("no answer")?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context("a truncated answer")?.to_bytes();
        let closes = head
            .headers
            .get("connection")
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
        if !closes {
            self.connection = Some(connection);
        }
        Ok(Reply {
            version: head.version,
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

async fn connect(addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(addr)
        .await
        .with_context(|| format!("no connection to {addr}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // What goes wrong with it is told to whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}

/// A request in origin form.
pub(crate) fn request(
    method: Method,
    host: &str,
    path: &str,
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Full::new(body.into()))
        .expect("the host and path are legal")
}
