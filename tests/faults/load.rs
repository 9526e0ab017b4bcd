//! Clients that ask all the while, each at a rate of its own, and see that each answer is theirs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::{App, Form, Ledger};

/// The longest answer that is read to its end.
const ANSWER_MAX: usize = 256 * 1024;

/// Where the proxy listens; a proxy that was started again listens elsewhere.
#[derive(Clone)]
pub(crate) struct Aim(Arc<Mutex<SocketAddr>>);

impl Aim {
    pub(crate) fn at(addr: SocketAddr) -> Self {
        Self(Arc::new(Mutex::new(addr)))
    }

    pub(crate) fn turn(&self, addr: SocketAddr) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = addr;
    }

    pub(crate) fn get(&self) -> SocketAddr {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the clients.
#[derive(Clone, Copy)]
struct Kind {
    app: App,
    method: Verb,
    keeps: Keeps,
    every: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    /// Its connection.
    Connection,
    /// Nothing: a connection for each request.
    Nothing,
}

const fn kind(app: App, method: Verb, keeps: Keeps, every_ms: u64) -> Kind {
    let every = Duration::from_millis(every_ms);
    Kind {
        app,
        method,
        keeps,
        every,
    }
}

const KINDS: [Kind; 9] = [
    kind(App::Shop, Verb::Get, Keeps::Connection, 20),
    kind(App::Shop, Verb::Get, Keeps::Connection, 20),
    kind(App::Shop, Verb::Get, Keeps::Nothing, 40),
    kind(App::Shop, Verb::Post, Keeps::Connection, 20),
    kind(App::Shop, Verb::Post, Keeps::Nothing, 40),
    kind(App::Other, Verb::Get, Keeps::Connection, 20),
    kind(App::Other, Verb::Get, Keeps::Nothing, 40),
    kind(App::Other, Verb::Post, Keeps::Connection, 20),
    kind(App::Other, Verb::Post, Keeps::Nothing, 40),
];

/// How many clients there are.
pub(crate) const CLIENTS: usize = KINDS.len();

/// Under way, until it is stopped.
pub(crate) struct Load {
    stop: CancellationToken,
    clients: JoinSet<()>,
}

impl Load {
    /// No answer may take longer than `patience`.
    pub(crate) fn start(aim: &Aim, ledger: &Ledger, patience: Duration) -> Self {
        let stop = CancellationToken::new();
        let numbers = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for (index, kind) in KINDS.into_iter().enumerate() {
            let client = Client {
                index,
                kind,
                aim: aim.clone(),
                ledger: ledger.clone(),
                numbers: Arc::clone(&numbers),
                patience,
                connection: None,
            };
            clients.spawn(client.go_on(stop.clone()));
        }
        Self { stop, clients }
    }

    /// Lets everybody finish what is under way.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

struct Client {
    index: usize,
    kind: Kind,
    aim: Aim,
    ledger: Ledger,
    numbers: Arc<AtomicU64>,
    patience: Duration,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    async fn go_on(mut self, stop: CancellationToken) {
        let mut turns = tokio::time::interval(self.kind.every);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(turns.tick()).await.is_some() {
            let begun = self.ledger.now();
            let outcome = tokio::time::timeout(self.patience, self.once())
                .await
                .unwrap_or(Err(Form::Late));
            match outcome {
                Ok(backend) => self.ledger.answered(self.index, begun, backend),
                Err(form) => {
                    self.connection = None;
                    let is_repeatable = self.kind.method == Verb::Get;
                    self.ledger.failed(self.kind.app, is_repeatable, begun, form);
                }
            }
        }
    }

    /// Asks once; who answered.
    async fn once(&mut self) -> Result<String, Form> {
        let mut kept = self.connection.take();
        if let Some(connection) = &mut kept {
            // One that the proxy has closed meanwhile is no failure, if that is seen before it is used.
            if connection.ready().await.is_err() {
                kept = None;
            }
        }
        let mut connection = match kept {
            Some(connection) => connection,
            None => connect(self.aim.get()).await?,
        };
        let target = format!("/{}", self.numbers.fetch_add(1, Ordering::Relaxed));
        let (method, body) = match self.kind.method {
            Verb::Get => (Method::GET, Bytes::new()),
            Verb::Post => (Method::POST, Bytes::from_static(&[b'p'; 100])),
        };
        let request = Request::builder()
            .method(method)
            .uri(&target)
            .header("host", self.kind.app.name())
            .body(Full::new(body))
            .expect("it is well formed");
        connection.ready().await.map_err(|_| Form::NoAnswer)?;
        let response = connection
            .send_request(request)
            .await
            .map_err(|_| Form::NoAnswer)?;
        let (head, mut body) = response.into_parts();
        let mut read = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Form::Cut)?;
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..]));
            if read.len() > ANSWER_MAX {
                return Err(Form::Endless);
            }
        }
        let field = |name: &str| {
            let value = head.headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        if self.kind.keeps == Keeps::Connection && field("connection") != "close" {
            self.connection = Some(connection);
        }
        if head.status != StatusCode::OK {
            return Err(Form::Status(head.status.as_u16(), field("x-edgeproxy-error")));
        }
        let backend = field("x-backend");
        let said = String::from_utf8_lossy(&read);
        if said == format!("{backend} {target}") {
            Ok(backend)
        } else {
            Err(Form::Wrong(said.chars().take(80).collect()))
        }
    }
}

async fn connect(proxy: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Form> {
    let stream = TcpStream::connect(proxy).await.map_err(|_| Form::Unreachable)?;
    let _ = stream.set_nodelay(true);
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|_| Form::Unreachable)?;
    // What goes wrong with it is told to whoever waits for an answer.
    tokio::spawn(connection);
    Ok(sender)
}
