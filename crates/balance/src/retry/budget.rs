//! How many retries an app may have.

use std::fmt;

use edgeproxy_backend::MonoTime;

use crate::sync::{AtomicU64, Ordering};

/// How much comes into a [`RetryBudget`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Retries for every hundred requests.
    pub percent: u32,
    /// Retries each second besides.
    pub per_sec: u32,
}

impl Default for Allowance {
    /// A fifth of the requests, and 10 each second.
    fn default() -> Self {
        Self {
            percent: 20,
            per_sec: 10,
        }
    }
}

/// Bounds the retries of one app to a share of its requests and some each second, so that they can't multiply an outage. A
/// token bucket; the idea is Finagle's `RetryBudget`. It begins full, and holds what ten seconds without requests would
/// bring, or one token at least.
///
/// It goes from table to table with the app. How much comes in is said by the [`Allowance`] in force, at each retry.
///
/// # One for all workers
///
/// With a bucket for each worker an outage would be multiplied by as many seconds' worth of tokens as there are workers,
/// and a worker with few connections would save what another one lacks. So the bucket is the app's. But only a retry
/// looks into it, which costs a connection's round trip anyway: a request only counts itself, in a cache line that its
/// worker alone writes to, and the next retry of whatever worker pays the share of what has been counted in. Nothing in
/// here locks.
pub struct RetryBudget {
    /// In thousandths of a token. More than the bucket holds is as much as it holds.
    milli: AtomicU64,
    /// The time up to which it was filled, in ns: finer than the clock, so that what is too short for a thousandth is kept.
    filled_to: AtomicU64,
    workers: Box<[Counted]>,
}

/// The requests of a worker, and how many of them have been paid in.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Counted {
    requests: AtomicU64,
    paid: AtomicU64,
}

const TOKEN: u64 = 1_000;
const HELD_SECS: u64 = 10;

impl RetryBudget {
    /// A full one, for as many workers.
    #[must_use]
    pub fn new(workers: usize) -> Self {
        Self {
            milli: AtomicU64::new(u64::MAX),
            filled_to: AtomicU64::new(0),
            workers: (0..workers.max(1)).map(|_| Counted::default()).collect(),
        }
    }

