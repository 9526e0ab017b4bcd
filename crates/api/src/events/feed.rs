use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::Progress;
use super::filter::Filter;
use super::licence::Licence;
use super::sample::Server;
use super::view::{block, reset};
use crate::state::Shared;

/// Events in one write.
const BATCH: usize = 256;
/// Events are gathered for so long since the last look: a fleet that is deployed anew would else cost the thread that decides
/// about it a write, or a look for nothing, for each event and reader.
const GATHER: Duration = Duration::from_millis(20);
/// How often a licence is looked at, and figures are told.
const TICK: Duration = Duration::from_secs(1);
/// The longest silence. Proxies close what says nothing for a minute; and a reader that has gone is found by it.
const SILENCE: Duration = Duration::from_secs(15);
/// When to come back after a lost connection.
const RETRY_MS: u64 = 2_000;
/// When to come back to whoever goes on, which may be there already.
const RETRY_ENDED_MS: u64 = 300;

/// What one reader gets, one piece after the other.
pub(super) struct Feed {
    shared: Shared,
    filter: Filter,
    licence: Licence,
    /// Whether the figures come, too; and the look that the latest are of.
    stats: Option<u64>,
    _place: OwnedSemaphorePermit,
    progress: watch::Receiver<Progress>,
    ticks: Interval,
    /// The number of the latest event that was looked at.
    at: u64,
    /// To be sent before anything else.
    first: Option<Bytes>,
    spoke: Instant,
    /// When events were looked at last, wanted ones or not, until what follows them has been gathered.
    looked: Option<Instant>,
    over: bool,
}

/// What a feed begins with.
pub(super) enum Begin {
    /// After that event.
    After(u64),
    /// Now, and something before it is missing.
    Reset,
}

impl Feed {
    pub(super) fn new(
        shared: Shared,
        filter: Filter,
        licence: Licence,
        (begin, stats): (Begin, Option<Bytes>),
        place: OwnedSemaphorePermit,
    ) -> Self {
        let events = &shared.events;
        let newest = events.ring().newest();
        let mut first = BytesMut::new();
        let at = match begin {
            Begin::After(number) => number,
            Begin::Reset => newest,
        };
        // The id without an event: whoever loses the connection before the first one comes back to this place.
        let id = events.id(at);
        first.extend_from_slice(format!("retry: {RETRY_MS}\nid: {id}\n\n").as_bytes());
        let with_stats = stats.is_some();
        first.extend_from_slice(&stats.unwrap_or_default());
        if matches!(begin, Begin::Reset) {
            first.extend_from_slice(&reset(id));
        }
        let progress = events.0.progress.subscribe();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            filter,
            licence,
            stats: with_stats.then_some(0),
            _place: place,
            progress,
            ticks,
            at,
            first: Some(first.freeze()),
            spoke: Instant::now(),
            looked: None,
            over: false,
            shared,
        }
    }

    /// The next piece, or the end.
    async fn next(mut self) -> Option<(Bytes, Self)> {
        let piece = self.piece().await?;
        self.spoke = Instant::now();
        Some((piece, self))
    }

    async fn piece(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some(looked) = self.looked.take() {
                sleep_until(looked + GATHER).await;
            }
            if self.over || !self.licence.holds(&self.filter.caller) {
                return None;
            }
            // Before events: where there always are some, figures would never come.
            let due = poll_fn(|cx| Poll::Ready(self.ticks.poll_tick(cx))).await;
            if let Poll::Ready(now) = due
                && let Some(piece) = self.tick(now).await
            {
                return Some(piece);
            }
            let ended = self.progress.borrow_and_update().ended;
            let before = self.at;
            let waiting = self.waiting();
            if self.at != before {
                self.looked = Some(Instant::now());
            }
            if !waiting.is_empty() {
                return Some(waiting);
            }
            if ended {
                self.over = true;
                return Some(Bytes::from(format!(
                    "retry: {RETRY_ENDED_MS}\n: it ends here\n\n"
                )));
            }
            tokio::select! {
                // The sender lives in what `self` holds.
                _ = self.progress.changed() => {}
                now = self.ticks.tick() => {
                    if let Some(piece) = self.tick(now).await {
                        return Some(piece);
                    }
                }
            }
        }
    }

    /// What has happened since, as far as it is wanted. Looks at one batch after the other until something is.
    fn waiting(&mut self) -> Bytes {
        let events = &self.shared.events;
        loop {
            let read = events.ring().after(self.at, BATCH);
            if read.has_forgotten {
                self.at = read.newest;
                return reset(events.id(read.newest));
            }
            let Some(last) = read.events.last() else {
                return Bytes::new();
            };
            self.at = last.number;
            let mut text = BytesMut::new();
            for told in &read.events {
                let event = &told.event;
                if self.filter.takes(event.kind, &event.app, &event.id) {
                    text.extend_from_slice(told.text(events.0.run));
                }
            }
            if !text.is_empty() {
                return text.freeze();
            }
        }
    }

    async fn tick(&mut self, now: Instant) -> Option<Bytes> {
        if let Some(seen) = &mut self.stats {
            let sample = self.shared.events.sample(&self.shared, now).await;
            if sample.number() > *seen {
                let server = Server::of(&self.shared.handle, &self.shared.readiness, &self.filter.caller);
                let text = block(None, "stats", &sample.since(*seen, &self.filter, server));
                *seen = sample.number();
                return Some(text);
            }
        }
        let is_silent = now.duration_since(self.spoke) >= SILENCE;
        is_silent.then(|| Bytes::from_static(b":\n\n"))
    }
}

type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Feed)>> + Send>>;

/// A [`Feed`] as the body of an answer. It makes a piece when there is room for it, and none ahead.
pub(super) struct FeedBody(Option<Next>);

impl FeedBody {
    pub(super) fn new(feed: Feed) -> Self {
        Self(Some(Box::pin(feed.next())))
    }
}

impl Body for FeedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(next) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Some((piece, feed)) = ready!(next.as_mut().poll(cx)) else {
            self.0 = None;
            return Poll::Ready(None);
        };
        self.0 = Some(Box::pin(feed.next()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}
