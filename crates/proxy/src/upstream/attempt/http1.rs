//! One attempt by HTTP/1.1: a request on a connection of its own, and the response that comes back.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use edgeproxy_backend::Endpoint;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, Version};
use http_body::Frame;
use tokio::time::Instant;

use super::sending::{Outgoing, Sending, Stopped};
use super::{Made, Unanswered, await_response};
use crate::AppSettings;
use crate::exchange::download::Truncated;
use crate::exchange::retry::Failed;
use crate::exchange::upload::Upload;
use crate::http1::body::{Body, BodyError};
use crate::http1::converse::LARGE_BODY;
use crate::http1::head::{Fields, HeadError};
use crate::http1::request::Method;
use crate::http1::response::{self, Asked, Delivery, Head, ResponseError};
use crate::http1::trailers;
use crate::http2::interim::{self, MAX_INTERIM, Respond};
use crate::transport::buffer::Buffer;
use crate::transport::socket::{Socket as _, poll_read};
use crate::upstream::dialing::Dialing;
use crate::upstream::pool::Upstream;
use crate::upstream::wire::{self, Wire};
use crate::worker::Worker;
use crate::worker::timer::{Timer, Timers};

/// A connection, and what is known of it.
pub(crate) struct Conn {
    wire: Wire,
    /// Whether it has served before.
    reused: bool,
    upstream: Rc<Upstream<Wire>>,
}

impl Conn {
    /// One that was made for this request.
    pub(crate) fn fresh(wire: Wire, upstream: Rc<Upstream<Wire>>) -> Self {
        Self {
            wire,
            reused: false,
            upstream,
        }
    }
}

/// A kept connection, or else a fresh one.
pub(crate) async fn connection(
    worker: &Worker,
    upstream: &Rc<Upstream<Wire>>,
    endpoint: &Endpoint,
    connecting: Connecting<'_>,
) -> Result<Conn, Failed> {
    match worker.wires().take(upstream, Instant::now()) {
        Some(wire) => Ok(Conn {
            wire,
            reused: true,
            upstream: Rc::clone(upstream),
        }),
        None => Box::pin(connect(worker, upstream, endpoint, connecting)).await,
    }
}

/// How long a connection may take, and who is told how long it took.
pub(crate) type Connecting<'a> = (&'a Timer, Duration, &'a Made);

/// A fresh connection; or one that was given back while there was nothing to make one with.
pub(crate) async fn connect(
    worker: &Worker,
    upstream: &Rc<Upstream<Wire>>,
    endpoint: &Endpoint,
    (timer, timeout, made): Connecting<'_>,
) -> Result<Conn, Failed> {
    timer.arm(Instant::now() + timeout);
    let (config, dialing) = (worker.config(), Dialing::default());
    let mut connecting = std::pin::pin!(wire::connect(endpoint, config, upstream.tally(), &dialing));
    let connected = poll_fn(|cx| {
        if timer.poll_due(cx).is_ready() {
            return Poll::Ready(Err(dialing.late()));
        }
        if upstream.is_cut() {
            return Poll::Ready(Err(Failed::Connect));
        }
        if let Poll::Ready(connected) = connecting.as_mut().poll(cx) {
            return Poll::Ready(connected.map(|wire| (wire, false)));
        }
        match worker.wires().take_instead(upstream, &dialing) {
            Some(wire) => Poll::Ready(Ok((wire, true))),
            None => Poll::Pending,
        }
    })
    .await;
    made.add(dialing.took());
    let (wire, reused) = connected?;
    Ok(Conn {
        wire,
        reused,
        upstream: Rc::clone(upstream),
    })
}

