//! One attempt: a connection to a backend, the request on it, and the head of the response.

use std::future::poll_fn;
use std::task::Poll;

use edgeproxy_backend::{Endpoint, InFlight};
use tokio::time::Instant;

use super::Exchange;
use crate::AppSettings;
use crate::exchange::retry::{self, Failed};
use crate::http1::body::BodyError;
use crate::http1::converse::{Conversation, Silence, Unread, Uploaded};
use crate::http1::response::{self, Delivery, Manner, Persist};
use crate::http2::interim::MAX_INTERIM;
use crate::telemetry::counts::{Tally, place_of};
use crate::transport::socket::{Socket, write_all};
use crate::upstream::dialing::Dialing;
use crate::upstream::pool::Upstream;
use crate::upstream::wire::{self, Wire};
use crate::worker::clock;

/// Of the interim responses, the one that asks for the body.
pub(super) const CONTINUE: u16 = 100;

/// A response whose head has come.
pub(super) struct Answered {
    pub(super) status: u16,
    /// The backend would take another request on it.
    pub(super) reusable: bool,
    /// The backend takes no more of the request.
    pub(super) deaf: bool,
    /// The client has been told that its connection goes on.
    pub(super) kept: bool,
    /// Both sides go on with another protocol.
    pub(super) switches: bool,
    /// It counts as a failure.
    pub(super) unhealthy: bool,
    /// Only a reset tells the client that the body was broken off: otherwise it ends with the connection.
    pub(super) resets: bool,
}

/// Why an attempt brought no response.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// The backend's failure.
    Failed(Failed),
    /// The client's own fault.
    Body(BodyError),
    /// The request can't be written for the backend.
    Target,
    /// The client sends its body too slowly.
    Stalled,
    /// The client has gone.
    Gone,
}

impl From<Failed> for Unanswered {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Silence> for Unanswered {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::Backend(failed) => Self::Failed(failed),
            Silence::Body(error) => Self::Body(error),
            Silence::ClientGone => Self::Gone,
        }
    }
}

