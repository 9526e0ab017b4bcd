//! gRPC probes: against tonic's own health service, and against backends that have none.

use ::http::{HeaderMap, Response};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, health_reporter};

use super::*;
use crate::GrpcProbe;

/// tonic's health service.
async fn tonic() -> (SocketAddr, HealthReporter) {
    let (listener, addr) = listen().await;
    let (reporter, service) = health_reporter();
    let served = Server::builder().serve_with_incoming(service, TcpIncoming::from(listener));
    tokio::spawn(served);
    (addr, reporter)
}

fn cart() -> GrpcProbe {
    GrpcProbe::server().with_service("shop.v1.Cart").unwrap()
}

#[tokio::test]
async fn grpc_health_v1_of_a_real_server_says_whether_it_serves() {
    let (addr, reporter) = tonic().await;
    let whole = GrpcProbe::server();
    assert!(
        probe(addr, whole.clone()).await.passed(),
        "a server serves as a whole"
    );
    let unknown = reason(probe(addr, cart()).await).to_string();
    assert!(
        unknown.starts_with("grpc: the call failed with status NOT_FOUND"),
        "{unknown}"
    );
    for (status, words) in [
        (ServingStatus::Serving, None),
        (ServingStatus::NotServing, Some("NOT_SERVING")),
        (ServingStatus::Unknown, Some("UNKNOWN")),
    ] {
        reporter.set_service_status("shop.v1.Cart", status).await;
        let outcome = probe(addr, cart()).await;
        match words {
            None => assert!(outcome.passed(), "{outcome}"),
            Some(words) => assert_eq!(
                reason(outcome).to_string(),
                format!("grpc: the service says {words}, expected SERVING")
            ),
        }
    }
    assert!(probe(addr, whole).await.passed(), "one service is not all");
}

#[tokio::test]
async fn a_server_without_the_health_service_fails() {
    let unimplemented = Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "12")
        .header("grpc-message", "no such method")
        .body(())
        .unwrap();
    let (addr, _asked) = http2::speaking(unimplemented).await;
    assert_eq!(
        reason(probe(addr, cart()).await).to_string(),
        "grpc: the call failed with status UNIMPLEMENTED: no such method"
    );
}

#[tokio::test]
async fn a_backend_that_speaks_no_grpc_is_told_as_such() {
    let plain = |status: u16| {
        Response::builder()
            .status(status)
            .header("content-type", "text/html")
            .body(())
            .unwrap()
    };
    for (answer, words) in [
        (plain(404), "grpc: the answer has HTTP status 404"),
        (
            plain(200),
            "grpc: the answer's content-type is \"text/html\", expected \"application/grpc\"",
        ),
    ] {
        let (addr, _asked) = http2::speaking(answer).await;
        assert_eq!(reason(probe(addr, cart()).await).to_string(), words);
    }
    let (addr, _requests) = answering("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert!(!probe(addr, cart()).await.passed());
}

#[tokio::test]
async fn the_call_is_what_the_protocol_says() {
    let (addr, mut asked) = http2::speaking(Response::new(())).await;
    let limit = Duration::from_millis(2_500);
    let _ = probe(addr, cart().with_read_timeout(limit).unwrap()).await;
    let asked = asked.recv().await.unwrap();
    let (request, headers): (_, &HeaderMap) = (&asked.request, asked.request.headers());
    assert_eq!(
        request.uri().to_string(),
        format!("http://{addr}/grpc.health.v1.Health/Check")
    );
    assert_eq!(request.method(), "POST");
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["te"], "trailers");
    assert_eq!(headers["grpc-timeout"], "2500m");
    assert_eq!(asked.body, b"\0\0\0\0\x0e\x0a\x0cshop.v1.Cart");
}

/// Answers a call with these bytes and trailers.
async fn saying(message: &'static [u8], trailers: Option<&'static str>) -> SocketAddr {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder()
                .header("content-type", "application/grpc+proto")
                .body(())
                .unwrap();
            let mut stream = respond.send_response(head, false).unwrap();
            stream
                .send_data(bytes::Bytes::from_static(message), trailers.is_none())
                .unwrap();
            if let Some(status) = trailers {
                let trailers =
                    HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
                stream.send_trailers(trailers).unwrap();
            }
        }
    });
    addr
}

#[tokio::test]
async fn a_status_counts_only_with_the_end_of_the_call() {
    const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];
    static LONG: [u8; 5_000] = [0; 5_000];
    for (message, trailers, words) in [
        (SERVING, Some("0"), None),
        (SERVING, None, Some("grpc: the answer ends without grpc-status")),
        (
            SERVING,
            Some("14"),
            Some("grpc: the call failed with status UNAVAILABLE"),
        ),
        (&[], Some("0"), Some("grpc: the answer is no message")),
        (
            &LONG,
            Some("0"),
            Some("grpc: the answer is longer than 4096 bytes"),
        ),
    ] {
        let outcome = probe(saying(message, trailers).await, cart()).await;
        match words {
            None => assert!(outcome.passed(), "{outcome}"),
            Some(words) => assert_eq!(reason(outcome).to_string(), words),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_never_answers_fails_after_the_read_timeout() {
    let (listener, addr) = listen().await;
    let limit = Duration::from_secs(3);
    let outcome = tokio::spawn(probe(addr, cart().with_read_timeout(limit).unwrap()));
    let (_stream, _) = listener.accept().await.unwrap();
    assert_eq!(reason(outcome.await.unwrap()), Failure::ReadTimeout { limit });
}

#[tokio::test]
async fn a_port_of_its_own_is_probed_in_place_of_the_backends() {
    let (addr, _reporter) = tonic().await;
    let (_socket, refused) = refusing();
    let elsewhere = GrpcProbe::server().with_port(addr.port()).unwrap();
    assert!(probe(refused, elsewhere).await.passed());
}
