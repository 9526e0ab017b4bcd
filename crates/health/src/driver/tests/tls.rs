//! Probes that speak TLS.

use ::http::Response;
use edgeproxy_tls::{Alpn, Client, Identity, Trust};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::driver::{TlsClient, TlsClients};
use crate::{Encryption, GrpcProbe};

/// A backend with a certificate of its own for these names, and how it is trusted.
struct Backend {
    addr: SocketAddr,
    asked: mpsc::UnboundedReceiver<Option<String>>,
    /// Whether each connection of HTTP/1.1 ended as TLS has it.
    ends: mpsc::UnboundedReceiver<bool>,
    trust: Trust,
}

async fn encrypted(names: &[&str], alpn: Alpn) -> Backend {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let identity = Identity::from_pem(cert.as_bytes(), key.as_bytes()).unwrap();
    let server = edgeproxy_tls::Server {
        alpn,
        ..edgeproxy_tls::Server::new(identity).unwrap()
    };
    let acceptor = TlsAcceptor::from(server.build().unwrap());
    let (listener, addr) = listen().await;
    let (tell, asked) = mpsc::unbounded_channel();
    let (tell_end, ends) = mpsc::unbounded_channel();
    let trust = Trust::from_pem(cert.as_bytes()).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell, tell_end) = (acceptor.clone(), tell.clone(), tell_end.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let session = stream.get_ref().1;
                let _ = tell.send(session.server_name().map(str::to_owned));
                if session.alpn_protocol() == Some(b"h2") {
                    let (unheard, _) = mpsc::unbounded_channel();
                    http2::serve(stream, Response::new(()), unheard).await;
                    return;
                }
                let mut byte = [0; 1];
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                    head.push(byte[0]);
                }
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
                // An end of TCP without that of TLS would be an error here.
                let _ = tell_end.send(stream.read(&mut byte).await.is_ok_and(|count| count == 0));
            });
        }
    });
    Backend {
        addr,
        asked,
        ends,
        trust,
    }
}

