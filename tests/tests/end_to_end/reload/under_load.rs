//! A hundred reloads in a row, half of them of broken files, under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use edgeproxy_tests::{Backend, Behaviour, Client, Edgeproxy, PATIENCE, eventually, within};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use super::listed;

const RELOADS: u64 = 100;
const HTTP1: usize = 4;
const HTTP2_STREAMS: usize = 4;
/// A host whose requests the route sends on with another path, and the one of the WebSocket.
const SHOP: &str = "shop.test";
const SOCKET: &str = "socket.test";

/// Two configurations that are told apart by what a backend answers: which app a request goes to, and what becomes of
/// its path. Each has a backend that the other doesn't have.
struct World {
    a: Backend,
    b: Backend,
    socket: SocketAddr,
}

impl World {
    async fn new() -> Self {
        let world = Self {
            a: Backend::start("a").await,
            b: Backend::start("b").await,
            socket: echo().await,
        };
        for backend in [&world.a, &world.b] {
            let name = backend.name().to_owned();
            backend.behave(Behaviour::respond(move |seen| {
                http::Response::new(format!("{name} {}", seen.target).into())
            }));
        }
        world
    }

    /// A sound one. `mark` tells it from the others.
    fn sound(&self, mark: u64) -> String {
        let backend = if mark.is_multiple_of(2) { &self.a } else { &self.b };
        let (app, mark) = (backend.name(), 4_000 + mark);
        format!(
            "max_target_bytes = {mark}\nlog_level = \"warn,edgeproxy=info\"\n\
             [apps.{app}]\n[apps.socket]\n\
             [[routes]]\nhost = \"{SOCKET}\"\napp = \"socket\"\n\
             [[routes]]\nhost = \"{SHOP}\"\npath_prefix = \"/in\"\napp = \"{app}\"\nreplace_prefix = \"/{app}\"\n\
             {}{}",
            listed(&format!("{app}1"), app, backend.addr()),
            listed("socket1", "socket", self.socket),
        )
    }

    /// One that is not, in a way that the number says. What is sound in it would be seen.
    fn broken(&self, number: u64) -> String {
        let sound = self
            .sound(number + 1)
            .replace("max_target_bytes", "max_head_bytes");
        let fault = match number % 5 {
            0 => format!("max_failures = -{number}\n"),
            1 => format!("no_such_setting_{number} = 1\n"),
            2 => format!("spill = \"sotf-{number}\"\n"),
            3 => format!("max_failures = [{number}\n"),
            _ => format!("api_listen_addr = \"127.0.0.1:{}\"\n", 60_000 + number),
        };
        // What a variable says is not the file's to change, so there the address is no fault; this is.
        let fault = if number % 5 == 4 {
            format!("{fault}max_attempts = {}\n", 1_000 + number)
        } else {
            fault
        };
        format!("{fault}{sound}")
    }
}

/// A backend that sends every message back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = accept_async(stream).await?;
                while let Some(message) = socket.next().await {
                    let message = message?;
                    if message.is_text() {
                        socket.send(message).await?;
                    }
                }
                Ok::<(), tokio_tungstenite::tungstenite::Error>(())
            });
        }
    });
    addr
}

/// What clients have seen.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    http1: AtomicU64,
    http2: AtomicU64,
    messages: AtomicU64,
}

impl Seen {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }
}

/// Both halves are of the same configuration, or it was a half-applied one.
fn check(status: u16, body: &str, number: u64) {
    let whole = ["a", "b"].map(|app| format!("{app} /{app}/{number}"));
    assert!(
        status == 200 && whole.iter().any(|whole| whole == body),
        "{status} {body:?} for {number}"
    );
}

