//! HTTP probes of backends that speak HTTP/2 in the clear.

use ::http::{Request, Response};
use bytes::Bytes;

use super::*;
use crate::Version;

/// A backend that answers every request with that, and tells what it was asked.
pub(super) async fn speaking(answer: Response<()>) -> (SocketAddr, mpsc::UnboundedReceiver<Asked>) {
    let (listener, addr) = listen().await;
    let (tell, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, answer.clone(), tell.clone()));
        }
    });
    (addr, asked)
}

pub(super) struct Asked {
    pub(super) request: Request<()>,
    pub(super) body: Vec<u8>,
    /// How its connection ended.
    pub(super) parted: tokio::sync::oneshot::Receiver<bool>,
}

/// Serves until the client has gone, which is in good order if it says so.
pub(super) async fn serve<S: crate::driver::http2::Wire>(
    stream: S,
    answer: Response<()>,
    tell: mpsc::UnboundedSender<Asked>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut parts = Vec::new();
    let mut well = true;
    while let Some(next) = connection.accept().await {
        let Ok((request, mut respond)) = next else {
            well = false;
            break;
        };
        let (parted, ended) = tokio::sync::oneshot::channel();
        parts.push(parted);
        let (head, mut body) = request.into_parts();
        let (answer, tell) = (answer.clone(), tell.clone());
        tokio::spawn(async move {
            let mut received = Vec::new();
            while let Some(Ok(data)) = body.data().await {
                received.extend_from_slice(&data);
                let _ = body.flow_control().release_capacity(data.len());
            }
            if let Ok(mut stream) = respond.send_response(answer, false) {
                let _ = stream.send_data(Bytes::from_static(b"ok"), true);
            }
            let _ = tell.send(Asked {
                request: Request::from_parts(head, ()),
                body: received,
                parted: ended,
            });
        });
    }
    for parted in parts {
        let _ = parted.send(well);
    }
}

fn get() -> HttpProbe {
    HttpProbe::get("/health?deep=1")
        .unwrap()
        .with_version(Version::Http2)
}

#[tokio::test]
async fn an_h2c_backend_is_asked_in_http_2_what_the_settings_say() {
    let (addr, mut asked) = speaking(Response::new(())).await;
    assert!(probe(addr, get()).await.passed());
    let Asked { request, parted, .. } = asked.recv().await.unwrap();
    assert_eq!(request.uri().to_string(), format!("http://{addr}/health?deep=1"));
    let agent = concat!("edgeproxy-health/", env!("CARGO_PKG_VERSION"));
    let fields: Vec<_> = request.headers().iter().collect();
    assert_eq!(fields.len(), 1, "{fields:?}");
    assert_eq!(request.headers()["user-agent"], agent);
    assert!(soon(parted).await.unwrap(), "it parts in good order");

    let full = get()
        .with_method("POST")
        .and_then(|probe| probe.with_header("Host", "shop.example:81"))
        .and_then(|probe| probe.with_header("X-A", "1"))
        .and_then(|probe| probe.with_header("X-A", "2"))
        .and_then(|probe| probe.with_body(vec![7; HttpProbe::MAX_BODY]))
        .unwrap()
        .with_id_header();
    assert!(probe(addr, full).await.passed());
    let Asked { request, body, .. } = asked.recv().await.unwrap();
    assert_eq!(
        (request.method().as_str(), body.len()),
        ("POST", HttpProbe::MAX_BODY)
    );
    assert_eq!(request.uri().authority().unwrap().as_str(), "shop.example:81");
    let values: Vec<_> = request.headers().get_all("x-a").iter().collect();
    assert_eq!(values, ["1", "2"]);
    assert!(request.headers().contains_key(HttpProbe::ID_HEADER));
    assert!(!request.headers().contains_key("host"));
}

#[tokio::test]
async fn success_codes_and_headers_decide_over_http_2_too() {
    let answer = |status: u16, state: &'static str| {
        Response::builder()
            .status(status)
            .header("x-state", state)
            .body(())
            .unwrap()
    };
    let wants = get()
        .with_success_codes("200,204".parse().unwrap())
        .with_success_header("X-State", "up")
        .unwrap();
    for (answer, words) in [
        (answer(204, "up"), None),
        (answer(503, "up"), Some("response: status 503, expected 200,204")),
        (
            answer(200, "down"),
            Some("response: header x-state is \"down\", expected \"up\""),
        ),
    ] {
        let (addr, _asked) = speaking(answer).await;
        let outcome = probe(addr, wants.clone()).await;
        match words {
            None => assert!(outcome.passed(), "{outcome}"),
            Some(words) => assert_eq!(reason(outcome).to_string(), words),
        }
    }
}

#[tokio::test]
async fn one_that_speaks_http_1_is_told_as_such() {
    let (addr, _requests) = answering("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
    let words = reason(probe(addr, get()).await).to_string();
    assert!(words.starts_with("response: "), "{words}");
}

#[tokio::test(start_paused = true)]
async fn one_that_accepts_and_never_answers_fails_after_the_read_timeout() {
    let (listener, addr) = listen().await;
    let limit = Duration::from_secs(3);
    let outcome = tokio::spawn(probe(addr, get().with_read_timeout(limit).unwrap()));
    let (_stream, _) = listener.accept().await.unwrap();
    assert_eq!(reason(outcome.await.unwrap()), Failure::ReadTimeout { limit });
}