/// Writes a request and waits for its response's head, as its app's settings have it; `respond` takes interim responses.
pub(crate) async fn send(
    conn: Conn,
    request: &Outgoing<'_>,
    upgrades: Upgrades,
    upload: &Upload,
    (respond, worker): (&Respond, &Worker),
    (timer, settings): (&Timer, &AppSettings),
) -> Result<Response<Box<Arriving>>, Unanswered> {
    let sent = Instant::now();
    let mut conversation = Conversation {
        sending: Sending::new(request, upload.draw(), worker.buffers().head()),
        conn,
        heard: worker.buffers().buffer(),
        seen: 0,
        deaf: false,
        interim: 0,
        asked: Asked {
            method: if request.parts.method == http::Method::HEAD {
                Method::Head
            } else {
                Method::Other
            },
            minor: 1,
            upgrade: upgrades == Upgrades::Asked,
        },
    };
    let pass = |cx: &mut Context<'_>, head, headers| {
        let (status, version) = line(head);
        let interim = interim::interim(status, version, headers, worker.pseudonym());
        respond.pass(cx, interim.ok_or(Failed::Malformed)?, upload);
        Ok(())
    };
    let response = poll_fn(|cx| conversation.poll(cx, pass));
    let timeout = settings.response_header_timeout;
    let (head, headers) = await_response(response, upload, timer, (sent, timeout)).await??;
    let patience = settings.response_body_timeout;
    Ok(conversation.answered(head, headers, worker.timers(), patience))
}

/// Whether a request asks for another protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Upgrades {
    No,
    Asked,
}

/// A request and what has come back so far.
struct Conversation {
    conn: Conn,
    sending: Sending,
    /// What has come, and how much of it has been looked at.
    heard: Buffer,
    seen: usize,
    /// The backend takes no more; it may have answered before.
    deaf: bool,
    interim: u32,
    asked: Asked,
}

impl Conversation {
    /// Ready with the final response's head.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pass: impl Fn(&mut Context<'_>, Head, HeaderMap) -> Result<(), Failed>,
    ) -> Poll<Result<(Head, HeaderMap), Unanswered>> {
        if self.conn.upstream.is_cut() {
            return Poll::Ready(Err(Failed::NoResponse.into()));
        }
        if !self.deaf
            && let Poll::Ready(Err(stopped)) = self.sending.poll(cx, &mut self.conn.wire)
        {
            self.stopped(stopped)?;
        }
        self.poll_hear(cx, pass).map_err(Unanswered::from)
    }

    fn stopped(&mut self, stopped: Stopped) -> Result<(), Unanswered> {
        let error = match stopped {
            Stopped::Client(broken) => return Err(Unanswered::Client(broken)),
            Stopped::Backend(error) => error,
        };
        tracing::debug!(%error, "a backend takes no more of a request");
        if self.sending.sent() == 0 {
            let failed = if self.conn.reused {
                Failed::NotSent
            } else {
                // It was taken and closed at once: as good as refused.
                Failed::Connect
            };
            return Err(failed.into());
        }
        self.deaf = true;
        Ok(())
    }

    fn poll_hear(
        &mut self,
        cx: &mut Context<'_>,
        pass: impl Fn(&mut Context<'_>, Head, HeaderMap) -> Result<(), Failed>,
    ) -> Poll<Result<(Head, HeaderMap), Failed>> {
        loop {
            while self.heard.len() > self.seen {
                match response::read(self.heard.data(), self.seen, self.asked, fields) {
                    Ok(Some((head, headers))) => {
                        self.heard.consume(head.len);
                        self.seen = 0;
                        if !head.is_interim() {
                            return Poll::Ready(Ok((head, headers)));
                        }
                        self.interim += 1;
                        if self.interim > MAX_INTERIM {
                            return Poll::Ready(Err(Failed::Malformed));
                        }
                        pass(cx, head, headers)?;
                    }
                    Ok(None) => self.seen = self.heard.len(),
                    Err(error) => {
                        tracing::debug!(%error, "a backend's response is malformed");
                        return Poll::Ready(Err(Failed::Malformed));
                    }
                }
            }
            if let Err(error) = ready!(self.conn.wire.poll_readable(cx)) {
                return Poll::Ready(Err(self.silent(Some(&error))));
            }
            if self.heard.space().is_empty() {
                self.heard.shift();
                if self.heard.space().is_empty() {
                    self.heard.grow();
                }
            }
            match poll_read(&mut self.conn.wire, cx, self.heard.space()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(self.silent(None))),
                Poll::Ready(Ok(count)) => self.heard.filled(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.silent(Some(&error)))),
                Poll::Pending => {
                    self.heard.release();
                    return Poll::Pending;
                }
            }
        }
    }

    /// The connection has ended without a response.
    fn silent(&self, error: Option<&io::Error>) -> Failed {
        let (reused, heard) = (self.conn.reused, !self.heard.is_empty() || self.interim > 0);
        tracing::debug!(
            error = error.map(tracing::field::display),
            heard,
            reused,
            "no response"
        );
        if reused && !heard {
            Failed::Stale
        } else {
            Failed::NoResponse
        }
    }

    fn answered(
        self,
        head: Head,
        headers: HeaderMap,
        timers: &Timers,
        patience: Duration,
    ) -> Response<Box<Arriving>> {
        let arriving = Box::new(Arriving {
            body: Body::response(self.heard, head.length, Delivery::Bare),
            // Whoever answers before the whole head has come will not make sense of the rest.
            deaf: self.deaf || !self.sending.has_told(),
            conn: self.conn,
            sending: self.sending,
            reusable: head.keep_alive,
            trailers_taken: false,
            timers: timers.clone(),
            patience,
            timer: None,
        });
        let mut response = Response::new(arriving);
        (*response.status_mut(), *response.version_mut()) = line(head);
        *response.headers_mut() = headers;
        response
    }
}

