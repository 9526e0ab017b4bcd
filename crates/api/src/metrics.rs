//! `GET /metrics`: everything that is counted, for Prometheus.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edgeproxy_metrics::{Exposition, Format};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc::{Receiver, channel};

use crate::problem::Problem;
use crate::state::Shared;

/// Where it is.
pub(crate) const PATH: &str = "/metrics";

/// Parts of the text that may wait for the client: what is written is never held as a whole.
const PARTS: usize = 4;

/// Written on a thread of its own, since ten thousand backends take longer than a heartbeat may wait.
pub(crate) async fn get(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(metrics) = shared.metrics.clone() else {
        let error = "this server counts nothing that could be told";
        return Err(Problem::new(StatusCode::NOT_FOUND, error));
    };
    // One at a time: several would only take the processor from requests.
    let Ok(turn) = Arc::clone(shared.scraping()).acquire_owned().await else {
        return Err(Problem::unavailable("stopping", 1));
    };
    let format = format(&headers);
    let (sender, parts) = channel(PARTS);
    tokio::task::spawn_blocking(move || {
        let mut hand_on = |part: String| sender.blocking_send(Bytes::from(part)).is_ok();
        let mut out = Exposition::new(format, &mut hand_on);
        metrics.write(&mut out);
        out.finish();
        drop(turn);
    });
    Ok(([(CONTENT_TYPE, format.content_type())], Body::new(Parts(parts))).into_response())
}

/// OpenMetrics for whoever asks for it, as Prometheus does.
fn format(headers: &HeaderMap) -> Format {
    let mut accepted = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.contains("application/openmetrics-text")) {
        Format::OpenMetrics
    } else {
        Format::Text
    }
}

/// The text as a body.
struct Parts(Receiver<Bytes>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|part| part.map(|part| Ok(Frame::data(part))))
    }
}
