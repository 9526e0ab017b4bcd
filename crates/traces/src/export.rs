//! What is sent when, how often it is tried, and what becomes of it at the end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::otlp::{Export, Resource, ResourceSpans, ScopeSpans, Span};
use crate::queue::{Counts, Waiting};
use crate::{FLUSH, Origin};

/// Whom spans are sent to.
pub(crate) trait Post {
    /// Sends one request and reads its answer.
    fn post(&mut self, body: Bytes) -> impl Future<Output = Result<Taken, Refused>> + Send;
}

/// The collector has them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// But for so many.
    pub(crate) rejected: u64,
    pub(crate) why: Option<String>,
}

/// The collector has not taken them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It may take them later.
    ForNow { why: String, pause: Option<Duration> },
    /// It never will.
    ForEver { why: String },
}

/// When it is over.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    token: CancellationToken,
    began: OnceLock<Instant>,
}

impl Ending {
    pub(crate) fn begin(&self) {
        let _ = self.began.set(Instant::now());
        self.token.cancel();
    }

    fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when it has begun.
    async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Resolves when the time for what is left is over.
    async fn over(&self) {
        self.begun().await;
        if let Some(began) = self.began.get() {
            sleep_until(*began + FLUSH).await;
        }
    }
}

/// Spans of one request to the collector: more of what waits is sent along up to there.
const MOST_SPANS: u64 = 1_024;
/// Which is tried so often,
const TRIES: u32 = 5;
/// each for so long,
const TIMEOUT: Duration = Duration::from_secs(10);
/// with so much time after the first, and twice as much after each further one.
const PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Exporting<P, F> {
    to: P,
    origin: Origin,
    spans: F,
    counts: Arc<Counts>,
    ending: Arc<Ending>,
    /// Whether the last ones could be sent, if need be after a few tries.
    works: bool,
}

impl<P, F> Exporting<P, F> {
    pub(crate) const fn new(
        to: P,
        origin: Origin,
        spans: F,
        counts: Arc<Counts>,
        ending: Arc<Ending>,
    ) -> Self {
        Self {
            to,
            origin,
            spans,
            counts,
            ending,
            works: true,
        }
    }
}

impl<P: Post, F> Exporting<P, F> {
    /// Sends what comes until it is over.
    pub(crate) async fn run<T>(mut self, mut waiting: Waiting<T>)
    where
        F: FnMut(T, &mut Vec<Span>),
    {
        loop {
            let first = tokio::select! {
                biased;
                batch = waiting.next() => batch,
                () = self.ending.begun() => waiting.at_hand(),
            };
            let Some(first) = first else { return };
            let (mut spans, mut count) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(batch) = next {
                count += batch.spans;
                for item in batch.items {
                    (self.spans)(item, &mut spans);
                }
                next = if count < MOST_SPANS {
                    waiting.at_hand()
                } else {
                    None
                };
            }
            let body = self.body(spans);
            let ending = Arc::clone(&self.ending);
            tokio::select! {
                () = self.deliver(&body, count) => {}
                () = ending.over() => {
                    self.counts.lose(count);
                    waiting.close();
                    while let Some(batch) = waiting.at_hand() {
                        self.counts.lose(batch.spans);
                    }
                    tracing::warn!("the last spans could not be sent in time");
                    return;
                }
            }
        }
    }

    fn body(&self, spans: Vec<Span>) -> Bytes {
        let export = Export {
            resource_spans: vec![ResourceSpans {
                resource: Some(Resource {
                    attributes: self.origin.attributes.clone(),
                }),
                scope_spans: vec![ScopeSpans {
                    scope: Some(self.origin.scope.clone()),
                    spans,
                }],
                schema_url: self.origin.schema_url.clone(),
            }],
        };
        export.encode_to_vec().into()
    }

    /// Sends one request, as often as it takes, and counts what became of it. One that is dropped meanwhile has counted
    /// nothing.
    async fn deliver(&mut self, body: &Bytes, spans: u64) {
        let mut pause = PAUSE;
        for tried in 1..=TRIES {
            let answer = timeout(TIMEOUT, self.to.post(body.clone())).await;
            let refused = match answer {
                Ok(Ok(taken)) => return self.took(&taken, spans),
                Ok(Err(refused)) => refused,
                Err(_) => Refused::ForNow {
                    why: format!("no answer within {} s", TIMEOUT.as_secs()),
                    pause: None,
                },
            };
            let wait = match refused {
                Refused::ForEver { why } => return self.gave_up(&why, spans),
                Refused::ForNow { why, .. } if tried == TRIES || self.ending.has_begun() => {
                    return self.gave_up(&why, spans);
                }
                Refused::ForNow { why, pause: asked } => {
                    self.hopes(&why, tried);
                    // Not all proxies at once.
                    asked.unwrap_or_else(|| pause.mul_f64(0.5 + fastrand::f64()))
                }
            };
            pause *= 2;
            let ending = Arc::clone(&self.ending);
            tokio::select! {
                () = sleep(wait) => {}
                () = ending.begun() => {}
            }
        }
    }

    fn took(&mut self, taken: &Taken, spans: u64) {
        let rejected = taken.rejected.min(spans);
        self.counts.send(spans - rejected);
        self.counts.lose(rejected);
        if rejected > 0 {
            let why = taken.why.as_deref().unwrap_or("it did not say why");
            tracing::warn!(rejected, why, "the collector has rejected spans");
        }
        if !std::mem::replace(&mut self.works, true) {
            tracing::info!("the collector takes spans again");
        }
    }

    /// Nothing is lost yet. Said aloud once for what is sent, and not at all where it is known that nothing works.
    fn hopes(&self, why: &str, tried: u32) {
        if self.works && tried == 1 {
            tracing::warn!(why, "spans could not be sent; it is tried again");
        } else {
            tracing::debug!(why, tried, "spans could not be sent; it is tried again");
        }
    }

    /// Complains once, until it takes some again.
    fn gave_up(&mut self, why: &str, spans: u64) {
        self.counts.lose(spans);
        if std::mem::replace(&mut self.works, false) {
            tracing::error!(why, "the collector takes no spans; they are lost until it does");
        }
    }
}

#[cfg(test)]
mod tests;
