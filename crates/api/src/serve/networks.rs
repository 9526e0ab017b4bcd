//! Who takes how much of what all share, by network. See `docs/decisions/0022-a-share-for-each-network.md`.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::access::is_private;

/// Whoever has one of its addresses may well have them all: an IPv4 /24, which is the least that is routed on the internet,
/// or an IPv6 /56, which is what a customer gets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Network(IpAddr);

impl Network {
    /// `None` for loopback and private networks: many machines may be behind one address of those, and none is a stranger's.
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            ip if is_private(ip) => None,
            IpAddr::V4(v4) => Some(Self(Ipv4Addr::from_bits(v4.to_bits() & V4_MASK).into())),
            IpAddr::V6(v6) => Some(Self(Ipv6Addr::from_bits(v6.to_bits() & V6_MASK).into())),
        }
    }

    /// Its first address.
    pub(crate) const fn first(self) -> IpAddr {
        self.0
    }
}

const V4_MASK: u32 = u32::MAX << 8;
const V6_MASK: u128 = u128::MAX << 72;

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = if self.0.is_ipv4() { 24 } else { 56 };
        write!(f, "{}/{length}", self.0)
    }
}

/// How many connections each network has, and may have. It remembers those that have one.
#[derive(Debug)]
pub(crate) struct Shares {
    most: usize,
    taken: Mutex<HashMap<Network, usize>>,
}

/// One network gets that part of all places.
const PART: usize = 4;

/// A connection of a network's share, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Shares>,
    network: Network,
}

impl Shares {
    /// Of so many places.
    pub(crate) fn of(places: usize) -> Arc<Self> {
        Arc::new(Self {
            most: (places / PART).max(1),
            taken: Mutex::default(),
        })
    }

    /// One more for that network.
    ///
    /// # Errors
    /// It has its share.
    pub(crate) fn take(self: &Arc<Self>, network: Network) -> Result<Share, TooMany> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.entry(network).or_default();
        if *own >= self.most {
            let most = self.most;
            return Err(TooMany { network, most });
        }
        *own += 1;
        Ok(Share {
            of: Arc::clone(self),
            network,
        })
    }
}

impl Share {
    /// The network has more than half of its share. From here on none of its connections is kept between requests, or
    /// backends behind one address that heartbeat now and then would keep each other out.
    pub(crate) fn is_large(&self) -> bool {
        let taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.get(&self.network).is_some_and(|own| own * 2 > self.of.most)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.network) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// Why a connection is closed without an answer.
#[derive(Debug)]
pub(crate) struct TooMany {
    network: Network,
    most: usize,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { network, most } = self;
        write!(f, "{network} has all the {most} that one network may have")
    }
}

/// Says that connections are closed, once a second at the most.
#[derive(Debug, Default)]
pub(crate) struct Closings(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    since: u64,
}

/// How often it is said.
const INTERVAL: Duration = Duration::from_secs(1);

impl Closings {
    /// One more, and why; returns how many to tell of, if it is time.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.since += 1;
        if told.last.is_some_and(|last| now.duration_since(last) < INTERVAL) {
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.since))
    }

    /// One more, and why.
    pub(crate) fn tell(&self, why: &impl fmt::Display) {
        if let Some(connections) = self.count(Instant::now()) {
            tracing::warn!(connections, "closed connections to the API: {why}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(ip: &str) -> Option<Network> {
        Network::of(ip.parse().unwrap())
    }

    #[test]
    fn a_network_is_a_24_of_ipv4_and_a_56_of_ipv6_and_none_where_it_is_private() {
        assert_eq!(network("203.0.113.9"), network("203.0.113.200"));
        assert_ne!(network("203.0.113.9"), network("203.0.114.9"));
        assert_eq!(network("::ffff:203.0.113.9"), network("203.0.113.1"));
        assert_eq!(network("2001:db8:1:2ff::1"), network("2001:db8:1:200:ffff::"));
        assert_ne!(network("2001:db8:1:2ff::1"), network("2001:db8:1:300::1"));
        assert_eq!(network("203.0.113.9").unwrap().to_string(), "203.0.113.0/24");
        assert_eq!(
            network("2001:db8:1:2ff::1").unwrap().to_string(),
            "2001:db8:1:200::/56"
        );
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
        ] {
            assert_eq!(network(private), None);
        }
    }

    #[test]
    fn a_network_has_its_share_and_no_other_pays_for_it() {
        let shares = Shares::of(16);
        let (one, other) = (network("203.0.113.9").unwrap(), network("198.51.100.1").unwrap());
        let mut held: Vec<_> = (0..4).map(|_| shares.take(one).unwrap()).collect();
        assert_eq!(
            shares.take(one).unwrap_err().to_string(),
            "203.0.113.0/24 has all the 4 that one network may have"
        );
        let others = shares.take(other).unwrap();
        assert!(!others.is_large() && held[0].is_large());
        held.truncate(2);
        assert!(!held[0].is_large());
        drop((held, others));
        assert!(shares.taken.lock().unwrap().is_empty());
        assert!(Shares::of(1).take(one).is_ok(), "everyone has one");
    }

    #[test]
    fn closings_are_told_once_a_second_with_how_many_there_were() {
        let closings = Closings::default();
        let now = Instant::now();
        assert_eq!(closings.count(now), Some(1));
        assert_eq!(closings.count(now), None);
        assert_eq!(closings.count(now + INTERVAL / 2), None);
        assert_eq!(closings.count(now + INTERVAL), Some(3));
    }
}
