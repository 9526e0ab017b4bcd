//! A data plane that leaves its sockets to another one; and one of which a thread hangs.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use edgeproxy_backend::{Country, Limits};
use edgeproxy_balance::Client as Whereabouts;
use edgeproxy_proxy::{Config, Listener, Locate, RouteTable, bind};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::http2;
use crate::stage::{Stage, app, config, endpoint};

async fn accepts_no_more(addr: SocketAddr) {
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn whoever_leaves_the_sockets_to_another_waits_for_idle_clients_and_tells_them() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one = Config {
        workers: 1,
        ..config()
    };
    let (stage, _) = Stage::with(one, &[backend.addr]);
    let mut served = Client::connect(stage.addr).await;
    assert_eq!(served.get("/").await.all("connection"), Vec::<&str>::new());
    // Nothing is asked on it for longer than a drain listens to.
    let mut silent = Client::connect(stage.addr).await;
    let mut half = Client::connect(stage.addr).await;
    half.write("GET / HTTP/1.1\r\n").await;
    let (by_http2, _connection) = http2::connect(stage.addr).await;
    // Whoever came before has been accepted when this one is answered.
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
    stage.running.leave(&[]);
    accepts_no_more(stage.addr).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    for client in [&mut served, &mut silent] {
        let response = client.get("/").await;
        assert_eq!((response.status, response.one("connection")), (200, "close"));
        assert!(client.end().await.is_empty());
    }
    half.write("host: a\r\n\r\n").await;
    assert_eq!(half.read().await.one("connection"), "close");
    assert_eq!(http2::get(&by_http2, "/").await.status, 200);
    drop((served, silent, half));
    stage.stopped().await;
}

/// Whichever way a worker goes when it is told to leave in the middle of accepting.
#[tokio::test]
async fn what_waits_is_left_to_the_other_but_for_the_listeners_that_it_does_not_have() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut bound = bind(Config {
        listeners: vec![Listener::http(any), Listener::http(any)],
        ..config()
    })
    .unwrap();
    let mut sockets = bound.take_sockets();
    let (taken, untaken) = (sockets.remove(0), sockets.remove(0));
    drop(untaken);
    let addrs = bound.local_addrs().to_vec();
    let table = RouteTable::new(
        1,
        [Arc::new(app("app", &[endpoint(1, backend.addr, Limits::NONE)]))],
        Arc::default(),
    );
    let table = Arc::new(ArcSwap::from_pointee(table));
    let running = bound.spawn(table, Arc::new(drop)).unwrap();
    let mut clients = Vec::new();
    for _ in 0..40 {
        for addr in &addrs {
            let mut client = Client::connect(*addr).await;
            client
                .write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                .await;
            clients.push((*addr == addrs[1], client));
        }
        if clients.len() == 60 {
            running.leave(&[1]);
            break;
        }
    }
    let mut answers = JoinSet::new();
    for (is_untaken, mut client) in clients {
        answers.spawn(async move { (is_untaken, client.try_read(true).await) });
    }
    running.stopped().await;
    // Whom the old one has not accepted waits for the other; it closes on them here.
    let left: usize = taken
        .into_iter()
        .map(|socket| std::iter::from_fn(|| socket.accept().ok()).count())
        .sum();
    let (mut untaken, mut of_taken) = (0, 0);
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            (is_untaken, Some(response)) => {
                assert_eq!(response.status, 200);
                *if is_untaken { &mut untaken } else { &mut of_taken } += 1;
            }
            (true, None) => panic!("lost at a listener that nobody else has"),
            (false, None) => {}
        }
    }
    assert_eq!((untaken, of_taken + left), (30, 30), "{left} were left");
}

/// Says where everybody is once it may.
#[derive(Debug)]
struct Hanging(Mutex<Receiver<()>>);

impl Hanging {
    fn new() -> (Sender<()>, Self) {
        let (sender, receiver) = channel();
        (sender, Self(Mutex::new(receiver)))
    }
}

impl Locate for Hanging {
    fn address(&self, _: IpAddr) -> Whereabouts {
        self.0.lock().unwrap().recv().unwrap();
        Whereabouts::default()
    }

    fn country(&self, _: Country) -> Whereabouts {
        Whereabouts::default()
    }
}

#[tokio::test]
async fn workers_that_have_ended_give_no_sign_of_life() {
    let (stage, _) = Stage::with(config(), &[]);
    stage.running.pulse().await;
    stage.running.abort();
    stage.running.stopped().await;
    let answered = tokio::time::timeout(Duration::from_millis(200), stage.running.pulse());
    answered.await.expect_err("nobody is there");
}

#[tokio::test]
async fn a_worker_that_hangs_gives_no_sign_of_life() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (release, hanging) = Hanging::new();
    let config = Config {
        locate: Some(Arc::new(hanging)),
        ..config()
    };
    let (stage, _) = Stage::with(config, &[backend.addr]);
    let answered = tokio::time::timeout(Duration::from_secs(10), stage.running.pulse());
    answered.await.expect("both workers go round");
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answered = std::pin::pin!(stage.running.pulse());
    // As soon as the worker has begun with the client it hangs.
    while tokio::time::timeout(Duration::from_millis(200), answered.as_mut())
        .await
        .is_ok()
    {
        answered.set(stage.running.pulse());
    }
    release.send(()).unwrap();
    assert_eq!(client.read().await.status, 200);
    let answered = tokio::time::timeout(Duration::from_secs(10), answered);
    answered.await.expect("it goes round again");
}
