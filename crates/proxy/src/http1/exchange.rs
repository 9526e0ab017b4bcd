//! One request: whom it goes to, what is tried when that fails, and what the client is told.

mod attempt;
mod by_http2;
mod noted;
mod waiting;

use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use edgeproxy_backend::{Incarnation, Protocol};
use edgeproxy_balance::{Client, PickError};
use tokio::time::Instant;

use super::body::Body;
use super::connection::{Connection, Next};
use super::converse::Listening;
use super::deliver::{Broken, Delivery, Moved, Step, WaitsFor};
use super::framing::Length;
use super::request;
use super::response::{self, Asked, Persist};
use super::tunnel;
use super::upload::Upload;
use crate::exchange::account::Account;
use crate::exchange::answer::Answer;
use crate::exchange::pick::{self, Front, Taken};
use crate::exchange::queue::Waiting;
use crate::exchange::retry::{self, Failed};
use crate::headers::own_fields;
use crate::request::keys::{self, RawFields, Standing};
use crate::telemetry::access_log::{Asked as AskedFor, Asker};
use crate::transport::buffer::{Buffer, HeadBuffer};
use crate::transport::socket::{Socket, write_all};
use crate::upstream::pool::Upstream;
use crate::upstream::wire::Wire;
use crate::worker::clock;
use crate::worker::timer::Timer;
use crate::worker::{Current, Worker};
use crate::{AppRoute, AppSettings};
use attempt::{Answered, Unanswered};
use by_http2::Crossing;
use noted::{explain, note_delivery};

/// A request under way.
struct Exchange<'a, S> {
    worker: &'a Worker,
    timer: &'a Timer,
    client: Listening<'a, S>,
    asked: Asked,
    /// The length of its head in the buffer, and where in that the name of its host stands.
    len: usize,
    host: Option<Range<usize>>,
    idempotent: bool,
    /// Whether the client would keep its connection.
    keep: bool,
    /// Whether it waits to be told to send its body.
    expects: bool,
    /// The head that the backend gets, and where its host would be, should it lack one.
    head: HeadBuffer,
    host_at: Option<usize>,
    upload: Upload,
    /// The backend's connection, from an attempt's beginning until the backend has said everything.
    wire: Option<Wire>,
    /// The head that the client gets, and the body.
    answer: HeadBuffer,
    download: Body,
    patience: Patience,
    /// How long its body may be, in bytes.
    max_body: Option<u64>,
    /// Where it comes from.
    whereabouts: Client,
    from: &'a request::Client,
    /// What its answer means for its client's binding.
    standing: Standing,
    /// Whom it was tried on without success, the latest last, and how that one failed.
    tried: Vec<Incarnation>,
    failed: Option<Failed>,
    account: Account,
    /// What backends are told of its trace, if it is told of.
    told: Option<Box<request::Told>>,
    /// The latest look at the clock: one for each time that something has come, not one for each use.
    now: &'a mut Instant,
}

/// How long its app lets a request wait. Apart from the app, since a table is not held for as long as a response lasts.
#[derive(Clone, Copy, Default)]
struct Patience {
    /// For the response's head, and for more of the client's body.
    head: Duration,
    /// For more of the response.
    body: Duration,
    /// For either side, once they speak another protocol.
    tunnel: Duration,
}