fn line(head: Head) -> (StatusCode, Version) {
    // It has been read from three digits.
    let status = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let version = if head.minor == 0 {
        Version::HTTP_10
    } else {
        Version::HTTP_11
    };
    (status, version)
}

/// The fields of a response that are for more than its connection; all of them if it switches the protocol.
///
/// Each value has memory of its own: h2 keeps some of them for as long as the client's connection lasts.
fn fields(head: Head, fields: &Fields<'_, '_>) -> Result<HeaderMap, ResponseError> {
    // One for `Via` and one for `Date`.
    let mut headers = HeaderMap::with_capacity(fields.len() + 2);
    for line in fields.iter() {
        if head.switches() || head.passes_on(&line, fields) {
            headers.append(name(line.name)?, value(line.value)?);
        }
    }
    Ok(headers)
}

fn name(name: &str) -> Result<HeaderName, HeadError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeadError::Name)
}

fn value(value: &[u8]) -> Result<HeaderValue, HeadError> {
    HeaderValue::from_bytes(value).map_err(|_| HeadError::Value)
}

/// A response's body, and the rest of its request. Dropped before its end it closes the connection.
pub(crate) struct Arriving {
    conn: Conn,
    sending: Sending,
    body: Body,
    trailers_taken: bool,
    /// The backend takes no more of the request.
    deaf: bool,
    /// The backend would take another request.
    reusable: bool,
    /// How long the backend may take nothing of a request that it has answered.
    patience: Duration,
    timers: Timers,
    /// Wakes whoever waits, when the backend is cut.
    timer: Option<Timer>,
}

