//! What handlers take: each refuses with a problem of this API's own instead of axum's plain text.

pub(crate) mod fields;
pub(crate) mod if_match;
pub(crate) mod json;
pub(crate) mod query;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::response::IntoResponse;
use bytes::Bytes;
use edgeproxy_backend::{AppName, BackendId, NameError};
use http::header::{ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use tokio::time::timeout;

use crate::extract::fields::{Fields, excerpt};
use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// The backend that the path names.
pub(crate) struct PathId(pub(crate) BackendId);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_name(parts, state, "id", BackendId::parse).await.map(Self)
    }
}

/// The app that the path names.
pub(crate) struct PathApp(pub(crate) AppName);

impl<S: Send + Sync> FromRequestParts<S> for PathApp {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        path_name(parts, state, "app", AppName::parse).await.map(Self)
    }
}

async fn path_name<S: Send + Sync, T>(
    parts: &mut Parts,
    state: &S,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, NameError>,
) -> Result<T, Problem> {
    let Path(text) = Path::<String>::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::malformed("the path is not UTF-8 once its percent escapes are decoded"))?;
    parse(&text)
        .map_err(|error| Problem::malformed(format!("the {what} {:?} in the path {error}", excerpt(&text))))
}

/// A JSON object that must be there.
pub(crate) struct Json(pub(crate) Fields);

/// A JSON object, or nothing.
pub(crate) struct OptionalJson(pub(crate) Option<Fields>);

/// A JSON merge patch (RFC 7396).
pub(crate) struct MergePatch(pub(crate) Fields);

const JSON: &str = "application/json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

/// The largest body.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// What is read of a body that is too large, so that its sender gets to see the answer: closing a
/// connection with unread bytes resets it, and a reset may overtake the answer.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

impl FromRequest<Shared> for Json {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Problem> {
        check_type(request.headers(), &[JSON])?;
        object(&read(request, state).await?).map(Self)
    }
}

impl FromRequest<Shared> for MergePatch {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Problem> {
        check_type(request.headers(), &[JSON, MERGE_PATCH])?;
        object(&read(request, state).await?).map(Self)
    }
}

impl FromRequest<Shared> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, Problem> {
        let acceptable = check_type(request.headers(), &[JSON]);
        let body = read(request, state).await?;
        if body.is_empty() {
            // Nothing has no type: clients send all sorts with it.
            return Ok(Self(None));
        }
        acceptable?;
        object(&body).map(Some).map(Self)
    }
}

fn object(body: &[u8]) -> Result<Fields, Problem> {
    if body.is_empty() {
        return Err(Problem::malformed("the body is empty; expected a JSON object"));
    }
    let text =
        json::parse(body).map_err(|error| Problem::malformed(format!("the body is not JSON: {error}")))?;
    Fields::of(text).map_err(Problem::unprocessable)
}

fn check_type(headers: &HeaderMap, accepted: &[&str]) -> Result<(), Problem> {
    if let Some(coding) = headers.get(CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let problem = Problem::new(Kind::NotJson, "the body is encoded; send it as it is");
        return Err(problem.with_header(ACCEPT_ENCODING, HeaderValue::from_static("identity")));
    }
    let sent = headers
        .get(CONTENT_TYPE)
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let essence = sent
        .as_deref()
        .and_then(|sent| sent.split(';').next())
        .map(str::trim);
    if essence.is_some_and(|essence| accepted.iter().any(|name| essence.eq_ignore_ascii_case(name))) {
        return Ok(());
    }
    let found = match essence {
        Some(essence) => format!("the Content-Type is {:?}", excerpt(essence)),
        None => "there is no Content-Type".to_owned(),
    };
    Err(Problem::new(
        Kind::NotJson,
        format!("{found}; send JSON and say so: curl -H 'Content-Type: application/json' …"),
    ))
}

async fn read(request: Request, state: &Shared) -> Result<Bytes, Problem> {
    let (parts, mut body) = request.into_parts();
    let declared = parts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let read = if declared.is_some_and(|bytes| bytes > MAX_BODY_BYTES as u64) {
        Err(ReadError::TooLarge)
    } else {
        timeout(state.bounds.body_timeout, collect(&mut body))
            .await
            .unwrap_or(Err(ReadError::TooSlow))
    };
    match read {
        Ok(bytes) => Ok(bytes),
        Err(ReadError::TooLarge) => {
            // Who asks before sending has not sent anything that would need to be thrown away.
            if !parts.headers.contains_key(EXPECT) {
                let _ = timeout(state.bounds.body_timeout, discard(body)).await;
            }
            Err(Problem::new(
                Kind::BodyTooLarge,
                "the body is larger than 64 KiB (65536 bytes)",
            ))
        }
        Err(ReadError::TooSlow) => Err(Problem::new(
            Kind::BodyTooSlow,
            format!(
                "the body took longer than {} s",
                state.bounds.body_timeout.as_secs()
            ),
        )
        .with_header(CONNECTION, HeaderValue::from_static("close"))),
        Err(ReadError::Broken) => Err(Problem::malformed(
            "the body ended early, or its framing is broken",
        )),
    }
}

enum ReadError {
    TooLarge,
    TooSlow,
    Broken,
}

async fn collect(body: &mut Body) -> Result<Bytes, ReadError> {
    let mut collected = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadError::Broken)?.into_data() else {
            continue;
        };
        if collected.len() + data.len() > MAX_BODY_BYTES {
            return Err(ReadError::TooLarge);
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected.into())
}

async fn discard(mut body: Body) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(len);
        if left == 0 {
            return;
        }
    }
}

/// What answers on a path that the API doesn't have.
pub(crate) async fn no_such_path(request: Request) -> impl IntoResponse {
    Problem::no_such_path(request.uri().path())
}
