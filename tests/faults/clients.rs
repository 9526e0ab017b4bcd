//! Clients that are as bad as backends can be, and too many at once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeproxy_tests::{PATIENCE, Registration, eventually, within};
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::ledger::{App, Failure};
use crate::process::nothing;
use crate::report::seconds;
use crate::row::{Need, Row, Runs, Told};
use crate::scene::{Scene, TOML, setup};
use crate::villain::{BIG, BIG_LENGTH, SINK, SLOW, Villain};

const LIMITS: &str = "limits.md#settings";
const WAY: &str = "data-plane.md#why-it-waits-for-nobody";
const MODES: &str = "failure-modes.md#a-backend";

/// How many of them there are at once.
const CROWD: usize = 50;

macro_rules! row {
    ($name:literal, $runs:ident, $rule:expr, $fault:literal, $expects:literal, $commit:expr) => {
        row!($name, $runs, &[], $rule, $fault, $expects, $commit)
    };
    ($name:literal, $runs:ident, $needs:expr, $rule:expr, $fault:literal, $expects:literal, $commit:expr) => {
        Row {
            name: $name,
            fault: $fault,
            expects: $expects,
            rule: $rule,
            limit: Duration::from_secs(480),
            runs: Runs::$runs,
            needs: $needs,
            commit: || Box::pin($commit),
        }
    };
}

pub(crate) const ROWS: &[Row] = &[
    row!(
        "client-vanishes",
        Always,
        WAY,
        "fifty clients reset their connections, in the head, in the body, and in the midst of the answer",
        "their places on the backends are free again; nobody is blamed for it",
        vanish()
    ),
    row!(
        "client-half-closes",
        Always,
        WAY,
        "fifty clients send a request and FIN",
        "each is answered in whole",
        half_close()
    ),
    row!(
        "client-never-reads",
        Thorough,
        LIMITS,
        "fifty clients ask for 32 MiB and read nothing",
        "each is closed on after `send_timeout_secs`; no answer is held in memory",
        never_read()
    ),
    row!(
        "client-never-sends",
        Thorough,
        LIMITS,
        "fifty clients connect and say nothing, fifty more send half a head",
        "the first are closed on after `idle_timeout_secs`, the others get 408 after `header_timeout_secs`",
        never_send()
    ),
    row!(
        "client-sends-for-ever",
        Thorough,
        LIMITS,
        "fifty clients send a body without an end, fifty more a head without one",
        "413 at `max_body_bytes`, 431 at `max_head_bytes`; none of it is kept in memory",
        send_for_ever()
    ),
    row!(
        "clients-after-outage",
        Alone,
        &[Need::Descriptors],
        MODES,
        "every backend of an app is gone, and when they are back 10,000 clients connect and ask at the same moment",
        "each is answered; no backend has more than its hard limit at a time, which is 10 here",
        after_outage()
    ),
];

/// As many clients do it at once.
async fn crowd<T: Send + 'static>(count: usize, what: &str, one: impl AsyncFn(usize) -> T) -> Vec<T> {
    let all = (0..count).map(|number| one(number));
    within(2 * PATIENCE, what, futures_util::future::join_all(all)).await
}

async fn connect(addr: SocketAddr) -> TcpStream {
    TcpStream::connect(addr).await.expect("the proxy accepts")
}

/// Everything until the connection ends, however it does.
async fn rest(mut stream: TcpStream) -> String {
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    String::from_utf8_lossy(&read).into_owned()
}

async fn all_routable(scene: &Scene) {
    let page = scene.api().get("/api/v1/backends").await.expect(200).json();
    for backend in page["backends"].as_array().expect("a page has backends") {
        assert_eq!(backend["state"], "routable", "{backend}");
    }
}

async fn vanish() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let addr = scene.aim.get();
            crowd(CROWD, "they vanish", async |number| {
                let mut stream = connect(addr).await;
                let said: &[u8] = match number % 3 {
                    0 => b"GET /half HTTP/1.1\r\nHost: sh",
                    1 => b"POST /sink HTTP/1.1\r\nHost: shop\r\nContent-Length: 1000000\r\n\r\nhalf",
                    _ => b"GET /big HTTP/1.1\r\nHost: shop\r\n\r\n",
                };
                stream.write_all(said).await.expect("it is taken");
                if number % 3 == 2 {
                    let _ = stream.read(&mut [0; 1000]).await;
                }
                let _ = stream.set_zero_linger();
            })
            .await;
            let over = scene.is_over();
            scene.flows().await;
            all_routable(scene).await;
            scene.has_recovered(over);
        })
        .await
}

