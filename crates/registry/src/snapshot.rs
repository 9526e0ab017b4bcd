use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{AppName, Endpoint, LoadFactor, MonoTime};
use hashbrown::HashMap;

use crate::{Cause, LoadReport, Overrides, Reason, Source, State};

/// Every app and its members at one moment. Immutable, cheap to clone; an app that did not change since
/// the snapshot before is shared with it.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Grows with every snapshot that differs.
    pub version: u64,
    /// The apps that have a member.
    pub apps: Arc<HashMap<AppName, Arc<AppSnapshot>, foldhash::fast::RandomState>>,
}

/// One app's members at one moment.
#[derive(Clone, Debug)]
pub struct AppSnapshot {
    /// The app.
    pub app: AppName,
    /// The version of the first snapshot that held it like this.
    pub version: u64,
    /// Its members, in the order of their registration.
    pub members: Vec<Member>,
}

/// One backend in a snapshot.
#[derive(Clone, Debug)]
pub struct Member {
    /// The backend, its effective weight and limits, and its meter.
    pub endpoint: Arc<Endpoint>,
    /// Whether it gets requests.
    pub state: State,
    /// Why, when its app was last rebuilt.
    pub reason: Reason,
    /// Since when it has got requests as any other: it joined then, or came back after failed requests or
    /// failed probes, which is what a slow start is counted from. On the clock of the registry's caller.
    ///
    /// [`MonoTime::NEVER`] while it is on trial, as its ramp has yet to begin; `None` while it gets none.
    pub since: Option<MonoTime>,
    /// What it reports of its load has moved its share by so much.
    pub load: LoadFactor,
    /// Whether a [probe](crate::Probe::Suspect) is to ask if it is still there, whatever its state.
    pub in_doubt: bool,
}

impl Member {
    /// What keeps it from getting requests; `None`: nothing does.
    #[must_use]
    pub const fn excluded_by(&self) -> Option<Cause> {
        self.state.excluded_by()
    }
}

/// All that is known of one backend at one moment, for a listing.
#[derive(Clone, Debug)]
pub struct Status {
    /// The backend, its effective weight and limits, and its meter.
    pub endpoint: Arc<Endpoint>,
    /// Whether it gets requests.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// Who says that it is there.
    pub source: Source,
    /// The time since it registered, or was first read from the file, in this incarnation. Without pauses of the
    /// process.
    pub registered: Duration,
    /// Its lease; `None` where it stands in the configuration file and needs none.
    pub lease: Option<Lease>,
    /// What an operator has set.
    pub overrides: Overrides,
    /// What it last reported about itself.
    pub reported: LoadReport,
}

/// How a backend that registered stands with its lease. Times are without pauses of the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Its length.
    pub ttl: Duration,
    /// The time since the last heartbeat, or registration, that was heard of here.
    pub last_heartbeat: Duration,
    /// The time until it runs out, as far as was heard of here. Zero for a suspect.
    pub expires_in: Duration,
}

/// A part of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The backends on it.
    pub items: Vec<Status>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<usize>,
    /// How many match on all pages.
    pub total: usize,
}

/// How full a registry is, and what has happened in it since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Backends listed, in any state.
    pub backends: usize,
    /// Apps with at least one.
    pub apps: usize,
    /// Registrations of new backends or incarnations.
    pub registrations: u64,
    /// Renewals by registration.
    pub renewals: u64,
    /// Heartbeats accepted.
    pub heartbeats: u64,
    /// Leases that ran out.
    pub expiries: u64,
    /// Backends that the mass-expiry guard kept.
    pub suspected: u64,
    /// Others' registrations that there was no room for, each time that one was told.
    pub left_out: u64,
    /// Ejections by traffic.
    pub ejections: u64,
    /// Ejections that `last_backend = keep` or the greatest share refused.
    pub ejections_refused: u64,
    /// Events dropped unread.
    pub events_dropped: u64,
    /// Pauses of the process that extended every lease.
    pub pauses: u64,
}
