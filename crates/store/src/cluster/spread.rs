//! When whose turn is, where all would be due at once: by their names, and so everywhere and always the same.

use std::time::Duration;

use edgeproxy_backend::BackendId;

use super::rendezvous;

/// How many backends a proxy begins to doubt in a second, while the store is lost and whoever it doesn't hear is its own to ask. Who
/// answers is asked once in each turn; who doesn't is in doubt, and asked again and again.
const ASKED_PER_SEC: usize = 1_000;

/// How long the turns of so many take. Nothing where they are few.
pub(super) fn all(backends: usize) -> Duration {
    if backends <= ASKED_PER_SEC {
        return Duration::ZERO;
    }
    let secs = backends.div_ceil(ASKED_PER_SEC);
    Duration::from_secs(u64::try_from(secs).unwrap_or(u64::MAX))
}

/// When in that time its turn is.
pub(super) fn turn(id: &BackendId, backends: usize) -> Duration {
    part(all(backends), id)
}

/// In how long another proxy's is looked at again: half a TTL to a whole one, and never less than a second, whatever another
/// has written as its TTL.
pub(super) fn look(id: &BackendId, ttl: Duration) -> Duration {
    (ttl / 2 + part(ttl / 2, id)).max(Duration::from_secs(1))
}

fn part(whole: Duration, id: &BackendId) -> Duration {
    if whole.is_zero() {
        return whole;
    }
    let hash = rendezvous::hash(id.as_str().bytes());
    let share = u32::try_from(hash >> 48).unwrap_or(u32::MAX);
    whole / (1 << 16) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_fill_the_time_of_all_evenly() {
        let all_of_them = all(100_000);
        assert_eq!(all_of_them, Duration::from_secs(100));
        let mut by_tenth = [0; 10];
        for n in 0..10_000 {
            let id = BackendId::parse(&format!("backend-{n}")).unwrap();
            let turn = turn(&id, 100_000);
            assert!(turn < all_of_them);
            by_tenth[usize::try_from(turn.as_secs() / 10).unwrap()] += 1;
        }
        assert!(
            by_tenth.iter().all(|count| (800..1_200).contains(count)),
            "{by_tenth:?}"
        );
    }

    #[test]
    fn a_few_wait_for_nobody() {
        let id = BackendId::parse("b").unwrap();
        assert_eq!(turn(&id, 1_000), Duration::ZERO);
        assert_eq!(
            all(1_001),
            Duration::from_secs(2),
            "no more than a thousand in any second"
        );
    }

    #[test]
    fn another_s_is_looked_at_within_its_ttl() {
        let ttl = Duration::from_secs(60);
        for n in 0..1_000 {
            let look = look(&BackendId::parse(&format!("b{n}")).unwrap(), ttl);
            assert!(look >= ttl / 2 && look < ttl, "{look:?}");
        }
    }
}
