//! Connections whose bytes nobody looks at.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Admission, AppName, Endpoint, Gate, InFlight, Limits, MonoTime, Signal};
use edgeproxy_balance::retry::Allowance;
use edgeproxy_proxy::{AppRoute, AppSettings, Config, Listener, Protocol, Queue, RouteTable};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::stage::{Stage, app, config, endpoint};

fn tcp() -> Listener {
    Listener::tcp(
        SocketAddr::from(([127, 0, 0, 1], 0)),
        AppName::parse("app").unwrap(),
    )
}

fn only_tcp() -> Config {
    Config {
        listeners: vec![tcp()],
        ..config()
    }
}

/// A backend whose connections the test takes and uses itself.
async fn backend() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

/// Resolves in time or fails.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(10), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in ten seconds"))
}

async fn accept(listener: &TcpListener) -> TcpStream {
    soon("a connection came", listener.accept()).await.unwrap().0
}

/// Both ends of a connection through the proxy.
async fn through(stage: &Stage, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(stage.addr).await.unwrap();
    (client, accept(listener).await)
}

/// The connection ends by a reset, with nothing more to read.
async fn is_reset(stream: &mut TcpStream) -> bool {
    let read = soon("an end came", stream.read(&mut [0; 1])).await;
    matches!(read, Err(error) if error.kind() == io::ErrorKind::ConnectionReset)
}

async fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    soon("bytes came", stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(read, bytes);
}

