//! Following the events of a running edgeproxy, over as many connections as it takes.

mod pauses;
mod sse;

use std::time::Duration;

use anyhow::Context as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderName, StatusCode};
use tokio::time::timeout;

pub(crate) use self::pauses::Pauses;
use self::sse::Parser;
pub(crate) use self::sse::Told;
use crate::client::Opened;
use crate::remote::{Api, Refusal, Remote};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follows a stream of events. Each attempt to connect reads the file of the token anew, so that one that was exchanged
/// meanwhile is used.
pub(crate) struct Follower {
    remote: Remote,
    /// With its query.
    path: String,
    /// Whoever says nothing for so long is gone, even if the network doesn't say so.
    silence: Duration,
    pauses: Pauses,
    last_id: Option<String>,
    stream: Option<Stream>,
}

struct Stream {
    opened: Opened,
    parser: Parser,
}

/// What came of listening for a while.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A connection is there, and will tell what follows the last event that was heard.
    Begun,
    /// Something was told.
    Told(Told),
    /// There is no connection, and why. The next call waits for `pause` before it makes one.
    Lost {
        /// What went wrong.
        error: anyhow::Error,
        /// How long the next attempt waits.
        pause: Duration,
    },
    /// The server refuses what is asked, and asking again changes nothing unless somebody changes something about it.
    Refused {
        /// In its words.
        refusal: Refusal,
        /// How long the next attempt waits, if there is to be one.
        pause: Duration,
    },
}

impl Follower {
    /// Follows that path, which may have a query, and expects to hear something at least every `silence`.
    pub(crate) fn new(remote: Remote, path: String, silence: Duration) -> Self {
        Self {
            remote,
            path,
            silence,
            pauses: Pauses::default(),
            last_id: None,
            stream: None,
        }
    }

    /// The same, beginning after that event.
    pub(crate) fn after(self, id: Option<String>) -> Self {
        Self { last_id: id, ..self }
    }

    /// Waits for the next thing to know. After a loss it first waits for the pause that was told with it.
    pub(crate) async fn next(&mut self) -> Heard {
        let Some(stream) = &mut self.stream else {
            tokio::time::sleep(self.pauses.due()).await;
            return match self.connect().await {
                Ok(stream) => {
                    self.stream = Some(stream);
                    Heard::Begun
                }
                Err(error) => self.lost(error),
            };
        };
        let told = stream.next(self.silence).await;
        // Also without an event: a place to come back to, and when.
        if let Some(id) = stream.parser.last_id() {
            self.last_id = Some(id.to_owned());
        }
        if told.is_ok() || stream.parser.retry().is_some() {
            self.pauses.heard(stream.parser.retry());
        }
        match told {
            Ok(told) => Heard::Told(told),
            Err(error) => {
                self.stream = None;
                self.lost(error)
            }
        }
    }

    async fn connect(&self) -> anyhow::Result<Stream> {
        let api = Api::at(&self.remote)?;
        let mut headers = vec![(ACCEPT, "text/event-stream")];
        if let Some(id) = &self.last_id {
            headers.push((LAST_EVENT_ID, id));
        }
        let opened = api.open(&self.path, &headers).await?;
        let kind = opened.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            anyhow::bail!(
                "no events from {}{}: is that the API of edgeproxy?",
                api.url(),
                self.path
            );
        }
        Ok(Stream {
            opened,
            parser: Parser::default(),
        })
    }

    fn lost(&mut self, error: anyhow::Error) -> Heard {
        let pause = self.pauses.next(fastrand::f64());
        match error.downcast::<Refusal>() {
            Ok(refusal) if is_final(refusal.status) => Heard::Refused { refusal, pause },
            Ok(refusal) => Heard::Lost {
                error: refusal.into(),
                pause,
            },
            Err(error) => Heard::Lost { error, pause },
        }
    }
}

impl Stream {
    async fn next(&mut self, silence: Duration) -> anyhow::Result<Told> {
        loop {
            if let Some(told) = self.parser.next() {
                return Ok(told);
            }
            let chunk = timeout(silence, self.opened.chunk()).await;
            let chunk = chunk.with_context(|| format!("nothing was heard for {} s", silence.as_secs()))?;
            let chunk = chunk.context("the connection was lost")?;
            self.parser
                .take(&chunk.context("the server has ended the stream")?)?;
        }
    }
}

/// Whether the same question gets the same answer for as long as nobody changes something about it.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && status != StatusCode::TOO_MANY_REQUESTS
        && status != StatusCode::REQUEST_TIMEOUT
}
