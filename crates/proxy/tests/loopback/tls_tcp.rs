//! TLS that ends at a listener of TCP.

use edgeproxy_backend::AppName;
use edgeproxy_proxy::{Config, Listener, Tls};
use edgeproxy_tls::{Alpn, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::certificates::{Authority, Issued, connect};
use crate::stage::{Stage, config};
use crate::tls::{LOCAL, soon, switches, until_free};

/// A listener of TCP that ends TLS.
fn tcp(issued: &Issued) -> Config {
    let server = Server {
        alpn: Alpn::None,
        ..issued.server()
    };
    Config {
        listeners: vec![Listener {
            tls: Some(Tls::new(server.build().unwrap())),
            ..Listener::tcp(LOCAL, AppName::parse("app").unwrap())
        }],
        ..config()
    }
}

#[tokio::test]
async fn tls_ends_at_a_tcp_listener_and_each_half_closes_on_its_own() {
    let authority = Authority::new();
    let (listener, addr) = switches().await;
    let (stage, endpoints) = Stage::with(tcp(&authority.issue(&["db"])), &[addr]);
    let mut client = connect(stage.addr, authority.client(&[b"postgresql"]), "db")
        .await
        .stream;
    assert_eq!(client.get_ref().1.alpn_protocol(), None);
    let (mut server, _) = listener.accept().await.unwrap();
    let (sent, mut got) = (vec![9; 1 << 20], vec![0; 1 << 20]);
    let (up, down) = tokio::join!(client.write_all(&sent), server.read_exact(&mut got));
    up.unwrap();
    down.unwrap();
    assert!(sent == got);
    let (down, up) = tokio::join!(server.write_all(&sent), client.read_exact(&mut got));
    down.unwrap();
    up.unwrap();
    assert!(sent == got);
    server.shutdown().await.unwrap();
    assert_eq!(
        soon("an end", client.read(&mut [0; 1])).await.unwrap(),
        0,
        "close_notify"
    );
    client.write_all(b"more").await.unwrap();
    client.flush().await.unwrap();
    soon("more", server.read_exact(&mut got[..4])).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(soon("an end", server.read(&mut [0; 1])).await.unwrap(), 0);
    until_free(&endpoints[0]).await;
    assert_eq!(endpoints[0].meter.totals(), (1, 0));
}

#[tokio::test]
async fn what_breaks_a_tcp_connection_is_no_end_inside_tls() {
    let authority = Authority::new();
    let (listener, addr) = switches().await;
    let (stage, endpoints) = Stage::with(tcp(&authority.issue(&["db"])), &[addr]);
    let shaken = async || {
        let mut client = connect(stage.addr, authority.client(&[]), "db").await.stream;
        client.write_all(b"x").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        soon("a byte", server.read_exact(&mut [0; 1])).await.unwrap();
        (client, server)
    };
    let (mut client, server) = shaken().await;
    server.set_zero_linger().unwrap();
    drop(server);
    let read = soon("an end", client.read(&mut [0; 1])).await;
    assert!(read.is_err(), "a reset backend is no end: {read:?}");
    until_free(&endpoints[0]).await;

    // A client that is cut off without close_notify may not have said all.
    let (client, mut server) = shaken().await;
    let (stream, _) = client.into_inner();
    drop(stream);
    let read = soon("an end", server.read(&mut [0; 1])).await;
    assert!(read.is_err(), "a truncated client is no end: {read:?}");
    until_free(&endpoints[0]).await;
}