impl<S: Socket> Exchange<'_, S> {
    /// Tries one backend, on a kept connection if there is one, and on a fresh one if that turns out to be dead.
    pub(super) async fn attempt(
        &mut self,
        place: &InFlight,
        upstream: &Upstream<Wire>,
        settings: &AppSettings,
    ) -> Result<Answered, Unanswered> {
        if let Some(at) = self.host_at.take() {
            let host = format!("host: {}\r\n", place.endpoint().addr);
            self.head.splice(at..at, host.into_bytes());
        }
        if !self.tried.is_empty() {
            *self.now = Instant::now();
        }
        self.wire = self.worker.wires().take(upstream, *self.now);
        let mut reused = self.wire.is_some();
        loop {
            if self.wire.is_none() {
                // Rare, and large.
                let (wire, kept) = Box::pin(self.connect(place.endpoint(), upstream, settings)).await?;
                (self.wire, reused) = (Some(wire), kept);
            }
            let answered = self.converse(reused, place, upstream, settings).await;
            if answered.is_err() {
                self.wire = None;
            }
            match answered {
                Err(Unanswered::Failed(failed))
                    if reused && retry::next(failed, self.repeatable()) == retry::Next::FreshConnection =>
                {
                    self.restart();
                }
                decided => return decided,
            }
        }
    }

    /// A fresh connection; or one that was given back while there was nothing to make one with, and `true`.
    async fn connect(
        &mut self,
        endpoint: &Endpoint,
        upstream: &Upstream<Wire>,
        settings: &AppSettings,
    ) -> Result<(Wire, bool), Unanswered> {
        // So that it is known whether all of it has come.
        self.upload.body.decode().map_err(Unanswered::Body)?;
        let (timer, worker) = (self.timer, self.worker);
        timer.arm(Instant::now() + settings.connect_timeout);
        let (config, dialing) = (worker.config(), Dialing::default());
        let mut connecting = std::pin::pin!(wire::connect(endpoint, config, upstream.tally(), &dialing));
        let connected = poll_fn(|cx| {
            if timer.poll_due(cx).is_ready() {
                return Poll::Ready(Err(dialing.late().into()));
            }
            if upstream.is_cut() {
                return Poll::Ready(Err(Failed::Connect.into()));
            }
            if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
                return Poll::Ready(connected.map(|wire| (wire, false)).map_err(Unanswered::from));
            }
            if let Some(wire) = worker.wires().take_instead(upstream, &dialing) {
                return Poll::Ready(Ok((wire, true)));
            }
            self.poll_gone(cx).map(|()| Err(Unanswered::Gone))
        })
        .await;
        *self.now = Instant::now();
        // One that failed took its time as well.
        self.account.connected(dialing.took());
        connected
    }

    /// Sends the request on its connection and waits for the final response's head.
    async fn converse(
        &mut self,
        reused: bool,
        place: &InFlight,
        upstream: &Upstream<Wire>,
        settings: &AppSettings,
    ) -> Result<Answered, Unanswered> {
        let Some(wire) = &mut self.wire else {
            return Err(Failed::Connect.into());
        };
        let (timer, timeout, sent) = (self.timer, settings.response_header_timeout, *self.now);
        timer.arm(sent + timeout);
        let (keep, asked, worker) = (self.keep, self.asked, self.worker);
        let mut conversation = Conversation {
            wire,
            client: &mut self.client,
            upload: &mut self.upload,
            head: &self.head,
            head_sent: 0,
            heard: &mut self.download.buffer,
            seen: 0,
            interim: 0,
            asked_before: false,
            deaf: false,
            reused,
        };
        let (mut sending, mut first) = (true, true);
        let (expects, mut granted) = (self.expects, false);
        let date = || worker.date();
        let (head, persist) = loop {
            let answer = &mut self.answer;
            let (head, persist) = poll_fn(|cx| {
                if upstream.is_cut() {
                    return Poll::Ready(Err(Failed::NoResponse.into()));
                }
                while sending {
                    match conversation.poll_send(cx) {
                        Poll::Ready(Ok(uploaded)) => {
                            sending = uploaded != Uploaded::All;
                            // What leaves at once needs no second look at the clock.
                            if !first {
                                timer.arm(Instant::now() + timeout);
                            }
                        }
                        Poll::Ready(Err(silence)) => return Poll::Ready(Err(silence.into())),
                        Poll::Pending => break,
                    }
                }
                first = false;
                let unread = conversation.unread(expects && !granted);
                let persist = |head: &response::Head| {
                    head.persist(asked, keep && !worker.is_draining() && !unread.ends(head))
                };
                let manner = |head: &response::Head| Manner {
                    pseudonym: worker.pseudonym(),
                    asked,
                    persist: persist(head),
                    date: &date,
                };
                if let Poll::Ready(heard) = conversation.poll_hear(cx, asked, manner, answer) {
                    let told = heard.map(|head| (head, persist(&head)));
                    return Poll::Ready(told.map_err(Unanswered::from));
                }
                if !sending
                    && conversation
                        .client
                        .poll_gone(cx, &mut conversation.upload.body.buffer)
                        .is_ready()
                {
                    return Poll::Ready(Err(Unanswered::Gone));
                }
                timer.poll_due(cx).map(|()| {
                    // Who waits for a 100 waits for the backend.
                    let withheld = conversation.unread(expects && !granted) == Unread::Withheld;
                    Err(if conversation.waits_for_client() && !withheld {
                        Unanswered::Stalled
                    } else {
                        Failed::ResponseTimeout.into()
                    })
                })
            })
            .await?;
            if !head.is_interim() {
                break (head, persist);
            }
            granted |= head.status == CONTINUE;
            conversation.interim += 1;
            if conversation.interim > MAX_INTERIM {
                return Err(Failed::Malformed.into());
            }
            if asked.minor > 0 {
                let until = Instant::now() + worker.config().send_timeout;
                // Rare, and large.
                let written =
                    Box::pin(write_all(conversation.client.socket, timer, until, &self.answer)).await;
                written.map_err(|_| Unanswered::Gone)?;
                timer.arm(Instant::now() + timeout);
            }
        };
        // Whoever answers before the whole head has come will not make sense of the rest. And what a client sends
        // that has waited for 100 in vain may be its body or its next request.
        let deaf = conversation.deaf
            || conversation.head_sent < conversation.head.len()
            || conversation.unread(expects && !granted) == Unread::Withheld;
        *self.now = Instant::now();
        let unhealthy = settings.unhealthy_responses.contains(head.status) && !head.switches();
        self.answered(
            (place, upstream.tally()),
            settings,
            (head.status, unhealthy),
            sent,
        );
        let delivery = head.delivery(asked.minor);
        self.download.begin(head.length, delivery);
        Ok(Answered {
            status: head.status,
            reusable: head.keep_alive,
            deaf,
            kept: persist != Persist::Close,
            switches: head.switches(),
            unhealthy,
            resets: matches!(delivery, Delivery::Bare | Delivery::UntilClose),
        })
    }

    /// Tells a backend's ledger that it has answered a request of `sent`; with a status that is `unhealthy`, as a failure.
    pub(super) fn answered(
        &self,
        (place, tally): (&InFlight, &Tally),
        settings: &AppSettings,
        (status, unhealthy): (u16, bool),
        sent: Instant,
    ) {
        let now = clock::at(*self.now);
        let latency = self.now.saturating_duration_since(sent);
        tally.backend.responded(status, latency);
        let signal = if unhealthy {
            tracing::debug!(backend = %place.endpoint().id, status, "a backend's response counts as a failure");
            tally.backend.failures.count(place_of(Failed::Unhealthy));
            place.failed(settings.max_failures, now)
        } else {
            place.succeeded(latency, now)
        };
        self.worker.tell(place, signal);
    }
}
