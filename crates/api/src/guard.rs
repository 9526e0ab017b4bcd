//! What every request passes, whatever its path.

pub(crate) mod host;
pub(crate) mod rate;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::timeout;

use crate::access::caller::{Caller, Peer};
use crate::access::{Denied, secs_up};
use crate::audit::{Asked, Outcome};
use crate::problem::{Kind, Problem};
use crate::serve::accept;
use crate::state::Shared;
use crate::terms::InForce;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Refuses whom the API doesn't serve, bounds the time of those that it does, gives every answer its
/// common headers, and has what it changed or refused written down.
pub(crate) async fn guard(State(shared): State<Shared>, mut request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let Peer(peer) = Peer::of(request.extensions());
    let request_id = shared.next_request_id();
    let (caller, answered) = match admit(&shared.terms.in_force(), &request, peer) {
        Ok(caller) => {
            // Nobody behind this has any use for it.
            request.headers_mut().remove(AUTHORIZATION);
            request.extensions_mut().insert(caller.clone());
            let answered = timeout(shared.bounds.request_timeout, next.run(request)).await;
            (Some(caller), answered.ok())
        }
        Err(Denied { caller, problem }) => (caller, Some(problem.into_response())),
    };
    let outcome = answered.as_ref().map_or(Outcome::Unknown, Outcome::of);
    let response = answered.unwrap_or_else(|| overdue(shared.bounds.request_timeout).into_response());
    let mut response = finish(&method, response);
    let path = ascii(uri.path());
    shared.requests.count(&response);
    if let Some(audit) = &shared.audit {
        let asked = Asked {
            request_id: &request_id,
            method: &method,
            path: &path,
            peer,
            caller: caller.as_ref(),
        };
        audit.tell(&asked, outcome, &response);
    }
    if let Ok(request_id) = HeaderValue::try_from(request_id) {
        response.headers_mut().insert(REQUEST_ID, request_id);
    }
    tracing::debug!(%method, path = &*path, status = response.status().as_u16(), "API request");
    response
}

/// The cheapest check first, and none that remembers anything of a peer that is not served at all.
fn admit(terms: &InForce, request: &Request, peer: Option<SocketAddr>) -> Result<Caller, Denied> {
    terms.access.check_peer(peer)?;
    if let Some(peer) = peer {
        let rates = &terms.counted.rates;
        rates.check(peer.ip(), request.method()).map_err(too_many)?;
    }
    let caller = terms.access.identify(request, peer, &terms.counted.failures)?;
    let checked = terms
        .hosts
        .check(request)
        .and_then(|()| accept::check(request.uri().path(), request.headers()));
    match checked {
        Ok(()) => Ok(caller),
        Err(problem) => Err(Denied {
            caller: Some(caller),
            problem,
        }),
    }
}

/// A path as it is written down. Bytes beyond ASCII are let in as they come, and whoever prints a log on a terminal would obey
/// some of them.
fn ascii(path: &str) -> Cow<'_, str> {
    if path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Cow::Borrowed(path);
    }
    let mut written = String::with_capacity(path.len() * 2);
    for byte in path.bytes() {
        if byte.is_ascii_graphic() {
            written.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(written, "%{byte:02X}");
        }
    }
    Cow::Owned(written)
}

fn too_many(wait: Duration) -> Problem {
    let error = "too many requests from this address; send fewer, or wait as Retry-After says";
    Problem::for_now(Kind::TooManyRequests, error, secs_up(wait))
}

fn overdue(limit: Duration) -> Problem {
    let error = format!(
        "there was no answer within {} s; a change may still take effect, and sending it again is safe",
        limit.as_secs()
    );
    Problem::for_now(Kind::Overdue, error, 1)
}

fn finish(method: &Method, mut response: Response) -> Response {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response
            .headers_mut()
            .remove(ALLOW)
            .unwrap_or_else(|| HeaderValue::from_static(""));
        response = if method == Method::OPTIONS {
            (StatusCode::NO_CONTENT, [(ALLOW, allow)]).into_response()
        } else {
            Problem::method_not_allowed(allow).into_response()
        };
    }
    let headers = response.headers_mut();
    // The page's parts may be kept; what they show may not.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