impl Arriving {
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Truncated>>> {
        self.poll_request(cx)?;
        loop {
            self.body.decode()?;
            let data = self.body.outgoing();
            if !data.is_empty() {
                let data = self.body.buffer.home().copy(data);
                self.body.sent(data.len());
                self.body.buffer.release();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.body.has_come() {
                return Poll::Ready(self.take_trailers().map_err(Truncated::from).transpose());
            }
            let Poll::Ready(read) = self.poll_read(cx) else {
                self.body.buffer.release();
                // Only who waits needs one.
                self.watch(cx);
                return Poll::Pending;
            };
            read?;
        }
    }

    /// Moves the rest of the request on, for which its response need not be taken.
    pub(crate) fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), Truncated> {
        if self.conn.upstream.is_cut() {
            return Err(Truncated::Cut);
        }
        if self.deaf || self.sending.has_left() {
            return Ok(());
        }
        match self.sending.poll(cx, &mut self.conn.wire) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(Stopped::Client(broken))) => return Err(broken.into()),
            // It has answered, and doesn't want the rest.
            Poll::Ready(Err(Stopped::Backend(_))) => self.deaf = true,
            Poll::Pending => self.watch(cx),
        }
        Ok(())
    }

    /// Is woken when the backend is cut.
    fn watch(&mut self, cx: &mut Context<'_>) {
        let timer = self.timer.get_or_insert_with(|| self.timers.timer());
        // It is never armed.
        let _ = timer.poll_due(cx);
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let wire = &mut self.conn.wire;
        if ready!(wire.poll_readable(cx)).is_err() {
            return Poll::Ready(Err(BodyError::Truncated));
        }
        if self.body.to_come() > LARGE_BODY {
            self.body.buffer.grow();
        }
        let space = self.body.space();
        if space.is_empty() {
            return Poll::Ready(Err(BodyError::TooLong));
        }
        match ready!(poll_read(wire, cx, space)) {
            Ok(0) => Poll::Ready(self.body.closed()),
            Ok(count) => {
                self.body.buffer.filled(count);
                Poll::Ready(Ok(()))
            }
            Err(_) => Poll::Ready(Err(BodyError::Truncated)),
        }
    }

    fn has_trailers(&self) -> bool {
        !self.trailers_taken && self.body.trailers().len() > LINE_END
    }

    fn take_trailers(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        if !self.has_trailers() {
            return Ok(None);
        }
        self.trailers_taken = true;
        let trailers = trailers::map(self.body.trailers())?;
        Ok(Some(Frame::trailers(trailers)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.has_left() && !self.has_trailers()
    }

    /// The backend has said everything. What the client still sends goes on, and the connection is kept for the
    /// next request if it can be.
    pub(crate) fn finish(mut self) {
        let reusable = self.reusable && !self.body.has_extra();
        if self.deaf {
            return;
        }
        if self.sending.has_left() {
            if reusable {
                self.conn.upstream.keep(self.conn.wire, Instant::now());
            }
            return;
        }
        tokio::task::spawn_local(async move {
            let timer = self.timer.take().unwrap_or_else(|| self.timers.timer());
            if send_rest(&mut self.conn, &mut self.sending, &timer, self.patience).await && reusable {
                self.conn.upstream.keep(self.conn.wire, Instant::now());
            }
        });
    }

    /// Nobody wants it. If all of it has come already, its connection serves on; it isn't waited for.
    pub(crate) fn discard(mut self) {
        if self.body.discard() && self.sending.has_left() {
            self.finish();
        }
    }

    /// The connection, on which another protocol is spoken from now on, and what has come of that.
    pub(crate) fn switched(self) -> (Wire, Buffer, Rc<Upstream<Wire>>) {
        (self.conn.wire, self.body.buffer, self.conn.upstream)
    }
}

/// The empty line behind trailers.
const LINE_END: usize = 2;

/// Sends the rest of a request whose response has come. Whether all of it has been taken.
async fn send_rest(conn: &mut Conn, sending: &mut Sending, timer: &Timer, timeout: Duration) -> bool {
    let mut sent = None;
    poll_fn(|cx| {
        if timer.poll_due(cx).is_ready() || conn.upstream.is_cut() {
            return Poll::Ready(false);
        }
        if let Poll::Ready(ended) = sending.poll(cx, &mut conn.wire) {
            return Poll::Ready(ended.is_ok());
        }
        // If it has closed, nobody is left to send the rest to; if it says more, nobody has asked.
        if conn.wire.poll_readable(cx).is_ready() && poll_read(&mut conn.wire, cx, &mut [0]).is_ready() {
            return Poll::Ready(false);
        }
        if sent != Some(sending.sent()) {
            sent = Some(sending.sent());
            timer.arm(Instant::now() + timeout);
        }
        Poll::Pending
    })
    .await
}
