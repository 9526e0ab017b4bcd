//! What every request passes, whatever its path.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, StatusCode};
use tokio::time::timeout;

use crate::accept;
use crate::problem::Problem;
use crate::state::Shared;

/// Refuses whom the API doesn't serve, bounds the time of those that it does, and gives every answer its
/// common headers.
pub(crate) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = match check(&shared, &request) {
        Ok(()) => timeout(shared.bounds.request_timeout, next.run(request))
            .await
            .unwrap_or_else(|_| overdue(shared.bounds.request_timeout).into_response()),
        Err(problem) => problem.into_response(),
    };
    let response = finish(&method, response);
    tracing::debug!(%method, path = uri.path(), status = response.status().as_u16(), "API request");
    response
}

/// The cheapest check first, and none that remembers anything of a peer that is not served at all.
fn check(shared: &Shared, request: &Request) -> Result<(), Problem> {
    let peer = request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map(|ConnectInfo(peer)| *peer);
    let terms = shared.terms.in_force();
    terms.access.check_peer(peer)?;
    if let Some(peer) = peer {
        terms.rate.check(peer.ip()).map_err(too_many)?;
    }
    terms.hosts.check(request)?;
    accept::check(request.headers())
}

fn too_many(wait: Duration) -> Problem {
    let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let error = "too many requests from this address; send fewer, or wait as Retry-After says";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, error).with_retry_after(secs.max(1))
}

fn overdue(limit: Duration) -> Problem {
    let error = format!(
        "there was no answer within {} s; a change may still take effect, and sending it again is safe",
        limit.as_secs()
    );
    Problem::unavailable(error, 1)
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
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
