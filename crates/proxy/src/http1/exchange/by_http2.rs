//! One attempt on a backend that speaks HTTP/2, and the delivery of its response.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use edgeproxy_backend::InFlight;
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::{Response, Version};
use tokio::time::Instant;

use super::attempt::{CONTINUE, Unanswered};
use super::{After, Exchange, note_delivery};
use crate::AppSettings;
use crate::exchange::pick::Taken;
use crate::exchange::retry::{self, Failed};
use crate::headers::forward;
use crate::headers::via::Pseudonym;
use crate::http1::bridge::ascent::Ascent;
use crate::http1::bridge::descent::{Descent, Moved};
use crate::http1::bridge::request::{Translated, translate};
use crate::http1::bridge::response::{self, Framing};
use crate::http1::converse::{Unread, Uploaded};
use crate::http1::deliver::{Broken, Step, WaitsFor};
use crate::http1::leaving::Leaving;
use crate::http1::response::Persist;
use crate::http2::interim::MAX_INTERIM;
use crate::http2::receive::Receive;
use crate::transport::socket::{Socket, write_all};
use crate::upstream::attempt::Made;
use crate::upstream::attempt::http2::{self, poll_interim};
use crate::upstream::attempt::mux::{Slot, Way};

/// A response that has begun, its head written already, and what it holds until the backend has said everything.
pub(super) struct Crossing {
    body: Receive,
    framing: Framing,
    ascent: Ascent,
    /// The client has been told that its connection goes on.
    kept: bool,
    status: u16,
    /// It counts as a failure.
    unhealthy: bool,
    held: Option<(Slot, Option<Taken>)>,
}

impl Crossing {
    pub(super) fn status(&self) -> u16 {
        self.status
    }

    /// Whether the response counts as a failure.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy
    }

    /// With the place of its request.
    pub(super) fn holding(mut self, place: Taken) -> Self {
        if let Some((_, taken)) = &mut self.held {
            *taken = Some(place);
        }
        self
    }
}

/// What a backend has said.
enum Heard {
    Interim(Response<()>),
    Final(Response<RecvStream>),
}

