//! One request, from its head to its answer's.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use edgeproxy_backend::{Incarnation, Signal};
use edgeproxy_balance::{Client, PickError};
use http::request::Parts;
use http::{Request, Response, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::AppRoute;
use crate::answer::Answer;
use crate::attempt::{self, Unanswered};
use crate::download::{Download, Held};
use crate::forward;
use crate::host::Authority;
use crate::http1::request;
use crate::inbound::{self, Stop};
use crate::phase::Turn;
use crate::pick::{self, Front, Place, Taken};
use crate::pool::{Conn, Upstream};
use crate::retry::{self, Failed, Next};
use crate::upload::{Broken, Upload};
use crate::worker::Worker;

/// Serves one request of a client. It always comes to an answer; a failure is one too.
pub(crate) async fn serve(
    worker: &Worker,
    client: request::Client,
    turn: Turn,
    request: Request<Incoming>,
) -> Response<Download> {
    let version = request.version();
    let (mut parts, body) = request.into_parts();
    let config = worker.config();
    let inbound = match inbound::check(&mut parts, config, worker.pseudonym()) {
        Ok(inbound) => inbound,
        Err(Stop::Refused(answer)) => return own(answer.into_response(version), turn),
        Err(Stop::LastHop) => return own(last_hop(&parts), turn),
    };
    let host = inbound
        .host
        .as_ref()
        .and_then(|host| Authority::parse(host.as_bytes()).ok());
    let host = host.as_ref().map(Authority::name);
    let Some(app) = worker.table().load().route(host.unwrap_or_default()).cloned() else {
        return own(Answer::no_route(host).into_response(version), turn);
    };
    forward::to_backend(&mut parts, &inbound, client, worker.pseudonym(), || {
        worker.random()
    });
    parts.uri = inbound.target;
    parts.version = Version::HTTP_11;
    let idempotent = config.retry_non_idempotent || retry::is_idempotent(&parts.method);
    let keep_max = if config.retry_enabled && idempotent {
        config.replay_max_bytes
    } else {
        0
    };
    let upload = Upload::new(body, keep_max, config.max_body_bytes);
    let exchange = Exchange {
        worker,
        app,
        parts,
        idempotent,
        upload,
        tried: Vec::new(),
    };
    match exchange.run().await {
        Ok((response, held)) => response.map(|body| Download::of_backend(body, held, turn)),
        Err(answer) => own(answer.into_response(version), turn),
    }
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
    app: Arc<AppRoute>,
    /// As the backend gets them.
    parts: Parts,
    idempotent: bool,
    upload: Upload,
    tried: Vec<Incarnation>,
}

type Answered = (Response<Incoming>, Held);

impl Exchange<'_> {
    /// Tries one backend after the other, as far as the rules and the budget allow.
    async fn run(mut self) -> Result<Answered, Answer> {
        let config = self.worker.config();
        self.worker.count_request();
        let mut place = self.first_place().await?;
        let mut attempts = 1;
        loop {
            let unanswered = match self.attempt(place).await {
                Ok(answered) => {
                    self.upload.settle();
                    return Ok(answered);
                }
                Err(unanswered) => unanswered,
            };
            let Unanswered::Failed(failed) = unanswered else {
                return Err(self.explain(unanswered));
            };
            let again = config.retry_enabled
                && attempts < config.max_attempts
                && retry::next(failed, self.request()) == Next::OtherBackend;
            if !again {
                return Err(self.explain(unanswered));
            }
            // The place first: a retry that there is nobody for costs nothing.
            place = match self.pick() {
                Ok(next) if self.worker.may_retry() => next,
                _ => return Err(self.explain(unanswered)),
            };
            attempts += 1;
        }
    }

    /// A place at once, or when it is this request's turn.
    async fn first_place(&mut self) -> Result<Taken, Answer> {
        if self.app.queue.is_empty() {
            match self.pick() {
                Err(PickError::AllFull) => {}
                decided => return decided.map_err(|error| self.refusal(error)),
            }
        }
        let config = self.worker.config();
        let full = |_| Answer::backends_full(self.app.name.as_str(), config.retry_after);
        let mut waiting = self.app.queue.join().map_err(full)?;
        let until = Instant::now() + config.queue_timeout;
        loop {
            let turn = tokio::time::timeout_at(until, poll_fn(|cx| waiting.poll_turn(cx))).await;
            if turn.is_err() {
                return Err(Answer::queue_timeout(self.app.name.as_str(), config.retry_after));
            }
            // Much may have changed meanwhile.
            let table = self.worker.current_table();
            let Some(app) = table.app(&self.app.name) else {
                return Err(Answer::no_route(Some(self.app.name.as_str())));
            };
            self.app = Arc::clone(app);
            match self.pick() {
                Err(PickError::AllFull) => {}
                decided => return decided.map_err(|error| self.refusal(error)),
            }
        }
    }

    fn pick(&self) -> Result<Taken, PickError> {
        let place = pick::pick(
            &self.app,
            Front::Http,
            Client::default(),
            || self.worker.random(),
            &self.tried,
        )?;
        Ok(Taken::new(place, Arc::clone(&self.app.queue)))
    }

    fn request(&self) -> retry::Request {
        retry::Request {
            idempotent: self.idempotent,
            replayable: self.upload.is_replayable(),
        }
    }

    /// Tries one backend, and tells its ledger how it went.
    async fn attempt(&mut self, taken: Taken) -> Result<Answered, Unanswered> {
        let place = &taken.place;
        self.tried.push(place.endpoint.incarnation);
        let upstream = self.worker.pool().upstream(&place.endpoint);
        match self.converse(&upstream, place).await {
            Ok((response, conn, sent)) => {
                self.tell(place, place.in_flight.succeeded(sent.elapsed()));
                Ok((
                    response,
                    Held {
                        taken,
                        upstream,
                        conn,
                    },
                ))
            }
            Err(unanswered) => {
                if let Unanswered::Failed(failed) = unanswered {
                    tracing::debug!(backend = %place.endpoint.id, ?failed, "a backend failed a request");
                    self.tell(place, place.in_flight.failed(self.app.max_failures));
                }
                Err(unanswered)
            }
        }
    }

    fn tell(&self, place: &Place, signal: Option<Signal>) {
        if let Some(signal) = signal {
            self.worker
                .report(place.in_flight.report(&place.endpoint, signal));
        }
    }

    /// Sends the request to one backend, on a kept connection if there is one, and on a fresh one if that
    /// turns out to be dead.
    async fn converse(
        &self,
        upstream: &Rc<Upstream<Conn>>,
        place: &Place,
    ) -> Result<(Response<Incoming>, Conn, Instant), Unanswered> {
        let (config, endpoint) = (self.worker.config(), &*place.endpoint);
        let conn = attempt::connection(self.worker.pool(), upstream, endpoint, config).await?;
        match self.send(conn, place).await {
            Err(Unanswered::Failed(failed))
                if retry::next(failed, self.request()) == Next::FreshConnection =>
            {
                let conn = attempt::connect(upstream, endpoint, config).await?;
                self.send(conn, place).await
            }
            decided => decided,
        }
    }

    async fn send(
        &self,
        mut conn: Conn,
        place: &Place,
    ) -> Result<(Response<Incoming>, Conn, Instant), Unanswered> {
        let mut request = Request::new(self.upload.draw());
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = self.parts.uri.clone();
        *request.headers_mut() = self.parts.headers.clone();
        if !request.headers().contains_key(header::HOST)
            && let Some(host) = forward::host_for(place.endpoint.addr)
        {
            request.headers_mut().insert(header::HOST, host);
        }
        let sent = Instant::now();
        let timeout = self.worker.config().response_header_timeout;
        let response = attempt::send(&mut conn, request, &self.upload, timeout).await?;
        let (mut parts, body) = response.into_parts();
        if !forward::to_client(&mut parts, self.worker.pseudonym()) {
            return Err(Failed::Malformed.into());
        }
        Ok((Response::from_parts(parts, body), conn, sent))
    }

    /// What a client is told whose request no backend may take.
    fn refusal(&self, error: PickError) -> Answer {
        let (name, delay) = (self.app.name.as_str(), self.worker.config().retry_after);
        match error {
            PickError::AllFull => Answer::backends_full(name, delay),
            _ => Answer::no_backend(name, &self.app.summary, delay),
        }
    }

    /// What a client is told whose request got no response.
    fn explain(&self, unanswered: Unanswered) -> Answer {
        let max = self.worker.config().max_body_bytes;
        match unanswered {
            Unanswered::Failed(Failed::Connect) => Answer::connect_failed(),
            Unanswered::Failed(Failed::Tls) => Answer::tls_failed(),
            Unanswered::Failed(Failed::ConnectTimeout) => Answer::connect_timeout(),
            Unanswered::Failed(Failed::ResponseTimeout) => Answer::response_timeout(),
            Unanswered::Failed(Failed::Malformed) => Answer::bad_response(),
            Unanswered::Failed(Failed::NotSent | Failed::Stale | Failed::NoResponse) => Answer::no_response(),
            Unanswered::Client(Broken::TooLarge) => Answer::body_too_large(max.unwrap_or(u64::MAX)),
            Unanswered::Client(_) => Answer::bad_request("the request's body broke off"),
            Unanswered::ClientStalled => Answer::request_timeout("the request's body did not arrive in time"),
        }
    }
}