impl<S: Socket> Connection<S> {
    /// Serves one request. `inbound` begins with its head; `head` is what the backend gets in its place, as `table` says.
    ///
    /// The future is in a box for as long as it lasts, and every request pays for its size: what is rare has a box
    /// of its own, and what is large is made here and borrowed from then on, since an `async fn` has room for each
    /// argument twice.
    pub(super) fn exchange(
        &mut self,
        request: request::Head,
        inbound: Buffer,
        head: HeadBuffer,
        table: Rc<Current>,
    ) -> impl Future<Output = Next> {
        let worker = &*self.worker;
        let settings = request.app.and_then(|app| table.at(app)).map(|app| &app.settings);
        let repeats = settings.is_some_and(|settings| settings.retry_non_idempotent);
        let idempotent = repeats || request.method.is_idempotent();
        let keep_max = settings.map_or(0, |settings| if idempotent { settings.keep_max() } else { 0 });
        let patience = settings.map_or_else(Patience::default, |settings| Patience {
            head: settings.response_header_timeout,
            body: settings.response_body_timeout,
            tunnel: settings.tunnel_idle_timeout,
        });
        let body = Body::request(inbound, request.length, request.max_body);
        let heard = worker.buffers().buffer();
        let introduced = request.introduced.and_then(|introduced| introduced.address);
        let from = Asker {
            client: introduced.unwrap_or(self.client.ip),
            tls: self.client.tls,
            traced: request.traced.as_deref().map(|told| told.traced),
        };
        (self.served, self.began, self.since) = (true, None, Instant::now());
        let entry = worker.entry(from, self.since, || {
            AskedFor::of_head(body.buffer.data(), &request, &head)
        });
        let mut exchange = Exchange {
            worker,
            timer: &self.timer,
            client: Listening {
                socket: &mut self.socket,
                listens: true,
                shut: false,
                taken: 0,
            },
            asked: Asked {
                method: request.method,
                minor: request.minor,
                upgrade: request.upgrade,
            },
            len: request.len,
            host_at: request.host.is_none().then_some(request.host_at),
            host: request.host,
            idempotent,
            keep: request.keep_alive,
            expects: request.expects,
            head,
            upload: Upload::new(body, request.length, keep_max),
            wire: None,
            answer: worker.buffers().head(),
            download: Body::response(heard, Length::NONE, response::Delivery::AsIs),
            patience,
            max_body: request.max_body,
            whereabouts: worker.whereabouts(self.client, request.introduced),
            from: &self.client,
            standing: Standing::Unknown,
            tried: Vec::new(),
            failed: None,
            account: Account::new(self.since, entry),
            told: request.traced,
            now: &mut self.since,
        };
        async move {
            let after = exchange.serve(table, request.app).await;
            exchange.account.close(*exchange.now);
            match after {
                After::Told(answer) => Box::pin(exchange.answer_own(answer)).await,
                After::Served => Next::Request(exchange.upload.body.buffer),
                After::ServedLast if exchange.is_over() => Next::End,
                After::ServedLast | After::Full | After::Crossing(_) => Next::Linger,
                After::Ended => Next::End,
                After::Broken => Next::Reset,
            }
        }
    }
}

/// A backend's response has begun: what it is, the place that it holds until the backend has said everything, and
/// from whom its connection came.
struct Served {
    answered: Answered,
    place: Option<Taken>,
    upstream: Rc<Upstream<Wire>>,
}

/// What became of a request.
enum After {
    /// It was answered, and the client's connection goes on.
    Served,
    /// It was answered, and the client's connection does not go on.
    ServedLast,
    /// A backend's response has begun that comes by HTTP/2.
    Crossing(Box<Crossing>),
    /// All backends are full.
    Full,
    /// The client is to be told.
    Told(Answer),
    /// Nobody is left to be told anything.
    Ended,
    /// The answer broke off, and nothing else tells the client so.
    Broken,
}

impl From<Answer> for After {
    fn from(answer: Answer) -> Self {
        Self::Told(answer)
    }
}

