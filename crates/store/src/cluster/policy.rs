use std::time::Duration;

/// Durations and limits that the rules go by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClusterPolicy {
    /// How long after its last sign a proxy's membership is gone.
    pub member_ttl: Duration,
    /// How long heartbeats of others' backends are gathered before they are told.
    pub gather: Duration,
    /// What telling may take on top of that: so much later a lease runs out where several proxies may have heard it.
    pub grace: Duration,
    /// How long a proxy that is missing may return with heartbeats that nobody else got.
    pub forget: Duration,
    /// After so many heartbeats in a row, each within half a TTL of the one before, another's backend is adopted.
    pub adopt_after: u8,
    /// For so many TTLs after it has changed its owner it is not adopted again while that one lives, so that a backend
    /// whose heartbeats are shared out costs few writes.
    pub settle: u32,
    /// The most ids that are told in one write.
    pub told_max: usize,
}

impl ClusterPolicy {
    /// Leases of members of 10 s, heartbeats told within 250 ms, a missing proxy forgotten after ten minutes.
    pub const DEFAULT: Self = Self {
        member_ttl: Duration::from_secs(10),
        gather: Duration::from_millis(250),
        grace: Duration::from_millis(750),
        forget: Duration::from_secs(600),
        adopt_after: 3,
        settle: 10,
        told_max: 1_000,
    };
}

impl Default for ClusterPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
