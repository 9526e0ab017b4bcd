use std::fmt;
use std::sync::Arc;

use edgeproxy_backend::MonoTime;

use crate::{Client, Target};

/// An algorithm of one's own: what a request would cost on each member. The least is picked.
///
/// It stands inside a tier, in the place of an [`Inner`](crate::Inner), and everything around it holds as ever: who is
/// excluded is not asked about, those at their soft limit come after the others, nobody is proposed at the hard limit, tiers
/// and [`Spill`](crate::Spill) are the policy's, whoever refuses is followed by the next in order, and
/// [`explain`](crate::Balancer::explain) tells the costs. A cost is divided by the member's weight before it is compared, so
/// that weights, slow start and reported loads count without more work; ties are broken by chance.
///
/// ```
/// use edgeproxy_balance::{Asked, Cost, Key, Target};
///
/// /// Rendezvous hashing: a client's key gives each member a rank of its own, whoever else is there.
/// ///
/// /// D. G. Thaler and C. V. Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6 (1998).
/// #[derive(Debug)]
/// struct Rendezvous;
///
/// impl Cost for Rendezvous {
///     fn cost(&self, member: &dyn Target, asked: &Asked<'_>) -> u64 {
///         let key = asked.client.key.map_or(asked.entropy, Key::bits);
///         Key::of(&(key ^ member.identity()).to_le_bytes()).bits() >> 16
///     }
/// }
/// ```
pub trait Cost: fmt::Debug + Send + Sync {
    /// What one request more costs on a member, in a unit of one's own: 0 to [`MAX_COST`], and what is above counts as
    /// that.
    ///
    /// It is asked on the path of every request, for each member that it [looks at](Self::among): take no lock, allocate
    /// nothing.
    fn cost(&self, member: &dyn Target, asked: &Asked<'_>) -> u64;

    /// How many members are looked at for one pick. All of them, unless this says otherwise.
    fn among(&self) -> Among {
        Among::All
    }
}

/// The greatest [cost](Cost::cost).
pub const MAX_COST: u64 = (1 << 48) - 1;

/// Of how many members the cheapest is picked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Among {
    /// All members of the tier. A pick costs as much as there are members.
    All,
    /// Two, drawn at random by weight; all where neither has room.
    ///
    /// M. Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 12 (2001).
    TwoDrawn,
}

/// One pick, as a [`Cost`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// For whom.
    pub client: &'a Client,
    /// When, on the clock that [`Target::expected`] goes by.
    pub now: MonoTime,
    /// 64 random bits, the same for all members that are compared in this pick.
    pub entropy: u64,
}

/// A [`Cost`] in a [`Policy`](crate::Policy). Cheap to clone; equal to its clones and to nothing else.
#[derive(Clone)]
pub struct Own(Arc<dyn Cost>);

impl Own {
    /// Has that algorithm pick.
    #[must_use]
    pub fn new(cost: impl Cost + 'static) -> Self {
        Self(Arc::new(cost))
    }

    pub(crate) fn cost(&self, member: &dyn Target, asked: &Asked<'_>) -> u64 {
        self.0.cost(member, asked).min(MAX_COST)
    }

    pub(crate) fn among(&self) -> Among {
        self.0.among()
    }
}

impl PartialEq for Own {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Own {}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
