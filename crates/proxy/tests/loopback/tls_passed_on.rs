//! TLS that is passed on unopened, by the server name that a client asks for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Limits, Protocol};
use edgeproxy_proxy::{Config, Listener, Protocol as Spoken, ProxyVersion};
use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::backend::{Backend, ok};
use crate::certificates::{Authority, connect, shake};
use crate::client::Client;
use crate::stage::{Stage, app, config, endpoint_of};
use crate::tls::soon;

fn sni() -> Config {
    Config {
        listeners: vec![Listener::sni(SocketAddr::from(([127, 0, 0, 1], 0)))],
        ..config()
    }
}

fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Two apps, each with a backend that shows its own certificate and says its name.
async fn two(authority: &Authority) -> (Stage, [Backend; 2]) {
    let backend = async |name: &'static str, names: &[&str]| {
        let issued = authority.issue(names);
        Backend::start_tls(issued.backend(), move |_, _| ok(name)).await
    };
    let backends = [
        backend("shop", &["shop.example"]).await,
        backend("api", &["api", "*.api"]).await,
    ];
    let https =
        |number, backend: &Backend| [endpoint_of(Protocol::Https, number, backend.addr, Limits::NONE)];
    let (shop, api) = (https(1, &backends[0]), https(2, &backends[1]));
    (
        Stage::start(sni(), [app("shop", &shop), app("api", &api)]),
        backends,
    )
}

#[tokio::test]
async fn the_name_names_the_app_and_the_backends_own_certificate_is_shown() {
    let authority = Authority::new();
    let (stage, backends) = two(&authority).await;
    for (name, body) in [("shop.example", "shop"), ("api", "api"), ("SHOP.example", "shop")] {
        let mut client = connect(stage.addr, authority.client(&[b"acme-tls/1"]), name).await;
        assert_eq!(client.get("/").await.body, body);
        assert_eq!(client.get("/").await.body, body);
    }
    let seen = backends[0].take();
    assert!(
        seen.all("via").is_empty(),
        "nobody has looked into it: {}",
        seen.head
    );
}

#[tokio::test]
async fn an_unknown_name_or_none_is_told_by_an_alert() {
    let authority = Authority::new();
    let (stage, backends) = two(&authority).await;
    for name in ["nobody.example", "127.0.0.1"] {
        let error = shake(stage.addr, authority.client(&[]), name).await.unwrap_err();
        assert_eq!(alert(&error), Some(AlertDescription::UnrecognisedName), "{error}");
    }
    assert_eq!(
        backends[0].tally().connections + backends[1].tally().connections,
        0
    );
}

#[tokio::test]
async fn the_only_app_gets_everything() {
    let authority = Authority::new();
    let issued = authority.issue(&["a.example", "127.0.0.1"]);
    let backend = Backend::start_tls(issued.backend(), |_, _| ok("x")).await;
    let only = endpoint_of(Protocol::Tcp, 1, backend.addr, Limits::NONE);
    let stage = Stage::start(sni(), [app("app", &[only])]);
    for name in ["a.example", "127.0.0.1"] {
        let mut client = connect(stage.addr, authority.client(&[]), name).await;
        assert_eq!(client.get("/").await.body, "x");
    }
}

#[tokio::test]
async fn what_is_no_hello_or_too_long_a_one_is_told_by_an_alert() {
    let authority = Authority::new();
    let (stage, _backends) = two(&authority).await;
    let mut client = Client::connect(stage.addr).await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    let told = client.end().await;
    assert_eq!((told[0], told[5], told.len()), (21, 2, 7), "{told:?}");

    let names: Vec<Vec<u8>> = (0..100).map(|number| vec![b'a' + number % 20; 200]).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let error = shake(stage.addr, authority.client(&names), "shop.example")
        .await
        .unwrap_err();
    assert_eq!(alert(&error), Some(AlertDescription::DecodeError), "{error}");
}

#[tokio::test]
async fn a_hello_that_does_not_come_ends_with_its_time_out() {
    let hurried = Config {
        handshake_timeout: Duration::from_millis(200),
        ..sni()
    };
    let (stage, _) = Stage::with(hurried, &[Backend::refusing().await]);
    for begun in [&[][..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(stage.addr).await.unwrap();
        stream.write_all(begun).await.unwrap();
        assert!(matches!(soon("an end", stream.read(&mut [0; 1])).await, Ok(0)));
    }
}

#[tokio::test]
async fn a_backend_is_told_of_the_client_before_the_hello_and_resets_get_through() {
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(authority.issue(&["shop"]).backend());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut config = sni();
    let Spoken::Sni { send_proxy, .. } = &mut config.listeners[0].protocol else {
        panic!("not SNI")
    };
    *send_proxy = Some(ProxyVersion::V1);
    let stage = Stage::start(
        config,
        [app(
            "shop",
            &[endpoint_of(Protocol::Https, 1, addr, Limits::NONE)],
        )],
    );
    let client = Arc::new(authority.client(&[]));
    let connecting = shake(stage.addr, client, "shop");
    let accepting = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n") {
            header.push(stream.read_u8().await.unwrap());
        }
        let header = String::from_utf8(header).unwrap();
        (header, acceptor.accept(stream).await.unwrap())
    };
    let (client, (header, server)) = tokio::join!(connecting, accepting);
    let mut client = client.unwrap();
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n",
        client.get_ref().0.local_addr().unwrap().port(),
        stage.addr.port()
    );
    assert_eq!(header, expected);
    let (stream, _) = server.into_inner();
    stream.set_zero_linger().unwrap();
    drop(stream);
    let read = soon("a reset", client.read(&mut [0; 1])).await;
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}
