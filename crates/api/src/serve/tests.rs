//! What only a socket can show.

mod events;
mod inside_tls;
mod shares;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Metadata, Region};
use edgeproxy_control::{Handle, registry, reports};
use edgeproxy_registry::{Config, Registration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::router::tests::{registration, state};
use crate::{Bounds, Events, Tls};

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
