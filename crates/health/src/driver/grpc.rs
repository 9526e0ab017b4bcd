//! Calls of `grpc.health.v1.Health/Check` (gRPC Health Checking Protocol), over HTTP/2.
//!
//! Its two messages have one field each, so they are written and read here by hand (Protocol Buffers Encoding)
//! rather than by a compiler of messages.

use bytes::Bytes;
use h2::RecvStream;
use http::header::{CONTENT_TYPE, TE};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::time::timeout;

use super::Failure;
use super::exchange::introduce;
use super::http2::{Wire, authority, failure, open, part, target};
use crate::GrpcProbe;
use crate::monitor::excerpt;

const METHOD: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
/// The longest answer: a status takes two bytes, and what else is in it is skipped.
const ANSWER_MAX: usize = 4 * 1024;
/// The length of the prefix of a message: a flag and four bytes of length.
const PREFIX: usize = 5;

/// Calls, and judges the answer.
pub(super) async fn check<S: Wire>(
    stream: S,
    probe: &GrpcProbe,
    (scheme, address): (Scheme, &str),
) -> Result<(), Failure> {
    let request = request(probe, scheme, address)?;
    let limit = probe.read_timeout();
    let call = async {
        let (mut sender, mut line) = open(stream).await?;
        let answer = async {
            let (response, mut body) = sender.send_request(request, false).map_err(|e| failure(&e))?;
            body.send_data(ask(probe.service()), true)
                .map_err(|e| failure(&e))?;
            let (head, mut body) = response.await.map_err(|e| failure(&e))?.into_parts();
            is_grpc(head.status, &head.headers)?;
            // A call that has failed may say so in its head, and have no message.
            if let Some(status) = status(&head.headers) {
                return status.and(Err(not_grpc("the answer ends without a message")));
            }
            read(&mut body).await
        };
        let verdict = line.alongside(answer).await;
        Ok::<_, Failure>((verdict, sender, line))
    };
    let (verdict, sender, line) = match timeout(limit, call).await {
        Ok(called) => called?,
        Err(_) => return Err(Failure::ReadTimeout { limit }),
    };
    part(sender, line).await;
    verdict
}

fn request(probe: &GrpcProbe, scheme: Scheme, address: &str) -> Result<Request<()>, Failure> {
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target(scheme, authority(address)?, METHOD)?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // Digits and a unit: this doesn't fail. At most eight digits are allowed, and five minutes have six.
    if let Ok(limit) = HeaderValue::try_from(format!("{}m", probe.read_timeout().as_millis())) {
        headers.insert("grpc-timeout", limit);
    }
    introduce(headers, None)?;
    Ok(request)
}

/// `HealthCheckRequest`, with its prefix: `string service = 1`.
fn ask(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            let [low, ..] = length.to_le_bytes();
            message.push(0x80 | low);
            length >>= 7;
        }
        let [low, ..] = length.to_le_bytes();
        message.push(low);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = vec![0];
    // At most a service's name and a few bytes.
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.append(&mut message);
    framed.into()
}

fn is_grpc(found: StatusCode, headers: &HeaderMap) -> Result<(), Failure> {
    if found != StatusCode::OK {
        return Err(not_grpc(format!("the answer has HTTP status {}", found.as_u16())));
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    // Followed by nothing, `+proto` or parameters.
    if kind.starts_with(b"application/grpc") && !kind.starts_with(b"application/grpc-web") {
        return Ok(());
    }
    let kind = excerpt(String::from_utf8_lossy(kind));
    Err(not_grpc(format!(
        "the answer's content-type is {kind:?}, expected \"application/grpc\""
    )))
}

/// Reads the message and the status that follows it.
async fn read(body: &mut RecvStream) -> Result<(), Failure> {
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|e| failure(&e))?;
        if message.len() + data.len() > ANSWER_MAX {
            return Err(not_grpc(format!("the answer is longer than {ANSWER_MAX} bytes")));
        }
        message.extend_from_slice(&data);
        // It fails only on a stream that has ended.
        let _ = body.flow_control().release_capacity(data.len());
    }
    let trailers = body
        .trailers()
        .await
        .map_err(|e| failure(&e))?
        .unwrap_or_default();
    match status(&trailers) {
        Some(status) => status?,
        None => return Err(not_grpc("the answer ends without grpc-status")),
    }
    judge(serving(&message)?)
}

/// What `grpc-status` says, if it is there.
fn status(headers: &HeaderMap) -> Option<Result<(), Failure>> {
    let code = headers.get("grpc-status")?;
    if code == "0" {
        return Some(Ok(()));
    }
    let text = |value: &HeaderValue| excerpt(String::from_utf8_lossy(value.as_bytes()));
    let number = code.to_str().ok().and_then(|code| code.parse::<usize>().ok());
    let name = number.and_then(|number| CODES.get(number));
    let message = headers
        .get("grpc-message")
        .map_or_else(String::new, |message| format!(": {}", text(message)));
    Some(Err(Failure::Call {
        code: name.map_or_else(|| text(code), |name| (*name).to_owned()),
        message,
    }))
}

/// The statuses of calls, by number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// `HealthCheckResponse`, with its prefix: `ServingStatus status = 1`, an enum. One that isn't there is 0.
fn serving(framed: &[u8]) -> Result<u64, Failure> {
    let Some((&[flag, a, b, c, d], message)) = framed.split_first_chunk::<PREFIX>() else {
        return Err(not_grpc("the answer is no message"));
    };
    if flag != 0 {
        return Err(not_grpc("the answer is compressed, which nobody asked for"));
    }
    if usize::try_from(u32::from_be_bytes([a, b, c, d])) != Ok(message.len()) {
        return Err(not_grpc("the answer is not one whole message"));
    }
    field_one(message).ok_or_else(|| not_grpc("the answer can't be read as HealthCheckResponse"))
}

/// The last value of field 1, a varint; other fields are skipped. `None`: that's no message.
fn field_one(mut message: &[u8]) -> Option<u64> {
    let mut found = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (0, _) => return None,
            (1, 0) => found = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn judge(serving: u64) -> Result<(), Failure> {
    let found = match serving {
        1 => return Ok(()),
        0 => "UNKNOWN".to_owned(),
        2 => "NOT_SERVING".to_owned(),
        3 => "SERVICE_UNKNOWN".to_owned(),
        other => format!("{other}, which is no status"),
    };
    Err(Failure::NotServing { found })
}

fn not_grpc(what: impl Into<String>) -> Failure {
    Failure::NotGrpc { what: what.into() }
}

#[cfg(test)]
mod tests;
