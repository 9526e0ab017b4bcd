//! Both directions of a connection, in one future.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::direction::Direction;
use super::supplies::Supplies;
use crate::telemetry::counts::Tally;

/// How a connection ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Both sides have said all, and heard all.
    Closed,
    /// Nothing went either way for too long.
    Idle,
    /// A side has failed.
    Broken(io::Error),
    /// The backend has been cut.
    Cut,
}

impl Ended {
    /// Whether both sides may take what they have heard for all.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self, Self::Closed | Self::Idle)
    }
}

/// Passes bytes both ways until both sides have ended, one has failed, or both have been silent for `idle`.
///
/// The end of one side is passed on and the other direction goes on: a half-closed connection is one.
pub(super) async fn relay(
    client: &TcpStream,
    backend: &TcpStream,
    (supplies, tally): (&Supplies, &Tally),
    idle: Duration,
) -> Ended {
    let _begun = supplies.begin();
    let mut up = Direction::new(client, backend, supplies);
    let mut down = Direction::new(backend, client, supplies);
    let mut client_failed = pin!(client.ready(Interest::ERROR));
    let mut backend_failed = pin!(backend.ready(Interest::ERROR));
    let mut heard = Instant::now();
    let mut timer = pin!(tokio::time::sleep_until(heard + idle));
    poll_fn(|cx| {
        let before = (up.moved(), down.moved());
        let (sent, received) = (up.poll(cx), down.poll(cx));
        let moved = (up.moved(), down.moved());
        tally.sent(moved.0 - before.0);
        tally.received(moved.1 - before.1);
        match (sent, received) {
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => {
                return Poll::Ready(Ended::Broken(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ended::Closed),
            _ => {}
        }
        // The reset of a sender that isn't read from would else be noticed when it is too late to matter.
        if up.is_deaf()
            && let Some(error) = failure(client_failed.as_mut(), client, cx)
        {
            return Poll::Ready(Ended::Broken(error));
        }
        if down.is_deaf()
            && let Some(error) = failure(backend_failed.as_mut(), backend, cx)
        {
            return Poll::Ready(Ended::Broken(error));
        }
        if moved != before {
            heard = Instant::now();
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            // Set anew only when it fires: that is once in a while, and bytes come all the time.
            if heard.elapsed() >= idle {
                return Poll::Ready(Ended::Idle);
            }
            timer.as_mut().reset(heard + idle);
        }
    })
    .await
}

/// The error of a socket that has one.
fn failure(
    failed: Pin<&mut impl Future<Output = io::Result<Ready>>>,
    socket: &TcpStream,
    cx: &mut Context<'_>,
) -> Option<io::Error> {
    match failed.poll(cx) {
        Poll::Pending => None,
        Poll::Ready(Err(error)) => Some(error),
        Poll::Ready(Ok(_)) => match socket.take_error() {
            Ok(Some(error)) | Err(error) => Some(error),
            Ok(None) => Some(io::ErrorKind::ConnectionReset.into()),
        },
    }
}
