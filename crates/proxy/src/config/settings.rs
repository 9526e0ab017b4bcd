use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::PathPrefix;
use crate::exchange::retry::Allowance;

/// What an app may have differently from the others. It comes with the routing table, so that a request sees one state
/// of it, whichever table was in force when it came.
///
/// Time-outs are of the request's own phases, never of a whole request: a long download is not a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSettings {
    /// Consecutive failed requests that exclude a backend at once; 0 never does. 0.
    pub max_failures: u32,
    /// Whether a backend that was excluded for its failures is used when there is no other one
    /// (`last_backend = "keep"`). `true`.
    pub last_resort: bool,
    /// Statuses of a response that count as a failed request, and are tried again as one that got no response. None.
    pub unhealthy_responses: Statuses,

    /// Whether a failed request may be tried again. `true`.
    pub retry_enabled: bool,
    /// Attempts at one request, the first included. 3.
    pub max_attempts: u32,
    /// The largest request body that is kept for another attempt. 64 KiB.
    pub replay_max_bytes: usize,
    /// Whether a request that was sent and got no response is tried again although its method is not
    /// idempotent (RFC 9110 §9.2.2). `false`.
    pub retry_non_idempotent: bool,
    /// Retries allowed for every hundred requests. 20.
    pub retry_budget_percent: u32,
    /// Retries allowed each second besides, all workers together. 10.
    pub retry_budget_per_sec: u32,

    /// Requests that may wait while all backends are at their hard limit. The rest get 503. 1,024.
    pub queue_max: usize,
    /// How long a request may wait there. Else 503. 5 s.
    pub queue_timeout: Duration,

    /// Connecting to a backend, with the TLS handshake if there is one. Else another one, or 504 (over TCP: a reset). 5 s.
    pub connect_timeout: Duration,
    /// From the last byte of a request's body to the response's head. Else another backend, or 504. Also how
    /// long a client may pause in the middle of its body. 60 s.
    pub response_header_timeout: Duration,
    /// How long a backend may pause in the middle of its answer, until that is broken off: over HTTP/2 by a
    /// reset with `INTERNAL_ERROR`. A stream of events that is silent for longer needs a heartbeat of its own.
    /// What still moves of the request puts it off. Calls of gRPC are exempt: they have their own deadline,
    /// `grpc-timeout`, and pings find out whether an `h2c` backend is still there. 5 min.
    pub response_body_timeout: Duration,
    /// A connection that has switched to another protocol, such as a WebSocket, while neither side says
    /// anything. 1 h.
    pub tunnel_idle_timeout: Duration,
    /// How long both directions of a TCP connection may be silent, until it is closed. 1 h.
    pub tcp_idle_timeout: Duration,

    /// A request's body. Else 413. `None`, the default, is no limit. A route's own limit goes before.
    pub max_body_bytes: Option<u64>,
    /// What is put before the path of each request, behind what its route made of it. `/`: nothing.
    pub add_prefix: PathPrefix,
}

impl Default for AppSettings {
    fn default() -> Self {
        Self {
            max_failures: 0,
            last_resort: true,
            unhealthy_responses: Statuses::NONE,
            retry_enabled: true,
            max_attempts: 3,
            replay_max_bytes: 64 * 1024,
            retry_non_idempotent: false,
            retry_budget_percent: 20,
            retry_budget_per_sec: 10,
            queue_max: 1_024,
            queue_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            response_header_timeout: Duration::from_secs(60),
            response_body_timeout: Duration::from_secs(300),
            tunnel_idle_timeout: Duration::from_secs(3_600),
            tcp_idle_timeout: Duration::from_secs(3_600),
            max_body_bytes: None,
            add_prefix: PathPrefix::root(),
        }
    }
}

impl AppSettings {
    /// The most bytes of a body that are kept, of a request whose attempts may be repeated.
    pub(crate) fn keep_max(&self) -> usize {
        if self.retry_enabled {
            self.replay_max_bytes
        } else {
            0
        }
    }

    /// How many retries there may be.
    pub(crate) const fn allowance(&self) -> Allowance {
        Allowance {
            percent: self.retry_budget_percent,
            per_sec: self.retry_budget_per_sec,
        }
    }
}

/// A set of statuses, from 100 to 599.
///
/// ```
/// use edgeproxy_proxy::Statuses;
///
/// let statuses: Statuses = [500..=500, 502..=504].into_iter().collect();
/// assert!(statuses.contains(503) && !statuses.contains(501));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Statuses([u64; WORDS]);

/// Enough bits for 600 statuses.
const WORDS: usize = 10;
const LAST: u16 = 599;
const FIRST: u16 = 100;

impl Statuses {
    /// No status.
    pub const NONE: Self = Self([0; WORDS]);

    /// Whether that status is one of them.
    #[must_use]
    #[inline]
    pub fn contains(&self, status: u16) -> bool {
        let word = self.0.get(usize::from(status / 64));
        word.is_some_and(|word| word >> (status % 64) & 1 == 1)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}

/// What lies outside of 100 to 599 is no status, and left out.
impl FromIterator<RangeInclusive<u16>> for Statuses {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        let mut set = Self::NONE;
        for range in ranges {
            for status in (*range.start()).max(FIRST)..=(*range.end()).min(LAST) {
                if let Some(word) = set.0.get_mut(usize::from(status / 64)) {
                    *word |= 1 << (status % 64);
                }
            }
        }
        set
    }
}

impl fmt::Debug for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = (FIRST..=LAST).filter(|status| self.contains(*status));
        f.debug_set().entries(listed).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_statuses_holds_what_its_ranges_say_and_nothing_else() {
        let statuses: Statuses = [503..=503, 0..=100, 599..=u16::MAX].into_iter().collect();
        let listed: Vec<u16> = (0..=u16::MAX)
            .filter(|status| statuses.contains(*status))
            .collect();
        assert_eq!(listed, [100, 503, 599]);
        assert!(Statuses::NONE.is_empty() && !statuses.is_empty());
        assert_eq!(format!("{statuses:?}"), "{100, 503, 599}");
    }
}