    /// A request came to that worker. With more workers than it was made for, some share a line, which only costs time.
    #[inline]
    pub fn count(&self, worker: usize) {
        let counted = self.workers.get(worker % self.workers.len().max(1));
        if let Some(counted) = counted {
            counted.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether a retry may be made now; it is paid for then.
    #[cold]
    #[must_use = "the retry is paid for"]
    pub fn withdraw(&self, allowance: Allowance, now: MonoTime) -> bool {
        let per_sec = u64::from(allowance.per_sec);
        let most = (per_sec * HELD_SECS * TOKEN).max(TOKEN);
        let paid = self.requests() * u64::from(allowance.percent) * TOKEN / 100;
        let income = paid.saturating_add(self.earned(per_sec, now));
        let mut held = self.milli.load(Ordering::Relaxed);
        loop {
            let there = held.min(most).saturating_add(income).min(most);
            let left = there.checked_sub(TOKEN);
            let next = left.unwrap_or(there);
            match self
                .milli
                .compare_exchange_weak(held, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return left.is_some(),
                Err(found) => held = found,
            }
        }
    }

    /// The requests that have been counted and not been paid in. They are the caller's to pay in.
    fn requests(&self) -> u64 {
        let unpaid = |counted: &Counted| {
            let requests = counted.requests.load(Ordering::Relaxed);
            let paid = counted.paid.fetch_max(requests, Ordering::Relaxed);
            requests.saturating_sub(paid)
        };
        self.workers.iter().map(unpaid).sum()
    }

    /// What the time since it was filled has brought. It is the caller's to pay in.
    fn earned(&self, per_sec: u64, now: MonoTime) -> u64 {
        let before = self.filled_to.load(Ordering::Relaxed);
        let nanos = now.as_micros().saturating_mul(1_000).saturating_sub(before);
        // Per second, a nanosecond brings a millionth of a thousandth of a token.
        let earned = u128::from(nanos) * u128::from(per_sec) / 1_000_000;
        if earned == 0 {
            return 0;
        }
        // Time that was too short to earn anything is kept: only as much is taken as the whole thousandths were worth, and
        // rounded up, so that none is ever paid twice.
        let worth = (earned * 1_000_000).div_ceil(u128::from(per_sec));
        let filled_to = before.saturating_add(clamped(worth));
        match self
            .filled_to
            .compare_exchange(before, filled_to, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => clamped(earned),
            // Somebody else has it.
            Err(_) => 0,
        }
    }
}

fn clamped(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// For one worker.
impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(1)
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget")
            .field("milli", &self.milli)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn allowance(percent: u32, per_sec: u32) -> Allowance {
        Allowance { percent, per_sec }
    }

    #[test]
    fn a_budget_of_20_percent_and_10_each_second_begins_with_a_hundred_and_then_pays_a_fifth() {
        let (budget, allowance) = (RetryBudget::new(2), allowance(20, 10));
        let granted = |at| (0..1_000).filter(|_| budget.withdraw(allowance, at)).count();
        assert_eq!(granted(MonoTime::ZERO), 100);
        for request in 0..50 {
            budget.count(request % 3);
        }
        assert_eq!(granted(MonoTime::ZERO), 10);
        assert_eq!(granted(MonoTime::from_secs(1)), 10);
    }

    #[test]
    fn time_too_short_to_earn_anything_is_not_lost() {
        let (budget, allowance) = (RetryBudget::default(), allowance(0, 1));
        while budget.withdraw(allowance, MonoTime::ZERO) {}
        let granted = (1..=1_000_000_u64)
            .step_by(10)
            .filter(|us| budget.withdraw(allowance, MonoTime::from_micros(*us)))
            .count();
        assert!((0..=1).contains(&granted), "{granted}");
        assert!(granted == 1 || budget.withdraw(allowance, MonoTime::from_micros(1_001_000)));
    }

    /// However often it is asked: 199 µs bring 1.99 thousandths, 2 µs bring 1.8 or none at all.
    #[test]
    fn a_storm_of_retries_gets_all_that_the_seconds_bring() {
        for (per_sec, every) in [(10, 199), (10, 7), (900, 2), (3, 500), (1_000, 1), (7, 1_003)] {
            let (budget, allowance) = (RetryBudget::default(), allowance(0, per_sec));
            while budget.withdraw(allowance, MonoTime::ZERO) {}
            let granted = (1..=2_000_000_u64)
                .step_by(every)
                .filter(|us| budget.withdraw(allowance, MonoTime::from_micros(*us)))
                .count();
            let whole = per_sec as usize * 2;
            let least = whole - 1 - whole / 100;
            assert!(
                (least..=whole).contains(&granted),
                "{per_sec} a second, every {every} µs: {granted}"
            );
        }
    }

    #[test]
    fn a_budget_of_nothing_allows_one_retry_and_no_more() {
        let (budget, allowance) = (RetryBudget::default(), allowance(0, 0));
        assert!(budget.withdraw(allowance, MonoTime::ZERO));
        assert!(!budget.withdraw(allowance, MonoTime::NEVER));
    }

    #[test]
    fn a_smaller_budget_is_in_force_with_its_allowance() {
        let budget = RetryBudget::default();
        assert!(budget.withdraw(allowance(20, 10), MonoTime::ZERO));
        let smaller = allowance(20, 1);
        let granted = (0..100)
            .filter(|_| budget.withdraw(smaller, MonoTime::ZERO))
            .count();
        assert_eq!(granted, 10);
    }

    #[test]
    fn many_threads_get_no_more_than_one_would() {
        let (budget, allowance) = (RetryBudget::new(4), allowance(20, 0));
        let attempt = |worker| {
            let granted = (0..5_000).filter(|_| {
                budget.count(worker);
                budget.withdraw(allowance, MonoTime::ZERO)
            });
            granted.count()
        };
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|worker| scope.spawn(move || attempt(worker)))
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        assert!((1..=4_001).contains(&granted), "{granted}");
    }

    proptest! {
        #[test]
        fn retries_never_exceed_the_share_plus_the_rate_plus_what_was_held(
            percent in 0_u32..=100,
            per_sec in 0_u32..50,
            steps in proptest::collection::vec((0_u64..200_000, 0_usize..3, any::<bool>()), 0..300),
        ) {
            let (budget, allowance) = (RetryBudget::new(2), allowance(percent, per_sec));
            let (mut now, mut requests, mut granted) = (MonoTime::ZERO, 0_u64, 0_u64);
            for (pause, worker, retry) in steps {
                now = now + Duration::from_micros(pause);
                budget.count(worker);
                requests += 1;
                granted += u64::from(retry && budget.withdraw(allowance, now));
            }
            let held = (u64::from(per_sec) * 10).max(1);
            let bound = held * 1_000 + requests * u64::from(percent) * 10 + now.as_micros() * u64::from(per_sec) / 1_000;
            prop_assert!(granted * 1_000 <= bound, "{granted} retries, {bound} thousandths allowed");
        }
    }
}
