//! HTTP/1.1 with a running edgeproxy.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use edgeproxy_access::Token;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::request::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
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

/// A response that is still coming, over a connection of its own.
pub(crate) struct Opened {
    response: Response<Incoming>,
    /// The connection lasts as long as somebody could ask for more.
    _sender: SendRequest<Full<Bytes>>,
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
        self.send_with(method, path, body, &[]).await
    }

    /// The same with headers more.
    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        more: &[(HeaderName, &str)],
    ) -> anyhow::Result<Answer> {
        let request = self.request(method, path, more);
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

    /// Sends a GET over a connection of its own, whose answer is still being written when this returns.
    pub(crate) async fn open(&self, path: &str, more: &[(HeaderName, &str)]) -> anyhow::Result<Opened> {
        let request = self.request(Method::GET, path, more).body(Full::default())?;
        let opened = async {
            let mut sender = self.connect().await?;
            let response = sender.send_request(request).await?;
            Ok(Opened {
                response,
                _sender: sender,
            })
        };
        match timeout(PATIENCE, opened).await {
            Ok(opened) => opened,
            Err(_) => bail!("no answer from {} within {} s", self.addr, PATIENCE.as_secs()),
        }
    }

    fn request(&self, method: Method, path: &str, more: &[(HeaderName, &str)]) -> Builder {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.addr);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        for (name, value) in more {
            request = request.header(name, *value);
        }
        request
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

impl Opened {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// What comes next of the body; `None` at its end.
    pub(crate) async fn chunk(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            match self.response.body_mut().frame().await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The whole of it.
    pub(crate) async fn read(self) -> anyhow::Result<Answer> {
        let (head, body) = self.response.into_parts();
        let body = Limited::new(body, LARGEST_BODY).collect();
        let body = timeout(PATIENCE, body).await.context("the answer doesn't end")?;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.map_err(anyhow::Error::from_boxed)?.to_bytes(),
        })
    }
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
