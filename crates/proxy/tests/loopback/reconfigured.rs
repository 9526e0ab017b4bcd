//! Another configuration for workers that run: what begins then goes by it, and what has begun goes on as it was.

use std::sync::Arc;

use edgeproxy_proxy::{Config, RouteTable};
use tokio::io::AsyncWriteExt;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::stage::{Stage, app, config, endpoint};

impl Stage {
    /// Puts a configuration in force, with an app `app` on `addr`.
    fn reconfigure(&self, then: Config, addr: std::net::SocketAddr) {
        let listeners = vec![edgeproxy_proxy::Listener::http(
            // As it was asked for at the beginning.
            std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        )];
        let then = Config { listeners, ..then };
        let app = app("app", &[endpoint(99, addr, edgeproxy_backend::Limits::NONE)]);
        let table = RouteTable::new(2, [Arc::new(app)], Arc::default());
        self.table
            .store(Arc::new(table.with_config(self.running.prepare(then).unwrap())));
        self.running.table_changed();
    }
}

#[tokio::test]
async fn a_connection_keeps_to_what_it_began_with_and_its_requests_go_by_the_new_table() {
    let (old, new) = (
        Backend::start(|_, _| ok("old")).await,
        Backend::start(|_, _| ok("new")).await,
    );
    let (stage, _) = Stage::of(&[old.addr]);
    let mut before = Client::connect(stage.addr).await;
    assert_eq!(before.get("/").await.body, "old");
    stage.reconfigure(
        Config {
            max_target_bytes: 4,
            ..config()
        },
        new.addr,
    );
    let mut after = Client::connect(stage.addr).await;
    assert_eq!(after.get("/123").await.body, "new");
    assert_eq!(after.get("/1234").await.status, 414);
    let response = before.get("/1234").await;
    assert_eq!((response.status, response.body.as_str()), (200, "new"));
}

#[tokio::test]
async fn a_table_without_a_configuration_is_by_that_of_the_beginning() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let short = Config {
        max_target_bytes: 1,
        ..config()
    };
    stage.reconfigure(short, backend.addr);
    assert_eq!(Client::connect(stage.addr).await.get("/1").await.status, 414);
    let app = app(
        "app",
        &[endpoint(1, backend.addr, edgeproxy_backend::Limits::NONE)],
    );
    stage
        .table
        .store(Arc::new(RouteTable::new(3, [Arc::new(app)], Arc::default())));
    assert_eq!(Client::connect(stage.addr).await.get("/1").await.status, 200);
}

#[tokio::test]
async fn the_number_of_connections_can_grow_and_shrink_while_they_are_there() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one = |max_connections| Config {
        workers: 1,
        max_connections,
        ..config()
    };
    let (stage, _) = Stage::with(one(1), &[backend.addr]);
    let mut first = Client::connect(stage.addr).await;
    assert_eq!(first.get("/").await.status, 200);
    // It waits in the backlog, until there is room.
    let mut second = Client::connect(stage.addr).await;
    second.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    stage.reconfigure(one(2), backend.addr);
    assert_eq!(second.read().await.status, 200);
    stage.reconfigure(one(1), backend.addr);
    for client in [&mut first, &mut second] {
        assert_eq!(client.get("/").await.status, 200, "nobody loses a place");
    }
    let mut third = Client::connect(stage.addr).await;
    third.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    first.stream.shutdown().await.unwrap();
    assert!(first.end().await.is_empty());
    // One place too many has gone with it, so the third's turn comes with the next.
    assert_eq!(second.get("/").await.status, 200);
    second.stream.shutdown().await.unwrap();
    assert!(second.end().await.is_empty());
    assert_eq!(third.read().await.status, 200);
    drop(third);
    stage.running.drain();
    stage.stopped().await;
}

#[tokio::test]
async fn a_limit_for_each_client_holds_from_the_next_connection_on() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let mut before = Client::connect(stage.addr).await;
    assert_eq!(before.get("/").await.status, 200);
    let limited = Config {
        max_connections_per_client: 1,
        ..config()
    };
    stage.reconfigure(limited, backend.addr);
    let mut counted = Client::connect(stage.addr).await;
    assert_eq!(counted.get("/").await.status, 200);
    assert!(Client::connect(stage.addr).await.end().await.is_empty());
    assert_eq!(before.get("/").await.status, 200);
    stage.reconfigure(config(), backend.addr);
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
}

#[tokio::test]
async fn whom_forwarding_fields_are_believed_from_can_change() {
    let backend = Backend::start(|_, seen| ok(seen.one("x-forwarded-for"))).await;
    let (stage, _) = Stage::of(&[backend.addr]);
    let request = "GET / HTTP/1.1\r\nhost: app\r\nx-forwarded-for: 192.0.2.1\r\n\r\n";
    let mut before = Client::connect(stage.addr).await;
    before.write(request).await;
    assert_eq!(before.read().await.body, "127.0.0.1");
    let trusting = Config {
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config()
    };
    stage.reconfigure(trusting, backend.addr);
    let mut after = Client::connect(stage.addr).await;
    after.write(request).await;
    assert_eq!(after.read().await.body, "192.0.2.1, 127.0.0.1");
    before.write(request).await;
    assert_eq!(before.read().await.body, "127.0.0.1");
}