/// One kept connection of HTTP/1.1, one request after the other.
async fn by_http1(proxy: SocketAddr, seen: Arc<Seen>) {
    let mut client = Client::new(proxy);
    while seen.goes_on() {
        let number = seen.http1.fetch_add(1, Ordering::Relaxed);
        // A connection that was closed unannounced is an error.
        let reply = client.get(SHOP, &format!("/in/{number}")).await;
        let reply = reply.unwrap_or_else(|error| panic!("a request by HTTP/1.1: {error:#}"));
        assert_eq!(reply.header("connection"), None, "it is not to be closed either");
        check(reply.status.as_u16(), reply.text(), number);
    }
}

/// One connection of HTTP/2, with several streams at a time.
async fn by_http2(proxy: SocketAddr, seen: Arc<Seen>) {
    let stream = TcpStream::connect(proxy).await.expect("it accepts");
    let shaken =
        http2::handshake::<_, _, Empty<bytes::Bytes>>(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (sender, connection) = shaken.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let mut streams = JoinSet::new();
    for _ in 0..HTTP2_STREAMS {
        let (mut sender, seen) = (sender.clone(), Arc::clone(&seen));
        streams.spawn(async move {
            while seen.goes_on() {
                let number = seen.http2.fetch_add(1, Ordering::Relaxed);
                let request = http::Request::get(format!("http://{SHOP}/in/{number}")).body(Empty::new());
                let answered = async {
                    sender.ready().await?;
                    let response = sender.send_request(request.expect("it is sound")).await?;
                    let status = response.status().as_u16();
                    let body = response.into_body().collect().await?.to_bytes();
                    Ok::<_, hyper::Error>((status, body))
                };
                let (status, body) = within(PATIENCE, "an answer by HTTP/2", answered)
                    .await
                    .unwrap_or_else(|error| panic!("a request by HTTP/2: {error:?}"));
                check(status, &String::from_utf8_lossy(&body), number);
            }
        });
    }
    streams.join_all().await;
    assert!(!connection.is_finished(), "the connection was ended");
}

/// A WebSocket that stays open.
async fn by_websocket(proxy: SocketAddr, seen: Arc<Seen>) {
    let stream = TcpStream::connect(proxy).await.expect("it accepts");
    let opened = client_async(format!("ws://{SOCKET}/"), stream).await;
    let (mut socket, _) = opened.unwrap_or_else(|error| panic!("the WebSocket: {error}"));
    while seen.goes_on() {
        let number = seen.messages.fetch_add(1, Ordering::Relaxed);
        let message = Message::text(number.to_string());
        socket.send(message.clone()).await.expect("it is open");
        let back = within(PATIENCE, "a message", socket.next()).await;
        assert_eq!(back.expect("it is open").expect("it is sound"), message);
    }
}

/// Has the file read, and waits for what came of that; on a busy machine its change may have been noticed before.
async fn reload(edgeproxy: &Edgeproxy, text: &str, came: impl Fn(&Value) -> bool) -> Value {
    let before = super::configuration(edgeproxy).await["reloads"].as_u64();
    edgeproxy.rewrite(text);
    edgeproxy.signal(Signal::HUP);
    let mut api = edgeproxy.api();
    let came = |told: &Value| {
        told["reloads"].as_u64() > before && told["last_reload"]["by"] == "signal" && came(told)
    };
    let (told, _) = eventually(PATIENCE, "the reload is told of", async || {
        let told = api.get("/api/v1/config").await.expect(200).json();
        if came(&told) {
            Ok(told)
        } else {
            Err(told["last_reload"].to_string())
        }
    })
    .await;
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_reloads_half_of_them_broken_drop_no_connection_and_no_request_sees_half_of_one() {
    let world = World::new().await;
    let edgeproxy = Edgeproxy::setup().toml(&world.sound(0)).start().await;
    let (proxy, seen) = (edgeproxy.proxy(), Arc::new(Seen::default()));
    let mut clients = JoinSet::new();
    for _ in 0..HTTP1 {
        clients.spawn(by_http1(proxy, Arc::clone(&seen)));
    }
    clients.spawn(by_http2(proxy, Arc::clone(&seen)));
    clients.spawn(by_websocket(proxy, Arc::clone(&seen)));

    let mut version = 1;
    for number in 1..=RELOADS {
        // In between requests come and go.
        let before = [&seen.http1, &seen.http2, &seen.messages].map(|count| count.load(Ordering::Relaxed));
        eventually(PATIENCE, "the load goes on", async || {
            let now = [&seen.http1, &seen.http2, &seen.messages].map(|count| count.load(Ordering::Relaxed));
            assert!(clients.try_join_next().is_none(), "a client has given up");
            let all = before.iter().zip(now).all(|(before, now)| now >= before + 4);
            if all {
                Ok(())
            } else {
                Err(format!("{before:?} {now:?}"))
            }
        })
        .await;
        if number.is_multiple_of(2) {
            let text = world.broken(number);
            let told = reload(&edgeproxy, &text, |told| {
                told["last_reload"]["result"] == "refused"
            })
            .await;
            assert_eq!(told["version"], version, "nothing of it is in force");
            assert_eq!(told["last_reload"]["result"], "refused");
            let problems = told["last_reload"]["problems"]
                .as_array()
                .expect("there are some");
            let places = problems.iter().filter_map(|problem| problem["place"].as_str());
            assert!(
                places
                    .filter(|place| place.starts_with("edgeproxy.toml:"))
                    .count()
                    > 0
            );
        } else {
            let mark = number / 2 + 1;
            let told = reload(&edgeproxy, &world.sound(mark), |told| {
                super::value(told, "max_target_bytes")["value"] == 4_000 + mark
            })
            .await;
            let now = told["version"].as_u64().expect("a number");
            assert!(now > version, "{now} after {version}");
            version = now;
            assert_eq!(told["last_reload"]["result"], "applied");
        }
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every request was answered, by one configuration");
    }
    let counts = [&seen.http1, &seen.http2, &seen.messages].map(|count| count.load(Ordering::Relaxed));
    assert!(counts.iter().all(|count| *count >= 4 * RELOADS), "{counts:?}");
    let (a, b) = (world.a.requests(), world.b.requests());
    assert!(a > RELOADS && b > RELOADS, "both were in force: {a}, {b}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_of_the_file_that_are_exchanged_cost_no_request() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    // By turns another id, and another address of the same id.
    let text = |number: u64| {
        let backend = if number.is_multiple_of(2) { &a } else { &b };
        let id = if (number / 2).is_multiple_of(2) {
            "same"
        } else {
            backend.name()
        };
        format!(
            "max_target_bytes = {}\n{}",
            4_000 + number,
            listed(id, "shop", backend.addr())
        )
    };
    let edgeproxy = Edgeproxy::setup().toml(&text(0)).start().await;
    let seen = Arc::new(Seen::default());
    let mut clients = JoinSet::new();
    for _ in 0..HTTP1 {
        let (proxy, seen) = (edgeproxy.proxy(), Arc::clone(&seen));
        clients.spawn(async move {
            let mut client = Client::new(proxy);
            while seen.goes_on() {
                let reply = client.get("shop", "/").await;
                let reply = reply.unwrap_or_else(|error| panic!("a request: {error:#}"));
                assert_eq!(reply.status.as_u16(), 200, "{}", reply.text());
                seen.http1.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for number in 1..=RELOADS / 2 {
        let before = seen.http1.load(Ordering::Relaxed);
        eventually(PATIENCE, "the load goes on", async || {
            assert!(clients.try_join_next().is_none(), "a client has given up");
            match seen.http1.load(Ordering::Relaxed) {
                now if now > before + 8 => Ok(()),
                now => Err(now.to_string()),
            }
        })
        .await;
        reload(&edgeproxy, &text(number), |told| {
            super::value(told, "max_target_bytes")["value"] == 4_000 + number
        })
        .await;
    }
    seen.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every request was answered");
    }
    assert!(a.requests() > 0 && b.requests() > 0);
}
