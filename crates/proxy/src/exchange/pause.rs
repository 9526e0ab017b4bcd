//! How long a backend may be silent in the middle of its answer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::exchange::upload::Watch;
use crate::http2::receive::Receive;
use crate::worker::timer::Timer;

/// Times a backend's silence, and only while it is waited for: a client that takes nothing is timed by others. What
/// still moves of the request puts it off, since a backend may well take all of that before it goes on.
pub(crate) struct Pause<B = Receive> {
    timer: Timer,
    timeout: Duration,
    upload: Watch<B>,
    /// When it began.
    since: Option<Instant>,
}

impl<B> Pause<B> {
    /// None yet.
    pub(crate) fn new(timer: Timer, timeout: Duration, upload: Watch<B>) -> Self {
        timer.disarm();
        Self {
            timer,
            timeout,
            upload,
            since: None,
        }
    }

    /// Goes on, or begins. Ready when it is too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(|| {
            let now = Instant::now();
            self.timer.arm(now + self.timeout);
            now
        });
        loop {
            ready!(self.timer.poll_due(cx));
            let moved = self.upload.moved().unwrap_or(since).max(since);
            let due = moved + self.timeout;
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.arm(due);
        }
    }

    /// The backend has said something. The timer is left as it is: the next pause sets it anew, and fires it meanwhile
    /// in vain at most once.
    pub(crate) fn end(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use tokio::time::advance;

    use super::*;
    use crate::exchange::upload::Upload;
    use crate::worker::timer::{TICK, Timers};

    const TIMEOUT: Duration = Duration::from_secs(300);

    async fn poll<B>(pause: &mut Pause<B>) -> Poll<()> {
        poll_fn(|cx| Poll::Ready(pause.poll_over(cx))).await
    }

    /// Waits for the end of it; when that was.
    async fn over<B>(pause: &mut Pause<B>, timers: &Timers) -> Instant {
        tokio::select! {
            () = timers.run() => panic!("the timers have ended"),
            () = poll_fn(|cx| pause.poll_over(cx)) => Instant::now(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_begins_when_the_backend_is_waited_for_and_ends_with_what_it_says() {
        let timers = Timers::new();
        let upload = Upload::new(Full::<Bytes>::default(), 0, None);
        let mut pause = Pause::new(timers.timer(), TIMEOUT, upload.watch());
        advance(TIMEOUT).await;
        assert!(poll(&mut pause).await.is_pending());
        advance(TIMEOUT / 2).await;
        pause.end();
        advance(TIMEOUT).await;
        let began = Instant::now();
        let took = over(&mut pause, &timers).await - began;
        assert!((TIMEOUT..=TIMEOUT + TICK * 2).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_of_the_request_puts_its_end_off() {
        let timers = Timers::new();
        let upload = Upload::new(Full::from("ab"), 0, None);
        let mut draw = upload.draw();
        let mut pause = Pause::new(timers.timer(), TIMEOUT, upload.watch());
        drop(upload);
        assert!(poll(&mut pause).await.is_pending());
        advance(TIMEOUT / 2).await;
        draw.frame().await.unwrap().unwrap();
        let moved = Instant::now();
        let took = over(&mut pause, &timers).await - moved;
        assert!((TIMEOUT..=TIMEOUT + TICK * 2).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_does_not_hold_a_request_that_nobody_takes_any_more() {
        let timers = Timers::new();
        let upload = Upload::new(Full::from("ab"), 0, None);
        let mut pause = Pause::new(timers.timer(), TIMEOUT, upload.watch());
        drop(upload);
        assert_eq!(pause.upload.moved(), None);
        let began = Instant::now();
        let took = over(&mut pause, &timers).await - began;
        assert!((TIMEOUT..=TIMEOUT + TICK * 2).contains(&took), "{took:?}");
    }
}
