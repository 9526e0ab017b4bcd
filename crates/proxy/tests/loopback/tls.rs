//! TLS that ends at a listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Endpoint;
use edgeproxy_proxy::{Config, Listener, Tls};
use edgeproxy_tls::{ClientAuth, Server, Version};
use http::{Request, Version as HttpVersion};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::client::TlsStream;

use crate::backend::{Backend, Reply, ok};
use crate::certificates::{Authority, connect, shake};
use crate::client::Client;
use crate::stage::{Stage, config};

pub(crate) const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// One listener, which ends TLS.
fn tls(server: &Server) -> Config {
    tls_by(&Tls::new(server.build().unwrap()))
}

fn tls_by(tls: &Tls) -> Config {
    Config {
        listeners: vec![Listener {
            tls: Some(tls.clone()),
            ..Listener::http(LOCAL)
        }],
        ..config()
    }
}

async fn echo() -> Backend {
    Backend::start(|_, seen| ok(&String::from_utf8_lossy(&seen.body))).await
}

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(10), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: not in ten seconds"))
}

async fn http2_on(stream: TlsStream<TcpStream>) -> http2::SendRequest<Full<Bytes>> {
    let (sender, conn) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(conn);
    sender
}

/// What the other side said when it refused the handshake.
fn alert(error: &io::Error) -> AlertDescription {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        other => panic!("no alert but {error}: {other:?}"),
    }
}

/// Takes every certificate, so that a test can look at the wrong one.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn believing(authority: &Authority) -> ClientConfig {
    let mut config = authority.client(&[]);
    config.dangerous().set_certificate_verifier(Arc::new(Believer));
    config.resumption = rustls::client::Resumption::disabled();
    config
}

#[tokio::test]
async fn each_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new();
    let [default, shop, wild] =
        [&["default.example"], &["shop.example"], &["*.shop.example"]].map(|names| authority.issue(names));
    let server = Server {
        others: vec![shop.identity(), wild.identity()],
        ..default.server()
    };
    let backend = echo().await;
    let (stage, _) = Stage::with(tls(&server), &[backend.addr]);
    let config = Arc::new(believing(&authority));
    for (name, expected) in [
        ("default.example", &default),
        ("shop.example", &shop),
        ("SHOP.example", &shop),
        ("www.shop.example", &wild),
        ("a.www.shop.example", &default),
        ("nobody.example", &default),
        ("127.0.0.1", &default), // asks for no name
    ] {
        let stream = shake(stage.addr, Arc::clone(&config), name).await.unwrap();
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        assert_eq!(shown[0], expected.der(), "{name}");
        assert_eq!(Client::on(stream).get("/").await.status, 200, "{name}");
    }
}