/// TLS in which each kind of encryption trusts somebody.
struct Trusting {
    verified: Option<Trust>,
    traffic: Option<(Trust, &'static str)>,
}

impl TlsClients for Trusting {
    fn client(&self, encryption: Encryption) -> Option<TlsClient> {
        let (trust, name) = match encryption {
            Encryption::Clear => return None,
            Encryption::Unverified => (None, None),
            Encryption::Verified => (Some(self.verified.clone()?), None),
            Encryption::AsTraffic => {
                let (trust, name) = self.traffic.clone()?;
                (Some(trust), Some(ServerName::try_from(name).unwrap()))
            }
        };
        let client = Client {
            trust,
            identity: None,
        };
        Some(TlsClient {
            config: client.build().unwrap(),
            server_name: name,
        })
    }
}

async fn probe_inside(tls: Trusting, addr: SocketAddr, kind: impl Into<Kind>) -> Outcome {
    let (tell, mut reports) = mpsc::unbounded_channel();
    let (handle, driver) = Driver::new(Config::default(), move |_: &Target, outcome: &Outcome| {
        let _ = tell.send(outcome.clone());
        Pace::Settled
    });
    tokio::spawn(driver.with_tls(Arc::new(tls)).run());
    handle.set_targets([target(1, addr, Monitor::new(kind))]);
    soon(reports.recv()).await.unwrap()
}

fn get(encryption: Encryption) -> HttpProbe {
    HttpProbe::get("/").unwrap().with_encryption(encryption)
}

fn nobody() -> Trusting {
    Trusting {
        verified: None,
        traffic: None,
    }
}

#[tokio::test]
async fn tls_takes_a_certificate_from_an_authority_that_is_trusted_and_no_other() {
    for alpn in [Alpn::Http, Alpn::None] {
        let backend = encrypted(&["127.0.0.1"], alpn).await;
        let stranger = encrypted(&["127.0.0.1"], Alpn::Http).await;
        let trusting = |trust| Trusting {
            verified: Some(trust),
            traffic: None,
        };
        let outcome = probe_inside(trusting(backend.trust), backend.addr, get(Encryption::Verified)).await;
        assert!(outcome.passed(), "{outcome}");
        let outcome = probe_inside(trusting(stranger.trust), backend.addr, get(Encryption::Verified)).await;
        let words = reason(outcome).to_string();
        assert!(words.starts_with("tls: invalid peer certificate"), "{words}");
    }
}

#[tokio::test]
async fn tls_insecure_takes_any_certificate() {
    let backend = encrypted(&["somebody.else"], Alpn::Http).await;
    let outcome = probe_inside(nobody(), backend.addr, get(Encryption::Unverified)).await;
    assert!(outcome.passed(), "{outcome}");
}

#[tokio::test]
async fn use_backend_tls_is_as_traffic_has_it_and_goes_by_the_name_that_traffic_goes_by() {
    let mut backend = encrypted(&["backends.internal"], Alpn::Http).await;
    let tls = Trusting {
        verified: None,
        traffic: Some((backend.trust.clone(), "backends.internal")),
    };
    let outcome = probe_inside(tls, backend.addr, get(Encryption::AsTraffic)).await;
    assert!(outcome.passed(), "{outcome}");
    assert_eq!(
        backend.asked.recv().await.unwrap().as_deref(),
        Some("backends.internal")
    );
}

#[tokio::test]
async fn the_name_in_host_is_whom_a_certificate_has_to_be_for() {
    let mut backend = encrypted(&["shop.example"], Alpn::Http).await;
    let named = get(Encryption::Verified)
        .with_header("Host", "shop.example:443")
        .unwrap();
    let trusting = || Trusting {
        verified: Some(backend.trust.clone()),
        traffic: None,
    };
    let outcome = probe_inside(trusting(), backend.addr, named).await;
    assert!(outcome.passed(), "{outcome}");
    let outcome = probe_inside(trusting(), backend.addr, get(Encryption::Verified)).await;
    assert!(matches!(reason(outcome), Failure::Tls { .. }));
    assert_eq!(
        backend.asked.recv().await.unwrap().as_deref(),
        Some("shop.example")
    );
}

#[tokio::test]
async fn a_backend_is_left_with_the_end_of_tls() {
    let mut backend = encrypted(&["127.0.0.1"], Alpn::None).await;
    let outcome = probe_inside(nobody(), backend.addr, get(Encryption::Unverified)).await;
    assert!(outcome.passed(), "{outcome}");
    assert_eq!(soon(backend.ends.recv()).await, Some(true));
}

#[tokio::test]
async fn a_backend_that_speaks_in_the_clear_fails_a_probe_in_tls() {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read_u8().await;
    });
    let outcome = probe_inside(nobody(), addr, get(Encryption::Unverified)).await;
    assert!(!outcome.passed());
}

#[tokio::test]
async fn a_grpc_probe_speaks_http_2_inside_tls() {
    let backend = encrypted(&["127.0.0.1"], Alpn::Http).await;
    let call = GrpcProbe::server().with_encryption(Encryption::Unverified);
    let words = reason(probe_inside(nobody(), backend.addr, call).await).to_string();
    assert!(
        words.starts_with("grpc: the answer's content-type"),
        "it was asked and answered: {words}"
    );
}

#[tokio::test]
async fn a_handshake_that_hangs_fails_after_the_connect_timeout() {
    let (listener, addr) = listen().await;
    let limit = Duration::from_millis(50);
    let hanging = get(Encryption::Unverified).with_connect_timeout(limit).unwrap();
    let outcome = tokio::spawn(probe_inside(nobody(), addr, hanging));
    let (_stream, _) = listener.accept().await.unwrap();
    assert_eq!(reason(outcome.await.unwrap()), Failure::ConnectTimeout { limit });
}

#[tokio::test]
async fn without_any_tls_set_up_the_backend_is_not_blamed() {
    let backend = encrypted(&["127.0.0.1"], Alpn::Http).await;
    let mut rig = Rig::new();
    rig.handle.set_targets([
        target(1, backend.addr, Monitor::new(get(Encryption::Verified))),
        target(2, backend.addr, Monitor::tcp()),
    ]);
    assert_eq!(rig.next().await.0, 2);
    rig.finish().await;
}