/// Waits until the proxy holds no place on that backend any more.
async fn until_free(endpoint: &Endpoint) {
    soon("its place is free", async {
        while endpoint.meter.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn bytes_go_both_ways_and_each_half_closes_on_its_own() {
    let (listener, addr) = backend().await;
    let (stage, endpoints) = Stage::with(only_tcp(), &[addr]);
    for client_first in [true, false] {
        let (mut client, mut server) = through(&stage, &listener).await;
        client.write_all(b"hello").await.unwrap();
        expect(&mut server, b"hello").await;
        server.write_all(b"world").await.unwrap();
        expect(&mut client, b"world").await;
        assert_eq!(endpoints[0].meter.in_flight(), 1);

        let (first, second) = if client_first {
            (&mut client, &mut server)
        } else {
            (&mut server, &mut client)
        };
        first.shutdown().await.unwrap();
        assert_eq!(soon("the end came", second.read(&mut [0; 1])).await.unwrap(), 0);
        // The other half goes on.
        for _ in 0..3 {
            second.write_all(b"more").await.unwrap();
            expect(first, b"more").await;
        }
        assert_eq!(endpoints[0].meter.in_flight(), 1);
        second.shutdown().await.unwrap();
        assert_eq!(soon("the end came", first.read(&mut [0; 1])).await.unwrap(), 0);
        until_free(&endpoints[0]).await;
    }
    assert_eq!(endpoints[0].meter.totals(), (2, 0));
}

#[tokio::test]
async fn a_backend_may_speak_first() {
    let (listener, addr) = backend().await;
    let (stage, _) = Stage::with(only_tcp(), &[addr]);
    let (mut client, mut server) = through(&stage, &listener).await;
    server.write_all(b"220 ready\r\n").await.unwrap();
    expect(&mut client, b"220 ready\r\n").await;
}

#[tokio::test]
async fn a_reset_of_one_side_is_a_reset_of_the_other() {
    let (listener, addr) = backend().await;
    let (stage, endpoints) = Stage::with(only_tcp(), &[addr]);
    for by_client in [true, false] {
        let (mut client, mut server) = through(&stage, &listener).await;
        client.write_all(b"hello").await.unwrap();
        expect(&mut server, b"hello").await;
        let (gone, mut left) = if by_client {
            (client, server)
        } else {
            (server, client)
        };
        gone.set_zero_linger().unwrap();
        drop(gone);
        assert!(is_reset(&mut left).await, "by_client {by_client}");
        until_free(&endpoints[0]).await;
    }
    assert_eq!(
        endpoints[0].meter.totals(),
        (2, 0),
        "it was connected: no failure"
    );
}

#[tokio::test]
async fn a_reset_gets_through_although_the_receiver_has_stopped() {
    let (listener, addr) = backend().await;
    let (stage, endpoints) = Stage::with(only_tcp(), &[addr]);
    let (client, mut server) = through(&stage, &listener).await;
    fill(&client).await;
    client.set_zero_linger().unwrap();
    drop(client);
    until_free(&endpoints[0]).await;
    // What was on its way is lost with it.
    let mut rest = Vec::new();
    let read = soon("the end came", server.read_to_end(&mut rest)).await;
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_reset_gets_through_after_a_half_close() {
    let (listener, addr) = backend().await;
    let (stage, endpoints) = Stage::with(only_tcp(), &[addr]);
    let (mut client, mut server) = through(&stage, &listener).await;
    client.shutdown().await.unwrap();
    assert_eq!(soon("the end came", server.read(&mut [0; 1])).await.unwrap(), 0);
    client.set_zero_linger().unwrap();
    drop(client);
    until_free(&endpoints[0]).await;
    let write = soon("it is noticed", async {
        loop {
            if let Err(error) = server.write_all(b"x").await {
                return error.kind();
            }
            tokio::task::yield_now().await;
        }
    });
    assert!(matches!(
        write.await,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    ));
}

/// Writes until nothing more is taken, for as long as it takes to be sure of it; returns how much was.
async fn fill(stream: &TcpStream) -> usize {
    let chunk = vec![7; 64 * 1024];
    let mut taken = 0;
    loop {
        match stream.try_write(&chunk) {
            Ok(count) => taken += count,
            // The system moves what is under way for a while yet.
            Err(_) => match tokio::time::timeout(Duration::from_millis(300), stream.writable()).await {
                Ok(writable) => writable.unwrap(),
                Err(_) => return taken,
            },
        }
        assert!(taken < 64 * 1024 * 1024, "nothing holds the sender back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_stops_holds_the_sender_back_and_nothing_is_lost() {
    let (listener, addr) = backend().await;
    let (stage, _) = Stage::with(only_tcp(), &[addr]);
    let (client, mut server) = through(&stage, &listener).await;
    let held = fill(&client).await;
    assert!(
        held <= 8 * 1024 * 1024,
        "{held} bytes were taken for a receiver that has stopped"
    );
    let reading = tokio::spawn(async move {
        let (mut total, mut buffer) = (0, vec![0; 256 * 1024]);
        loop {
            match server.read(&mut buffer).await.unwrap() {
                0 => return total,
                count => {
                    assert!(buffer[..count].iter().all(|byte| *byte == 7));
                    total += count;
                }
            }
        }
    });
    let mut client = client;
    let rest = vec![7; 32 * 1024 * 1024];
    soon("the rest is taken", client.write_all(&rest)).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(
        soon("all came", reading).await.unwrap(),
        held + rest.len(),
        "of {held} and the rest"
    );
}

#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere_and_counts_as_a_failure() {
    let (listener, addr) = backend().await;
    let endpoints = [
        endpoint(1, Backend::refusing().await, Limits::NONE),
        endpoint(2, addr, Limits::NONE),
    ];
    let mut route = app("app", &endpoints);
    route.settings.max_failures = 2;
    let mut stage = Stage::start(only_tcp(), [route]);
    for _ in 0..6 {
        let (mut client, mut server) = through(&stage, &listener).await;
        client.write_all(b"x").await.unwrap();
        expect(&mut server, b"x").await;
    }
    assert_eq!(endpoints[0].meter.totals(), (2, 2), "excluded after two");
    assert_eq!(endpoints[0].meter.gate(), Gate::Excluded);
    let report = soon("a report came", stage.reports.recv()).await.unwrap();
    assert_eq!(report.signal, Signal::StreakReached);
    assert_eq!(endpoints[1].meter.totals(), (6, 0));
}

#[tokio::test]
async fn one_that_two_refuse_is_passed_on_to_the_third() {
    let (listener, addr) = backend().await;
    let refusing = [
        endpoint(1, Backend::refusing().await, Limits::NONE),
        endpoint(2, Backend::refusing().await, Limits::NONE),
    ];
    let [first, second] = refusing.clone();
    let mut route = app("app", &[first, second, endpoint(3, addr, Limits::NONE)]);
    route.settings.retry_budget_per_sec = 100;
    let stage = Stage::start(only_tcp(), [route]);
    for _ in 0..6 {
        let (mut client, mut server) = through(&stage, &listener).await;
        client.write_all(b"x").await.unwrap();
        expect(&mut server, b"x").await;
    }
    for endpoint in &refusing {
        let (connections, failures) = endpoint.meter.totals();
        assert!(
            (1..=6).contains(&connections),
            "none is tried twice: {connections}"
        );
        assert_eq!(connections, failures);
    }
}

/// Whether a client is reset, be it before it knows that it was connected.
async fn is_turned_away(addr: SocketAddr) -> bool {
    match TcpStream::connect(addr).await {
        Ok(mut stream) => is_reset(&mut stream).await,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn without_a_backend_the_client_is_reset() {
    let full = endpoint(1, backend().await.1, Limits::new(1, 1).unwrap());
    let (listener, addr) = backend().await;
    let full_but_one = endpoint(2, addr, Limits::new(1, 1).unwrap());
    full.meter.close();
    let stage = Stage::start(only_tcp(), [app("app", &[full, Arc::clone(&full_but_one)])]);
    let (mut first, mut server) = through(&stage, &listener).await;
    assert!(is_turned_away(stage.addr).await, "all are full or out");
    first.write_all(b"x").await.unwrap();
    expect(&mut server, b"x").await;

    stage.table.store(Arc::new(RouteTable::default()));
    assert!(is_turned_away(stage.addr).await, "there is no such app");
    let nobody = Stage::with(only_tcp(), &[Backend::refusing().await]).0;
    assert!(is_turned_away(nobody.addr).await, "nobody listens there");
}

/// One backend with one place, and room for one connection to wait for it.
async fn one_place(queue_timeout: Duration) -> (Stage, TcpListener, Arc<Queue>) {
    let (listener, addr) = backend().await;
    let mut app = app("app", &[endpoint(1, addr, Limits::new(1, 1).unwrap())]);
    (app.settings.queue_max, app.settings.queue_timeout) = (1, queue_timeout);
    let queue = Arc::clone(&app.queue);
    (Stage::start(only_tcp(), [app]), listener, queue)
}

async fn waiting(stage: &Stage, queue: &Queue) -> TcpStream {
    let stream = TcpStream::connect(stage.addr).await.unwrap();
    while queue.is_empty() {
        tokio::task::yield_now().await;
    }
    stream
}

#[tokio::test]
async fn one_that_finds_all_full_waits_until_a_place_is_given_back_and_the_next_is_turned_away() {
    let (stage, listener, queue) = one_place(Duration::from_secs(10)).await;
    let first = through(&stage, &listener).await;
    let mut second = waiting(&stage, &queue).await;
    assert!(is_turned_away(stage.addr).await, "the queue is full");
    drop(first);
    accept(&listener).await.write_all(b"hello").await.unwrap();
    expect(&mut second, b"hello").await;
}

#[tokio::test]
async fn one_that_waited_too_long_is_turned_away() {
    let (stage, listener, queue) = one_place(Duration::from_millis(50)).await;
    let _first = through(&stage, &listener).await;
    assert!(is_turned_away(stage.addr).await);
    assert!(queue.is_empty());
}

/// A backend with one place, which somebody has, and one that nobody listens at. A connection has been tried on that, and
/// waits for the first one; another one, which has been tried on neither, waits behind it.
struct InLine {
    stage: Stage,
    first: (TcpListener, Arc<Endpoint>),
    second: (SocketAddr, Arc<Endpoint>),
    /// The second one's place, so that nobody is tried on it.
    held: InFlight,
    queue: Arc<Queue>,
    served: (TcpStream, TcpStream),
    retried: TcpStream,
    last: TcpStream,
}

impl InLine {
    async fn up(settings: AppSettings) -> Self {
        let one = Limits::new(1, 1).unwrap();
        let ((listener, addr), refusing) = (backend().await, Backend::refusing().await);
        let endpoints = [endpoint(1, addr, one), endpoint(2, refusing, one)];
        let app = AppRoute {
            settings: AppSettings {
                queue_max: 2,
                queue_timeout: Duration::from_secs(60),
                ..settings
            },
            ..app("app", &endpoints)
        };
        if app.settings.retry_budget_per_sec == 0 {
            // What it begins with.
            let all = Allowance {
                percent: 0,
                per_sec: 0,
            };
            assert!(app.retry_budget.withdraw(all, MonoTime::ZERO));
        }
        let queue = Arc::clone(&app.queue);
        let one_worker = Config {
            workers: 1,
            ..only_tcp()
        };
        let stage = Stage::start(one_worker, [app]);
        let [first, second] = endpoints;
        let held = second.admit(Admission::Regular).unwrap();
        let served = through(&stage, &listener).await;
        drop(held);
        let retried = waiting(&stage, &queue).await;
        // Not for the next one.
        let held = second.admit(Admission::Regular).unwrap();
        let last = TcpStream::connect(stage.addr).await.unwrap();
        while queue.len() < 2 || second.meter.totals().1 < 1 {
            tokio::task::yield_now().await;
        }
        // Whoever joins tries once more. The worker comes to this one only after that.
        assert!(is_turned_away(stage.addr).await, "the queue is full");
        Self {
            stage,
            first: (listener, first),
            second: (refusing, second),
            held,
            queue,
            served,
            retried,
            last,
        }
    }
}

#[tokio::test]
async fn one_that_can_t_use_the_room_leaves_its_turn_to_the_next_in_line() {
    let mut line = InLine::up(AppSettings::default()).await;
    // The one that it has been tried on is the only one now, and is there.
    let left = AppRoute {
        queue: Arc::clone(&line.queue),
        ..app("app", &[line.second.1])
    };
    let table = RouteTable::new(2, [Arc::new(left)], Arc::default());
    line.stage.table.store(Arc::new(table));
    let listener = TcpListener::bind(line.second.0).await.unwrap();
    drop((line.held, line.served));
    assert!(is_reset(&mut line.retried).await, "there is nobody left to try");
    accept(&listener).await.write_all(b"hello").await.unwrap();
    expect(&mut line.last, b"hello").await;
}

#[tokio::test]
async fn one_that_may_not_be_tried_again_leaves_its_place_to_the_next_in_line() {
    let mut line = InLine::up(AppSettings {
        retry_budget_percent: 0,
        retry_budget_per_sec: 0,
        ..AppSettings::default()
    })
    .await;
    drop(line.served);
    assert!(is_reset(&mut line.retried).await, "the budget is spent");
    accept(&line.first.0).await.write_all(b"hello").await.unwrap();
    expect(&mut line.last, b"hello").await;
    assert_eq!(line.first.1.meter.in_flight(), 1);
}

#[tokio::test]
async fn all_who_wait_for_an_app_that_is_gone_are_reset() {
    let mut line = InLine::up(AppSettings::default()).await;
    line.stage.table.store(Arc::new(RouteTable::default()));
    drop(line.served);
    assert!(is_reset(&mut line.retried).await && is_reset(&mut line.last).await);
    assert!(line.queue.is_empty());
}

#[tokio::test]
async fn a_cut_backends_connections_are_reset() {
    let (listener, addr) = backend().await;
    let (stage, endpoints) = Stage::with(only_tcp(), &[addr]);
    let (mut client, mut server) = through(&stage, &listener).await;
    client.write_all(b"x").await.unwrap();
    expect(&mut server, b"x").await;
    endpoints[0].meter.close();
    stage.running.table_changed();
    client.write_all(b"y").await.unwrap();
    expect(&mut server, b"y").await;
    endpoints[0].meter.cut();
    stage.running.table_changed();
    assert!(is_reset(&mut client).await && is_reset(&mut server).await);
    until_free(&endpoints[0]).await;
}

#[tokio::test]
async fn a_drain_waits_for_connections_until_its_time_is_over_and_then_resets_them() {
    let (listener, addr) = backend().await;
    let hurried = Config {
        drain_timeout: Duration::from_millis(300),
        ..only_tcp()
    };
    let (stage, endpoints) = Stage::with(hurried, &[addr]);
    let (mut client, mut server) = through(&stage, &listener).await;
    stage.running.drain();
    client.write_all(b"still").await.unwrap();
    expect(&mut server, b"still").await;
    stage.stopped().await;
    assert!(is_reset(&mut client).await && is_reset(&mut server).await);
    assert_eq!(endpoints[0].meter.in_flight(), 0);

    let (patient, _) = Stage::with(only_tcp(), &[addr]);
    let (mut client, mut server) = through(&patient, &listener).await;
    patient.running.drain();
    server.write_all(b"last").await.unwrap();
    server.shutdown().await.unwrap();
    expect(&mut client, b"last").await;
    client.shutdown().await.unwrap();
    patient.stopped().await;
}

#[tokio::test]
async fn a_connection_that_is_silent_both_ways_is_closed() {
    let (listener, addr) = backend().await;
    let mut silent = tcp();
    let Protocol::Tcp { idle_timeout, .. } = &mut silent.protocol else {
        panic!("not TCP")
    };
    *idle_timeout = Some(Duration::from_millis(100));
    let config = Config {
        listeners: vec![silent],
        ..config()
    };
    let (stage, endpoints) = Stage::with(config, &[addr]);
    let (mut client, mut server) = through(&stage, &listener).await;
    server.write_all(b"x").await.unwrap();
    expect(&mut client, b"x").await;
    assert_eq!(soon("an end came", client.read(&mut [0; 1])).await.unwrap(), 0);
    assert_eq!(soon("an end came", server.read(&mut [0; 1])).await.unwrap(), 0);
    until_free(&endpoints[0]).await;
}

#[tokio::test]
async fn http_and_tcp_listeners_stand_side_by_side_and_share_the_connections_there_may_be() {
    let http = Backend::start(|_, _| ok("x")).await;
    let both = Config {
        listeners: vec![
            Listener::http(SocketAddr::from(([127, 0, 0, 1], 0))),
            tcp(),
            tcp(),
        ],
        workers: 1,
        max_connections: 1,
        ..config()
    };
    let (stage, _) = Stage::with(both, &[http.addr]);
    let [first, second, third] = stage.addrs[..] else {
        panic!("three listeners")
    };
    for addr in [second, first, third, first, second] {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.get("/").await.body, "x");
    }
}
