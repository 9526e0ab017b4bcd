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
    begun: MonoTime,
    /// Until when whoever holds the lease is told, if it can't be told at once.
    patience: MonoTime,
    /// Whether an API knows, or has not known of the backend in the first place.
    told: bool,
    /// Whether an API has said that it takes the backend out. The others hear of it by the registry that they share.
    taken_out: bool,
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
    /// Whether it is the one that held the lease: what it routes to is not to stop because it restarts just now.
    holds: bool,
    /// Whether it was asked who it is that it knows, after it had refused to take the backend out.
    looked: bool,
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

/// How often the API that held the lease is tried, once another has taken the backend out or it has been told itself;
/// the others once.
const TRIES: u8 = 3;
/// Between two tries, unless the API names a longer time.
const TRY_AGAIN: Duration = Duration::from_millis(300);
/// The API that holds the lease is tried for so long, and for as long as the drain lasts if that is longer: a proxy that
/// restarts or hands over is back within seconds.
const PERSISTENCE: Duration = Duration::from_secs(5);
/// Between two questions whether anything is left in flight.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// What the API may need beyond the drain's end to say so itself.
const GRACE: Duration = Duration::from_secs(1);

impl Farewell {
    /// The wait ends no later than that.
    pub(super) fn shorten(&mut self, now: MonoTime, drain: Duration) {
        self.drain = self.drain.min(drain);
        self.patience = self.patience.min((now + drain).max(self.begun + PERSISTENCE));
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
            if let (Step::Watch(_), Some(until)) = (parting.step, until) {
                parting.due = parting.due.min(until);
                if until <= now {
                    parting.step = Step::Done;
                    self.overdue = true;
                }
            }
        }
        let waiting = self.partings.iter().enumerate();
        waiting
            .filter(|(_, parting)| !matches!(parting.step, Step::Done))
            .min_by_key(|(api, parting)| (parting.due, *api != first))
            .map(|(api, parting)| (api, parting.step, parting.due))
    }

    /// It is tried again after a while, if it may be.
    fn fails(&mut self, now: MonoTime, api: usize, what: String, after: Option<Duration>) {
        self.failure = Some(what);
        let Some(parting) = self.partings.get_mut(api) else {
            return;
        };
        parting.tries = parting.tries.saturating_sub(1);
        parting.due = now + TRY_AGAIN.max(after.unwrap_or_default());
        let again = match parting.step {
            Step::Look | Step::Delete(_) => {
                // The last try is worth more than the wait that was asked for.
                parting.due = parting.due.min(self.patience.max(now));
                let persists = parting.holds && !self.taken_out;
                now < self.patience && (persists || parting.tries > 0)
            }
            // Whoever names a time is there. The end of the drain ends it.
            Step::Watch(_) => after.is_some() || parting.tries > 0,
            Step::Done => false,
        };
        if !again {
            parting.step = Step::Done;
        }
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

impl Session {
    pub(super) fn say_farewell(&mut self, now: MonoTime, drain: Duration) {
        if self.lease.is_none() && !self.uncertain {
            return self.end(Event::Left(Departure::NotRegistered));
        }
        let parting = |(api, known): (usize, &Option<Incarnation>)| {
            let holds = api == self.current;
            Parting {
                // An API that has not named one goes by what the others have named: they share a registry.
                step: match known.or(self.lease.map(|lease| lease.incarnation)) {
                    Some(incarnation) if !self.uncertain => Step::Delete(incarnation),
                    _ => Step::Look,
                },
                due: now,
                tries: if holds { TRIES } else { 1 },
                holds,
                looked: false,
            }
        };
        self.phase = Phase::Leaving(Farewell {
            drain,
            begun: now,
            patience: now + drain.max(PERSISTENCE),
            told: false,
            taken_out: false,
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
        match farewell.next(now, self.current) {
            Some((_, _, due)) if due > now => self.due = Some(due),
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
                None => {
                    parting.step = Step::Done;
                    farewell.told = true;
                }
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
                farewell.taken_out = true;
                let until = (now + farewell.drain).min(farewell.patience) + GRACE;
                farewell.until.get_or_insert(until);
                count(&mut farewell.in_flight, &reply);
            }
            (Step::Watch(incarnation), Verdict::Taken(reply))
                if reply.body.incarnation() == Some(incarnation) =>
            {
                parting.tries = TRIES;
                parting.due = now + ASK_AGAIN;
                count(&mut farewell.in_flight, &reply);
            }
            // Somebody else has its place, or it is there under another number: a registration was heard twice.
            (Step::Delete(_), Verdict::Fenced(_)) if !parting.looked => {
                parting.looked = true;
                parting.step = Step::Look;
                parting.due = now;
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
            (_, Verdict::Busy { what, after }) => {
                farewell.fails(now, request.api, what, Some(after));
            }
            (_, Verdict::Down { what, after, .. }) => {
                farewell.fails(now, request.api, what, after);
            }
        }
        self.part(now);
    }
}

fn count(in_flight: &mut u32, reply: &Reply) {
    *in_flight = reply.body.in_flight.unwrap_or(*in_flight);
}
