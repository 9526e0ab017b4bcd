//! The session, driven by tokio.

mod agent;
mod client;
mod detect;
mod reach;
#[cfg(feature = "tls")]
mod trust;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use edgeproxy_backend::MonoTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::answer::Answer;
use crate::session::{Departure, Event, Request, Session};
pub use agent::{Agent, Builder, Membership, NotRegistered, StartError};
use agent::{State, Wishes};
use client::{Client, Terms};
pub use detect::own_ips;
#[cfg(feature = "tls")]
pub use trust::{Trust, TrustError};

/// Sends what the session says, until it is over or nobody holds the [`Agent`] any more.
struct Driver {
    session: Session,
    terms: Arc<Terms>,
    line: Line,
    wishes: watch::Receiver<Wishes>,
    state: watch::Sender<State>,
    origin: Instant,
}

/// The connection, and what is under way on it.
enum Line {
    Idle(Client),
    Busy(Pin<Box<dyn Future<Output = (Client, Answer)> + Send>>),
}

enum Happened {
    Answered(Answer),
    Disconnected,
}

impl Line {
    /// The next thing that happens on it. Cancel safe.
    async fn next(&mut self) -> Happened {
        match self {
            Self::Idle(client) => {
                client.closed().await;
                Happened::Disconnected
            }
            Self::Busy(exchange) => {
                let (client, answer) = exchange.await;
                *self = Self::Idle(client);
                Happened::Answered(answer)
            }
        }
    }
}

impl Driver {
    fn new(
        session: Session,
        terms: Arc<Terms>,
        wishes: watch::Receiver<Wishes>,
        state: watch::Sender<State>,
    ) -> Self {
        Self {
            session,
            line: Line::Idle(Client::new(Arc::clone(&terms))),
            terms,
            wishes,
            state,
            origin: Instant::now(),
        }
    }

    async fn run(mut self) {
        let mut heard = Wishes::default();
        self.session.join(self.now());
        loop {
            while let Some(event) = self.session.poll_event() {
                self.tell(event);
            }
            if matches!(self.state.borrow().membership, Membership::Left(_)) {
                return;
            }
            if let Some(request) = self.session.poll_request() {
                self.begin(request);
            }
            let due = self
                .session
                .poll_timeout()
                .map(|due| self.origin + due.since(MonoTime::ZERO));
            tokio::select! {
                happened = self.line.next() => match happened {
                    Happened::Answered(answer) => self.session.handle_answer(self.now(), answer),
                    Happened::Disconnected => self.session.handle_disconnect(self.now()),
                },
                changed = self.wishes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wishes = *self.wishes.borrow_and_update();
                    self.hear(heard, wishes);
                    heard = wishes;
                }
                () = sleep_until(due.unwrap_or(self.origin)), if due.is_some() => {
                    self.session.handle_timeout(self.now());
                }
            }
        }
    }

    fn now(&self) -> MonoTime {
        MonoTime::ZERO + self.origin.elapsed()
    }

    fn begin(&mut self, request: Request) {
        let fresh = Line::Idle(Client::new(Arc::clone(&self.terms)));
        let client = match std::mem::replace(&mut self.line, fresh) {
            Line::Idle(client) => client,
            // What was under way is given up, and its connection with it.
            Line::Busy(_) => Client::new(Arc::clone(&self.terms)),
        };
        self.line = Line::Busy(Box::pin(client.send(request, self.session.interval())));
    }

    fn hear(&mut self, before: Wishes, now: Wishes) {
        let time = self.now();
        self.session.report(now.report);
        match (before.held, now.held) {
            (false, true) => self.session.hold(),
            (true, false) => self.session.resume(time),
            _ => {}
        }
        if now.drained && !before.drained {
            self.session.drain(time);
        }
        if let Some(drain) = now.leave.filter(|_| now.leave != before.leave) {
            self.session.leave(time, drain);
        }
    }

    fn api(&self, api: usize) -> String {
        self.terms
            .apis
            .get(api)
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// A few lines for people, and the state for whoever waits for it.
    fn tell(&self, event: Event) {
        let registration = &self.terms.registration;
        let id = &registration.id;
        match event {
            Event::Registered {
                api,
                incarnation,
                ip,
                interval,
                warnings,
            } => {
                let addr = ip.map(|ip| SocketAddr::new(ip, registration.port.get()));
                let addr = addr.map(|addr| format!(" at {addr}")).unwrap_or_default();
                tracing::info!(
                    "registered {id} for {} in {}{addr} with {}; a heartbeat every {} s",
                    registration.app,
                    registration.region.as_str(),
                    self.api(api),
                    interval.as_secs()
                );
                for warning in warnings {
                    tracing::warn!("{}: {warning}", self.api(api));
                }
                self.now_is(Membership::Registered { incarnation });
            }
            Event::Forgotten { api } => {
                tracing::warn!(
                    "{} does not know {id} any more: registering it again",
                    self.api(api)
                );
                self.now_is(Membership::Joining);
            }
            Event::Trouble { api, what } => {
                tracing::warn!("{}: {what}; trying again, here and elsewhere", self.api(api));
            }
            Event::Recovered { api, after } => {
                tracing::info!(
                    "{} answers, {} s after the trouble began",
                    self.api(api),
                    after.as_secs()
                );
            }
            Event::Superseded { api, ip, port } => {
                let by = SocketAddr::new(ip, port);
                tracing::warn!(
                    "{} says that {by} has registered as {id}: this one gets no new requests. If both are to serve, give \
                     each an id of its own",
                    self.api(api)
                );
                self.now_is(Membership::Superseded { by });
            }
            Event::Refused { api, what } => {
                let api = self.api(api);
                tracing::error!("{api} refuses to register {id}: {what}");
                self.now_is(Membership::Refused { api, what });
            }
            Event::Drained => {
                self.state.send_modify(|state| state.drained = true);
            }
            Event::Left(departure) => {
                match &departure {
                    Departure::NotRegistered => {}
                    Departure::Gone => tracing::info!("{id} is deregistered, and has nothing in flight"),
                    Departure::Overdue { in_flight } => tracing::warn!(
                        "{id} is deregistered; its time to drain is over with {in_flight} requests in flight"
                    ),
                    Departure::Unsaid { what } => tracing::warn!(
                        "{id} could not be deregistered ({what}); it gets requests until its lease runs out"
                    ),
                }
                self.now_is(Membership::Left(departure));
            }
        }
    }

    fn now_is(&self, membership: Membership) {
        self.state.send_modify(|state| state.membership = membership);
    }
}

#[cfg(test)]
mod tests;
