//! The driver before a made-up API on loopback: what is on the wire, and what the holder of an [`Agent`] sees.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;
use crate::{ApiUrl, LoadReport, Registration};

const PATIENCE: Duration = Duration::from_secs(20);
const REGISTERED: &str = r#"{"incarnation":7,"heartbeat_interval_secs":1}"#;
/// With a heartbeat that no test waits for.
const LASTING: &str = r#"{"incarnation":7,"heartbeat_interval_secs":3600}"#;

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not in time"),
    }
}

fn registration() -> Registration {
    Registration::new(
        "b-1".parse().unwrap(),
        "shop".parse().unwrap(),
        "eu".parse().unwrap(),
        NonZeroU16::new(8080).unwrap(),
    )
}

struct Api {
    listener: TcpListener,
}

impl Api {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        Self { listener }
    }

    fn url(&self) -> ApiUrl {
        format!("http://{}", self.listener.local_addr().unwrap())
            .parse()
            .unwrap()
    }

    async fn accept(&self) -> TcpStream {
        soon("a connection", self.listener.accept()).await.unwrap().0
    }
}

/// Reads a request, its head and its body, in lower case.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut text = Vec::new();
    soon("a request", async {
        loop {
            let whole = String::from_utf8_lossy(&text).to_lowercase();
            if let Some((head, body)) = whole.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                if body.len() >= length.unwrap_or(0) {
                    return whole;
                }
            }
            assert_ne!(
                stream.read_buf(&mut text).await.unwrap(),
                0,
                "the end, after {whole:?}"
            );
        }
    })
    .await
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), status: &str, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_membership_is_one_connection_from_the_registration_to_the_farewell() {
    let api = Api::start().await;
    let agent = Agent::builder().api(api.url()).start(registration()).unwrap();
    let mut stream = api.accept().await;
    let first = request(&mut stream).await;
    assert!(first.starts_with("post /api/v1/register http/1.1\r\n"), "{first}");
    assert!(first.contains("content-type: application/json\r\n"), "{first}");
    // The address that the connection comes from.
    assert!(first.contains(r#""ip":"127.0.0.1","port":8080"#), "{first}");
    assert!(!first.contains("authorization"), "{first}");
    answer(&mut stream, "201 Created", LASTING).await;
    assert_eq!(soon("registered", agent.registered()).await.unwrap().get(), 7);

    agent.report(LoadReport {
        in_flight: Some(3),
        ..LoadReport::default()
    });
    let drained = async {
        let beat = request(&mut stream).await;
        assert!(beat.starts_with("post /api/v1/heartbeat/b-1 "), "{beat}");
        assert!(beat.contains("if-match: \"7\"\r\n"), "{beat}");
        assert!(beat.ends_with(r#"{"in_flight":3,"draining":true}"#), "{beat}");
        answer(&mut stream, "200 OK", LASTING).await;
    };
    soon("it drains", async { tokio::join!(agent.drain(), drained) }).await;

    let left = tokio::spawn(async move { agent.leave_within(Duration::from_millis(1_500)).await });
    let farewell = request(&mut stream).await;
    assert!(
        farewell.starts_with("delete /api/v1/backends/b-1?drain=1500ms "),
        "{farewell}"
    );
    assert!(farewell.contains("if-match: \"7\"\r\n"), "{farewell}");
    answer(
        &mut stream,
        "200 OK",
        r#"{"incarnation":7,"draining":true,"in_flight":1}"#,
    )
    .await;
    let look = request(&mut stream).await;
    assert!(look.starts_with("get /api/v1/backends/b-1 "), "{look}");
    answer(&mut stream, "404 Not Found", "{}").await;
    assert_eq!(soon("it leaves", left).await.unwrap(), Departure::Gone);
}

#[tokio::test]
async fn a_connection_that_breaks_is_noticed_and_replaced_without_waiting_for_the_heartbeat() {
    let api = Api::start().await;
    let agent = Agent::builder().api(api.url()).start(registration()).unwrap();
    let mut stream = api.accept().await;
    let _ = request(&mut stream).await;
    answer(
        &mut stream,
        "201 Created",
        r#"{"incarnation":7,"heartbeat_interval_secs":3600}"#,
    )
    .await;
    soon("registered", agent.registered()).await.unwrap();
    drop(stream);
    let mut stream = api.accept().await;
    let beat = request(&mut stream).await;
    assert!(beat.starts_with("post /api/v1/heartbeat/b-1 "), "{beat}");
    // The API has forgotten it, and gets it back.
    answer(&mut stream, "404 Not Found", "{}").await;
    let again = request(&mut stream).await;
    assert!(again.starts_with("post /api/v1/register "), "{again}");
}

#[tokio::test]
async fn the_token_is_read_for_every_request_and_sent_as_a_bearer() {
    let folder = std::env::temp_dir().join(format!("edgeproxy-agent-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("token");
    std::fs::write(&file, "first\n").unwrap();
    let api = Api::start().await;
    let builder = Agent::builder().api(api.url()).token_file(&file);
    let agent = builder.start(registration()).unwrap();
    let mut stream = api.accept().await;
    let first = request(&mut stream).await;
    assert!(first.contains("authorization: bearer first\r\n"), "{first}");
    std::fs::write(&file, "second\n").unwrap();
    answer(&mut stream, "201 Created", REGISTERED).await;
    let second = request(&mut stream).await;
    assert!(second.contains("authorization: bearer second\r\n"), "{second}");
    drop(agent);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_refusal_reaches_whoever_waits_with_the_apis_own_words() {
    let api = Api::start().await;
    let agent = Agent::builder().api(api.url()).start(registration()).unwrap();
    let mut stream = api.accept().await;
    let _ = request(&mut stream).await;
    answer(
        &mut stream,
        "409 Conflict",
        r#"{"error":"the id belongs to cart"}"#,
    )
    .await;
    let refused = soon("an answer", agent.registered()).await.unwrap_err();
    let NotRegistered::Refused { api: url, what } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(url, api.url().to_string());
    assert_eq!(what, "409: the id belongs to cart");
    assert_eq!(soon("it leaves", agent.leave()).await, Departure::NotRegistered);
}

#[tokio::test]
async fn who_drops_an_agent_sends_nothing_more() {
    let api = Api::start().await;
    let agent = Agent::builder().api(api.url()).start(registration()).unwrap();
    let mut stream = api.accept().await;
    let _ = request(&mut stream).await;
    answer(&mut stream, "201 Created", REGISTERED).await;
    soon("registered", agent.registered()).await.unwrap();
    drop(agent);
    let mut rest = Vec::new();
    soon("the end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn what_is_no_http_is_no_answer_and_is_tried_again() {
    let api = Api::start().await;
    let agent = Agent::builder().api(api.url()).start(registration()).unwrap();
    for garbage in [
        &b"SSH-2.0-x\r\n\r\n"[..],
        b"HTTP/1.1 201 Created\r\ncontent-length: 99\r\n\r\n{",
    ] {
        let mut stream = api.accept().await;
        let _ = request(&mut stream).await;
        stream.write_all(garbage).await.unwrap();
    }
    let mut stream = api.accept().await;
    let _ = request(&mut stream).await;
    answer(&mut stream, "201 Created", REGISTERED).await;
    soon("registered", agent.registered()).await.unwrap();
}

fn client(api: &Api) -> Client {
    Client::new(Arc::new(Terms {
        apis: vec![api.url()],
        registration: registration(),
        token_file: None,
        #[cfg(feature = "tls")]
        connector: None,
    }))
}

#[tokio::test]
async fn a_registration_that_was_sent_on_a_connection_that_broke_may_have_been_heard() {
    let api = Api::start().await;
    let look = crate::session::Ask::Look;
    let register = crate::session::Ask::Register(None);
    let asked = |ask| Request { api: 0, ask };
    let first = client(&api).send(asked(look), None);
    let serve = async {
        let mut stream = api.accept().await;
        let _ = request(&mut stream).await;
        answer(&mut stream, "404 Not Found", "{}").await;
        stream
    };
    let ((client, _), mut stream) = soon("an answer", async { tokio::join!(first, serve) }).await;
    let again = client.send(asked(register), None);
    let break_off = async {
        let _ = request(&mut stream).await;
        drop(api);
        drop(stream);
    };
    let ((_, found), ()) = soon("no answer", async { tokio::join!(again, break_off) }).await;
    assert!(matches!(found, Answer::Unanswered(_)), "{found:?}");
}

#[tokio::test]
async fn a_heartbeat_is_given_up_when_the_next_one_is_due() {
    let api = Api::start().await;
    let beat = Request {
        api: 0,
        ask: crate::session::Ask::Heartbeat {
            incarnation: edgeproxy_backend::Incarnation::new(7).unwrap(),
            report: LoadReport::default(),
            draining: false,
        },
    };
    let begun = Instant::now();
    let (_, found) = client(&api).send(beat, Some(Duration::from_millis(100))).await;
    assert_eq!(found, Answer::Unanswered("no answer within 0.1 s".to_owned()));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_agent_is_refused_without_an_api_with_too_many_and_without_a_runtime() {
    let api: ApiUrl = "http://127.0.0.1:9".parse().unwrap();
    let told = |builder: Builder| builder.start(registration()).unwrap_err().to_string();
    assert!(told(Agent::builder()).contains("name at least one"));
    let many = (0..=Builder::MAX_APIS).fold(Agent::builder(), |builder, _| builder.api(api.clone()));
    assert!(told(many).contains("17 addresses"));
    assert!(told(Agent::builder().api(api)).contains("no tokio runtime"));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn an_https_api_is_believed_by_its_authority_alone_and_shown_the_agents_certificate() {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use std::sync::Arc;

    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let (server, server_key) = issue("localhost");
    let (own, own_key) = issue("b-1");

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(server_key.serialize_der())),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));

    let api = Api::start().await;
    let port = api.listener.local_addr().unwrap().port();
    let url: ApiUrl = format!("https://localhost:{port}").parse().unwrap();
    let trust = Trust::from_pem(root.pem().as_bytes()).unwrap();
    let trust = trust
        .with_identity(own.pem().as_bytes(), own_key.serialize_pem().as_bytes())
        .unwrap();
    let agent = Agent::builder()
        .api(url.clone())
        .trust(trust)
        .start(registration())
        .unwrap();
    let mut stream = acceptor.accept(api.accept().await).await.unwrap();
    assert!(stream.get_ref().1.peer_certificates().is_some());
    let first = request(&mut stream).await;
    assert!(first.contains(&format!("host: localhost:{port}\r\n")), "{first}");
    answer(&mut stream, "201 Created", REGISTERED).await;
    soon("registered", agent.registered()).await.unwrap();
    drop(agent);

    // A certificate of another key is refused where it is given.
    let trust = Trust::from_pem(root.pem().as_bytes()).unwrap();
    let mixed = trust.with_identity(own.pem().as_bytes(), server_key.serialize_pem().as_bytes());
    assert!(matches!(mixed, Err(TrustError::Unusable(_))), "{mixed:?}");

    // Another authority's word is nothing.
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let trust = Trust::from_pem(stranger.cert.pem().as_bytes()).unwrap();
    let agent = Agent::builder()
        .api(url)
        .trust(trust)
        .start(registration())
        .unwrap();
    assert!(acceptor.accept(api.accept().await).await.is_err());
    assert_eq!(agent.membership(), Membership::Joining);
}
