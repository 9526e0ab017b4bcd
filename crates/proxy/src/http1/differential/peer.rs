//! What hyper makes of a message.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::turns::{Wire, finish};
use super::{Message, Verdict};

/// Stands behind every request, and is asked for if the connection lasts and the body ends where it should.
pub(super) const AFTER: &[u8] = b"GET /after HTTP/1.1\r\nHost: after\r\n\r\n";

/// More than the codec takes, and the proxy adds: the limits are not what is compared.
const MAX_FIELDS: usize = 400;

/// All of a message in one read. Of a head that comes in parts hyper looks at none but the last, so what is wrong with
/// one that never ends would show or not by where the reads fall.
const ONE_READ: usize = 1 << 20;

/// As a server that gets these bytes and [`AFTER`].
pub(super) fn request(bytes: &[u8]) -> Verdict {
    let read: RefCell<Vec<Result<Message, String>>> = RefCell::default();
    let service = service_fn(|request: Request<Incoming>| async {
        let (parts, body) = request.into_parts();
        let message = Message {
            method: parts.method.to_string(),
            target: target(&parts.uri),
            authority: parts.uri.authority().map(ToString::to_string),
            minor: minor(parts.version),
            fields: fields(&parts.headers),
            ..Message::default()
        };
        let message = collect(message, body).await;
        read.borrow_mut().push(message);
        Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
    });
    let wire = Wire::client(&[bytes, AFTER].concat());
    let mut server = hyper::server::conn::http1::Builder::new();
    let ended = finish(
        server
            .max_buf_size(ONE_READ)
            .max_headers(MAX_FIELDS)
            .serve_connection(wire, service),
    );
    let mut read = read.into_inner().into_iter();
    match (read.next(), ended) {
        (Some(Ok(message)), _) => {
            let keeps = read
                .next()
                .is_some_and(|next| next.is_ok_and(|next| (next.method + &next.target) == "GET/after"));
            Verdict::Read(Message { keeps, ..message })
        }
        (Some(Err(error)), _) => Verdict::Refused(error),
        (None, Some(Err(error))) => Verdict::Refused(format!("{error:?}")),
        (None, Some(Ok(())) | None) => Verdict::Waits,
    }
}

/// As a client that gets these bytes in answer to a GET, or a HEAD.
pub(super) fn response(bytes: &[u8], head: bool, closes: bool) -> Verdict {
    let wire = Wire::backend(bytes, closes);
    let outcome = finish(async {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .read_buf_exact_size(Some(ONE_READ))
            .max_headers(MAX_FIELDS)
            .handshake(wire)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let exchange = async {
            let method = if head { "HEAD" } else { "GET" };
            let request = Request::builder().method(method).uri("/").header("host", "a");
            let request = request
                .body(Empty::<Bytes>::new())
                .map_err(|error| error.to_string())?;
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| format!("{error:?}"))?;
            let (parts, body) = response.into_parts();
            let message = Message {
                target: parts.status.as_u16().to_string(),
                minor: minor(parts.version),
                fields: fields(&parts.headers),
                ..Message::default()
            };
            let message = collect(message, body).await?;
            Ok::<_, String>((message, sender))
        };
        let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
        let mut over = false;
        let (message, mut sender) = std::future::poll_fn(|cx| {
            over = over || connection.as_mut().poll(cx).is_ready();
            exchange.as_mut().poll(cx)
        })
        .await?;
        // Whether it would be used again: asked only once it has had its chance to end.
        let keeps = std::future::poll_fn(|cx| {
            over = over || connection.as_mut().poll(cx).is_ready();
            Poll::Ready(!over && matches!(sender.poll_ready(cx), Poll::Ready(Ok(()))))
        })
        .await;
        Ok::<_, String>(Message { keeps, ..message })
    });
    match outcome {
        Some(Ok(message)) => Verdict::Read(message),
        Some(Err(error)) => Verdict::Refused(error),
        None => Verdict::Waits,
    }
}

async fn collect(mut message: Message, mut body: Incoming) -> Result<Message, String> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("{error:?}"))?;
        match frame.into_data() {
            Ok(data) => message.body.extend_from_slice(&data),
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    message.trailers = fields(&trailers);
                }
            }
        }
    }
    Ok(message)
}

fn target(uri: &http::Uri) -> String {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", uri.path())
}

fn minor(version: Version) -> u8 {
    u8::from(version == Version::HTTP_11)
}

/// One text for each value, by the numbers of its bytes.
fn fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
    let fields = headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value)));
    let mut fields: Vec<_> = fields.collect();
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields
}
