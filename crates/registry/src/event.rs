use edgeproxy_backend::{AppName, BackendId, Incarnation, MonoTime, Region};

use crate::{Reason, State};

/// Something that happened to a backend, numbered in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// 1 for the first of this registry; a gap means that events were dropped unread.
    pub sequence: u64,
    /// When.
    pub at: MonoTime,
    /// To whom.
    pub id: BackendId,
    /// Its app.
    pub app: AppName,
    /// Which of its lives.
    pub incarnation: Incarnation,
    /// Where it is.
    pub region: Region,
    /// What.
    pub kind: EventKind,
    /// Its state after it. Of one that is gone, the last that it had.
    pub state: State,
    /// Why it is in that state.
    pub reason: Reason,
    /// Whether anything but the lease is otherwise than before. `false` only for a [renewal](EventKind::Renewed) that
    /// said what was known.
    pub is_news: bool,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum EventKind {
    /// It registered; a takeover by another address included. Followed by no event for the state that it
    /// begins in.
    Registered,
    /// It registered again at the same address. A heartbeat is no event.
    Renewed,
    /// Its lease ran out.
    Expired,
    /// Consecutive failures took it out.
    Ejected,
    /// Its ejection is over, or a probe passed; it is on trial.
    TrialStarted,
    /// Consecutive probes took it out.
    Unhealthy,
    /// It takes traffic again, after an ejection, failed probes, a mass expiry or a drain of its own.
    Readmitted,
    /// It gets no new requests; what is in flight goes on.
    Draining,
    /// An operator changed it, or its weight became 0 or ceased to be.
    Changed,
    /// It is kept although its lease ran out: by the mass-expiry guard, or until it is known that no other proxy has
    /// heard it.
    Suspected,
    /// It is gone: deregistered without a drain, or after one that ended or was cut; or another proxy has removed it.
    Removed,
}

impl EventKind {
    /// Every kind, in the order of a backend's life.
    pub const ALL: [Self; 11] = [
        Self::Registered,
        Self::Renewed,
        Self::Changed,
        Self::Ejected,
        Self::TrialStarted,
        Self::Unhealthy,
        Self::Readmitted,
        Self::Suspected,
        Self::Draining,
        Self::Expired,
        Self::Removed,
    ];

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the backend is gone with it, so that its state is none any more.
    #[must_use]
    pub const fn is_last(self) -> bool {
        matches!(self, Self::Expired | Self::Removed)
    }

    /// The name in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Renewed => "renewed",
            Self::Expired => "expired",
            Self::Ejected => "ejected",
            Self::TrialStarted => "trial",
            Self::Unhealthy => "unhealthy",
            Self::Readmitted => "readmitted",
            Self::Draining => "draining",
            Self::Changed => "changed",
            Self::Suspected => "suspected",
            Self::Removed => "removed",
        }
    }
}
