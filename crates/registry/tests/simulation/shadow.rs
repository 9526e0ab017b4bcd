//! One backend as the shadow model keeps it.

use std::sync::Arc;

use edgeproxy_backend::{AppName, BackendAddr, BackendId, Endpoint, Gate, Incarnation, MonoTime, Weight};
use edgeproxy_registry::{Overridden, Overrides, State};

pub type Micros = u64;

pub const SECOND: Micros = 1_000_000;

pub fn micros(duration: std::time::Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap()
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Traffic {
    Well,
    Out(Micros),
    Trial,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Probed {
    Fine,
    First,
    Bad,
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Phase {
    Live,
    Leaving,
    Superseded,
}

/// What is not known of one that a restart has brought back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Restored {
    Heard,
    Unheard,
    Absent,
    /// Its lease ran out, which is held elsewhere.
    Overdue,
    Unreached,
}

#[derive(Clone, Debug)]
pub struct Shadow {
    pub id: BackendId,
    pub app: AppName,
    pub addr: BackendAddr,
    pub incarnation: Incarnation,
    pub endpoint: Arc<Endpoint>,
    pub phase: Phase,
    pub state: State,
    /// It stands in the file, and has no lease.
    pub fixed: bool,
    /// Its lease is ended elsewhere.
    pub endless: bool,
    pub since: Micros,
    pub deadline: Micros,
    pub ttl: Micros,
    pub renewals: u32,
    pub suspect: bool,
    pub restored: Restored,
    pub drain_until: Micros,
    pub self_draining: bool,
    pub weight: u16,
    pub soft: u32,
    pub hard: u32,
    pub fallback: bool,
    pub overrides: Overrides,
    pub traffic: Traffic,
    pub ejections: u32,
    /// `None` while probes keep it out: no decay.
    pub well_since: Option<Micros>,
    pub probed: Probed,
    pub fails: u32,
    pub passes: u32,
    /// The data plane has closed the gate, and the registry hasn't judged it yet.
    pub excluded: bool,
}

impl Shadow {
    pub fn listed(&self) -> bool {
        self.phase != Phase::Superseded
    }

    /// It was heard of, or reached.
    pub fn heard(&mut self, now: Micros) {
        if self.is_unreached() {
            self.since = now;
        }
        self.restored = Restored::Heard;
    }

    pub fn is_unreached(&self) -> bool {
        matches!(self.restored, Restored::Absent | Restored::Unreached)
    }

    /// A probe has reached it, which tells nothing of its lease.
    pub fn reached(&mut self, now: Micros) {
        if self.restored == Restored::Unreached {
            self.since = now;
            self.restored = Restored::Overdue;
        }
    }

    pub fn overridden(&self) -> Overridden {
        Overridden {
            id: self.id.clone(),
            app: Some(self.app.clone()),
            overrides: self.overrides,
        }
    }

    pub fn effective_weight(&self) -> u16 {
        self.overrides.weight.map_or(self.weight, Weight::get)
    }

    pub fn effective_limits(&self) -> (u32, u32) {
        let soft = self.overrides.soft_limit.unwrap_or(self.soft);
        let hard = self.overrides.hard_limit.unwrap_or(self.hard);
        if hard != 0 && soft > hard {
            (hard, hard)
        } else {
            (soft, hard)
        }
    }

    pub fn lease_end(&self) -> Micros {
        if self.fixed || self.endless {
            Micros::MAX
        } else if self.suspect || self.restored == Restored::Overdue {
            self.deadline + 3 * self.ttl
        } else {
            self.deadline
        }
    }

    pub fn due(&self) -> Micros {
        if self.phase != Phase::Live {
            return self.drain_until;
        }
        match self.traffic {
            Traffic::Out(until) => until.min(self.lease_end()),
            Traffic::Well | Traffic::Trial => self.lease_end(),
        }
    }

    pub fn expected_gate(&self) -> Gate {
        match self.state {
            _ if self.excluded => Gate::Excluded,
            State::Routable | State::Suspect => Gate::Open,
            State::Trial => Gate::Trial,
            State::Ejected => Gate::Excluded,
            State::Unhealthy => Gate::Unhealthy,
            State::Draining | State::Disabled => Gate::Closed,
        }
    }

    pub fn wanted(&self) -> State {
        if self.overrides.enabled == Some(false) || self.effective_weight() == 0 {
            State::Disabled
        } else if self.phase != Phase::Live || self.self_draining {
            State::Draining
        } else if self.probed != Probed::Fine || self.is_unreached() {
            State::Unhealthy
        } else if let Traffic::Out(_) = self.traffic {
            State::Ejected
        } else if self.traffic == Traffic::Trial {
            State::Trial
        } else if self.suspect {
            State::Suspect
        } else {
            State::Routable
        }
    }

    pub fn seasoned(&self) -> bool {
        self.phase == Phase::Live && !self.fixed && self.renewals >= 3
    }

    /// Since when it has got requests as any other.
    pub fn routable_since(&self) -> Option<MonoTime> {
        match self.state {
            State::Routable | State::Suspect => Some(MonoTime::from_micros(self.since)),
            State::Trial => Some(MonoTime::NEVER),
            _ => None,
        }
    }
}
