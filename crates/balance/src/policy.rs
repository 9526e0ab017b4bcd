use std::fmt;
use std::str::FromStr;

use edgeproxy_backend::{Country, Region};

use crate::sticky::kept_of;
use crate::{Key, Own, SlowStart, Target};

/// How one of several equally near members is picked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Inner {
    /// Each in turn, in the order of registration.
    RoundRobin,
    /// In proportion to weight, spread out.
    Weighted,
    /// The one with the fewest requests in flight for its weight.
    #[default]
    LeastConnections,
    /// Of two drawn at random the one that is expected to answer sooner, for its weight and what it has in
    /// flight.
    Ewma,
    /// By the client's [`Key`](crate::Key): always the same one, unless it has more than its share.
    Hash,
}

/// How a member is picked.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Algorithm {
    /// Each in turn, in the order of registration.
    RoundRobin,
    /// In proportion to weight, spread out.
    Weighted,
    /// The one with the fewest requests in flight for its weight.
    LeastConnections,
    /// Of two drawn at random the one that is expected to answer sooner, for its weight and what it has in
    /// flight.
    Ewma,
    /// By the client's [`Key`](crate::Key): always the same one, unless it has more than its share.
    Hash,
    /// The nearest tier that has room, and inside it another algorithm.
    RegionAffinity(Inner),
}

impl Inner {
    /// Every algorithm that picks inside a tier, in the order of the documentation.
    pub const ALL: [Self; 5] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastConnections,
        Self::Ewma,
        Self::Hash,
    ];

    /// The name in the API and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastConnections => "least_connections",
            Self::Ewma => "ewma",
            Self::Hash => "hash",
        }
    }
}

impl Algorithm {
    /// Every algorithm, in the order of the documentation; affinity with its default inside.
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastConnections,
        Self::Ewma,
        Self::Hash,
        Self::RegionAffinity(Inner::LeastConnections),
    ];

    /// The name in the API and the configuration. What is inside `region_affinity` has a name of its own.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RegionAffinity(_) => "region_affinity",
            _ => self.inner().as_str(),
        }
    }

    /// The algorithm that picks inside a tier.
    #[must_use]
    pub const fn inner(self) -> Inner {
        match self {
            Self::RoundRobin => Inner::RoundRobin,
            Self::Weighted => Inner::Weighted,
            Self::LeastConnections => Inner::LeastConnections,
            Self::Ewma => Inner::Ewma,
            Self::Hash => Inner::Hash,
            Self::RegionAffinity(inner) => inner,
        }
    }
}

impl Default for Algorithm {
    fn default() -> Self {
        Self::RegionAffinity(Inner::default())
    }
}

/// When a tier's traffic goes on to the next tier.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Spill {
    /// When all of the tier are at their hard limit.
    #[default]
    Hard,
    /// When all of the tier are at their soft limit and another tier has one that isn't; until the tier is
    /// down to 85 % of its soft limits together, so that traffic doesn't swing.
    Soft,
}

impl Spill {
    /// Both, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::Hard, Self::Soft];

    /// The name in the API and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hard => "hard",
            Self::Soft => "soft",
        }
    }
}

/// A name that is none of those known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No such algorithm.
    #[error(
        "{found:?} is no algorithm; known are round_robin, weighted, least_connections, ewma, hash, region_affinity"
    )]
    Algorithm {
        /// The text found, cut after 32 characters.
        found: String,
    },
    /// No such algorithm inside a tier.
    #[error(
        "{found:?} is no algorithm inside a tier; known are round_robin, weighted, least_connections, ewma, hash"
    )]
    Inner {
        /// The text found, cut after 32 characters.
        found: String,
    },
    /// No such spill.
    #[error("{found:?} is no spill; known are hard, soft")]
    Spill {
        /// The text found, cut after 32 characters.
        found: String,
    },
}

macro_rules! named {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
                // An error message must not repeat a megabyte.
                known.ok_or_else(|| NameError::$name {
                    found: text.chars().take(32).collect(),
                })
            }
        }
    };
}

