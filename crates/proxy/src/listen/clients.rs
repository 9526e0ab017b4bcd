//! How many connections each client has.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Cells in a row. One where models play all interleavings: what they do must not depend on a seed.
const WIDTH: usize = if cfg!(edgeproxy_loom) { 1 } else { 1 << 16 };

/// Counts the connections of every client, in constant memory: two rows of 65,536 counters, half a MiB, which
/// all workers share without a lock.
///
/// An address has one cell in each row, by a hash that is seeded at the start, and shares them with whoever
/// falls into the same. Each connection counts in both; the lesser of the two is what the address is taken to
/// have (a count-min sketch: Cormode and Muthukrishnan 2005). So it is never too little, and the limit is
/// never exceeded. It is too much only by the connections of others that share *both* cells: with two
/// clients, one in 2^32; with 65,536 connections of as many clients, about one more in half of the cells, so
/// that a limit of a hundred is off by one or two. An IPv6 client is its /64, since it has all of that.
///
/// Two connections of one client that come at the same instant when one is allowed may both be refused.
///
/// Nothing is allocated before the first that counts. What came while nobody had a limit was not counted, and is
/// not held against anybody later.
#[derive(Default)]
pub(crate) struct Clients {
    seed: RandomState,
    rows: OnceLock<Box<[AtomicU32]>>,
    refused: AtomicU64,
}

/// One connection, counted until it is dropped.
pub(crate) struct Counted {
    clients: Arc<Clients>,
    cells: [usize; 2],
}

impl Clients {
    /// Counts a connection of that client, which may have `limit` of them. `None`: it has as many, and that is counted.
    pub(crate) fn enter(self: &Arc<Self>, client: IpAddr, limit: u32) -> Option<Counted> {
        let counted = Counted {
            cells: self.cells(client),
            clients: Arc::clone(self),
        };
        let rows = self.rows();
        let [first, second] = counted.cells.map(|cell| rows.get(cell));
        let (Some(first), Some(second)) = (first, second) else {
            // There is no such cell, by how they are chosen.
            return Some(counted);
        };
        first.fetch_add(1, Ordering::AcqRel);
        let in_second = second.fetch_add(1, Ordering::AcqRel) + 1;
        // Read again: of several that come at once, whoever is the last to count in the second cell sees all of
        // the others in both. What they saw while they counted could be less in one cell for one of them and in
        // the other cell for another, and all would be let in.
        let in_first = first.load(Ordering::Acquire);
        if in_first.min(in_second) > limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(counted)
    }

    /// Connections refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn rows(&self) -> &[AtomicU32] {
        let cells = || std::iter::repeat_with(AtomicU32::default).take(2 * WIDTH);
        self.rows.get_or_init(|| cells().collect())
    }

    /// One in each row. Two halves of one hash are as good as two hashes.
    fn cells(&self, client: IpAddr) -> [usize; 2] {
        let key = match client.to_canonical() {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
        };
        let hash = self.seed.hash_one(key);
        let cell = |bits: u64| usize::try_from(bits).unwrap_or_default() % WIDTH;
        [cell(hash & 0xffff_ffff), WIDTH + cell(hash >> 32)]
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let rows = self.clients.rows();
        for cell in self.cells.iter().filter_map(|cell| rows.get(*cell)) {
            cell.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_as_many_as_it_may_and_another_is_not_concerned() {
        let clients = Arc::new(Clients::default());
        let held = [
            clients.enter(ip("192.0.2.1"), 2),
            clients.enter(ip("192.0.2.1"), 2),
        ];
        assert!(held.iter().all(Option::is_some));
        for again in ["192.0.2.1", "::ffff:192.0.2.1"] {
            assert!(clients.enter(ip(again), 2).is_none(), "{again}");
        }
        assert_eq!(clients.refused(), 2);
        // One in 65,536 shares a cell with it, and only one in 2^32 both.
        assert!(clients.enter(ip("192.0.2.2"), 2).is_some());
        drop(held);
        assert!(clients.enter(ip("192.0.2.1"), 2).is_some());
        assert!(
            clients
                .rows()
                .iter()
                .all(|cell| cell.load(Ordering::Relaxed) == 0)
        );
    }

    #[test]
    fn an_ipv6_client_is_its_network_of_64_bits() {
        let clients = Arc::new(Clients::default());
        let _held = clients.enter(ip("2001:db8:0:1::1"), 1);
        assert!(clients.enter(ip("2001:db8:0:1:ffff::2"), 1).is_none());
        assert!(clients.enter(ip("2001:db8:0:2::1"), 1).is_some());
    }

    #[test]
    fn no_limit_costs_no_memory() {
        assert!(Clients::default().rows.get().is_none());
    }

    #[test]
    fn a_limit_that_changes_holds_for_who_comes_then() {
        let clients = Arc::new(Clients::default());
        let held: Vec<_> = (0..3)
            .map(|_| clients.enter(ip("192.0.2.1"), 3).unwrap())
            .collect();
        assert!(clients.enter(ip("192.0.2.1"), 2).is_none());
        assert!(clients.enter(ip("192.0.2.1"), 4).is_some());
        drop(held);
        assert!(clients.enter(ip("192.0.2.1"), 1).is_some());
    }

    #[test]
    fn among_many_clients_nobody_is_refused_far_below_the_limit_and_nobody_exceeds_it() {
        let clients = Arc::new(Clients::default());
        let mut held = Vec::new();
        for number in 0..60_000_u32 {
            held.push(clients.enter(IpAddr::from(number.to_be_bytes()), 100).unwrap());
        }
        let own: Vec<_> = std::iter::from_fn(|| clients.enter(ip("203.0.113.9"), 100)).collect();
        assert!((90..=100).contains(&own.len()), "{}", own.len());
    }

    #[test]
    fn threads_never_exceed_it_together() {
        let clients = Arc::new(Clients::default());
        let most = AtomicU32::new(0);
        let now = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        let held: Vec<_> = (0..20)
                            .filter_map(|_| clients.enter(ip("192.0.2.1"), 50))
                            .inspect(|_| {
                                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            })
                            .collect();
                        now.fetch_sub(u32::try_from(held.len()).unwrap(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 50);
        assert!(
            clients
                .rows()
                .iter()
                .all(|cell| cell.load(Ordering::Relaxed) == 0)
        );
    }
}
