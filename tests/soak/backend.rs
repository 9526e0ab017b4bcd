//! What the proxy stands before: backends that serve, and fail on command.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::pattern::{Check, Pattern};

/// What it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaks {
    Http,
    /// It sends back what comes.
    Tcp,
}

/// How it takes a request of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    Serves,
    /// Closes instead of an answer.
    HangsUp,
    /// Resets instead of an answer.
    Resets,
    /// Answers something that is not HTTP.
    TalksNonsense,
}

/// One of them. It ends when it is dropped.
pub(crate) struct Backend {
    shared: Arc<Shared>,
    /// Bound and never listening: the port stays its own while nobody listens on it.
    _reservation: TcpSocket,
}

struct Shared {
    addr: SocketAddr,
    speaks: Speaks,
    manner: Mutex<Manner>,
    /// Ends the listener.
    listening: Mutex<CancellationToken>,
    /// Ends every connection that is open.
    alive: Mutex<CancellationToken>,
}

impl Backend {
    pub(crate) fn start(speaks: Speaks) -> Self {
        let reservation = socket(SocketAddr::from(([127, 0, 0, 1], 0)));
        let addr = reservation.local_addr().expect("a bound socket has an address");
        let backend = Self {
            shared: Arc::new(Shared {
                addr,
                speaks,
                manner: Mutex::new(Manner::Serves),
                listening: Mutex::default(),
                alive: Mutex::default(),
            }),
            _reservation: reservation,
        };
        backend.listen();
        backend
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    pub(crate) fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// Accepts, after it has refused or was killed.
    pub(crate) fn listen(&self) {
        let stop = CancellationToken::new();
        *lock(&self.shared.listening) = stop.clone();
        let listener = socket(self.addr())
            .listen(1024)
            .expect("the port is reserved for this");
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { stop.run_until_cancelled(accept(&listener, &shared)).await });
    }

    /// Accepts no more; what is open stays.
    pub(crate) fn refuse(&self) {
        lock(&self.shared.listening).cancel();
    }

    /// Ends as a killed process does: at once, with all its sockets.
    pub(crate) fn kill(&self) {
        self.refuse();
        std::mem::take(&mut *lock(&self.shared.alive)).cancel();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.kill();
    }
}

fn socket(addr: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.set_reuseport(true).expect("SO_REUSEPORT can be set");
    socket.bind(addr).expect("loopback can be bound");
    socket
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        // A connection that is gone before it is accepted is nobody's fault.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        let alive = lock(&shared.alive).clone();
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            match shared.speaks {
                Speaks::Http => alive.run_until_cancelled(serve(stream, &shared)).await,
                Speaks::Tcp => alive.run_until_cancelled(echo(stream, Vec::new())).await,
            }
        });
    }
}

/// What becomes of a connection that is served no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Close,
    Reset,
    Nonsense,
    Echo,
}

type Answer = Response<Either<Full<Bytes>, Pattern>>;

async fn serve(stream: TcpStream, shared: &Shared) {
    let ending = Mutex::new(Ending::Close);
    let service = service_fn(|request| Box::pin(handle(request, shared, &ending)));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    let ending = *lock(&ending);
    match ending {
        Ending::Close => {}
        Ending::Reset => {
            let _ = stream.set_zero_linger();
        }
        Ending::Nonsense => {
            let _ = stream.write_all(b"\x00\x01nonsense\r\n\r\n").await;
        }
        Ending::Echo => echo(stream, parts.read_buf.to_vec()).await,
    }
}

async fn handle(
    request: Request<Incoming>,
    shared: &Shared,
    ending: &Mutex<Ending>,
) -> Result<Answer, &'static str> {
    let manner = *lock(&shared.manner);
    let end = |how| {
        *lock(ending) = how;
        Err("on command")
    };
    match manner {
        Manner::Serves => {}
        Manner::HangsUp => return end(Ending::Close),
        Manner::Resets => return end(Ending::Reset),
        Manner::TalksNonsense => return end(Ending::Nonsense),
    }
    let length: usize = request
        .uri()
        .query()
        .and_then(|query| query.parse().ok())
        .unwrap_or_default();
    let path = request.uri().path().to_owned();
    let body = match path.as_str() {
        "/length" => Either::Right(Pattern::of_length(length)),
        "/chunks" => Either::Right(Pattern::in_chunks(length)),
        "/switch" => {
            *lock(ending) = Ending::Echo;
            let mut answer = Response::new(Either::Left(Full::default()));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            for (name, value) in [("connection", "upgrade"), ("upgrade", "soak")] {
                answer
                    .headers_mut()
                    .insert(name, value.parse().expect("it can be a header"));
            }
            return Ok(answer);
        }
        _ => Either::Left(Full::from(sink(request.into_body()).await?)),
    };
    Ok(Response::new(body))
}

/// How much came, if all of it was right.
async fn sink(mut body: Incoming) -> Result<String, &'static str> {
    let mut check = Check::default();
    while let Some(frame) = body.frame().await {
        // The client has gone or was cut; there is nobody to be told.
        let frame = frame.map_err(|_| "the body broke off")?;
        let Some(data) = frame.data_ref() else { continue };
        if let Err(wrong) = check.take(data) {
            return Ok(wrong);
        }
    }
    Ok(check.count().to_string())
}

async fn echo(mut stream: TcpStream, first: Vec<u8>) {
    let (mut from, mut to) = stream.split();
    if to.write_all(&first).await.is_err() {
        return;
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => break,
            Ok(count) => {
                if to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
    let _ = to.shutdown().await;
}