#[tokio::test]
async fn http_1_and_http_2_are_agreed_on_and_backends_are_told_https() {
    let authority = Authority::new();
    let issued = authority.issue(&["app"]);
    let backend = echo().await;
    let (stage, _) = Stage::with(tls(&issued.server()), &[backend.addr]);
    for alpn in [&[][..], &[&b"http/1.1"[..]]] {
        let mut client = connect(stage.addr, authority.client(alpn), "app").await;
        assert_eq!(client.stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        for _ in 0..2 {
            assert_eq!(client.get("/").await.status, 200);
            assert_eq!(backend.take().one("x-forwarded-proto"), "https");
        }
    }
    let stream = shake(stage.addr, authority.client(&[b"http/1.1", b"h2"]), "app").await;
    let stream = stream.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut sender = http2_on(stream).await;
    let request = Request::post("https://app/x").body(Full::from("hello")).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, HttpVersion::HTTP_2)
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    let seen = backend.take();
    assert_eq!(seen.one("x-forwarded-proto"), "https");
    assert_eq!(seen.line(), "POST /x HTTP/1.1");
    let other = shake(stage.addr, authority.client(&[b"acme-tls/1"]), "app").await;
    assert_eq!(
        alert(&other.unwrap_err()),
        AlertDescription::NoApplicationProtocol
    );
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_down_to_the_oldest_allowed() {
    let authority = Authority::new();
    let issued = authority.issue(&["app"]);
    let backend = echo().await;
    let (both, _) = Stage::with(tls(&issued.server()), &[backend.addr]);
    let newest = Server {
        min_version: Version::Tls13,
        ..issued.server()
    };
    let (newest, _) = Stage::with(tls(&newest), &[backend.addr]);
    for (stage, version, expected) in [
        (&both, &TLS12, Some(ProtocolVersion::TLSv1_2)),
        (&both, &TLS13, Some(ProtocolVersion::TLSv1_3)),
        (&newest, &TLS13, Some(ProtocolVersion::TLSv1_3)),
        (&newest, &TLS12, None),
    ] {
        let config = authority.client_of(&[], &[version], None);
        match (shake(stage.addr, config, "app").await, expected) {
            (Ok(stream), Some(expected)) => {
                assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
                assert_eq!(Client::on(stream).get("/").await.status, 200);
            }
            (Err(error), None) => assert_eq!(alert(&error), AlertDescription::ProtocolVersion),
            (other, _) => panic!("{expected:?} {other:?}"),
        }
    }
}

#[tokio::test]
async fn sessions_are_resumed_on_any_worker_and_across_a_reload() {
    let authority = Authority::new();
    let server = authority.issue(&["app"]).server();
    let backend = echo().await;
    let tls = Tls::new(server.build().unwrap());
    let (stage, _) = Stage::with(tls_by(&tls), &[backend.addr]);
    for version in [&TLS12, &TLS13] {
        let config = Arc::new(authority.client_of(&[], &[version], None));
        let mut kinds = Vec::new();
        // Two workers: each has had one of them with near certainty.
        for round in 0..12 {
            if round == 6 {
                let renewed = Server {
                    default: authority.issue(&["app"]).identity(),
                    ..server.clone()
                };
                tls.replace(renewed.build().unwrap());
            }
            let mut client = connect(stage.addr, Arc::clone(&config), "app").await;
            // Its answer comes after the tickets.
            assert_eq!(client.get("/").await.status, 200);
            kinds.push(client.stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[0], HandshakeKind::Full);
        assert!(
            kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed),
            "{kinds:?}"
        );
    }
}

#[tokio::test]
async fn clients_certificates_are_required_or_optional_and_always_checked() {
    let (authority, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let issued = authority.issue(&["app"]);
    let (known, stranger) = (clients.issue(&["someone"]), strangers.issue(&["someone"]));
    let expired = clients.issue_expired(&["someone"]);
    let backend = echo().await;
    let required = Server {
        client_auth: ClientAuth::Required(clients.trust()),
        ..issued.server()
    };
    let optional = Server {
        client_auth: ClientAuth::Optional(clients.trust()),
        ..issued.server()
    };
    let (required, _) = Stage::with(tls(&required), &[backend.addr]);
    let (optional, _) = Stage::with(tls(&optional), &[backend.addr]);
    for (stage, identity, refused) in [
        (&required, Some(&known), None),
        (&required, None, Some(AlertDescription::CertificateRequired)),
        (&required, Some(&stranger), Some(AlertDescription::UnknownCA)),
        (
            &required,
            Some(&expired),
            Some(AlertDescription::CertificateExpired),
        ),
        (&optional, Some(&known), None),
        (&optional, None, None),
        (&optional, Some(&stranger), Some(AlertDescription::UnknownCA)),
    ] {
        let config = authority.client_of(&[], &[&TLS13], identity);
        let mut client = connect(stage.addr, config, "app").await;
        match refused {
            None => assert_eq!(client.get("/").await.status, 200),
            // In TLS 1.3 a client believes that it is connected before its certificate has been looked at.
            Some(refused) => {
                let _ = client
                    .stream
                    .write_all(b"GET / HTTP/1.1\r\nhost: app\r\n\r\n")
                    .await;
                let error = soon("an alert", client.stream.read(&mut [0; 1]))
                    .await
                    .unwrap_err();
                assert_eq!(alert(&error), refused);
            }
        }
    }
    assert_eq!(backend.tally().requests, 3);
}

#[tokio::test]
async fn a_stalled_handshake_ends_with_its_time_out_and_holds_up_nobody_else() {
    let authority = Authority::new();
    let issued = authority.issue(&["app"]);
    let backend = echo().await;
    let hurried = Config {
        handshake_timeout: Duration::from_secs(2),
        max_connections_per_client: 9,
        ..tls(&issued.server())
    };
    let (stage, _) = Stage::with(hurried, &[backend.addr]);
    let mut stalled = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(stage.addr).await.unwrap();
        // Nothing, or the beginning of a hello.
        let begun: &[u8] = &[22, 3, 1, 2, 0, 1, 0, 1];
        stream.write_all(&begun[..number]).await.unwrap();
        stalled.push(stream);
    }
    // The ninth is served, and a tenth is one too many: they all count.
    let mut client = connect(stage.addr, authority.client(&[]), "app").await;
    assert_eq!(client.get("/").await.status, 200);
    assert!(shake(stage.addr, authority.client(&[]), "app").await.is_err());
    assert_eq!(stage.running.refused_by_client(), 1);
    for stream in &mut stalled {
        let read = soon("it is closed", stream.read(&mut [0; 64])).await;
        assert!(matches!(read, Ok(0)), "{read:?}");
    }
    assert_eq!(client.get("/").await.status, 200);
    drop(client);
}

#[tokio::test]
async fn a_drain_waits_for_a_stalled_handshake_no_longer_than_for_a_silent_client() {
    let issued = Authority::new().issue(&["app"]);
    let backend = echo().await;
    let patient = Config {
        handshake_timeout: Duration::from_secs(3_600),
        drain_timeout: Duration::from_secs(3_600),
        ..tls(&issued.server())
    };
    let (stage, _) = Stage::with(patient, &[backend.addr]);
    let _stalled = TcpStream::connect(stage.addr).await.unwrap();
    stage.running.drain();
    stage.stopped().await;
}

#[tokio::test]
async fn http_in_the_clear_on_a_tls_port_is_told_so_and_garbage_gets_an_alert() {
    let authority = Authority::new();
    let backend = echo().await;
    let (stage, _) = Stage::with(tls(&authority.issue(&["app"]).server()), &[backend.addr]);
    let mut client = Client::connect(stage.addr).await;
    let told = client.get("/").await;
    let expected = (400, "bad_request", "this port speaks TLS: connect by https");
    assert_eq!(told.own(), expected);
    assert_eq!(told.one("connection"), "close");
    assert!(client.end().await.is_empty());
    let mut client = Client::connect(stage.addr).await;
    client.write([7; 100]).await;
    let told = client.end().await;
    // A fatal alert in a record of its own.
    assert_eq!((told[0], told[5], told.len()), (21, 2, 7), "{told:?}");
    assert_eq!(backend.tally().requests, 0);
    let mut client = connect(stage.addr, authority.client(&[]), "app").await;
    assert_eq!(client.get("/").await.status, 200);
}

#[tokio::test]
async fn a_replaced_configuration_holds_for_new_connections_and_drops_none() {
    let authority = Authority::new();
    let (before, after) = (authority.issue(&["app"]), authority.issue(&["app"]));
    let permits = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&permits);
    let backend = Backend::start(move |number, _| match number {
        0 => Reply::Hold(
            b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc".to_vec(),
            Arc::clone(&held),
            b"def".to_vec(),
        ),
        _ => ok("x"),
    })
    .await;
    let tls = Tls::new(before.server().build().unwrap());
    let (stage, _) = Stage::with(tls_by(&tls), &[backend.addr]);
    let mut open = connect(stage.addr, authority.client(&[]), "app").await;
    open.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    backend.until(|tally| tally.in_flight == 1).await;
    tls.replace(after.server().build().unwrap());
    let mut new = connect(stage.addr, authority.client(&[]), "app").await;
    assert_eq!(
        new.stream.get_ref().1.peer_certificates().unwrap()[0],
        after.der()
    );
    assert_eq!(new.get("/").await.body, "x");
    permits.add_permits(1);
    assert_eq!(open.read().await.body, "abcdef");
    assert_eq!(open.get("/").await.body, "x");
}