impl<S: Socket> Exchange<'_, S> {
    /// Has it answered by a backend of the app that has that place in `table`, and passes the answer on.
    async fn serve(&mut self, table: Rc<Current>, app: Option<usize>) -> After {
        let served = match self.route(table, app).await {
            Ok(served) => served,
            Err(After::Crossing(crossing)) => return Box::pin(self.cross(*crossing)).await,
            Err(after) => return after,
        };
        if served.answered.switches {
            Box::pin(self.tunnel(served)).await
        } else {
            self.deliver(served).await
        }
    }

    /// Has one of the app's backends begin to answer. What a response lasts, a table is not held: there may be a new one
    /// every second, and bodies for hours.
    async fn route(&mut self, table: Rc<Current>, app: Option<usize>) -> Result<Served, After> {
        let inbound = &mut self.upload.body.buffer;
        let Some(app) = app.and_then(|app| table.at(app)) else {
            let host = self.host.clone().and_then(|name| inbound.data().get(name));
            let answer = table.no_route(host.and_then(|name| std::str::from_utf8(name).ok()));
            inbound.consume(self.len);
            self.worker.books().own.refuse(&answer);
            self.account.refused(&answer);
            return Err(answer.into());
        };
        if let Some(keys) = &app.keys {
            let asked = keys::Asked {
                client: *self.from,
                trusted: &self.worker.config().trusted_proxies,
                fields: RawFields(inbound.data().get(..self.len).unwrap_or_default()),
            };
            self.standing = keys.complete(&mut self.whereabouts, &asked, clock::at(*self.now));
        }
        inbound.consume(self.len);
        self.worker.count_request(app);
        let served = match self.run(app, &mut None).await {
            Err(After::Full) => Box::pin(self.queue(app)).await,
            served => served,
        };
        if let Err(after) = &served {
            self.note(app, after);
        }
        served
    }

    /// Whether the client has said that this was its last request, after which it sends nothing (RFC 9112 §9.6), and has
    /// kept to that. Then there is nothing to be waited for, and its connection gives its slot back at once.
    fn is_over(&self) -> bool {
        !self.keep
            && self.upload.has_left()
            && self.upload.body.buffer.is_empty()
            && self.client.socket.is_quiet()
    }

    /// Gives an answer of the proxy's own, and keeps the connection if nothing of the request is left on it.
    async fn answer_own(mut self, answer: Answer) -> Next {
        let body = &mut self.upload.body;
        let whole = body.decode().is_ok() && {
            // What has come already is not worth a connection.
            let here = body.outgoing().len();
            body.sent(here);
            body.has_left()
        };
        let keep = self.keep && whole && !answer.closes() && !self.worker.is_draining();
        let persist = Persist::of(keep, self.asked.minor);
        let bytes = answer.into_bytes(persist, self.asked.method != request::Method::Head);
        self.account.passed(bytes.len() as u64);
        let until = Instant::now() + self.worker.config().send_timeout;
        let written = write_all(self.client.socket, self.timer, until, &bytes).await;
        *self.now = Instant::now();
        match (written, keep) {
            (Err(_), _) => Next::End,
            (Ok(()), true) => Next::Request(self.upload.body.buffer),
            (Ok(()), false) => Next::Linger,
        }
    }

    /// Passes the protocol on that both sides have agreed to go on with.
    async fn tunnel(&mut self, served: Served) -> After {
        let (timer, buffers) = (self.timer, self.worker.buffers());
        let until = Instant::now() + self.worker.config().send_timeout;
        let early = std::mem::replace(&mut self.upload.body.buffer, buffers.buffer());
        let heard = std::mem::replace(&mut self.download.buffer, buffers.buffer());
        let written = write_all(self.client.socket, timer, until, &self.answer).await;
        if let (Ok(()), Some(wire)) = (written, &mut self.wire) {
            tunnel::run(
                self.client.socket,
                early,
                (wire, heard),
                timer,
                self.patience.tunnel,
                || served.upstream.is_cut(),
            )
            .await;
        }
        // Before its place is free.
        self.wire = None;
        *self.now = Instant::now();
        After::Ended
    }

    /// Tries one backend after the other, as far as the rules and the budget allow. Whoever waits already goes
    /// first, before a retry as well. With a place on a backend the `turn` in the queue is given up.
    async fn run(&mut self, app: &AppRoute, turn: &mut Option<Waiting>) -> Result<Served, After> {
        // In place of one whose response is not good enough.
        let mut instead = None;
        loop {
            let place = match instead.take() {
                Some(place) => place,
                None => self.place(app, turn)?,
            };
            *turn = None;
            let (worker, endpoint) = (self.worker, place.place.endpoint());
            if let Some(span) = self.account.tries(endpoint, || worker.random())
                && let Some(told) = &self.told
            {
                told.step(&mut self.head, span);
            }
            let unanswered = if place.place.endpoint().protocol == Protocol::H2c {
                // Rare, and large.
                match Box::pin(self.attempt_by_http2(&place.place, &app.settings)).await {
                    Ok(crossing) => {
                        if crossing.is_unhealthy()
                            && let Some(other) = self.another(app, &place)
                        {
                            self.account
                                .attempt_failed(Failed::Unhealthy, Some(crossing.status()));
                            // Without it the stream is reset, and the others of its connection go on.
                            drop(crossing);
                            self.restart();
                            instead = Some(other);
                            continue;
                        }
                        self.upload.settle();
                        self.add_own_fields(app, &place);
                        let tally = self.worker.tally(place.place.endpoint());
                        self.account.answered(crossing.status(), tally, *self.now);
                        return Err(After::Crossing(Box::new(crossing.holding(place))));
                    }
                    Err(unanswered) => unanswered,
                }
            } else {
                let upstream = self.worker.upstream(place.place.endpoint());
                match self.attempt(&place.place, &upstream, &app.settings).await {
                    Ok(answered) => {
                        if answered.unhealthy
                            && let Some(other) = self.another(app, &place)
                        {
                            self.account
                                .attempt_failed(Failed::Unhealthy, Some(answered.status));
                            self.discard(&answered, &upstream);
                            self.restart();
                            instead = Some(other);
                            continue;
                        }
                        self.upload.settle();
                        self.add_own_fields(app, &place);
                        self.account
                            .answered(answered.status, Rc::clone(upstream.tally()), *self.now);
                        return Ok(Served {
                            answered,
                            place: Some(place),
                            upstream,
                        });
                    }
                    Err(unanswered) => unanswered,
                }
            };
            let failed = match unanswered {
                Unanswered::Failed(failed) => failed,
                unanswered => return Err(explain(&unanswered, self.max_body)),
            };
            self.account.attempt_failed(failed, None);
            self.failed(app, &place.place, failed);
            self.tried.push(place.place.endpoint().incarnation);
            if !self.may_be_repeated(&app.settings, failed) {
                return Err(explain(&failed.into(), None));
            }
            self.failed = Some(failed);
        }
    }

    /// A place for an attempt, if there is one right now.
    fn place(&mut self, app: &AppRoute, turn: &Option<Waiting>) -> Result<Taken, After> {
        if turn.is_none() && !app.queue.is_empty() {
            return Err(After::Full);
        }
        let place = match (self.pick(app), self.failed) {
            (Ok(place), _) => place,
            (Err(PickError::AllFull), _) => return Err(After::Full),
            (Err(_), Some(failed)) => return Err(explain(&failed.into(), None)),
            (Err(_), None) => {
                let retry_after = self.worker.config().retry_after;
                return Err(Answer::no_backend(app.name.as_str(), &app.summary, retry_after).into());
            }
        };
        if let Some(failed) = self.failed {
            // The place first: a retry that there is nobody for costs nothing.
            if !self.worker.may_retry(app, failed) {
                return Err(explain(&failed.into(), None));
            }
            self.restart();
        }
        Ok(place)
    }

    /// A place on another backend than the one whose response counts as a failure. `None`: the client gets that response,
    /// which is better than to wait for another one.
    fn another(&mut self, app: &AppRoute, place: &Taken) -> Option<Taken> {
        self.tried.push(place.place.endpoint().incarnation);
        if !self.may_be_repeated(&app.settings, Failed::Unhealthy) || !app.queue.is_empty() {
            return None;
        }
        let other = self.pick(app).ok()?;
        // The place first, as above.
        let may = self.worker.may_retry(app, Failed::Unhealthy);
        may.then_some(other)
    }

    /// Throws a response away. If all of it has come already, its connection serves on; it isn't waited for.
    fn discard(&mut self, answered: &Answered, upstream: &Upstream<Wire>) {
        let over = self.download.discard() && self.upload.has_left();
        if let Some(wire) = self.wire.take()
            && over
            && answered.reusable
            && !answered.deaf
        {
            upstream.keep(wire, *self.now);
        }
    }

    /// Whether the rules allow another attempt, on another backend.
    fn may_be_repeated(&self, settings: &AppSettings, failed: Failed) -> bool {
        let attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        settings.retry_enabled
            && attempts < settings.max_attempts
            && retry::next(failed, self.repeatable()) == retry::Next::OtherBackend
    }

    fn pick(&self, app: &AppRoute) -> Result<Taken, PickError> {
        pick::take(
            app,
            if self.asked.upgrade {
                Front::Upgrade
            } else {
                Front::Http
            },
            self.whereabouts,
            clock::at(*self.now),
            || self.worker.random(),
            &self.tried,
        )
    }

    /// Adds what the app says by itself to the head that the client gets.
    fn add_own_fields(&mut self, app: &AppRoute, taken: &Taken) {
        if own_fields::may_be(app, taken) {
            let answered = own_fields::Answered {
                app,
                taken,
                standing: self.standing,
                tried: &self.tried,
                now: clock::at(*self.now),
            };
            answered.add_to_head(&mut self.answer);
        }
    }

    /// Begins another attempt.
    fn restart(&mut self) {
        self.upload.restart();
        // What the one before has said is nothing of this one's.
        let heard = self.worker.buffers().buffer();
        self.download = Body::response(heard, Length::NONE, response::Delivery::AsIs);
    }

    fn repeatable(&self) -> retry::Request {
        retry::Request {
            idempotent: self.idempotent,
            replayable: self.upload.is_replayable(),
        }
    }

    /// Passes a response on to its end.
    async fn deliver(&mut self, served: Served) -> After {
        let (timer, now, wire) = (self.timer, &mut *self.now, &mut self.wire);
        let (patience, send_timeout) = (self.patience, self.worker.config().send_timeout);
        let Served {
            answered,
            mut place,
            upstream,
        } = served;
        let mut delivery = Delivery {
            client: &mut self.client,
            head: &self.answer,
            head_sent: 0,
            body: &mut self.download,
            upload: &mut self.upload,
            deaf: answered.deaf,
            blocked: false,
            moved: Moved::default(),
        };
        let mut armed = None;
        let delivered = match delivery.join() {
            Err(_) => Err(Broken::Backend),
            Ok(()) => {
                poll_fn(|cx| {
                    if wire.is_some() && upstream.is_cut() {
                        return Poll::Ready(Err(Broken::Backend));
                    }
                    let mut polled = delivery.poll(cx, wire.as_mut());
                    if let Poll::Ready(Ok(Step::Come)) = polled {
                        // The place and the connection are for the next one, however slowly this client reads.
                        place = None;
                        if armed.take().is_some() {
                            *now = Instant::now();
                        }
                        let reusable = answered.reusable && !delivery.deaf && !delivery.body.has_extra();
                        if let Some(wire) = wire.take()
                            && reusable
                        {
                            upstream.keep(wire, *now);
                        }
                        polled = delivery.poll(cx, None);
                    }
                    if polled.is_pending() {
                        let whom = delivery.waits_for();
                        if armed != Some(whom) || delivery.has_moved(whom) {
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
                    delivery.moved = Moved::default();
                    polled
                })
                .await
            }
        };
        // A backend that is broken off is rid of it before its place is free.
        *wire = None;
        self.account.passed(self.client.taken);
        note_delivery(&mut self.account, &delivered);
        if armed.is_some() {
            *now = Instant::now();
        }
        let uploaded = self.upload.has_left();
        // Requests that came before the client shut its side are still answered.
        let over = self.client.shut && self.upload.body.buffer.is_empty();
        match delivered {
            Ok(_) if answered.kept && uploaded && !over => After::Served,
            Ok(_) => After::ServedLast,
            // Nothing else tells such a client that an answer was broken off.
            Err(Broken::Backend) if answered.resets => After::Broken,
            Err(_) => After::Ended,
        }
    }
}

impl Patience {
    /// How long the one that is waited for may do nothing.
    fn with(self, whom: WaitsFor, send_timeout: Duration) -> Duration {
        match whom {
            WaitsFor::Taking => send_timeout,
            WaitsFor::Giving => self.head,
            WaitsFor::Backend => self.body,
        }
    }
}
