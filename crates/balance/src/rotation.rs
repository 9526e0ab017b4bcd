//! Whose turn it is in a group of members, over all workers and over changes of the membership.

use std::collections::HashMap;
use std::sync::Arc;

use crate::plan::{Plan, TURN};
use crate::sync::{AtomicU64, Ordering};

/// What takes turns: an identity and a weight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Share {
    pub(crate) key: u64,
    pub(crate) weight: u16,
}

/// The number of turns taken so far. A cache line of its own, since every pick of every worker writes it;
/// two lines, since processors fetch them in pairs.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(crate) struct Cursor(AtomicU64);

impl Cursor {
    #[inline]
    pub(crate) fn take(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn peek(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes the turns from `from` up to `to`, if nobody has taken `from`.
    pub(crate) fn advance(&self, from: u64, to: u64) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// A group's turns. Shared by successive balancers for as long as the group's members and weights are the
/// same, so that publishing a table disturbs nobody's turn.
#[derive(Debug)]
pub(crate) struct Rotation {
    pub(crate) cursor: Cursor,
    shares: Box<[Share]>,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// Each in turn as listed.
    Listed,
    /// In proportion to weight. `lags`: how far each was behind its ideal share when the plan began.
    Planned { plan: Plan, lags: Box<[i64]> },
}

impl Rotation {
    /// Each in turn. The one whose turn was next is next again; if it is gone, the one after it.
    pub(crate) fn listed(shares: Vec<Share>, previous: Option<&Arc<Self>>) -> Arc<Self> {
        let same =
            |previous: &&Arc<Self>| matches!(previous.order, Order::Listed) && previous.has_keys_of(&shares);
        if let Some(same) = previous.filter(same) {
            return Arc::clone(same);
        }
        let start = previous.map_or(0, |previous| previous.next_among(&shares));
        Arc::new(Self {
            cursor: Cursor(AtomicU64::new(start)),
            shares: shares.into(),
            order: Order::Listed,
        })
    }

    /// In proportion to weight. Whoever is behind or ahead of its ideal share takes that along.
    pub(crate) fn planned(shares: Vec<Share>, previous: Option<&Arc<Self>>) -> Arc<Self> {
        let same = |previous: &&Arc<Self>| {
            matches!(previous.order, Order::Planned { .. }) && *previous.shares == *shares
        };
        if let Some(same) = previous.filter(same) {
            return Arc::clone(same);
        }
        let behind = previous.map(|previous| previous.lags_now()).unwrap_or_default();
        let lags: Vec<i64> = shares
            .iter()
            .map(|share| behind.get(&share.key).copied().unwrap_or(0))
            .collect();
        let weights: Vec<u16> = shares.iter().map(|share| share.weight).collect();
        let plan = Plan::new(&weights, &lags);
        let order = Order::Planned {
            plan,
            lags: lags.into(),
        };
        Arc::new(Self {
            cursor: Cursor::default(),
            shares: shares.into(),
            order,
        })
    }

    /// Whose turn a turn is: a place in the group.
    #[inline]
    pub(crate) fn at(&self, turn: u64) -> u32 {
        match &self.order {
            // Below the number of members, which are counted by u32.
            #[allow(clippy::cast_possible_truncation)]
            Order::Listed => (turn % self.shares.len() as u64) as u32,
            Order::Planned { plan, .. } => plan.at(turn),
        }
    }

    /// Turns until everyone had its weight.
    pub(crate) fn period(&self) -> u64 {
        match &self.order {
            Order::Listed => self.shares.len() as u64,
            Order::Planned { plan, .. } => plan.period(),
        }
    }

    /// Whether as many turns in a row as there are members are one of each.
    pub(crate) fn visits_all(&self) -> bool {
        self.period() == self.shares.len() as u64
    }

    fn has_keys_of(&self, shares: &[Share]) -> bool {
        self.shares.len() == shares.len() && self.shares.iter().zip(shares).all(|(a, b)| a.key == b.key)
    }

    fn next_among(&self, shares: &[Share]) -> u64 {
        let places: HashMap<u64, u64> = (0..)
            .zip(shares)
            .map(|(place, share)| (share.key, place))
            .collect();
        let next = self.at(self.cursor.peek()) as usize;
        let (served, ahead) = self.shares.split_at(next);
        ahead
            .iter()
            .chain(served)
            .find_map(|share| places.get(&share.key))
            .copied()
            .unwrap_or(0)
    }

    /// How far each member is behind its ideal share, over all the plans that it was part of.
    fn lags_now(&self) -> HashMap<u64, i64> {
        let Order::Planned { plan, lags } = &self.order else {
            return self.lags_listed();
        };
        let turns = self.cursor.peek() % plan.period();
        let total: i128 = self.shares.iter().map(|share| i128::from(share.weight)).sum();
        let members = self.shares.iter().zip(lags).zip(plan.counts(turns));
        members
            .map(|((share, lag), count)| {
                let ideal = i128::from(share.weight) * i128::from(turns) * i128::from(TURN) / total;
                let ahead = i128::from(count) * i128::from(TURN) - ideal;
                (share.key, lag - i64::try_from(ahead).unwrap_or(0))
            })
            .collect()
    }

    /// The same for those that are listed: who has had its turn of the current lap is ahead of who has not.
    fn lags_listed(&self) -> HashMap<u64, i64> {
        let members = self.shares.len() as u64;
        let turns = self.cursor.peek() % members;
        let ideal = i64::try_from(turns).unwrap_or(0) * TURN / i64::try_from(members).unwrap_or(1);
        (0..)
            .zip(&self.shares)
            .map(|(place, share)| (share.key, ideal - if place < turns { TURN } else { 0 }))
            .collect()
    }
}