async fn half_close() -> Told {
    Scene::usual()
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let addr = scene.aim.get();
            let answers = crowd(CROWD, "they are answered", async |number| {
                let mut stream = connect(addr).await;
                let request = format!("GET /half-{number} HTTP/1.1\r\nHost: shop\r\n\r\n");
                stream.write_all(request.as_bytes()).await.expect("it is taken");
                stream.shutdown().await.expect("it can be");
                rest(stream).await
            })
            .await;
            for (number, answer) in answers.iter().enumerate() {
                let is_whole =
                    answer.starts_with("HTTP/1.1 200") && answer.ends_with(&format!(" /half-{number}"));
                assert!(is_whole, "{answer}");
            }
            let over = scene.is_over();
            scene.flows().await;
            scene.has_recovered(over);
        })
        .await
}

async fn never_read() -> Told {
    // The backends are in this very process, and busy with what nobody reads.
    let setup = setup()
        .set("SEND_TIMEOUT_SECS", "2")
        .set("RESPONSE_HEADER_TIMEOUT_SECS", "20");
    Scene::of(setup)
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let addr = scene.aim.get();
            let before = edgeproxy_tests::Vitals::of(scene.proxy());
            let streams = crowd(CROWD, "they ask", async |_| {
                let mut stream = connect(addr).await;
                let request = format!("GET {BIG} HTTP/1.1\r\nHost: shop\r\n\r\n");
                stream.write_all(request.as_bytes()).await.expect("it is taken");
                stream
            })
            .await;
            // Who is read from again finds that it was closed on, with a part of the answer and no more.
            let mut api = scene.api();
            eventually(PATIENCE, "all have been given up", async || {
                let page = api.get("/api/v1/backends").await.expect(200).json();
                let backends = page["backends"].as_array().expect("a page has backends");
                let held: u64 = backends
                    .iter()
                    .filter_map(|backend| backend["in_flight"].as_u64())
                    .sum();
                let more = edgeproxy_tests::Vitals::of(scene.proxy())
                    .resident
                    .saturating_sub(before.resident);
                assert!(
                    more < 64 << 20,
                    "{more} bytes for {CROWD} answers that nobody reads"
                );
                if held < 5 {
                    Ok(())
                } else {
                    Err(format!("{held} in flight"))
                }
            })
            .await;
            for stream in streams {
                let got = rest(stream).await.len();
                assert!(got < BIG_LENGTH, "it was closed on: {got}");
            }
            let over = scene.is_over();
            scene.flows().await;
            all_routable(scene).await;
            scene.has_recovered(over);
        })
        .await
}

async fn never_send() -> Told {
    Scene::of(
        setup()
            .set("IDLE_TIMEOUT_SECS", "2")
            .set("HEADER_TIMEOUT_SECS", "2"),
    )
    .await
    .again_and_again(async |scene| {
        scene.begins(nothing);
        let addr = scene.aim.get();
        let heard = crowd(2 * CROWD, "all are closed on", async |number| {
            let mut stream = connect(addr).await;
            if number % 2 == 1 {
                stream
                    .write_all(b"GET /half HTTP/1.1\r\nHost: sh")
                    .await
                    .expect("it is taken");
            }
            rest(stream).await
        })
        .await;
        for (number, heard) in heard.iter().enumerate() {
            let is_told = if number % 2 == 1 {
                heard.starts_with("HTTP/1.1 408")
            } else {
                heard.is_empty()
            };
            assert!(is_told, "client {number} heard {heard:?}");
        }
        let over = scene.is_over();
        scene.flows().await;
        scene.has_recovered(over);
    })
    .await
}

async fn send_for_ever() -> Told {
    Scene::of(setup().set("MAX_BODY_BYTES", "1048576"))
        .await
        .again_and_again(async |scene| {
            scene.begins(nothing);
            let addr = scene.aim.get();
            let heard = crowd(2 * CROWD, "all are stopped", async |number| {
                let (mut from, mut to) = connect(addr).await.into_split();
                let (first, again) = if number % 2 == 1 {
                    let chunk = format!("4000\r\n{}\r\n", "c".repeat(0x4000));
                    let head =
                        format!("POST {SINK} HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n");
                    (head, chunk)
                } else {
                    let line = format!("X-Line: {}\r\n", "l".repeat(1_000));
                    ("GET / HTTP/1.1\r\nHost: shop\r\n".to_owned(), line)
                };
                // Until nobody takes it any more.
                let sending = async {
                    let mut more = to.write_all(first.as_bytes()).await;
                    while more.is_ok() {
                        more = to.write_all(again.as_bytes()).await;
                    }
                };
                let mut heard = [0; 12];
                let reading = async {
                    let _ = from.read_exact(&mut heard).await;
                };
                tokio::join!(sending, reading);
                String::from_utf8_lossy(&heard).into_owned()
            })
            .await;
            for (number, heard) in heard.iter().enumerate() {
                let expected = if number % 2 == 1 {
                    "HTTP/1.1 413"
                } else {
                    "HTTP/1.1 431"
                };
                assert_eq!(heard, expected, "client {number}");
            }
            let over = scene.is_over();
            scene.flows().await;
            all_routable(scene).await;
            scene.has_recovered(over);
        })
        .await
}