#[tokio::test]
async fn bodies_of_a_mebibyte_pass_both_ways_by_either_protocol() {
    let authority = Authority::new();
    let backend = echo().await;
    let (stage, _) = Stage::with(tls(&authority.issue(&["app"]).server()), &[backend.addr]);
    let body: String = (0..1 << 20)
        .map(|at| char::from(b'a' + (at % 23) as u8))
        .collect();
    let mut client = connect(stage.addr, authority.client(&[b"http/1.1"]), "app").await;
    for _ in 0..2 {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write(head + &body).await;
        client.stream.flush().await.unwrap();
        assert!(client.read().await.body == body);
    }
    let stream = shake(stage.addr, authority.client(&[b"h2"]), "app")
        .await
        .unwrap();
    let mut sender = http2_on(stream).await;
    let request = Request::post("https://app/")
        .body(Full::from(body.clone()))
        .unwrap();
    let response = soon("an answer", sender.send_request(request)).await.unwrap();
    assert!(response.into_body().collect().await.unwrap().to_bytes() == body);
}

#[tokio::test]
async fn an_answer_arrives_whole_at_a_client_that_takes_it_late() {
    let authority = Authority::new();
    let body = "x".repeat(8 << 20);
    let large = body.clone();
    let backend = Backend::start(move |_, _| ok(&large)).await;
    let (stage, endpoints) = Stage::with(tls(&authority.issue(&["app"]).server()), &[backend.addr]);
    let mut client = connect(stage.addr, authority.client(&[]), "app").await;
    client.write("GET / HTTP/1.1\r\nhost: app\r\n\r\n").await;
    backend.until(|tally| tally.requests == 1).await;
    assert!(client.read().await.body == body);
    assert_eq!(client.get("/").await.body.len(), body.len());
    assert_eq!(endpoints[0].meter.in_flight(), 0);
}

