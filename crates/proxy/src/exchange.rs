//! One request, from its head to its answer's.

pub(crate) mod account;
pub(crate) mod answer;
mod attempted;
pub(crate) mod decision;
pub(crate) mod download;
mod explained;
pub(crate) mod failing;
mod noted;
pub(crate) mod pause;
pub(crate) mod pick;
pub(crate) mod queue;
pub(crate) mod retry;
mod routed;
pub(crate) mod upload;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use edgeproxy_backend::Incarnation;
use edgeproxy_balance::{Client, PickError};
use h2::RecvStream;
use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use crate::AppRoute;
use crate::exchange::account::Account;
use crate::exchange::answer::Answer;
use crate::exchange::download::{Arriving, Download, Limit};
use crate::exchange::pause::Pause;
use crate::exchange::pick::{Front, Taken};
use crate::exchange::retry::{Failed, Next};
use crate::exchange::upload::Upload;
use crate::headers::forward::{self, Added};
use crate::headers::own_fields;
use crate::http1::field::Field;
use crate::http1::request;
use crate::http2::interim::Respond;
use crate::http2::receive::Receive;
use crate::http2::websocket::Handshake;
use crate::listen::phase::Turn;
use crate::request::grpc::{self, Call};
use crate::request::inbound::{self, Stop};
use crate::request::keys::{self, Standing};
use crate::upstream::attempt::{Made, Unanswered};
use crate::worker::Worker;
use crate::worker::clock;
use crate::worker::timer::Timer;
use noted::{account, refused};
use routed::Routed;

