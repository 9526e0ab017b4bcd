use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::Method;

use crate::guard::host::is_changing;

/// How many requests each peer may send: counted apart for those that change something and those that don't, so that a
/// page that is looked at too often costs no heartbeat.
pub(crate) struct Rates {
    changes: RateLimit,
    reads: RateLimit,
}

impl Rates {
    pub(crate) fn new(per_sec: NonZeroU32, burst: NonZeroU32, peers: usize) -> Self {
        let limit = || RateLimit::new(per_sec, burst, peers);
        Self {
            changes: limit(),
            reads: limit(),
        }
    }

    /// Counts a request of `ip`, or says how long it has to wait.
    pub(crate) fn check(&self, ip: IpAddr, method: &Method) -> Result<(), Duration> {
        let limit = if is_changing(method) {
            &self.changes
        } else {
            &self.reads
        };
        limit.check(ip)
    }
}

/// How many requests each peer may send, by the generic cell rate algorithm. Bounded in memory.
///
/// An IPv6 peer is its /64: whoever has one address of it has them all. While more peers than `peers` are
/// remembered, everyone shares a fixed number of budgets, so a flood of addresses buys no memory and no
/// budget beyond those.
pub(crate) struct RateLimit {
    limiter: DefaultKeyedRateLimiter<Key>,
    peers: usize,
    pruned: Mutex<Instant>,
    hasher: RandomState,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Key {
    Peer(IpAddr),
    Crowd(u8),
}

/// Forgetting who has been idle visits every entry: 16,384 take about 100 µs.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

impl RateLimit {
    pub(crate) fn new(per_sec: NonZeroU32, burst: NonZeroU32, peers: usize) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(per_sec).allow_burst(burst)),
            peers,
            pruned: Mutex::new(Instant::now()),
            hasher: RandomState::new(),
        }
    }

    /// Counts a request of `ip`, or says how long it has to wait.
    pub(crate) fn check(&self, ip: IpAddr) -> Result<(), Duration> {
        let key = self.key(ip);
        self.limiter
            .check_key(&key)
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }

    fn key(&self, ip: IpAddr) -> Key {
        let peer = network(ip);
        if self.limiter.len() >= self.peers {
            self.prune();
            if self.limiter.len() >= self.peers {
                let [bucket, ..] = self.hasher.hash_one(peer).to_le_bytes();
                return Key::Crowd(bucket);
            }
        }
        Key::Peer(peer)
    }

    fn prune(&self) {
        let Ok(mut pruned) = self.pruned.try_lock() else {
            return;
        };
        if pruned.elapsed() >= PRUNE_INTERVAL {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
            *pruned = Instant::now();
        }
    }
}

/// The address that a budget belongs to.
pub(crate) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(burst: u32, peers: usize) -> RateLimit {
        RateLimit::new(NonZeroU32::MIN, NonZeroU32::new(burst).unwrap(), peers)
    }

    fn v4(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(n).into()
    }

    #[test]
    fn a_peer_has_a_burst_and_no_other_peer_pays_for_it() {
        let limit = limit(2, 16);
        assert!(limit.check(v4(1)).is_ok());
        assert!(limit.check(v4(1)).is_ok());
        let wait = limit.check(v4(1)).unwrap_err();
        assert!(
            wait > Duration::ZERO && wait <= Duration::from_secs(1),
            "{wait:?}"
        );
        assert!(limit.check(v4(2)).is_ok());
    }

    #[test]
    fn an_ipv6_peer_is_its_network_and_a_mapped_one_its_ipv4_address() {
        assert_eq!(
            network("2001:db8:1:2:3::4".parse().unwrap()),
            "2001:db8:1:2::".parse::<IpAddr>().unwrap()
        );
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), v4(0x0a00_0001));
    }

    #[test]
    fn a_flood_of_peers_is_bounded_in_memory() {
        let limit = limit(1, 64);
        let served = (0..10_000).filter(|n| limit.check(v4(*n)).is_ok()).count();
        assert!(limit.limiter.len() <= 64 + 256, "{}", limit.limiter.len());
        assert!(served <= 64 + 256, "{served}");
    }
}
