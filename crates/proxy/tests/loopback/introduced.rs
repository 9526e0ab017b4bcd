//! Who a client is taken for: by its address, or by what a proxy says; and how many connections it may have.

use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_backend::AppName;
use edgeproxy_proxy::{Config, Listener, Protocol, ProxyVersion};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::backend::{Backend, ok};
use crate::client::Client;
use crate::stage::{Stage, config};

const HEADER: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n";
const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An HTTP listener before which such peers are proxies.
fn behind(peers: &str) -> Config {
    Config {
        listeners: vec![Listener {
            proxy_protocol_from: vec![peers.parse().unwrap()],
            ..Listener::http(any())
        }],
        header_timeout: Duration::from_millis(200),
        ..config()
    }
}

#[tokio::test]
async fn a_listed_peer_names_the_client_and_a_backend_is_told() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::with(behind("127.0.0.0/8"), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write(format!("{HEADER}{GET}")).await;
    assert_eq!(client.read().await.status, 200);
    assert_eq!(backend.take().one("x-forwarded-for"), "192.0.2.7");
    // The header is of the connection, not of a request.
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(backend.take().one("x-forwarded-for"), "192.0.2.7");

    let mut check = Client::connect(stage.addr).await;
    check.write(format!("PROXY UNKNOWN\r\n{GET}")).await;
    assert_eq!(check.read().await.status, 200);
    assert_eq!(backend.take().one("x-forwarded-for"), "127.0.0.1");
}

#[tokio::test]
async fn a_listed_peer_without_a_header_is_refused_and_so_is_a_slow_one() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::with(behind("127.0.0.0/8"), &[backend.addr]);
    for begin in [
        GET,
        "PROXY TCP4 192.0.2.7",
        "PROXY nonsense, nothing of it\r\n",
        "",
    ] {
        let mut client = Client::connect(stage.addr).await;
        client.write(begin).await;
        assert!(client.end().await.is_empty(), "{begin}");
    }
    assert_eq!(backend.tally().requests, 0);
}

#[tokio::test]
async fn a_strangers_header_is_not_believed() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let (stage, _) = Stage::with(behind("192.0.2.0/24"), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    client.write(format!("{HEADER}{GET}")).await;
    assert_eq!(client.read().await.status, 400, "it is no HTTP");
    assert_eq!(Client::connect(stage.addr).await.get("/").await.status, 200);
    assert_eq!(backend.take().one("x-forwarded-for"), "127.0.0.1");
}

#[tokio::test]
async fn a_backend_of_a_tcp_listener_is_told_by_a_header_of_its_own() {
    for (version, expected) in [
        (ProxyVersion::V1, &b"PROXY TCP4 127.0.0.1 127.0.0.1 "[..]),
        (
            ProxyVersion::V2,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01",
        ),
    ] {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = Listener::tcp(any(), AppName::parse("app").unwrap());
        let Protocol::Tcp { send_proxy, .. } = &mut listener.protocol else {
            panic!("not TCP")
        };
        *send_proxy = Some(version);
        let config = Config {
            listeners: vec![listener],
            ..config()
        };
        let (stage, _) = Stage::with(config, &[backend.local_addr().unwrap()]);
        // Before the client has said anything.
        let client = Client::connect(stage.addr).await;
        let (mut server, _) = backend.accept().await.unwrap();
        let mut begin = vec![0; expected.len()];
        server.read_exact(&mut begin).await.unwrap();
        assert_eq!(begin, expected);
        let (from, to) = (client.stream.local_addr().unwrap(), stage.addr);
        let rest = match version {
            ProxyVersion::V1 => format!("{} {}\r\n", from.port(), to.port()).into_bytes(),
            ProxyVersion::V2 => [from.port().to_be_bytes(), to.port().to_be_bytes()].concat(),
        };
        let mut end = vec![0; rest.len()];
        server.read_exact(&mut end).await.unwrap();
        assert_eq!(end, rest);
    }
}

#[tokio::test]
async fn a_client_with_as_many_connections_as_it_may_is_closed_at_once() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let two = Config {
        max_connections_per_client: 2,
        ..config()
    };
    let (stage, _) = Stage::with(two, &[backend.addr]);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(stage.addr).await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    for _ in 0..3 {
        assert!(Client::connect(stage.addr).await.end().await.is_empty());
    }
    assert_eq!(stage.running.refused_by_client(), 3);
    let ended = held.pop();
    drop(ended);
    // It has to be noticed first.
    let mut again = loop {
        let mut client = Client::connect(stage.addr).await;
        client.write(GET).await;
        if let Some(response) = client.try_read(true).await {
            assert_eq!(response.status, 200);
            break client;
        }
    };
    assert_eq!(again.get("/").await.status, 200);
}

#[tokio::test]
async fn the_limit_is_of_the_client_that_a_proxy_names_and_not_of_trusted_proxies() {
    let backend = Backend::start(|_, _| ok("x")).await;
    let one = Config {
        max_connections_per_client: 1,
        ..behind("127.0.0.0/8")
    };
    let (stage, _) = Stage::with(one, &[backend.addr]);
    let mut held = Vec::new();
    for (named, served) in [("192.0.2.7", true), ("192.0.2.8", true), ("192.0.2.7", false)] {
        let mut client = Client::connect(stage.addr).await;
        client
            .write(format!("PROXY TCP4 {named} 192.0.2.1 1 1\r\n{GET}"))
            .await;
        let response = client.try_read(true).await;
        assert_eq!(response.is_some(), served, "{named}");
        held.push(client);
    }

    let trusting = Config {
        max_connections_per_client: 1,
        trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()],
        ..config()
    };
    let (stage, _) = Stage::with(trusting, &[backend.addr]);
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(stage.addr).await;
        assert_eq!(client.get("/").await.status, 200);
        held.push(client);
    }
    assert_eq!(stage.running.refused_by_client(), 0);
}
