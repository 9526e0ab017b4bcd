//! The API inside TLS.

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A certificate for `localhost`, and who trusts it.
fn encrypted() -> (Tls, TlsConnector) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = edgeproxy_tls::Identity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    let server = edgeproxy_tls::Server {
        alpn: edgeproxy_tls::Alpn::Http1,
        ..edgeproxy_tls::Server::new(identity).unwrap()
    };
    let client = edgeproxy_tls::Client {
        trust: Some(edgeproxy_tls::Trust::from_pem(cert.as_bytes()).unwrap()),
        identity: None,
    };
    (Tls::new(server.build().unwrap()), client.build().unwrap().into())
}

async fn shaken(server: &Server, connector: &TlsConnector) -> TlsStream<TcpStream> {
    let name = "localhost".try_into().unwrap();
    connector.connect(name, server.connect().await).await.unwrap()
}

async fn health_inside(server: &Server, connector: &TlsConnector) -> String {
    let mut stream = shaken(server, connector).await;
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn handshakes_that_stall_take_no_place_and_end_in_their_own_time() {
    let (tls, connector) = encrypted();
    let (forever, bounds) = (Duration::from_secs(3_600), Bounds::default());
    let patient = Bounds {
        connections: 1,
        handshakes: 2,
        handshake_timeout: forever,
        ..bounds
    };
    let server = Server::start_inside(patient, Some(tls.clone())).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(server.connect().await);
    }
    let answer = health_inside(&server, &connector).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The oldest had to go.
    assert_eq!(read_to_end(&mut silent[0]).await, "");

    let brief = Bounds {
        handshake_timeout: Duration::from_millis(100),
        ..bounds
    };
    let server = Server::start_inside(brief, Some(tls)).await;
    let mut silent = server.connect().await;
    assert_eq!(read_to_end(&mut silent).await, "");
}

#[tokio::test]
async fn who_takes_nothing_inside_tls_is_cut() {
    let (tls, connector) = encrypted();
    let bounds = Bounds {
        connections: 1,
        write_timeout: Duration::from_millis(200),
        handshake_timeout: Duration::from_secs(3_600),
        ..Bounds::default()
    };
    let server = Server::start_inside(bounds, Some(tls)).await;
    let mut stalled = shaken(&server, &connector).await;
    // Answers that are never read, until nothing more fits between the two.
    let request = b"GET /api/v1/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(64);
    let flood = async { while stalled.write_all(&request).await.is_ok() {} };
    // There is one place, so this is answered only once the other has lost it.
    let (answer, ()) = tokio::join!(health_inside(&server, &connector), flood);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_speaks_http_in_the_clear_to_the_tls_port_is_told() {
    let (tls, connector) = encrypted();
    let server = Server::start_inside(Bounds::default(), Some(tls)).await;
    let answer = server
        .exchange(&post("/api/v1/register", &registration("a").to_string()))
        .await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(
        head.contains("\r\nContent-Type: application/problem+json"),
        "{answer}"
    );
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body["error"],
        "this port speaks TLS; use https:// instead of http://"
    );
    assert!(
        health_inside(&server, &connector)
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn shutdown_waits_for_no_handshake() {
    let (tls, connector) = encrypted();
    let forever = Duration::from_secs(3_600);
    let bounds = Bounds {
        connections: 1,
        handshake_timeout: forever,
        drain_timeout: forever,
        idle_timeout: forever,
        ..Bounds::default()
    };
    let mut server = Server::start_inside(bounds, Some(tls)).await;
    // Later ones are accepted later: once this one is answered, the silent one shakes hands.
    let mut silent = server.connect().await;
    let answer = health_inside(&server, &connector).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop();
    let stopped = timeout(Duration::from_secs(60), &mut server.serving).await;
    stopped
        .expect("a silent client holds up the stop")
        .unwrap()
        .unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
}
