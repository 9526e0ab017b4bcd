//! Five hand-overs in a row while clients of every kind send without a rest.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edgeproxy_tests::{
    Backend, Behaviour, Client, Edgeproxy, Load, PATIENCE, Registration, eventually, within,
};
use http::Method;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Socket, echo, listed, logged};

const HAND_OVERS: usize = 5;

/// What clients have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    fresh: AtomicU64,
    http2: AtomicU64,
    messages: AtomicU64,
    tunnelled: AtomicU64,
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn counts(&self) -> [u64; 4] {
        [&self.fresh, &self.http2, &self.messages, &self.tunnelled].map(|count| count.load(Ordering::Relaxed))
    }
}

/// A connection for each request.
async fn by_fresh_connections(proxy: SocketAddr, seen: Arc<Seen>) {
    while seen.goes_on() {
        let reply = Client::new(proxy).get("shop", "/fresh").await;
        let reply = reply.unwrap_or_else(|error| panic!("a request on a new connection: {error:#}"));
        let _ = reply.expect(200);
        seen.fresh.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connections of HTTP/2, each until it is told that there is no more room on it.
async fn by_http2(proxy: SocketAddr, seen: Arc<Seen>) {
    let mut connections = 0_u64;
    while seen.goes_on() {
        let stream = TcpStream::connect(proxy).await.expect("it accepts");
        let shaken =
            http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        connections += 1;
        // What is not ready has been announced to end.
        while seen.goes_on() && sender.ready().await.is_ok() {
            let request = http::Request::get("http://shop/http2").body(Empty::new());
            let answered = async {
                let response = sender.send_request(request.expect("it is sound")).await?;
                let status = response.status();
                response.into_body().collect().await?;
                Ok::<_, hyper::Error>(status)
            };
            match within(PATIENCE, "an answer by HTTP/2", answered).await {
                Ok(status) => assert_eq!(status, 200),
                // Never sent: a client may try it on another connection, whatever it is (RFC 9113 §8.7).
                Err(error) if error.is_canceled() => break,
                Err(error) => panic!("a request by HTTP/2: {error:?}"),
            }
            seen.http2.fetch_add(1, Ordering::Relaxed);
        }
        drop(sender);
        let ended = within(PATIENCE, "the connection ends", connection).await;
        ended.expect("no panic").expect("it ends in peace");
    }
    assert!(connections > HAND_OVERS as u64, "each process had one");
}

/// A WebSocket that was opened before the first hand-over.
async fn by_websocket(proxy: SocketAddr, seen: Arc<Seen>) {
    let mut socket = Socket::open(proxy, "socket").await;
    while seen.goes_on() {
        let number = seen.messages.fetch_add(1, Ordering::Relaxed);
        let said = socket.says(&number.to_string()).await;
        said.unwrap_or_else(|error| panic!("message {number}: {error}"));
    }
}

/// A TCP connection that was opened before the first hand-over.
async fn by_tunnel(tcp: SocketAddr, seen: Arc<Seen>) {
    let mut stream = TcpStream::connect(tcp).await.expect("it accepts");
    while seen.goes_on() {
        let number = seen.tunnelled.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        stream.write_all(&number).await.expect("it is open");
        let mut back = [0; 8];
        let read = within(PATIENCE, "the bytes come back", stream.read_exact(&mut back)).await;
        read.expect("it is open");
        assert_eq!(back, number);
    }
}

async fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    addr
}

/// Where the TCP listener is.
async fn tcp_addr(edgeproxy: &Edgeproxy) -> SocketAddr {
    let line = logged(edgeproxy, "serves TCP on ").await;
    let (_, rest) = line.split_once("serves TCP on ").expect("it says so");
    let (addr, _) = rest.split_once(", for app").expect("it says for whom");
    addr.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hand_overs_in_a_row_under_load_cost_no_request() {
    let backend = Backend::start("b").await;
    backend.behave(Behaviour::AnswerAfter(Duration::from_millis(2)));
    let file = [
        listed("s", "socket", echo().await),
        listed("t", "database", tcp_echo().await),
    ];
    let mut edgeproxy = Edgeproxy::setup()
        .set("TCP_LISTEN_ADDR", "127.0.0.1:0")
        .set("TCP_APP", "database")
        .set("DRAIN_TIMEOUT_SECS", "60")
        .toml(&file.concat())
        .start()
        .await;
    let registration = Registration::new("b", "shop", backend.addr());
    edgeproxy.api().register_new(&registration).await;
    let (proxy, tcp) = (edgeproxy.proxy(), tcp_addr(&edgeproxy).await);
    let seen = Arc::new(Seen::default());
    let kept = Load::start(proxy, Method::GET, "shop", 8);
    let posts = Load::start(proxy, Method::POST, "shop", 2);
    let mut clients = JoinSet::new();
    clients.spawn(by_fresh_connections(proxy, Arc::clone(&seen)));
    clients.spawn(by_fresh_connections(proxy, Arc::clone(&seen)));
    clients.spawn(by_http2(proxy, Arc::clone(&seen)));
    clients.spawn(by_websocket(proxy, Arc::clone(&seen)));
    clients.spawn(by_tunnel(tcp, Arc::clone(&seen)));
    let mut idle = Client::new(proxy);
    let mut processes = vec![edgeproxy.id()];
    for number in 0..=HAND_OVERS {
        let before = seen.counts();
        kept.reaches("b", 100).await;
        eventually(PATIENCE, "every client goes on", async || {
            if let Some(ended) = clients.try_join_next() {
                panic!("a client has given up: {ended:?}");
            }
            let now = seen.counts();
            if before.iter().zip(now).all(|(before, now)| now >= before + 10) {
                Ok(())
            } else {
                Err(format!("{before:?} {now:?}"))
            }
        })
        .await;
        // A connection that was kept and that nobody used meanwhile is closed on only with its next answer.
        let reply = idle.get("shop", "/idle").await.expect("an answer").expect(200);
        assert_eq!(reply.header("connection"), (number > 0).then_some("close"));
        let reply = idle.get("shop", "/idle").await.expect("an answer").expect(200);
        assert_eq!(reply.header("connection"), None);
        if number < HAND_OVERS {
            edgeproxy.hand_over().await;
            processes.push(edgeproxy.id());
        }
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every request was answered");
    }
    drop(idle);
    for tally in [kept.stop().await, posts.stop().await] {
        assert!(tally.failed == 0 && tally.ok > 0, "{tally:?}");
    }
    let latest = processes.pop().expect("there are six");
    // With its last client gone each of them ends by itself.
    for process in processes {
        edgeproxy.gone(process, PATIENCE).await;
    }
    assert_eq!(edgeproxy.id(), latest);
    edgeproxy.signal(Signal::TERM);
    edgeproxy.gone(latest, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_lives_through_a_hand_over_until_the_drain_timeout() {
    let file = listed("s", "socket", echo().await);
    let mut edgeproxy = Edgeproxy::setup()
        .set("DRAIN_TIMEOUT_SECS", "2")
        .toml(&file)
        .start()
        .await;
    let mut socket = Socket::open(edgeproxy.proxy(), "socket").await;
    let asked = Instant::now();
    let old = edgeproxy.hand_over().await;
    socket.says("after").await.expect("it is open");
    within(PATIENCE, "it ends", socket.ended()).await;
    let lived = asked.elapsed();
    assert!(lived >= Duration::from_secs(2), "{lived:?}");
    edgeproxy.gone(old, Duration::from_secs(4)).await;
    assert_eq!(edgeproxy.ended(PATIENCE).await.code(), Some(0));
    let mut socket = Socket::open(edgeproxy.proxy(), "socket").await;
    socket.says("anew").await.expect("the new one serves");
}
