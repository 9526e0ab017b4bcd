//! A real browser, where there is one: a page with everything that a page may do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use edgeproxy_tests::{PATIENCE, is_installed, within};
use futures_util::{SinkExt, StreamExt};
use http::{Request, Response, header};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::stage::{before, in_flight};

const PAGE: &str = include_str!("scripts/page.html");
const IMAGE: &str = r#"<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"/>"#;
/// The form's answer tells the page what arrived.
const FORM: &str = "<script>parent.postMessage('BODY', '*')</script>";

/// What the page and the site have to do with each other.
struct Site {
    /// The pieces of `/stream`, each when `/next` has asked for it.
    pieces: mpsc::Sender<Bytes>,
    stream: std::sync::Mutex<Option<mpsc::Receiver<Bytes>>>,
    left: std::sync::Mutex<Vec<&'static str>>,
    found: mpsc::Sender<Value>,
}

type Answer = Response<Either<Full<Bytes>, Pieces>>;

/// A body that comes as it is written.
struct Pieces(mpsc::Receiver<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // An empty piece is the end.
        self.0.poll_recv(cx).map(|piece| {
            let piece = piece.filter(|piece| !piece.is_empty())?;
            Some(Ok(Frame::data(piece)))
        })
    }
}

async fn site() -> (SocketAddr, mpsc::Receiver<Value>) {
    let (pieces, stream) = mpsc::channel(1);
    let (found, finding) = mpsc::channel(1);
    pieces
        .try_send(Bytes::from_static(b"one "))
        .expect("there is room");
    let site = Arc::new(Site {
        pieces,
        stream: std::sync::Mutex::new(Some(stream)),
        left: std::sync::Mutex::new(vec!["", "three", "two "]),
        found,
    });
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("loopback can be bound");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let site = Arc::clone(&site);
            let service = service_fn(move |request| answer(Arc::clone(&site), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    (addr, finding)
}

async fn answer(site: Arc<Site>, mut request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let path = request.uri().path().to_owned();
    if path == "/socket" {
        return Ok(switch(&mut request));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let (kind, content) = match path.as_str() {
        "/" => ("text/html", Full::from(PAGE)),
        "/image.svg" => ("image/svg+xml", Full::from(IMAGE)),
        "/data.json" => ("application/json", Full::from(r#"{"answer":42}"#)),
        "/form" => {
            let text = FORM.replace("BODY", &String::from_utf8_lossy(&body));
            ("text/html", Full::from(text))
        }
        "/next" => {
            let next = site.left.lock().expect("nobody panics").pop();
            if let Some(next) = next {
                let _ = site.pieces.send(Bytes::from_static(next.as_bytes())).await;
            }
            ("text/plain", Full::default())
        }
        "/found" => {
            let found = serde_json::from_slice(&body).unwrap_or_default();
            let _ = site.found.send(found).await;
            ("text/plain", Full::default())
        }
        "/stream" => {
            let stream = site.stream.lock().expect("nobody panics").take();
            let stream = stream.expect("it is asked for once");
            return Ok(Response::new(Either::Right(Pieces(stream))));
        }
        _ => ("text/plain", Full::from("nothing here")),
    };
    let response = Response::builder().header(header::CONTENT_TYPE, kind);
    Ok(response.body(Either::Left(content)).expect("it is well formed"))
}

fn switch(request: &mut Request<Incoming>) -> Answer {
    let key = request.headers().get("sec-websocket-key");
    let accept = derive_accept_key(key.expect("a browser sends it").as_bytes());
    let switched = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let io = TokioIo::new(switched.await.expect("it is switched"));
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.expect("the browser is there");
            }
        }
    });
    Response::builder()
        .status(101)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header("sec-websocket-accept", accept)
        .body(Either::Left(Full::default()))
        .expect("it is well formed")
}

/// It speaks to this machine alone, whatever it would like to update.
fn chromium(url: &str, profile: &TempDir) -> Child {
    Command::new("chromium")
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .args([
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--no-proxy-server",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromium can be started")
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "a test that can't be run says so")]
async fn a_page_with_everything_that_a_page_may_do() {
    if !is_installed("chromium") {
        eprintln!("SKIPPED: `chromium` is not installed");
        return;
    }
    let (addr, mut finding) = site().await;
    let edgeproxy = before(addr).await;
    let profile = TempDir::with_prefix("edgeproxy-tests-").expect("a temporary folder can be made");
    let mut browser = chromium(&format!("http://{}/", edgeproxy.proxy()), &profile);
    let found = within(3 * PATIENCE, "the page says what it found", finding.recv()).await;
    browser.kill().await.expect("it can be killed");
    assert_eq!(
        found.expect("the site is there"),
        json!({
            "image": 7,
            "plain": 42,
            "stream": "one two three",
            "form": "a=1+%26+2",
            "said": "hello",
            "socket": "hello 1000 true",
        })
    );
    in_flight(&edgeproxy, 0).await;
}
