//! HTTP/2 on either side, as far as a test wants to see it.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(crate) type Sender = SendRequest<Bytes>;
pub(crate) type Reply = SendResponse<Bytes>;

/// What has happened at a backend so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connections: usize,
    pub(crate) closed: usize,
    pub(crate) requests: usize,
    /// Handlers that have returned.
    pub(crate) served: usize,
}

/// A backend that does with each stream what it is told.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    tally: Arc<watch::Sender<Tally>>,
    goaway: watch::Sender<bool>,
    task: JoinHandle<()>,
}

type Served = Pin<Box<dyn Future<Output = ()> + Send>>;
type Handler = Arc<dyn Fn(usize, Request<RecvStream>, Reply) -> Served + Send + Sync>;

impl Backend {
    /// `handle` gets each request and its number, from 0.
    pub(crate) async fn start<F>(
        handle: impl Fn(usize, Request<RecvStream>, Reply) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(server::Builder::new(), handle).await
    }

    pub(crate) async fn with<F>(
        builder: server::Builder,
        handle: impl Fn(usize, Request<RecvStream>, Reply) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(None, builder, handle).await
    }

    /// The same, inside TLS.
    pub(crate) async fn start_tls<F>(
        config: Arc<ServerConfig>,
        handle: impl Fn(usize, Request<RecvStream>, Reply) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::on(Some(config.into()), server::Builder::new(), handle).await
    }

    async fn on<F>(
        tls: Option<TlsAcceptor>,
        builder: server::Builder,
        handle: impl Fn(usize, Request<RecvStream>, Reply) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handler: Handler =
            Arc::new(move |number, request, reply| Box::pin(handle(number, request, reply)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let tally = Arc::new(watch::Sender::new(Tally::default()));
        let goaway = watch::Sender::new(false);
        let (counted, told) = (Arc::clone(&tally), goaway.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.send_modify(|t| t.connections += 1);
                let (counted, handler, builder) =
                    (Arc::clone(&counted), Arc::clone(&handler), builder.clone());
                let (told, tls) = (told.subscribe(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => {
                            if let Ok(conn) = builder.handshake(stream).await {
                                converse(conn, &counted, &handler, told).await;
                            }
                        }
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await
                                && let Ok(conn) = builder.handshake(stream).await
                            {
                                converse(conn, &counted, &handler, told).await;
                            }
                        }
                    }
                    counted.send_modify(|t| t.closed += 1);
                });
            }
        });
        Self {
            addr,
            tally,
            goaway,
            task,
        }
    }

    /// Every connection that is there now ends when its streams have.
    pub(crate) fn goaway(&self) {
        self.goaway.send_replace(true);
    }

    pub(crate) fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    /// Waits until something has happened.
    pub(crate) async fn until(&self, what: impl FnMut(&Tally) -> bool) -> Tally {
        let mut tally = self.tally.subscribe();
        let waited = tokio::time::timeout(Duration::from_secs(10), tally.wait_for(what));
        *waited
            .await
            .unwrap_or_else(|_| panic!("it never happened: {:?}", self.tally()))
            .unwrap()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut conn: server::Connection<impl AsyncRead + AsyncWrite + Unpin, Bytes>,
    tally: &Arc<watch::Sender<Tally>>,
    handler: &Handler,
    mut told: watch::Receiver<bool>,
) {
    told.mark_unchanged();
    loop {
        let next = tokio::select! {
            next = conn.accept() => next,
            changed = told.changed() => {
                if changed.is_ok() {
                    conn.graceful_shutdown();
                }
                conn.accept().await
            }
        };
        let Some(Ok((request, reply))) = next else { return };
        let mut number = 0;
        tally.send_modify(|t| {
            number = t.requests;
            t.requests += 1;
        });
        let (tally, served) = (Arc::clone(tally), handler(number, request, reply));
        tokio::spawn(async move {
            served.await;
            tally.send_modify(|t| t.served += 1);
        });
    }
}

pub(crate) async fn connect(addr: SocketAddr) -> (Sender, JoinHandle<()>) {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (sender, conn) = client::handshake(stream).await.unwrap();
    let conn = tokio::spawn(async move { drop(conn.await) });
    (sender.ready().await.unwrap(), conn)
}

pub(crate) fn request(method: &str, path: &str) -> Request<()> {
    let uri = format!("http://app{path}");
    Request::builder().method(method).uri(uri).body(()).unwrap()
}

/// Sends a request with a body that is there already, and gets the whole response.
pub(crate) async fn exchange(
    sender: &Sender,
    request: Request<()>,
    body: &'static [u8],
) -> Result<Whole, h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut stream) = sender.send_request(request, body.is_empty())?;
    if !body.is_empty() {
        stream.send_data(Bytes::from_static(body), true)?;
    }
    whole(within(response).await?).await
}

pub(crate) async fn get(sender: &Sender, path: &str) -> Whole {
    exchange(sender, request("GET", path), b"").await.unwrap()
}

#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    /// Status and word of the proxy's own answer.
    pub(crate) fn own(&self) -> (u16, &str) {
        (self.status, self.headers["x-edgeproxy-error"].to_str().unwrap())
    }
}

pub(crate) async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let (body, trailers) = drain(&mut stream).await?;
    Ok(Whole {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers,
    })
}

pub(crate) async fn drain(stream: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = within(stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok((body, within(stream.trailers()).await?))
}

/// Writes all of `data` as the window lets it.
pub(crate) async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or(Err(h2::Reason::STREAM_CLOSED.into()))?;
        stream.send_data(data.split_to(room.min(data.len())), false)?;
    }
    Ok(())
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("nothing came in ten seconds")
}

pub(crate) fn ok() -> Response<()> {
    Response::new(())
}
