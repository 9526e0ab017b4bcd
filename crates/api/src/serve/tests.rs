//! What only a socket can show.

mod events;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Metadata, Region};
use edgeproxy_control::{Handle, registry, reports};
use edgeproxy_registry::{Config, Registration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::router::tests::{registration, state};
use crate::{Access, Admission, Bounds, Events, Terms, Tls};

struct Server {
    addr: SocketAddr,
    events: Events,
    handle: Handle,
    left: Option<oneshot::Sender<()>>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<io::Result<()>>,
}

impl Server {
    async fn start(bounds: Bounds) -> Self {
        Self::start_inside(bounds, None).await
    }

    async fn start_inside(bounds: Bounds, tls: Option<Tls>) -> Self {
        let (handle, driver) = registry(Config::default());
        let (sender, reports) = reports(16);
        let state = state(&handle);
        let events = state.events.clone();
        let told = events.clone();
        tokio::spawn(async move {
            let _open = sender;
            driver.run(reports, |_| (), |event| told.tell(event)).await;
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (left, leaving) = oneshot::channel::<()>();
        let state = State { bounds, tls, ..state };
        let left_by = async {
            let _ = leaving.await;
        };
        let serving = tokio::spawn(serve_until_left(listener, state, left_by, async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            events,
            handle,
            left: Some(left),
            stop: Some(stop),
            serving,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// One request on a connection of its own; everything that comes back.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await
    }

    /// Another process accepts from now on. Resolves once this one does no more.
    async fn leave(&mut self) {
        let _ = self.left.take().unwrap().send(());
        while TcpStream::connect(self.addr).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is the kernel's business.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer with a Content-Length and leaves the connection open.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let len = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= len.unwrap_or(0) {
                return text;
            }
        }
        assert!(
            stream.read_buf(&mut answer).await.unwrap() > 0,
            "closed within an answer: {text}"
        );
    }
}

fn post(path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn a_backend_registers_over_a_socket_and_a_kept_connection_serves_again() {
    let server = Server::start(Bounds::default()).await;
    let answer = server
        .exchange(&post("/api/v1/register", &registration("a").to_string()))
        .await;
    assert!(answer.starts_with("HTTP/1.1 201 Created\r\n"), "{answer}");
    let mut stream = server.connect().await;
    for _ in 0..3 {
        stream.write_all(HEALTH).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"backends\":1"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn a_chunked_body_over_64_kib_is_413_and_its_sender_sees_it() {
    let server = Server::start(Bounds::default()).await;
    let mut request =
        b"POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..200 {
        request.extend_from_slice(b"400\r\n");
        request.extend_from_slice(&[b' '; 0x400]);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    let mut stream = server.connect().await;
    stream.write_all(&request).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn a_declared_body_over_64_kib_is_413_before_it_is_sent() {
    let server = Server::start(Bounds::default()).await;
    let head = b"POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: 10000000\r\nExpect: 100-continue\r\n\r\n";
    let answer = server.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn no_bad_input_closes_another_clients_connection() {
    let server = Server::start(Bounds::default()).await;
    let mut bystander = server.connect().await;
    bystander.write_all(HEALTH).await.unwrap();
    read_answer(&mut bystander).await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    for bad in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n",
        b"POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\r\n\r\n\r\n\x00",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long.as_bytes(),
    ] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(bad).await;
        let _ = stream.shutdown().await;
        let answer = read_to_end(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
        bystander.write_all(HEALTH).await.unwrap();
        assert!(read_answer(&mut bystander).await.contains("\"status\":\"ok\""));
    }
}

#[tokio::test]
async fn a_request_followed_by_a_half_close_is_answered() {
    let server = Server::start(Bounds::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(&post("/api/v1/register", &registration("a").to_string()))
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 201"));
}

#[tokio::test]
async fn a_client_that_leaves_midway_harms_nobody() {
    let server = Server::start(Bounds::default()).await;
    for n in 0..50 {
        let request = post("/api/v1/register", &registration(&format!("b{n}")).to_string());
        let mut stream = server.connect().await;
        // The whole request, or half of it; nobody waits for the answer.
        let end = if n % 2 == 0 {
            request.len()
        } else {
            request.len() / 2
        };
        stream.write_all(&request[..end]).await.unwrap();
    }
    let answer = server
        .exchange(&post("/api/v1/register", &registration("last").to_string()))
        .await;
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(server.handle.stats().backends <= 26);
}

#[tokio::test]
async fn a_slow_head_is_closed_and_an_idle_connection_is_not() {
    let head_timeout = Duration::from_millis(300);
    let server = Server::start(Bounds {
        head_timeout,
        ..Bounds::default()
    })
    .await;
    let began = Instant::now();
    let mut idle = server.connect().await;
    idle.write_all(HEALTH).await.unwrap();
    read_answer(&mut idle).await;
    let mut silent = server.connect().await;
    let mut slow = server.connect().await;
    slow.write_all(HEALTH).await.unwrap();
    read_answer(&mut slow).await;
    slow.write_all(b"GET /health HT").await.unwrap();
    assert_eq!(read_to_end(&mut slow).await, "");
    assert_eq!(read_to_end(&mut silent).await, "");
    assert!(
        began.elapsed() >= head_timeout && began.elapsed() < Bounds::default().idle_timeout,
        "{:?}",
        began.elapsed()
    );
    idle.write_all(HEALTH).await.unwrap();
    assert!(read_answer(&mut idle).await.contains("\"status\":\"ok\""));
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_the_end() {
    let idle_timeout = Duration::from_millis(200);
    let server = Server::start(Bounds {
        idle_timeout,
        ..Bounds::default()
    })
    .await;
    let mut stream = server.connect().await;
    stream.write_all(HEALTH).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
    read_to_end(&mut stream).await;
}

#[tokio::test]
async fn connections_are_bounded_and_under_pressure_nobody_keeps_one() {
    let server = Server::start(Bounds {
        connections: 4,
        ..Bounds::default()
    })
    .await;
    let mut kept = Vec::new();
    for n in 0..4 {
        let mut stream = server.connect().await;
        stream.write_all(HEALTH).await.unwrap();
        let answer = read_answer(&mut stream).await.to_lowercase();
        // The first may keep its place, the last gives it back right after the answer.
        if n == 0 || n == 3 {
            assert_eq!(answer.contains("connection: close"), n == 3, "{answer}");
        }
        kept.push(stream);
    }
    // Everyone still gets an answer, one after the other.
    for _ in 0..20 {
        let answer = server.exchange(HEALTH).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn once_another_process_accepts_every_answer_closes_its_connection() {
    let mut server = Server::start(Bounds {
        connections: 8,
        ..Bounds::default()
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..6 {
        let mut stream = server.connect().await;
        stream.write_all(HEALTH).await.unwrap();
        // The last ones are told already, since three quarters of the places are taken.
        if !read_answer(&mut stream)
            .await
            .to_lowercase()
            .contains("connection: close")
        {
            kept.push(stream);
        }
    }
    assert!(kept.len() >= 4, "{}", kept.len());
    server.leave().await;
    // Places become free with each that goes, and all the same nobody keeps his.
    for (n, mut stream) in kept.into_iter().enumerate() {
        stream.write_all(HEALTH).await.unwrap();
        let answer = read_to_end(&mut stream).await.to_lowercase();
        assert!(answer.contains("connection: close"), "{n}: {answer}");
    }
}

/// What serves connections of whatever peer.
struct Accepting {
    listener: TcpListener,
    acceptor: Acceptor,
    places: Arc<Semaphore>,
    _stop: watch::Sender<()>,
}

impl Accepting {
    async fn new(places: usize, access: Access) -> Self {
        let (handle, _driver) = registry(Config::default());
        let bounds = Bounds {
            connections: places,
            ..Bounds::default()
        };
        let (_stop, stopping) = watch::channel(());
        let places = Arc::new(Semaphore::new(places));
        let state = State {
            bounds,
            terms: Terms::new(Admission::default(), access, bounds),
            ..state(&handle)
        };
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: Acceptor::new(state, Arc::clone(&places), stopping),
            places,
            _stop,
        }
    }

    async fn connect(&self, peer: &str) -> TcpStream {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await;
        let (stream, _) = self.listener.accept().await.unwrap();
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        tokio::spawn(self.acceptor.clone().serve(stream, peer, place));
        client.unwrap()
    }
}

async fn health(stream: &mut TcpStream) -> String {
    stream.write_all(HEALTH).await.unwrap();
    read_answer(stream).await
}

#[tokio::test]
async fn strangers_have_places_of_their_own_and_take_nobody_elses() {
    const PLACES: u32 = 4;
    let accepting = Accepting::new(PLACES as usize, Access::default()).await;
    let mut silent = accepting.connect("203.0.113.9").await;
    // It gives the place back, and keeps one that nobody else could have.
    drop(accepting.places.acquire_many(PLACES).await.unwrap());
    let mut next = accepting.connect("198.51.100.1").await;
    assert_eq!(read_to_end(&mut next).await, "", "there is one such place");
    let answer = health(&mut silent).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn one_network_gets_a_quarter_of_the_strangers_places() {
    let accepting = Accepting::new(128, Access::default()).await; // 8 of them are strangers'
    let mut first = accepting.connect("203.0.113.1").await;
    let _second = accepting.connect("203.0.113.2").await;
    let mut third = accepting.connect("203.0.113.3").await;
    assert_eq!(read_to_end(&mut third).await, "");
    for other in ["198.51.100.1", "2001:db8::1"] {
        let answer = health(&mut accepting.connect(other).await).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    }
    // A place that is given back is the network's again.
    let answer = health(&mut first).await.to_lowercase();
    assert!(answer.contains("connection: close"), "{answer}");
    read_to_end(&mut first).await;
    drop(first);
    while !health(&mut accepting.connect("203.0.113.3").await)
        .await
        .starts_with("HTTP/1.1 401 ")
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_network_gets_a_quarter_of_the_places_and_keeps_half_of_those_between_requests() {
    let anyone = Access {
        insecure: true,
        ..Access::default()
    };
    let accepting = Accepting::new(32, anyone).await;
    let mut kept = Vec::new();
    for n in 0..8 {
        let mut stream = accepting.connect(&format!("203.0.113.{n}")).await;
        let answer = health(&mut stream).await.to_lowercase();
        assert_eq!(answer.contains("connection: close"), n >= 4, "{n}: {answer}");
        if n < 4 {
            kept.push(stream);
        }
    }
    // Who says nothing has no answer to be told by.
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(accepting.connect("203.0.113.99").await);
    }
    assert_eq!(read_to_end(silent.last_mut().unwrap()).await, "");
    // Private networks and loopback have all of them.
    for n in 0..16 {
        let near = if n % 2 == 0 { "127.0.0.1" } else { "10.0.0.1" };
        let mut stream = accepting.connect(near).await;
        assert!(health(&mut stream).await.starts_with("HTTP/1.1 200 "), "{n}");
        kept.push(stream);
    }
}

#[tokio::test]
async fn who_speaks_http_in_the_clear_to_the_tls_port_is_told() {
    let (tls, connector) = encrypted();
    let server = Server::start_inside(Bounds::default(), Some(tls)).await;
    let answer = server
        .exchange(&post("/api/v1/register", &registration("a").to_string()))
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Type: text/plain"), "{answer}");
    assert!(
        answer.ends_with("\r\n\r\nthis port speaks TLS; use https:// instead of http://\n"),
        "{answer}"
    );
    assert!(
        health_inside(&server, &connector)
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_network_that_shakes_hands_too_often_is_not_shaken_hands_with() {
    let (handle, _driver) = registry(Config::default());
    let bounds = Bounds {
        handshakes_per_sec: NonZeroU32::MIN,
        handshake_burst: NonZeroU32::new(2).unwrap(),
        ..Bounds::default()
    };
    let state = State {
        bounds,
        ..state(&handle)
    };
    let (_stop, stopping) = watch::channel(());
    let acceptor = Acceptor::new(state, Arc::new(Semaphore::new(1)), stopping);
    let check = |ip: &str| acceptor.check_handshake(Network::of(ip.parse().unwrap()).unwrap());
    assert!(check("203.0.113.1").is_ok() && check("203.0.113.2").is_ok());
    assert_eq!(
        check("203.0.113.3").unwrap_err().to_string(),
        "203.0.113.0/24 begins more TLS handshakes than one network may"
    );
    assert!(check("198.51.100.1").is_ok() && check("2001:db8::1").is_ok());
}

#[tokio::test]
async fn who_asks_for_megabytes_and_reads_nothing_is_cut() {
    let write_timeout = Duration::from_millis(200);
    let server = Server::start(Bounds {
        connections: 1,
        write_timeout,
        ..Bounds::default()
    })
    .await;
    let mut registering = JoinSet::new();
    for n in 0..3_000 {
        let handle = server.handle.clone();
        let mut backend = Backend::new(
            BackendId::parse(&format!("b{n}")).unwrap(),
            AppName::parse("myapp").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("10.0.0.1", 80).unwrap(),
        );
        backend.metadata = Metadata::new([("k".to_owned(), "v".repeat(4_000))]).unwrap();
        registering.spawn(async move {
            handle
                .register(Registration { backend, ttl: None })
                .await
                .map(drop)
        });
    }
    assert!(registering.join_all().await.iter().all(Result::is_ok));
    let mut stalled = server.connect().await;
    stalled
        .write_all(b"GET /api/v1/backends?limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    // There is one place, so this is answered only once the other has lost it.
    assert!(server.exchange(HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut taken = Vec::new();
    let _ = stalled.read_to_end(&mut taken).await;
    assert!(
        taken.starts_with(b"HTTP/1.1 200") && taken.len() < 12_000_000,
        "{}",
        taken.len()
    );
}

/// A certificate for `localhost`, and who trusts it.
fn encrypted() -> (Tls, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = edgeproxy_tls::Identity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    let server = edgeproxy_tls::Server {
        alpn: edgeproxy_tls::Alpn::Http1,
        ..edgeproxy_tls::Server::new(identity).unwrap()
    };
    let client = edgeproxy_tls::Client {
        trust: Some(edgeproxy_tls::Trust::from_pem(cert.as_bytes()).unwrap()),
        identity: None,
    };
    (Tls::new(server.build().unwrap()), client.build().unwrap().into())
}

async fn shaken(server: &Server, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let name = "localhost".try_into().unwrap();
    connector.connect(name, server.connect().await).await.unwrap()
}

async fn health_inside(server: &Server, connector: &TlsConnector) -> String {
    let mut stream = shaken(server, connector).await;
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn handshakes_that_stall_take_no_place_and_end_in_their_own_time() {
    let (tls, connector) = encrypted();
    let (forever, bounds) = (Duration::from_secs(3_600), Bounds::default());
    let patient = Bounds {
        connections: 1,
        handshakes: 2,
        handshake_timeout: forever,
        ..bounds
    };
    let server = Server::start_inside(patient, Some(tls.clone())).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(server.connect().await);
    }
    let answer = health_inside(&server, &connector).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The oldest had to go.
    assert_eq!(read_to_end(&mut silent[0]).await, "");

    let brief = Bounds {
        handshake_timeout: Duration::from_millis(100),
        ..bounds
    };
    let server = Server::start_inside(brief, Some(tls)).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn who_takes_nothing_inside_tls_is_cut() {
    let (tls, connector) = encrypted();
    let bounds = Bounds {
        connections: 1,
        write_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_secs(3_600),
        ..Bounds::default()
    };
    let server = Server::start_inside(bounds, Some(tls)).await;
    let mut stalled = shaken(&server, &connector).await;
    // Answers that are never read, until nothing more fits between the two.
    let request = b"GET /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
    let flood = async { while stalled.write_all(&request).await.is_ok() {} };
    // There is one place, so this is answered only once the other has lost it.
    let (answer, ()) = tokio::join!(health_inside(&server, &connector), flood);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_burst_of_registrations_over_kept_connections_succeeds() {
    const EACH: usize = 100;
    let server = Server::start(Bounds::default()).await;
    let mut clients = JoinSet::new();
    for client in 0..16 {
        let mut stream = server.connect().await;
        clients.spawn(async move {
            for n in 0..EACH {
                let body = registration(&format!("b{client}-{n}")).to_string();
                let head =
                    "POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";
                let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(request.as_bytes()).await.unwrap();
                let answer = read_answer(&mut stream).await;
                assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
            }
        });
    }
    clients.join_all().await;
    let stats = server.handle.stats();
    assert_eq!((stats.backends, stats.apps), (16 * EACH, 1));
}

#[tokio::test]
async fn shutdown_ends_idle_connections_at_once_and_gives_the_others_their_time() {
    let mut server = Server::start(Bounds::default()).await;
    let mut idle = server.connect().await;
    idle.write_all(HEALTH).await.unwrap();
    read_answer(&mut idle).await;
    let request = post("/api/v1/register", &registration("a").to_string());
    let text = String::from_utf8(request)
        .unwrap()
        .replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
    let (head, body) = text.split_at(text.find("\r\n\r\n").unwrap() + 4);
    let mut busy = server.connect().await;
    busy.write_all(head.as_bytes()).await.unwrap();
    // From here on the handler waits for the body.
    assert!(read_answer(&mut busy).await.starts_with("HTTP/1.1 100"));
    server.stop();
    assert_eq!(read_to_end(&mut idle).await, "");
    busy.write_all(body.as_bytes()).await.unwrap();
    assert!(read_to_end(&mut busy).await.starts_with("HTTP/1.1 201"));
    server.serving.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

#[tokio::test]
async fn shutdown_waits_for_no_handshake() {
    let (tls, connector) = encrypted();
    let forever = Duration::from_secs(3_600);
    let bounds = Bounds {
        connections: 1,
        handshake_timeout: forever,
        drain_timeout: forever,
        idle_timeout: forever,
        ..Bounds::default()
    };
    let mut server = Server::start_inside(bounds, Some(tls)).await;
    // Later ones are accepted later: once this one is answered, the silent one shakes hands.
    let mut silent = server.connect().await;
    let answer = health_inside(&server, &connector).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop();
    let stopped = timeout(Duration::from_secs(60), &mut server.serving).await;
    stopped
        .expect("a silent client holds up the stop")
        .unwrap()
        .unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let (drain_timeout, forever) = (Duration::from_millis(100), Duration::from_secs(3_600));
    let mut server = Server::start(Bounds {
        drain_timeout,
        body_timeout: forever,
        request_timeout: forever,
        ..Bounds::default()
    })
    .await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"POST /api/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{").await.unwrap();
    server.exchange(b"GET /health HTTP/1.0\r\n\r\n").await;
    let began = Instant::now();
    server.stop();
    (&mut server.serving).await.unwrap().unwrap();
    assert!(began.elapsed() < forever / 60);
    assert_eq!(read_to_end(&mut stuck).await, "");
}