impl<S: Socket> Exchange<'_, S> {
    /// Tries one backend as a stream of a shared connection; once more if that was being closed.
    pub(super) async fn attempt_by_http2(
        &mut self,
        place: &InFlight,
        settings: &AppSettings,
    ) -> Result<Crossing, Unanswered> {
        if !self.tried.is_empty() {
            *self.now = Instant::now();
        }
        if settings.retry_enabled {
            // Of any method, since a backend may refuse a stream that it has not looked at.
            self.upload.keep(settings.replay_max_bytes);
        }
        match self.send_by_http2(place, settings).await {
            Err(Unanswered::Failed(failed))
                if retry::next(failed, self.repeatable()) == retry::Next::FreshConnection =>
            {
                self.restart();
                self.send_by_http2(place, settings).await
            }
            decided => decided,
        }
    }

    async fn send_by_http2(
        &mut self,
        place: &InFlight,
        settings: &AppSettings,
    ) -> Result<Crossing, Unanswered> {
        // So that it is known whether all of it has come.
        self.upload.body.decode().map_err(Unanswered::Body)?;
        let (endpoint, config) = (place.endpoint(), self.worker.config());
        let Translated { request, chunked } =
            translate(&self.head, endpoint.addr).ok_or(Unanswered::Target)?;
        let mux = self.worker.mux(endpoint);
        let made = Made::default();
        let connecting = (settings.connect_timeout, &made);
        let mut way = pin!(http2::way(&mux, endpoint, config, connecting));
        let way = poll_fn(|cx| match way.as_mut().poll(cx) {
            Poll::Ready(way) => Poll::Ready(way.map_err(Unanswered::from)),
            Poll::Pending => self.poll_gone(cx).map(|()| Err(Unanswered::Gone)),
        })
        .await;
        self.account.connected(made.take());
        // In the clear there is nothing to choose.
        let Way::Stream(mut slot) = way? else {
            return Err(Failed::Connect.into());
        };
        let (sent, ended) = (Instant::now(), self.upload.has_left());
        let reused = slot.reused;
        let (response, stream) = slot
            .sender
            .send_request(request, ended)
            .map_err(|error| http2::failure(&error, reused))?;
        let mut stream = Stream {
            response,
            reused,
            ascent: Ascent::new(stream, chunked, ended),
            left: MAX_INTERIM,
        };
        let timeout = settings.response_header_timeout;
        let (response, granted) = self.await_by_http2(&mut stream, sent, timeout).await?;
        *self.now = Instant::now();
        let status = response.status().as_u16();
        let unhealthy = settings.unhealthy_responses.contains(status);
        self.answered((place, mux.tally()), settings, (status, unhealthy), sent);
        Ok(Crossing {
            unhealthy,
            ..self.begin(response, stream.ascent, slot, granted)
        })
    }

    /// Waits for the final response, and passes interim ones on. Whether one of them asked for the body.
    async fn await_by_http2(
        &mut self,
        stream: &mut Stream,
        sent: Instant,
        timeout: Duration,
    ) -> Result<(Response<RecvStream>, bool), Unanswered> {
        let timer = self.timer;
        timer.arm(sent + timeout);
        let mut granted = false;
        loop {
            let heard = poll_fn(|cx| {
                while !stream.ascent.is_over() {
                    match stream.ascent.poll(cx, &mut self.client, &mut self.upload) {
                        Poll::Ready(Ok(Uploaded::All | Uploaded::Moved)) => {
                            timer.arm(Instant::now() + timeout);
                        }
                        Poll::Ready(Err(silence)) => return Poll::Ready(Err(silence.into())),
                        Poll::Pending => break,
                    }
                }
                if let Poll::Ready(heard) = stream.poll(cx, self.worker.pseudonym()) {
                    return Poll::Ready(heard.map_err(Unanswered::from));
                }
                let next = &mut self.upload.body.buffer;
                if stream.ascent.has_ended() && self.client.poll_gone(cx, next).is_ready() {
                    return Poll::Ready(Err(Unanswered::Gone));
                }
                timer.poll_due(cx).map(|()| {
                    // Who waits for a 100 waits for the backend.
                    let withheld = self.unread(&stream.ascent, granted) == Unread::Withheld;
                    let giving = !stream.ascent.is_over() && self.upload.outgoing().is_empty() && !withheld;
                    Err(if giving {
                        Unanswered::Stalled
                    } else {
                        Failed::ResponseTimeout.into()
                    })
                })
            })
            .await?;
            let interim = match heard {
                Heard::Final(response) => return Ok((response, granted)),
                Heard::Interim(interim) => interim,
            };
            granted |= interim.status() == CONTINUE;
            if self.asked.minor > 0 {
                response::write_interim(&interim, &mut self.answer);
                let until = Instant::now() + self.worker.config().send_timeout;
                let written = write_all(self.client.socket, timer, until, &self.answer).await;
                written.map_err(|_| Unanswered::Gone)?;
                timer.arm(Instant::now() + timeout);
            }
        }
    }

    /// Writes the head of a final response.
    fn begin(
        &mut self,
        response: Response<RecvStream>,
        mut ascent: Ascent,
        slot: Slot,
        granted: bool,
    ) -> Crossing {
        let (mut parts, body) = response.into_parts();
        parts.version = Version::HTTP_2;
        forward::sign(&mut parts, self.worker.pseudonym());
        let body = Receive::new(body, &parts.headers, slot.sections());
        let framing = response::framing(&parts, self.asked, http_body::Body::is_end_stream(&body));
        let unread = self.unread(&ascent, granted);
        let goes_on = matches!(unread, Unread::Nothing | Unread::Coming) && framing != Framing::UntilClose;
        let persist = Persist::of(
            goes_on && self.keep && !self.worker.is_draining(),
            self.asked.minor,
        );
        if unread == Unread::Withheld {
            // What a client sends that has waited for 100 in vain may be its body or its next request.
            ascent.stop();
        }
        response::write(&parts, framing, persist, || self.worker.date(), &mut self.answer);
        Crossing {
            body,
            framing,
            ascent,
            kept: persist != Persist::Close,
            status: parts.status.as_u16(),
            unhealthy: false,
            held: Some((slot, None)),
        }
    }

    /// The part of the client's body that the backend has not taken. What it still takes does not end the client's
    /// connection, since no stream goes on behind its end.
    fn unread(&self, ascent: &Ascent, granted: bool) -> Unread {
        if ascent.has_ended() {
            Unread::Nothing
        } else if self.expects && !granted && !self.upload.has_begun() {
            Unread::Withheld
        } else if ascent.is_over() {
            Unread::Refused
        } else {
            Unread::Coming
        }
    }

    /// Passes a response on to its end.
    pub(super) async fn cross(&mut self, mut crossing: Crossing) -> After {
        let timer = self.timer;
        let (patience, send_timeout) = (self.patience, self.worker.config().send_timeout);
        let mut descent = Descent {
            client: &mut self.client,
            out: Leaving::new(&mut self.answer),
            framing: crossing.framing,
            body: Some(&mut crossing.body),
            ascent: &mut crossing.ascent,
            upload: &mut self.upload,
            blocked: false,
            parted: false,
            moved: Moved::default(),
        };
        let (held, mut armed) = (&mut crossing.held, None);
        let delivered = poll_fn(|cx| {
            let mut polled = descent.poll(cx);
            if let Poll::Ready(Ok(Step::Come)) = polled {
                // The place is for the next one, however slowly this client reads.
                *held = None;
                armed = None;
                polled = descent.poll(cx);
            }
            if polled.is_pending() {
                let whom = descent.waits_for();
                if armed != Some(whom) || descent.has_moved(whom) {
                    timer.arm(Instant::now() + patience.with(whom, send_timeout));
                }
                armed = Some(whom);
                if timer.poll_due(cx).is_ready() {
                    tracing::debug!(waited_for = ?whom, "a response is broken off: nothing has moved for too long");
                    return Poll::Ready(Err(match whom {
                        WaitsFor::Backend => Broken::Backend,
                        WaitsFor::Taking | WaitsFor::Giving => Broken::Client,
                    }));
                }
            }
            descent.moved = Moved::default();
            polled
        })
        .await;
        *self.now = Instant::now();
        self.account.passed(self.client.taken);
        note_delivery(&mut self.account, &delivered);
        let uploaded = crossing.ascent.has_ended();
        // Requests that came before the client shut its side are still answered.
        let over = self.client.shut && self.upload.body.buffer.is_empty();
        match delivered {
            Ok(_) if crossing.kept && uploaded && !over => After::Served,
            Ok(_) => After::ServedLast,
            // Nothing else tells such a client that an answer was broken off.
            Err(Broken::Backend) if crossing.framing == Framing::UntilClose => After::Broken,
            Err(_) => After::Ended,
        }
    }
}

/// A request under way.
struct Stream {
    response: ResponseFuture,
    reused: bool,
    ascent: Ascent,
    /// Interim responses that are still taken.
    left: u32,
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>, pseudonym: &Pseudonym) -> Poll<Result<Heard, Failed>> {
        if let Some(interim) = poll_interim(cx, &mut self.response, &mut self.left, pseudonym)? {
            return Poll::Ready(Ok(Heard::Interim(interim)));
        }
        let polled = Pin::new(&mut self.response).poll(cx);
        polled.map(|heard| match heard {
            Ok(response) if response.status().is_informational() => Err(Failed::Malformed),
            Ok(response) => Ok(Heard::Final(response)),
            Err(error) => Err(http2::failure(&error, self.reused)),
        })
    }
}