/// What both ends of a client's connection take, and what else is open here.
const OTHERS: u64 = 3_000;
const AFTER_OUTAGE: u64 = 10_000;
/// Of each backend: so few that it is reached, and most clients have to wait.
const HARD_LIMIT: u64 = 10;

fn unreachable(failure: &Failure) -> bool {
    let is_told = failure.is(502, &["connect_failed", "no_response"]) || failure.is(503, &["no_backend"]);
    failure.app == App::Shop && is_told
}

async fn after_outage() -> Told {
    // Never none: see `Need::Descriptors`.
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = AFTER_OUTAGE.min(descriptors.saturating_sub(OTHERS));
    let setup = setup()
        // The backends are in this very process, which is busy with the clients: their probes have time.
        .toml(&TOML.replace("timeout_secs = 1", "timeout_secs = 60"))
        .set("QUEUE_MAX", &AFTER_OUTAGE.to_string())
        .set("QUEUE_TIMEOUT_SECS", "180")
        .set("RESPONSE_HEADER_TIMEOUT_SECS", "120")
        .set("CONNECT_TIMEOUT_SECS", "30");
    let limited = |registration: Registration| {
        let registration = registration.with("soft_limit", HARD_LIMIT);
        registration.with("hard_limit", HARD_LIMIT)
    };
    let scene = Scene::of_registered(setup, &limited).await.patient(4 * PATIENCE);
    scene
        .again_and_again(async |scene| {
            scene.begins(unreachable);
            for villain in &scene.shop {
                villain.refuse().await;
            }
            let before = scene.ledger.failures();
            eventually(PATIENCE, "it is an outage", async || {
                match scene.ledger.failures() - before {
                    50.. => Ok(()),
                    failures => Err(failures.to_string()),
                }
            })
            .await;
            for villain in &scene.shop {
                villain.listen();
            }
            let over = scene.is_over();
            scene.flows().await;
            for villain in &scene.shop {
                scene.answers(villain.name()).await;
            }
            let (addr, start) = (
                scene.aim.get(),
                Arc::new(tokio::sync::Barrier::new(to_usize(count))),
            );
            let mut clients = JoinSet::new();
            for _ in 0..count {
                let start = Arc::clone(&start);
                clients.spawn(async move {
                    start.wait().await;
                    let began = Instant::now();
                    (ask_once(addr).await, began.elapsed())
                });
            }
            let outcomes = within(10 * PATIENCE, "all are answered", clients.join_all()).await;
            let failed: Vec<_> = outcomes
                .iter()
                .filter(|(answer, _)| !answer.starts_with("HTTP/1.1 200") || !answer.ends_with(SLOW))
                .map(|(answer, took)| format!("{answer:?} after {}", seconds(*took)))
                .collect();
            assert!(
                failed.is_empty(),
                "{} of {count} were not answered: {:?}",
                failed.len(),
                failed.first()
            );
            let slowest = outcomes.iter().map(|(_, took)| *took).max().unwrap_or_default();
            scene.has_recovered(over);
            let most: Vec<_> = scene.shop.iter().map(Villain::most).collect();
            assert!(
                most.iter().all(|most| *most <= HARD_LIMIT) && most.contains(&HARD_LIMIT),
                "no backend has more than {HARD_LIMIT} at a time, and with so many clients one has all of them: {most:?}"
            );
            scene.note(format!(
                "{count} clients answered, the last one after {}, at most {HARD_LIMIT} at a time by each backend",
                seconds(slowest)
            ));
        })
        .await
}

/// One request on a connection of its own; all that comes.
async fn ask_once(addr: SocketAddr) -> String {
    let Ok(mut stream) = TcpStream::connect(addr).await else {
        return "not accepted".to_owned();
    };
    let request = format!("GET {SLOW} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    match stream.write_all(request.as_bytes()).await {
        Ok(()) => rest(stream).await,
        Err(error) => error.to_string(),
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).expect("it fits")
}
