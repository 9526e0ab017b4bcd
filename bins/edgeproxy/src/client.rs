//! One HTTP/1.1 connection to a running edgeproxy.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use edgeproxy_access::Token;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// One kept-alive HTTP/1.1 connection, opened again when the other side has closed it.
pub(crate) struct Client {
    /// A host and a port.
    addr: String,
    inside: Option<Tls>,
    /// What is sent as `Authorization`.
    authorization: Option<HeaderValue>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

/// TLS around a connection.
pub(crate) struct Tls {
    pub(crate) connector: TlsConnector,
    pub(crate) server_name: ServerName<'static>,
}

/// A response that has been read to its end.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Longer than the proxy needs to give up on a backend that does not answer a connection attempt.
const PATIENCE: Duration = Duration::from_secs(10);
/// 10,000 backends as the API lists them.
const LARGEST_BODY: usize = 16 << 20;

impl Client {
    /// A client of that host and port, without a connection yet.
    pub(crate) fn new(addr: impl Into<String>) -> Self {
        Self {
            addr: addr.into(),
            inside: None,
            authorization: None,
            sender: None,
        }
    }

    /// The same, inside TLS.
    pub(crate) fn inside(self, tls: Tls) -> Self {
        Self {
            inside: Some(tls),
            ..self
        }
    }

    /// The same, with a bearer token.
    pub(crate) fn with_token(self, token: &Token) -> anyhow::Result<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.reveal()))?;
        authorization.set_sensitive(true);
        Ok(Self {
            authorization: Some(authorization),
            ..self
        })
    }

    /// Sends a request, with a JSON body if there is one, and reads the answer.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.addr);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = match body {
            Some(json) => request
                .header(CONTENT_TYPE, "application/json")
                .body(Full::from(json.to_string())),
            None => request.body(Full::default()),
        }?;
        let exchange = timeout(PATIENCE, self.exchange(request)).await;
        match exchange {
            Ok(answer) => answer,
            Err(_) => bail!("no answer from {} within {} s", self.addr, PATIENCE.as_secs()),
        }
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Answer> {
        // Taken out, so that a request that fails or is given up does not leave a broken connection behind.
        let mut sender = match self.sender.take() {
            Some(kept) => match still_open(kept).await {
                Some(kept) => kept,
                None => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LARGEST_BODY)
            .collect()
            .await
            .map_err(anyhow::Error::from_boxed)?
            .to_bytes();
        self.sender = Some(sender);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.addr)
            .await
            .with_context(|| format!("no connection to {}", self.addr))?;
        stream.set_nodelay(true)?;
        match &self.inside {
            None => converse(stream).await,
            Some(Tls {
                connector,
                server_name,
            }) => {
                let stream = connector.connect(server_name.clone(), stream).await;
                converse(stream.with_context(|| format!("no TLS with {}", self.addr))?).await
            }
        }
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // Ends when the sender is dropped; its error is the sender's as well.
    tokio::spawn(connection);
    Ok(sender)
}

async fn still_open(mut sender: SendRequest<Full<Bytes>>) -> Option<SendRequest<Full<Bytes>>> {
    sender.ready().await.ok().map(|()| sender)
}

impl Answer {
    /// The body as JSON, if the status is a success.
    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        if !self.status.is_success() {
            bail!("{}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        serde_json::from_slice(&self.body).context("the answer is not JSON")
    }
}