named!(Algorithm);
named!(Inner);
named!(Spill);

/// How an app's members are picked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// How a member is picked.
    pub algorithm: Algorithm,
    /// An algorithm of one's own, in the place of the one that [`algorithm`](Self::algorithm) has inside a tier.
    pub own: Option<Own>,
    /// When a tier's traffic goes on to the next tier. Without tiers it makes no difference.
    pub spill: Spill,
    /// The region that this proxy runs in; `None` leaves tier 2 out.
    pub own_region: Option<Region>,
    /// The regions of tier 3, nearest first, for instance from
    /// [`RoundTrips`](crate::RoundTrips::nearest_first). Those not listed come after them, all together.
    pub region_order: Vec<Region>,
    /// Once fewer than so many of a thousand are well, health is ignored and all are used but those that are
    /// [`Firm`](crate::Barred::Firm)ly excluded or of weight 0: what looks like the failure of nearly all is likelier a
    /// failure of the probes, or of an overload that the few left would not survive. 0, the default, never.
    ///
    /// Envoy's `healthy_panic_threshold`.
    pub panic_permille: u16,
    /// How those that are new begin.
    pub slow_start: Option<SlowStart>,
    /// Whether clients may come [bound](Client::bound) to a member. `Ignored` spares preparing for it.
    pub bound: Bound,
}

impl Policy {
    /// The algorithm inside a tier. One of one's own is prepared for as `least_connections` is: loads decide there, too.
    pub(crate) const fn inner(&self) -> Inner {
        match self.own {
            Some(_) => Inner::LeastConnections,
            None => self.algorithm.inner(),
        }
    }
}

/// Whether clients may be bound to a member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Bound {
    /// [`Client::bound`] is ignored.
    #[default]
    Ignored,
    /// [`Client::bound`] is followed where possible.
    Followed,
}

/// Where a request comes from, as far as known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Client {
    /// Its country; `None` leaves tier 0 out.
    pub country: Option<Country>,
    /// Its region; `None` leaves tier 1 out.
    pub region: Option<Region>,
    /// What `hash` goes by; `None`: a member by chance.
    pub key: Option<Key>,
    /// The [identity](crate::Target::identity) of the member to stay with, from a
    /// [`Bindings`](crate::Bindings) or a cookie. It is asked first, before every tier and algorithm, unless
    /// it is not routable or at its hard limit.
    pub bound: Option<u64>,
}

impl Client {
    /// Whether it is bound to that member.
    #[must_use]
    pub fn is_bound_to(&self, target: &(impl Target + ?Sized)) -> bool {
        self.bound
            .is_some_and(|bound| kept_of(bound) == kept_of(target.identity()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        for inner in Inner::ALL {
            assert_eq!(inner.to_string().parse(), Ok(inner));
        }
        for spill in Spill::ALL {
            assert_eq!(spill.to_string().parse(), Ok(spill));
        }
        assert_eq!(
            Algorithm::RegionAffinity(Inner::Weighted).to_string(),
            "region_affinity"
        );
        assert_eq!(
            Algorithm::default(),
            Algorithm::RegionAffinity(Inner::LeastConnections)
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_every_known_one() {
        let error = "fastest".parse::<Algorithm>().unwrap_err().to_string();
        assert!(error.starts_with("\"fastest\" is no algorithm"), "{error}");
        assert!(
            Algorithm::ALL
                .into_iter()
                .all(|known| error.contains(known.as_str())),
            "{error}"
        );
        let error = "region_affinity".parse::<Inner>().unwrap_err().to_string();
        assert!(
            Inner::ALL.into_iter().all(|known| error.contains(known.as_str())),
            "{error}"
        );
        let error = "HARD".parse::<Spill>().unwrap_err().to_string();
        assert!(
            Spill::ALL.into_iter().all(|known| error.contains(known.as_str())),
            "{error}"
        );
        let NameError::Spill { found } = "x".repeat(1_000_000).parse::<Spill>().unwrap_err() else {
            panic!()
        };
        assert_eq!(found.len(), 32);
    }
}
