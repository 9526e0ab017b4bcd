//! How a backend leaves: every API is told, and is asked until what it had in flight has ended. Proxies that share a
//! registry hear of it one after the other, and each counts for itself what it has in flight.

use std::time::Duration;

use edgeproxy_backend::{Incarnation, MonoTime};

use super::{Ask, Departure, Event, Phase, Request, Session};
use crate::answer::{Reply, Verdict};

/// The rest of a membership.
#[derive(Debug)]
pub(super) struct Farewell {
    drain: Duration,
    /// Whether an API knows, or has not known of the backend in the first place.
    told: bool,
    /// When waiting for what is in flight ends; known once it drains.
    until: Option<MonoTime>,
    /// By API.
    partings: Vec<Parting>,
    in_flight: u32,
    overdue: bool,
    /// Why somebody could not be told.
    failure: Option<String>,
}

#[derive(Debug)]
struct Parting {
    step: Step,
    due: MonoTime,
    /// How often the step may still fail.
    tries: u8,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Whether a registration was accepted is not known.
    Look,
    Delete(Incarnation),
    /// Told. It is asked whether anything is left in flight.
    Watch(Incarnation),
    Done,
}

/// How often the API that held the lease is tried; the others once.
const TRIES: u8 = 3;
/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// Between two questions whether anything is left in flight.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What the API may need beyond the drain's end to say so itself.
const GRACE: Duration = Duration::from_secs(1);

impl Farewell {
    /// The wait ends no later than that.
    pub(super) fn shorten(&mut self, now: MonoTime, drain: Duration) {
        self.drain = self.drain.min(drain);
        if let Some(until) = &mut self.until {
            *until = (*until).min(now + drain);
        }
        for parting in &mut self.partings {
            parting.due = parting.due.min(now + drain);
        }
    }

    /// What comes next, and when.
    fn next(&mut self, now: MonoTime, first: usize) -> Option<(usize, Step, MonoTime)> {
        let until = self.until;
        for parting in &mut self.partings {
            let over = until.is_some_and(|until| until <= now);
            if over && matches!(parting.step, Step::Watch(_)) {
                parting.step = Step::Done;
                self.overdue = true;
            }
        }
        let waiting = self.partings.iter().enumerate();
        waiting
            .filter(|(_, parting)| !matches!(parting.step, Step::Done))
            .min_by_key(|(api, parting)| (parting.due, *api != first))
            .map(|(api, parting)| (api, parting.step, parting.due))
    }

    fn departure(self) -> Departure {
        match self.failure {
            Some(what) if !self.told => Departure::Unsaid { what },
            _ if self.overdue => Departure::Overdue {
                in_flight: self.in_flight,
            },
            _ => Departure::Gone,
        }
    }
}

impl Parting {
    fn fails(&mut self, now: MonoTime) {
        self.tries = self.tries.saturating_sub(1);
        self.due = now + TRY_AGAIN;
        if self.tries == 0 {
            self.step = Step::Done;
        }
    }
}

impl Session {
    pub(super) fn say_farewell(&mut self, now: MonoTime, drain: Duration) {
        if self.lease.is_none() && !self.uncertain {
            return self.end(Event::Left(Departure::NotRegistered));
        }
        let parting = |(api, known): (usize, &Option<Incarnation>)| Parting {
            // An API that has not named one goes by what the others have named: they share a registry.
            step: match known.or(self.lease.map(|lease| lease.incarnation)) {
                Some(incarnation) if !self.uncertain => Step::Delete(incarnation),
                _ => Step::Look,
            },
            due: now,
            tries: if api == self.current { TRIES } else { 1 },
        };
        self.phase = Phase::Leaving(Farewell {
            drain,
            told: false,
            until: None,
            partings: self.known.iter().enumerate().map(parting).collect(),
            in_flight: 0,
            overdue: false,
            failure: None,
        });
        self.part(now);
    }

    /// The registration that was under way has been answered.
    pub(super) fn taken_back(&mut self, now: MonoTime, api: usize, verdict: Verdict, drain: Duration) {
        match verdict {
            Verdict::Taken(reply) => match reply.body.incarnation() {
                Some(incarnation) => self.hold_lease(api, incarnation, super::INTERVAL),
                None => self.uncertain = true,
            },
            Verdict::Down { uncertain, .. } => self.uncertain |= uncertain,
            _ => {}
        }
        self.say_farewell(now, drain);
    }

    /// Sends the next request of a farewell, waits for it, or ends.
    pub(super) fn part(&mut self, now: MonoTime) {
        let Phase::Leaving(farewell) = &mut self.phase else {
            return;
        };
        let drain = farewell.drain;
        let until = farewell.until;
        match farewell.next(now, self.current) {
            Some((_, _, due)) if due > now => {
                self.due = Some(due.min(until.unwrap_or(due)));
            }
            Some((api, step, _)) => {
                let ask = match step {
                    Step::Delete(incarnation) => Ask::Deregister { incarnation, drain },
                    Step::Look | Step::Watch(_) | Step::Done => Ask::Look,
                };
                self.send(api, ask);
            }
            None => {
                if let Phase::Leaving(farewell) = std::mem::replace(&mut self.phase, Phase::Ended) {
                    self.end(Event::Left(farewell.departure()));
                }
            }
        }
    }

    pub(super) fn parted(&mut self, now: MonoTime, request: Request, verdict: Verdict) {
        let own = match &verdict {
            Verdict::Taken(reply) => self.is_own(reply),
            _ => false,
        };
        let Phase::Leaving(farewell) = &mut self.phase else {
            return;
        };
        let Some(parting) = farewell.partings.get_mut(request.api) else {
            return;
        };
        match (parting.step, verdict) {
            (Step::Look, Verdict::Taken(reply)) => match reply.body.incarnation().filter(|_| own) {
                Some(incarnation) => {
                    parting.step = Step::Delete(incarnation);
                    parting.due = now;
                }
                None => parting.step = Step::Done,
            },
            (Step::Delete(incarnation), Verdict::Taken(reply)) => {
                let watch = reply.body.draining == Some(true) && !farewell.drain.is_zero();
                parting.step = if watch {
                    Step::Watch(incarnation)
                } else {
                    Step::Done
                };
                parting.tries = TRIES;
                parting.due = now + ASK_AGAIN;
                farewell.told = true;
                farewell.until.get_or_insert(now + farewell.drain + GRACE);
                count(&mut farewell.in_flight, &reply);
            }
            (Step::Watch(incarnation), Verdict::Taken(reply))
                if reply.body.incarnation() == Some(incarnation) =>
            {
                parting.tries = TRIES;
                parting.due = now + ASK_AGAIN;
                count(&mut farewell.in_flight, &reply);
            }
            // It is not there, or somebody else has its place.
            (_, Verdict::Taken(_) | Verdict::Unknown(_) | Verdict::Fenced(_)) => {
                parting.step = Step::Done;
                farewell.told = true;
            }
            (_, Verdict::Refused(what)) => {
                farewell.failure = Some(what);
                parting.step = Step::Done;
            }
            (_, Verdict::Busy { what, .. } | Verdict::Down { what, .. }) => {
                farewell.failure = Some(what);
                parting.fails(now);
            }
        }
        self.part(now);
    }
}

fn count(in_flight: &mut u32, reply: &Reply) {
    *in_flight = reply.body.in_flight.unwrap_or(*in_flight);
}
