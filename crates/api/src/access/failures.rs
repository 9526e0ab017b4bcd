use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::guard::rate::network;

/// How often each peer has shown a token that is none, so that whoever tries one after the other is told to wait. Bounded in
/// memory.
///
/// The generic cell rate algorithm, as for requests; but only failures count, and whether there have been too many is asked
/// before.
pub(crate) struct Failures {
    /// A failure costs a peer that much time.
    each: Duration,
    /// The time that a peer may owe.
    most: Duration,
    peers: usize,
    /// Until when each peer owes time.
    owed: Mutex<HashMap<IpAddr, Instant>>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Failures {
    /// As many at once as there may be in a minute.
    pub(crate) fn new(per_min: NonZeroU32, peers: usize) -> Self {
        Self {
            each: MINUTE / per_min.get(),
            most: MINUTE,
            peers,
            owed: Mutex::new(HashMap::new()),
        }
    }

    /// How long that peer has to wait before its next wrong token counts as one.
    pub(crate) fn wait(&self, ip: IpAddr, now: Instant) -> Option<Duration> {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        // Most of the time nobody owes anything.
        if owed.is_empty() {
            return None;
        }
        let until = owed.get(&network(ip))?;
        let wait = (*until + self.each).saturating_duration_since(now + self.most);
        (!wait.is_zero()).then_some(wait)
    }

    /// Counts a failure.
    pub(crate) fn count(&self, ip: IpAddr, now: Instant) {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = network(ip);
        if owed.len() >= self.peers && !owed.contains_key(&peer) {
            owed.retain(|_, until| *until > now);
            // Whoever has that many addresses is slowed down by none of them; guesses are hopeless all the same.
            if owed.len() >= self.peers {
                return;
            }
        }
        let until = owed.entry(peer).or_insert(now);
        *until = (*until).max(now) + self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn a_peer_may_fail_so_often_in_a_minute_and_then_waits() {
        let failures = Failures::new(NonZeroU32::new(6).unwrap(), 16);
        let now = Instant::now();
        for _ in 0..6 {
            assert_eq!(failures.wait(ip(1), now), None);
            failures.count(ip(1), now);
        }
        assert_eq!(failures.wait(ip(1), now), Some(Duration::from_secs(10)));
        assert_eq!(failures.wait(ip(2), now), None);
        let later = now + Duration::from_secs(10);
        assert_eq!(failures.wait(ip(1), later), None);
        failures.count(ip(1), later);
        assert_eq!(failures.wait(ip(1), later), Some(Duration::from_secs(10)));
        assert_eq!(failures.wait(ip(1), later + MINUTE), None);
    }

    #[test]
    fn peers_are_bounded_and_those_who_owe_nothing_make_room() {
        let failures = Failures::new(NonZeroU32::MIN, 4);
        let now = Instant::now();
        (0..100).for_each(|n| failures.count(ip(n), now));
        assert_eq!(failures.owed.lock().unwrap().len(), 4);
        failures.count(ip(200), now + 2 * MINUTE);
        assert_eq!(failures.owed.lock().unwrap().len(), 1);
    }
}
