//! One backend as the registry keeps it.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{Backend, BackendId, Endpoint, Gate, MonoTime, Weight};

use crate::clock::Active;
use crate::ledger::{Asked, ProbeLedger, Standing, Traffic, Verdict, in_force};
use crate::load::Steering;
use crate::{Lease, Leases, LoadReport, Overridden, Overrides, Reason, Record, Share, Source, State};

/// One incarnation of a backend. There may be a million, so what most never need is boxed.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As in the endpoint; here, so that comparing it doesn't have to wait for the endpoint's cache line.
    pub(crate) id: BackendId,
    pub(crate) endpoint: Arc<Endpoint>,
    /// When the lease runs out, or ran out, for a suspect; never, for one of the file.
    pub(crate) deadline: Active,
    pub(crate) registered: Active,
    /// When it joined, or last came back for its health's sake.
    pub(crate) since: MonoTime,
    ttl_micros: u64,
    /// Its app's slot and its place among the members. Void for a superseded one.
    pub(crate) app: u32,
    pub(crate) position: u32,
    pub(crate) reported: LoadReport,
    /// Up to [`SEASONED`].
    renewals: u8,
    pub(crate) life: Life,
    pub(crate) doubt: Doubt,
    /// What [`Self::decide`] said when it was last settled. The meter's gate follows from it.
    pub(crate) state: State,
    details: Option<Box<Details>>,
}

/// How far an entry's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    /// It holds a lease.
    Live,
    /// It was deregistered and drains; still found by its id, and listed.
    Leaving,
    /// Another incarnation has its id; it drains, and nobody sees it.
    Superseded,
}

/// Why a probe is asked whether a backend is still there, although nothing speaks against it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doubt {
    /// There is no doubt.
    None,
    /// Its lease ran out, together with most of its app's.
    Suspect,
    /// It was restored, and nobody has heard of it since. It gets requests meanwhile.
    Restored,
    /// As before, and a probe didn't reach it.
    Absent,
    /// Its lease ran out where several registries hold them, and it is asked whether it is there. It gets requests
    /// meanwhile.
    Overdue,
    /// As before, and a probe didn't reach it.
    Unreached,
}

/// What speaks against a backend, or was laid over it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Details {
    pub(crate) overrides: Overrides,
    /// What the overrides hide.
    asked: Option<Asked>,
    pub(crate) drain: Option<Drain>,
    pub(crate) traffic: Traffic,
    pub(crate) probe: ProbeLedger,
    pub(crate) load: Steering,
}

/// A drain under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Drain {
    /// When what is in flight is cut.
    pub(crate) until: Active,
    /// Its place in the list of those that drain.
    pub(crate) position: u32,
    /// What the process before may have in flight there.
    pub(crate) before: Before,
}

/// Whether the process before has requests under way on a backend that drains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Before {
    /// It has none, or there is none.
    Nothing,
    /// It hasn't been asked.
    Unasked,
    /// It has been asked, and hasn't said that it has none.
    Asked,
}

/// Renewals after which a backend is known to send heartbeats by itself.
const SEASONED: u8 = 3;

/// A suspect is kept for this many of its leases.
pub(crate) const SUSPECT_TTLS: u32 = 3;

static CLEAN: Details = Details::CLEAN;

impl Details {
    const CLEAN: Self = Self {
        overrides: Overrides {
            enabled: None,
            weight: None,
            soft_limit: None,
            hard_limit: None,
        },
        asked: None,
        drain: None,
        traffic: Traffic::CLEAN,
        probe: ProbeLedger::CLEAN,
        load: Steering::CLEAN,
    };
}

