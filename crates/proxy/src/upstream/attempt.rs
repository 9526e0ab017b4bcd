//! One attempt: a connection to a backend, a request written to it, a response's head read from it.

pub(crate) mod http1;
pub(crate) mod http2;
mod made;
pub(crate) mod mux;
pub(crate) mod sending;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::retry::Failed;
use crate::exchange::upload::{Broken, Stall, Upload};
use crate::worker::timer::Timer;
pub(crate) use made::Made;

/// Why an attempt brought no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unanswered {
    /// The backend's failure.
    Failed(Failed),
    /// The client's own fault; the backend is not to blame.
    Client(Broken),
    /// The client sends its body too slowly.
    ClientStalled,
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

/// Waits for a response's head for as long as the request's body moves, and `timeout` from then on.
async fn await_response<R>(
    response: impl Future<Output = R>,
    upload: &Upload,
    timer: &Timer,
    (sent, timeout): (Instant, Duration),
) -> Result<R, Unanswered> {
    let mut response = pin!(response);
    timer.arm(sent + timeout);
    poll_fn(|cx| {
        if let Poll::Ready(response) = response.as_mut().poll(cx) {
            return Poll::Ready(Ok(response));
        }
        while timer.poll_due(cx).is_ready() {
            match upload.stall(sent, timeout) {
                Stall::Until(due) => timer.arm(due),
                Stall::Client => return Poll::Ready(Err(Unanswered::ClientStalled)),
                Stall::Backend => return Poll::Ready(Err(Failed::ResponseTimeout.into())),
            }
        }
        Poll::Pending
    })
    .await
}
