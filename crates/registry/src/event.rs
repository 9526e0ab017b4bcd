use edgeproxy_backend::{AppName, BackendId, Incarnation, MonoTime};

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
    /// What.
    pub kind: EventKind,
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
