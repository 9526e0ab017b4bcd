//! Which client stays with whom.

use std::time::Duration;

use edgeproxy_backend::MonoTime;

use crate::Key;
use crate::rank::mixed;
use crate::sync::{AtomicU64, Ordering};

/// Bindings of clients to members: who was picked for a key last, for a time after its last use.
///
/// One table serves all workers, and nobody waits: a binding is two words that are written one after the
/// other, and whoever reads one while it is half written finds that they don't belong together and takes it
/// for none (R. Hyatt and T. Mann, "A lock-less transposition table implementation for parallel search
/// chess engines", ICGA Journal 25, 2002). A hit reads one or two cache lines and writes nothing, but for one
/// store each sixty-fourth of the time to live.
///
/// It never grows. A key may be bound in eight places; where all are taken it replaces the one that has not
/// been used for the longest time. Nothing has to be swept.
///
/// It holds what it is told, not what is true: the balancer asks the bound member first and goes on where it
/// isn't routable or has no place, and the caller binds the client to whoever it got.
#[derive(Debug)]
pub struct Bindings {
    sets: Box<[Set]>,
    tick: Duration,
}

/// Two cache lines, which processors fetch in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Set([Binding; WAYS]);

/// `check` is the key and the value mixed, so that it proves both, and the key needs no word of its own.
#[derive(Debug, Default)]
struct Binding {
    check: AtomicU64,
    /// From the top: 40 bits of the member's identity, 24 of the last use in ticks. 0 is none.
    value: AtomicU64,
}

/// Two where models play all interleavings, of which there are fewer then.
const WAYS: usize = if cfg!(edgeproxy_loom) { 2 } else { 8 };
/// 2 GiB.
const SETS_MAX: usize = 1 << 24;
const TICK_BITS: u32 = 24;
const TICK_MASK: u64 = (1 << TICK_BITS) - 1;
/// How finely the time since the last use is told.
const TICKS: u32 = 64;

/// What is kept of an identity, and compared: 40 bits. Two of 10,000 members have the same in one of 20,000
/// fleets, and then a client moves from one to the other once.
pub(crate) const fn kept_of(identity: u64) -> u64 {
    identity & (u64::MAX >> TICK_BITS)
}

impl Bindings {
    /// Room for at least `capacity` bindings, 16 bytes each: a power of two from 8 to 134,217,728. They end `ttl` after
    /// their last use, or up to a sixty-fourth earlier.
    #[must_use]
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            sets: (0..sets(capacity)).map(|_| Set::default()).collect(),
            tick: tick(ttl),
        }
    }

    /// Whether it is as [`new`](Self::new) would make it, so that it can be handed on.
    #[must_use]
    pub fn is_of(&self, capacity: usize, ttl: Duration) -> bool {
        self.sets.len() == sets(capacity) && self.tick == tick(ttl)
    }

    /// How many bindings there is room for.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Whom a client is bound to, for [`Client::bound`](crate::Client::bound). This is a use.
    #[must_use]
    pub fn find(&self, key: Key, now: MonoTime) -> Option<u64> {
        let now = self.ticks(now);
        let (binding, value) = self.find_live(key, now)?;
        if age(value, now) > 0 {
            binding.write(key, value & !TICK_MASK | now);
        }
        Some(value >> TICK_BITS)
    }

    /// [`find`](Self::find), but no use.
    #[must_use]
    pub fn peek(&self, key: Key, now: MonoTime) -> Option<u64> {
        let (_, value) = self.find_live(key, self.ticks(now))?;
        Some(value >> TICK_BITS)
    }

    /// Binds a client to the member of an [identity](crate::Target::identity), which takes the place of
    /// whomever it was bound to.
    pub fn bind(&self, key: Key, identity: u64, now: MonoTime) {
        let now = self.ticks(now);
        let next = kept_of(identity) << TICK_BITS | now;
        if let Some((binding, value)) = self.find_live(key, now) {
            if value != next {
                binding.write(key, next);
            }
            return;
        }
        let oldest = self
            .set(key)
            .iter()
            .max_by_key(|binding| match binding.value.load(Ordering::Relaxed) {
                0 => u64::MAX,
                value => age(value, now),
            });
        if let Some(binding) = oldest {
            binding.write(key, next);
        }
    }

    /// Forgets a client's binding.
    pub fn unbind(&self, key: Key, now: MonoTime) {
        if let Some((binding, _)) = self.find_live(key, self.ticks(now)) {
            binding.value.store(0, Ordering::Relaxed);
        }
    }

    fn find_live(&self, key: Key, now: u64) -> Option<(&Binding, u64)> {
        self.set(key).iter().find_map(|binding| {
            let value = binding.value.load(Ordering::Relaxed);
            let proven = binding.check.load(Ordering::Relaxed) == check(key, value);
            // One that is younger than now was written by a worker whose clock is ahead.
            (proven && value != 0 && age(value, now) < u64::from(TICKS)).then_some((binding, value))
        })
    }

    fn set(&self, key: Key) -> &[Binding] {
        let sets = self.sets.len() as u64;
        // A power of two, so below the number of sets; spread again, since keys of `hash` share their upper bits.
        #[allow(clippy::cast_possible_truncation)]
        let at = (mixed(key.bits()) & (sets - 1)) as usize;
        self.sets.get(at).map_or(&[], |set| &set.0)
    }

    /// Ticks since the origin, from 1: a value is never 0 then.
    fn ticks(&self, now: MonoTime) -> u64 {
        let ticks = u128::from(now.as_micros()) / self.tick.as_micros().max(1);
        // The remainder of a division by 2²⁴ - 1.
        u64::try_from(ticks % u128::from(TICK_MASK)).unwrap_or(0) + 1
    }
}

fn sets(capacity: usize) -> usize {
    capacity.div_ceil(WAYS).clamp(1, SETS_MAX).next_power_of_two()
}

fn tick(ttl: Duration) -> Duration {
    (ttl / TICKS).max(Duration::from_micros(1))
}

impl Binding {
    fn write(&self, key: Key, value: u64) {
        self.check.store(check(key, value), Ordering::Relaxed);
        self.value.store(value, Ordering::Relaxed);
    }
}

fn check(key: Key, value: u64) -> u64 {
    key.bits() ^ mixed(value)
}

/// Ticks since the last use, on a clock that wraps.
fn age(value: u64, now: u64) -> u64 {
    let age = now.wrapping_sub(value & TICK_MASK) & TICK_MASK;
    if age > TICK_MASK - u64::from(TICKS) {
        0
    } else {
        age
    }
}

#[cfg(test)]
mod tests;