impl Entry {
    /// One that has just joined. Without a `ttl` it is one of the file.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        ttl: Option<Duration>,
        app: u32,
        (now, since): (Active, MonoTime),
    ) -> Self {
        let mut entry = Self {
            id: endpoint.id.clone(),
            endpoint,
            deadline: now,
            registered: now,
            since,
            ttl_micros: 0,
            app,
            position: 0,
            reported: LoadReport::default(),
            renewals: 0,
            life: Life::Live,
            doubt: Doubt::None,
            state: State::Routable,
            details: None,
        };
        match ttl {
            Some(ttl) => entry.lease(ttl, now),
            None => entry.hold(),
        }
        entry
    }

    pub(crate) fn details(&self) -> &Details {
        self.details.as_deref().unwrap_or(&CLEAN)
    }

    pub(crate) fn details_mut(&mut self) -> &mut Details {
        self.details.get_or_insert_with(|| Box::new(Details::CLEAN))
    }

    pub(crate) const fn has_details(&self) -> bool {
        self.details.is_some()
    }

    /// Gives the box back once it says nothing.
    pub(crate) fn tidy(&mut self) {
        if self.details.as_deref() == Some(&Details::CLEAN) {
            self.details = None;
        }
    }

    /// The length of its lease. Zero for one of the file.
    pub(crate) const fn ttl(&self) -> Duration {
        Duration::from_micros(self.ttl_micros)
    }

    /// Who says that it is there: a deadline that never comes tells, which costs a million of them no byte.
    pub(crate) fn source(&self) -> Source {
        if self.deadline == Active::NEVER {
            Source::File
        } else {
            Source::Registered
        }
    }

    pub(crate) fn lease_left(&self, now: Active) -> Option<Lease> {
        (self.source() == Source::Registered).then(|| Lease {
            ttl: self.ttl(),
            // What is left of a lease tells when it began.
            last_heartbeat: (now + self.ttl()).since(self.deadline),
            expires_in: self.deadline.since(now),
        })
    }

    /// From now on the file has it: there is no lease that could run out.
    pub(crate) const fn hold(&mut self) {
        self.ttl_micros = 0;
        self.deadline = Active::NEVER;
        self.renewals = 0;
        self.doubt = Doubt::None;
    }

    /// Begins a lease of that length.
    pub(crate) fn lease(&mut self, ttl: Duration, now: Active) {
        self.ttl_micros = u64::try_from(ttl.as_micros()).unwrap_or(u64::MAX);
        self.deadline = (now + ttl).min(Active::LAST);
    }

    /// Begins its lease anew, if it has one.
    pub(crate) fn renew(&mut self, now: Active) {
        if self.source() == Source::File {
            return;
        }
        self.deadline = (now + self.ttl()).min(Active::LAST);
        self.renewals = self.renewals.saturating_add(1).min(SEASONED);
    }

    /// Takes in what it reports about itself, and says whether that changes if it drains.
    pub(crate) fn take_in(&mut self, report: &LoadReport) -> bool {
        let known = self.reported;
        self.reported = LoadReport {
            in_flight: report.in_flight.or(known.in_flight),
            utilization_permille: report.utilization_permille.or(known.utilization_permille),
            draining: report.draining.or(known.draining),
            weight: report.weight.or(known.weight),
        };
        known.draining != self.reported.draining
    }

    /// Whether it counts for the mass-expiry guard.
    pub(crate) fn is_seasoned(&self) -> bool {
        self.life == Life::Live && self.renewals == SEASONED
    }

    /// Whether two thirds of its lease have passed in silence. Heartbeats are due after each third, so at
    /// least one didn't arrive.
    pub(crate) fn is_missing(&self, now: Active) -> bool {
        self.doubt == Doubt::Suspect || self.deadline <= now + self.ttl() / 3
    }

    /// When it is removed here for want of heartbeats.
    pub(crate) fn removal(&self, leases: Leases) -> Active {
        match leases {
            Leases::Here => self.lease_end(),
            Leases::Elsewhere => Active::NEVER,
        }
    }

    /// When a lease that is held here ends.
    fn lease_end(&self) -> Active {
        if self.doubt == Doubt::Suspect {
            self.deadline + self.ttl().saturating_mul(SUSPECT_TTLS)
        } else {
            self.deadline
        }
    }

    /// When something is to be done about it, if it is left alone.
    pub(crate) fn due(&self, leases: Leases) -> Active {
        let details = self.details();
        if let Some(drain) = details.drain {
            return drain.until;
        }
        let ejection_end = details.traffic.ends().unwrap_or(Active::NEVER);
        self.removal(leases).min(ejection_end)
    }

    /// Failed requests don't speak against it any more.
    pub(crate) fn readmit(&mut self, now: Active, since: MonoTime) {
        self.details_mut().traffic.readmit(now);
        self.since = since;
    }

    /// Since when it has got requests as any other, as [`Member`](crate::Member) says it.
    pub(crate) const fn routable_since(&self) -> Option<MonoTime> {
        match self.state {
            State::Routable | State::Suspect => Some(self.since),
            State::Trial => Some(MonoTime::NEVER),
            State::Ejected | State::Unhealthy | State::Draining | State::Disabled => None,
        }
    }

    /// What the backend itself asked for.
    pub(crate) fn asked(&self) -> Asked {
        self.details().asked.unwrap_or_else(|| Asked::of(&self.endpoint))
    }

    /// What an operator has set on it, if anything.
    pub(crate) fn overridden(&self) -> Option<Overridden> {
        let overridden = Overridden {
            id: self.endpoint.id.clone(),
            app: Some(self.endpoint.app.clone()),
            overrides: self.details().overrides,
        };
        overridden.is_some().then_some(overridden)
    }

    /// What a store keeps of it.
    pub(crate) fn record(&self) -> Record {
        let mut backend = self.endpoint.backend.clone();
        let asked = self.asked();
        backend.weight = asked.weight;
        backend.limits = asked.limits;
        Record {
            backend,
            incarnation: self.endpoint.incarnation,
            ttl: self.ttl(),
        }
    }

    /// Makes the endpoint what was asked for with the overrides laid over it, and of limits the share, and says whether
    /// that is a change.
    pub(crate) fn overlay(&mut self, asked: Asked, mut backend: Backend, share: Share) -> bool {
        let overrides = self.details().overrides;
        let in_force = in_force(asked, &overrides, share);
        let hidden = (in_force != asked).then_some(asked);
        if hidden != self.details().asked {
            self.details_mut().asked = hidden;
        }
        backend.weight = in_force.weight;
        backend.limits = in_force.limits;
        if backend == self.endpoint.backend {
            return false;
        }
        let (incarnation, meter) = (self.endpoint.incarnation, Arc::clone(&self.endpoint.meter));
        self.endpoint = Arc::new(Endpoint {
            backend,
            incarnation,
            meter,
        });
        true
    }

    /// The state that follows from all ledgers. Where several object, the order is that of [`State`].
    pub(crate) fn decide(&self) -> State {
        let details = self.details();
        if details.overrides.enabled == Some(false) || self.endpoint.weight == Weight::ZERO {
            return State::Disabled;
        }
        if self.life != Life::Live || self.reported.draining == Some(true) {
            return State::Draining;
        }
        let is_unreached = matches!(self.doubt, Doubt::Absent | Doubt::Unreached);
        if details.probe.verdict() != Verdict::Healthy || is_unreached {
            return State::Unhealthy;
        }
        match details.traffic.standing() {
            Standing::Ejected { .. } => State::Ejected,
            Standing::Trial => State::Trial,
            Standing::Well if matches!(self.doubt, Doubt::Suspect | Doubt::Overdue) => State::Suspect,
            Standing::Well => State::Routable,
        }
    }

    /// Why it is in the state that it was last settled in.
    pub(crate) fn reason(&self, now: Active) -> Reason {
        let details = self.details();
        match self.state {
            State::Routable if self.doubt == Doubt::Restored => Reason::Restored,
            State::Routable => Reason::Well,
            State::Suspect if self.doubt == Doubt::Overdue => Reason::Overdue {
                since: now.since(self.deadline),
            },
            State::Suspect => Reason::MassExpiry {
                since: now.since(self.deadline),
                removed_in: self.lease_end().since(now),
            },
            State::Trial => Reason::Trial,
            State::Ejected => match details.traffic.standing() {
                Standing::Ejected { until, streak } => Reason::Failures {
                    streak,
                    trial_in: until.since(now),
                },
                Standing::Well | Standing::Trial => Reason::Trial,
            },
            State::Unhealthy => match details.probe.verdict() {
                Verdict::AwaitsFirst => Reason::FirstProbe,
                Verdict::Healthy if self.doubt == Doubt::Absent => Reason::Absent,
                Verdict::Healthy if self.doubt == Doubt::Unreached => Reason::Unreached,
                Verdict::Healthy | Verdict::Unhealthy => Reason::Probes {
                    streak: details.probe.failed(),
                },
            },
            State::Draining => match details.drain {
                Some(drain) => Reason::Deregistered {
                    cut_in: drain.until.since(now),
                },
                None => Reason::SelfDraining,
            },
            State::Disabled if details.overrides.enabled == Some(false) => Reason::Operator,
            State::Disabled => Reason::WeightZero,
        }
    }
}

/// The gate that the registry sets for a state. The data plane may since have closed an open or a trial
/// one by itself.
pub(crate) const fn gate_of(state: State) -> Gate {
    match state {
        State::Routable | State::Suspect => Gate::Open,
        State::Trial => Gate::Trial,
        State::Ejected => Gate::Excluded,
        State::Unhealthy => Gate::Unhealthy,
        State::Draining | State::Disabled => Gate::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There may be a million.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn an_entry_takes_96_bytes() {
        assert_eq!(size_of::<Entry>(), 96);
    }
}
