use std::any::Any;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use crate::guard::guard;
use crate::problem::{Kind, Problem};
use crate::state::{Shared, State};
use crate::{endpoint, extract};

/// The API as a service, without a socket. The peer's address is read from axum's
/// [`ConnectInfo`](axum::extract::ConnectInfo)`<SocketAddr>`; a request without it is refused as from
/// nobody.
pub fn router(state: State) -> Router {
    let shared = Shared::new(state);
    let paths = endpoint::routes()
        .fallback(extract::no_such_path)
        .with_state(shared.clone());
    // A layer on `paths` itself would run inside of what adds `Allow` to a 405.
    Router::new()
        .fallback_service(paths)
        .layer(from_fn_with_state(shared, guard))
        .layer(CatchPanicLayer::custom(panicked))
}

/// No input is known that gets here; if one is found, it costs one answer and not the process.
#[allow(clippy::needless_pass_by_value)]
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler of the API panicked");
    Problem::new(Kind::Internal, "the server made a mistake; its log says more").into_response()
}

#[cfg(test)]
pub(crate) mod tests;