#[tokio::test]
async fn a_request_followed_by_the_clients_end_is_answered_and_ends_in_peace() {
    let authority = Authority::new();
    let backend = echo().await;
    let (stage, _) = Stage::with(tls(&authority.issue(&["app"]).server()), &[backend.addr]);
    let mut client = connect(stage.addr, authority.client(&[]), "app").await;
    client
        .write("POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello")
        .await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.read().await.body, "hello");
    assert_eq!(
        soon("an end", client.stream.read(&mut [0; 1])).await.unwrap(),
        0,
        "close_notify"
    );
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_close_notify_only_if_it_is_whole() {
    let authority = Authority::new();
    let backend = Backend::start(|number, _| {
        let answer = match number {
            0 => &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"[..],
            _ => b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        };
        Reply::SendAndClose(answer.to_vec())
    })
    .await;
    let (stage, _) = Stage::with(tls(&authority.issue(&["app"]).server()), &[backend.addr]);
    for whole in [true, false] {
        let mut client = connect(stage.addr, authority.client(&[]), "app").await;
        client.write("GET / HTTP/1.0\r\nhost: app\r\n\r\n").await;
        let mut answer = Vec::new();
        let read = soon("an end", client.stream.read_to_end(&mut answer)).await;
        assert_eq!(read.is_ok(), whole, "{read:?}");
        if whole {
            assert!(answer.ends_with(b"\r\n\r\nabc"));
        }
    }
}

#[tokio::test]
async fn an_idle_client_is_told_the_end() {
    let authority = Authority::new();
    let backend = echo().await;
    let hurried = Config {
        idle_timeout: Duration::from_secs(1),
        ..tls(&authority.issue(&["app"]).server())
    };
    let (stage, _) = Stage::with(hurried, &[backend.addr]);
    let mut client = connect(stage.addr, authority.client(&[]), "app").await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(
        soon("an end", client.stream.read(&mut [0; 1])).await.unwrap(),
        0,
        "close_notify"
    );
}

/// A backend that switches protocols and sends back what comes.
pub(crate) async fn switches() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

pub(crate) const UPGRADE: &str =
    "GET /chat HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
pub(crate) const SWITCHED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways_and_half_closes() {
    let authority = Authority::new();
    let (listener, addr) = switches().await;
    let (stage, endpoints) = Stage::with(tls(&authority.issue(&["app"]).server()), &[addr]);
    let mut client = connect(stage.addr, authority.client(&[b"http/1.1"]), "app").await;
    client.write(UPGRADE).await;
    let (mut server, _) = listener.accept().await.unwrap();
    let mut head = vec![0; 4096];
    let mut read = 0;
    while !head[..read].ends_with(b"\r\n\r\n") {
        read += soon("a head", server.read(&mut head[read..])).await.unwrap();
    }
    server.write_all(SWITCHED).await.unwrap();
    assert_eq!(client.head().await.unwrap().status, 101);
    for size in [1, 100, 100_000] {
        let sent = vec![7; size];
        client.write(&sent).await;
        client.stream.flush().await.unwrap();
        let mut got = vec![0; size];
        soon("bytes up", server.read_exact(&mut got)).await.unwrap();
        assert!(got == sent);
        server.write_all(&got).await.unwrap();
        assert!(client.bytes(size).await.unwrap() == sent);
    }
    client.stream.shutdown().await.unwrap();
    assert_eq!(soon("an end", server.read(&mut [0; 1])).await.unwrap(), 0);
    server.write_all(b"last").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(client.bytes(4).await.unwrap(), b"last");
    assert_eq!(
        soon("an end", client.stream.read(&mut [0; 1])).await.unwrap(),
        0,
        "close_notify"
    );
    until_free(&endpoints[0]).await;
}

pub(crate) async fn until_free(endpoint: &Endpoint) {
    soon("its place is free", async {
        while endpoint.meter.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
