//! `GET /metrics`: everything that is counted, for Prometheus.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use edgeproxy_metrics::{Exposition, Format};
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, timeout_at};

use crate::problem::{Kind, Problem};
use crate::state::Shared;

/// Where it is.
pub(crate) const PATH: &str = "/metrics";

/// Parts of the text that may wait for the client: what is written is never held as a whole.
const PARTS: usize = 4;

/// For the whole text to be taken: the next scrape waits for this one, and whoever takes a little of it every now and then
/// must not keep the others from theirs. Prometheus itself gives up after 10 s by default.
const DEADLINE: Duration = Duration::from_secs(20);

/// Written on a thread of its own, since ten thousand backends take longer than a heartbeat may wait.
pub(crate) async fn get(State(shared): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    let Some(metrics) = shared.metrics.clone() else {
        let error = "this server counts nothing that could be told";
        return Err(Problem::new(Kind::NothingToShow, error));
    };
    // One at a time: several would only take the processor from requests.
    let Ok(turn) = Arc::clone(shared.scraping()).acquire_owned().await else {
        return Err(Problem::stopping());
    };
    let format = format(&headers);
    let deadline = Instant::now() + DEADLINE;
    let (writer, mut written) = channel(1);
    let (sender, parts) = channel(PARTS);
    tokio::spawn(async move {
        let hand_on = async {
            while let Some(part) = written.recv().await {
                if sender.send(part).await.is_err() {
                    break;
                }
            }
        };
        // Past it both ends find that nobody is between them any more.
        let _ = timeout_at(deadline, hand_on).await;
    });
    tokio::task::spawn_blocking(move || {
        let mut hand_on = |part: String| writer.blocking_send(Part::Text(Bytes::from(part))).is_ok();
        let mut out = Exposition::new(format, &mut hand_on);
        metrics.write(&mut out);
        out.finish();
        let _ = writer.blocking_send(Part::End);
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

/// What is written, one after the other.
enum Part {
    Text(Bytes),
    /// That was all.
    End,
}

/// The text as a body. One that isn't whole ends with an error: half of the families are no answer.
struct Parts(Receiver<Part>);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match ready!(self.0.poll_recv(cx)) {
            Some(Part::Text(text)) => Some(Ok(Frame::data(text))),
            Some(Part::End) => None,
            None => Some(Err(std::io::Error::other(
                "the metrics were not taken in time, or could not be written",
            ))),
        })
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_control::registry;
    use edgeproxy_metrics::Family;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::{AppFigures, Metrics};

    static NUMBERS: Family = Family::gauge("edgeproxy_numbers", &["number"], "Numbers.");

    /// More than may wait for a client.
    struct Long;

    impl Metrics for Long {
        fn traffic(&self) -> Vec<AppFigures> {
            Vec::new()
        }

        fn write(&self, out: &mut Exposition<'_>) {
            let mut samples = out.family(&NUMBERS);
            for number in 0_u32..20_000 {
                samples.value(&[&number.to_string()], u64::from(number));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_scrape_that_is_not_taken_in_time_breaks_off_and_the_next_has_its_turn() {
        let (handle, _driver) = registry(edgeproxy_registry::Config::default());
        let mut state = crate::router::tests::state(&handle);
        state.metrics = Some(Arc::new(Long));
        let shared = Shared::new(state);
        let scrape = || get(State(shared.clone()), HeaderMap::new());

        let mut slow = scrape().await.unwrap().into_body();
        assert!(slow.frame().await.unwrap().is_ok());
        tokio::time::advance(DEADLINE).await;
        let next = scrape().await.unwrap().into_body();
        let error = loop {
            match slow.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("half of it looked like all of it"),
            }
        };
        assert!(error.to_string().contains("not taken in time"), "{error}");
        let whole = next.collect().await.unwrap().to_bytes();
        assert!(whole.ends_with(b"{number=\"19999\"} 19999\n"));
    }
}