/// Serves one request of a client. It always comes to an answer; a failure is one too.
pub(crate) async fn serve(
    worker: &Worker,
    client: request::Client,
    turn: Turn,
    request: Request<RecvStream>,
    respond: &Respond,
) -> Response<Download> {
    let (mut parts, body) = request.into_parts();
    let (config, version) = (worker.config(), parts.version);
    let (mut account, traced) = account(worker, client, &parts);
    let call = Call::of(&parts.headers, worker.timers());
    let told = |answer: Answer| match &call {
        Some(_) => grpc::response(&answer),
        None => answer.into_response(version),
    };
    let inbound = match inbound::check(&mut parts, config, worker.pseudonym()) {
        Ok(inbound) => inbound,
        Err(Stop::Refused(answer)) => {
            worker.books().own.refuse(&answer);
            account.refused(&answer);
            return own(told(answer), turn);
        }
        Err(Stop::LastHop) => {
            let response = last_hop(&parts);
            account.answered_as_last(response.status().as_u16());
            return own(response, turn);
        }
    };
    let Routed {
        app,
        max_body,
        target,
    } = match Routed::find(worker, &inbound, &parts.headers) {
        Ok(routed) => routed,
        Err(answer) => {
            worker.books().own.refuse(&answer);
            account.refused(&answer);
            return own(told(answer), turn);
        }
    };
    let cells = worker.books().app(&app.name);
    account.routed(Arc::clone(&cells));
    let body = Receive::new(body, &parts.headers, respond.sections());
    let (whereabouts, standing) = asker(worker, client, &app, &parts.headers);
    let asked_by = (client, traced.as_ref());
    let added = forward::to_backend(&mut parts, &inbound, asked_by, worker.pseudonym(), || {
        worker.random()
    });
    // Of any method, since a backend may refuse a stream that it has not looked at.
    let upload = Upload::new(body, app.settings.keep_max(), max_body);
    if inbound.present.has(Field::Expect) {
        upload.withhold();
    }
    let idempotent = app.settings.retry_non_idempotent || retry::is_idempotent(&parts.method);
    let pause = app.settings.response_body_timeout;
    let mut exchange = Exchange {
        worker,
        respond,
        app,
        parts,
        added,
        target,
        max_body,
        host: inbound.host,
        idempotent,
        upload,
        handshake: None,
        timer: worker.timers().timer(),
        tried: Vec::new(),
        whereabouts,
        standing,
        waits_until: None,
        made: Made::default(),
        account,
    };
    let answered = {
        let mut run = pin!(exchange.run());
        poll_fn(|cx| {
            if let Poll::Ready(answered) = run.as_mut().poll(cx) {
                return Poll::Ready(Some(answered));
            }
            match call.as_ref().map(|call| call.poll_late(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(None),
                _ => Poll::Pending,
            }
        })
        .await
    };
    match answered {
        Some(Ok((response, taken))) => {
            let tally = worker.tally(taken.place.endpoint());
            let mut account = exchange.account;
            account.answered(response.status().as_u16(), tally, Instant::now());
            let limit = match call {
                Some(call) => Limit::Call(call),
                None => Limit::Pause(Pause::new(exchange.timer, pause, exchange.upload.watch())),
            };
            response.map(|body| Download::of_backend(body, taken, (turn, account), limit))
        }
        Some(Err(answer)) => {
            exchange.account.answered_by_us(&cells, &answer);
            own(told(answer), turn)
        }
        None => {
            exchange
                .account
                .answered_with(&cells, StatusCode::GATEWAY_TIMEOUT.as_u16(), grpc::LATE_WORD);
            own(grpc::late(), turn)
        }
    }
}

/// Asks a backend for a WebSocket, with the head of an extended CONNECT. What it answers: 101 if it agrees. And how the
/// app that it is of has it; its account is to be closed when it ends.
pub(crate) async fn upgrade(
    worker: &Worker,
    client: request::Client,
    mut parts: Parts,
    respond: &Respond,
) -> Result<(Response<Arriving>, Taken, Arc<AppRoute>, Account), Answer> {
    let config = worker.config();
    let (mut account, traced) = account(worker, client, &parts);
    // So it is called in HTTP/1.1, and so it is checked.
    parts.method = Method::GET;
    let inbound = match inbound::check(&mut parts, config, worker.pseudonym()) {
        Ok(inbound) => inbound,
        Err(Stop::Refused(answer)) => return Err(refused(worker, account, answer)),
        Err(Stop::LastHop) => return Err(refused(worker, account, Answer::connect_refused())),
    };
    let Routed { app, target, .. } = match Routed::find(worker, &inbound, &parts.headers) {
        Ok(routed) => routed,
        Err(answer) => return Err(refused(worker, account, answer)),
    };
    let cells = worker.books().app(&app.name);
    account.routed(Arc::clone(&cells));
    let (whereabouts, standing) = asker(worker, client, &app, &parts.headers);
    let asked_by = (client, traced.as_ref());
    let added = forward::to_backend(&mut parts, &inbound, asked_by, worker.pseudonym(), || {
        worker.random()
    });
    let handshake = Handshake::new(|| worker.random());
    handshake.ask(&mut parts.headers);
    let mut exchange = Exchange {
        worker,
        respond,
        app,
        parts,
        added,
        target,
        max_body: None,
        host: inbound.host,
        idempotent: true,
        upload: Upload::new(Receive::empty(), 0, None),
        handshake: Some(handshake),
        timer: worker.timers().timer(),
        tried: Vec::new(),
        whereabouts,
        standing,
        waits_until: None,
        made: Made::default(),
        account,
    };
    match exchange.run().await {
        Ok((response, taken)) => {
            let tally = worker.tally(taken.place.endpoint());
            let mut account = exchange.account;
            account.answered(response.status().as_u16(), tally, Instant::now());
            Ok((response, taken, exchange.app, account))
        }
        Err(answer) => {
            exchange.account.answered_by_us(&cells, &answer);
            Err(answer)
        }
    }
}

/// Where a request comes from, and by what `app` knows its client.
fn asker(
    worker: &Worker,
    client: request::Client,
    app: &AppRoute,
    headers: &HeaderMap,
) -> (Client, Standing) {
    let introduced = worker.origins(client).map(|origins| origins.of_map(headers));
    let mut whereabouts = worker.whereabouts(client, introduced);
    let Some(keys) = &app.keys else {
        return (whereabouts, Standing::Unknown);
    };
    let asked = keys::Asked {
        client,
        trusted: &worker.config().trusted_proxies,
        fields: headers,
    };
    let standing = keys.complete(&mut whereabouts, &asked, clock::now());
    (whereabouts, standing)
}

fn own(response: Response<Full<Bytes>>, turn: Turn) -> Response<Download> {
    response.map(|body| Download::own(body, turn))
}

fn last_hop(parts: &Parts) -> Response<Full<Bytes>> {
    let (status, headers, body) = inbound::last_hop(parts);
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

struct Exchange<'a> {
    worker: &'a Worker,
    /// Takes interim responses.
    respond: &'a Respond,
    app: Arc<AppRoute>,
    /// As the backend gets them, but for the target, the host and what is added.
    parts: Parts,
    added: Added,
    target: Uri,
    /// How long its body may be, in bytes.
    max_body: Option<u64>,
    host: Option<HeaderValue>,
    idempotent: bool,
    upload: Upload,
    /// It asks for a WebSocket.
    handshake: Option<Handshake>,
    timer: Timer,
    tried: Vec<Incarnation>,
    /// Where it comes from.
    whereabouts: Client,
    /// What its answer means for its client's binding.
    standing: Standing,
    /// When it has waited too long for places, since it first did.
    waits_until: Option<Instant>,
    /// What connections have cost the attempt that is under way.
    made: Made,
    account: Account,
}

type Answered = (Response<Arriving>, Taken);
/// A response's head, and when its request was sent.
type Heard = (Response<Arriving>, Instant);

impl Exchange<'_> {
    /// Tries one backend after the other, as far as the rules and the budget allow.
    async fn run(&mut self) -> Result<Answered, Answer> {
        self.worker.count_request(&self.app);
        let mut place = self.place(None).await?;
        loop {
            self.note_attempt(&place.place);
            let unanswered = match self.attempt(place).await {
                Ok(mut answered) => match self.another(&answered) {
                    None => {
                        self.upload.settle();
                        self.add_own_fields(&mut answered);
                        return Ok(answered);
                    }
                    Some(other) => {
                        let (response, _taken) = answered;
                        let status = response.status().as_u16();
                        self.account.attempt_failed(Failed::Unhealthy, Some(status));
                        response.into_body().discard();
                        place = other;
                        continue;
                    }
                },
                Err(unanswered) => unanswered,
            };
            let Unanswered::Failed(failed) = unanswered else {
                return Err(self.explain(unanswered));
            };
            self.account.attempt_failed(failed, None);
            if !self.may_be_repeated(failed) {
                return Err(self.explain(unanswered));
            }
            // The place first: a retry that there is nobody for costs nothing.
            place = self.place(Some(failed)).await?;
            if !self.worker.may_retry(&self.app, failed) {
                return Err(self.explain(unanswered));
            }
        }
    }

    /// A place on another backend than one whose response counts as a failure. `None`: the client gets that response,
    /// since it doesn't count as one, or because it is better than to wait for another one.
    fn another(&self, (response, _): &Answered) -> Option<Taken> {
        if !self.is_unhealthy(response.status()) || !self.may_be_repeated(Failed::Unhealthy) {
            return None;
        }
        if !self.app.queue.is_empty() {
            return None;
        }
        let other = self.pick().ok()?;
        // The place first, as above.
        let may = self.worker.may_retry(&self.app, Failed::Unhealthy);
        may.then_some(other)
    }

    /// Adds what the app says by itself to the head that the client gets.
    fn add_own_fields(&self, (response, taken): &mut Answered) {
        if own_fields::may_be(&self.app, taken) {
            let answered = own_fields::Answered {
                app: &self.app,
                taken,
                standing: self.standing,
                tried: &self.tried,
                now: clock::now(),
            };
            answered.add_to_map(response.headers_mut());
        }
    }

    /// Whether a response of that status counts as a failure. One that agrees to a WebSocket has another for its client.
    fn is_unhealthy(&self, status: StatusCode) -> bool {
        let agreed = self.handshake.is_some() && status.is_success();
        !agreed && self.app.settings.unhealthy_responses.contains(status.as_u16())
    }

    /// Whether the rules allow another attempt, on another backend.
    fn may_be_repeated(&self, failed: Failed) -> bool {
        let attempts = u32::try_from(self.tried.len()).unwrap_or(u32::MAX);
        let settings = &self.app.settings;
        settings.retry_enabled
            && attempts < settings.max_attempts
            && retry::next(failed, self.request()) == Next::OtherBackend
    }

    /// A place at once, or when it is this request's turn: whoever waits already goes first, before a retry as well.
    /// `failed` is how the last backend did, before a retry.
    async fn place(&mut self, failed: Option<Failed>) -> Result<Taken, Answer> {
        if self.app.queue.is_empty() {
            match self.pick() {
                Err(PickError::AllFull) => {}
                decided => return decided.map_err(|error| self.refusal(error, failed)),
            }
        }
        Box::pin(self.queue(failed)).await
    }

    /// Waits for a place.
    async fn queue(&mut self, failed: Option<Failed>) -> Result<Taken, Answer> {
        let config = self.worker.config();
        let full = |_| Answer::backends_full(self.app.name.as_str(), config.retry_after);
        let settings = &self.app.settings;
        let mut waiting = self.app.queue.join(settings.queue_max).map_err(full)?;
        let until = *self
            .waits_until
            .get_or_insert_with(|| Instant::now() + settings.queue_timeout);
        self.worker.books().app(&self.app.name).queued.add(1);
        loop {
            self.timer.arm(until);
            let turned = poll_fn(|cx| match waiting.poll_turn(cx) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => self.timer.poll_due(cx).map(|()| false),
            });
            if !turned.await {
                return Err(Answer::queue_timeout(self.app.name.as_str(), config.retry_after));
            }
            // Much may have changed meanwhile.
            let table = self.worker.current_table();
            let Some(app) = table.app(&self.app.name) else {
                waiting.pass_on();
                return Err(Answer::no_route(Some(self.app.name.as_str())));
            };
            self.app = Arc::clone(app);
            match self.pick() {
                Ok(taken) => return Ok(taken),
                Err(PickError::AllFull) if failed.is_none() => {}
                // There may be room on one that has failed this request; the next in line can use that.
                Err(PickError::AllFull) => waiting.pass_on(),
                Err(error) => {
                    waiting.pass_on();
                    return Err(self.refusal(error, failed));
                }
            }
        }
    }

    fn pick(&self) -> Result<Taken, PickError> {
        pick::take(
            &self.app,
            if self.handshake.is_some() {
                Front::Upgrade
            } else {
                Front::Http
            },
            self.whereabouts,
            clock::now(),
            || self.worker.random(),
            &self.tried,
        )
    }

    fn request(&self) -> retry::Request {
        retry::Request {
            idempotent: self.idempotent,
            replayable: self.upload.is_replayable(),
        }
    }
}
