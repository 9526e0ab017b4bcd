//! Whom a request went to and why, for whoever debugs that.

use std::fmt;

use edgeproxy_backend::{Admission, BackendId};
use edgeproxy_balance::{Algorithm, Grounds, Policy};
use http::header::HeaderName;

/// The field that says so, where an app has it switched on.
pub(crate) const DECISION: HeaderName = HeaderName::from_static("x-edgeproxy-decision");

/// On what grounds a place was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) grounds: Grounds,
    pub(crate) admission: Admission,
}

/// The field's value: a dictionary of structured fields (RFC 9651 §3.2), at most 350 bytes long.
pub(crate) struct Decision<'a> {
    pub(crate) backend: &'a BackendId,
    /// From 1.
    pub(crate) attempt: usize,
    pub(crate) policy: &'a Policy,
    pub(crate) told: Told,
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An id holds neither quotes nor backslashes.
        write!(f, "backend=\"{}\", attempt={}", self.backend, self.attempt)?;
        let (algorithm, own) = (self.policy.algorithm, self.policy.own.is_some());
        let tiered = matches!(algorithm, Algorithm::RegionAffinity(_));
        let inner = if own { "own" } else { algorithm.inner().as_str() };
        if tiered {
            write!(f, ", algorithm={algorithm}, inner={inner}")?;
        } else {
            write!(f, ", algorithm={inner}")?;
        }
        let why = match self.told.grounds {
            Grounds::Bound => "bound",
            Grounds::BelowSoft { tier } | Grounds::AboveSoft { tier } if tiered => {
                write!(f, ", tier={tier}")?;
                self.room()
            }
            Grounds::BelowSoft { .. } | Grounds::AboveSoft { .. } => self.room(),
        };
        write!(f, ", why={why}")?;
        match self.told.admission {
            Admission::Regular => Ok(()),
            Admission::LastResort => f.write_str(", health=last_resort"),
            Admission::Panic => f.write_str(", health=panic"),
        }
    }
}

impl Decision<'_> {
    const fn room(&self) -> &'static str {
        match self.told.grounds {
            Grounds::AboveSoft { .. } => "above_soft",
            _ => "below_soft",
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeproxy_balance::{Asked, Cost, Inner, Own, Target};

    use super::*;

    fn decision(policy: &Policy, grounds: Grounds, admission: Admission) -> String {
        let backend = &BackendId::parse("b1").unwrap();
        let told = Told { grounds, admission };
        Decision {
            backend,
            attempt: 2,
            policy,
            told,
        }
        .to_string()
    }

    #[test]
    fn it_says_backend_attempt_algorithm_tier_and_why() {
        let affinity = Algorithm::RegionAffinity(Inner::LeastConnections);
        for (algorithm, grounds, admission, expected) in [
            (
                Algorithm::RoundRobin,
                Grounds::BelowSoft { tier: 0 },
                Admission::Regular,
                "algorithm=round_robin, why=below_soft",
            ),
            (
                affinity,
                Grounds::AboveSoft { tier: 3 },
                Admission::Regular,
                "algorithm=region_affinity, inner=least_connections, tier=3, why=above_soft",
            ),
            (
                affinity,
                Grounds::Bound,
                Admission::Panic,
                "algorithm=region_affinity, inner=least_connections, why=bound, health=panic",
            ),
            (
                Algorithm::Hash,
                Grounds::BelowSoft { tier: 0 },
                Admission::LastResort,
                "algorithm=hash, why=below_soft, health=last_resort",
            ),
        ] {
            let expected = format!("backend=\"b1\", attempt=2, {expected}");
            let policy = Policy {
                algorithm,
                ..Policy::default()
            };
            assert_eq!(decision(&policy, grounds, admission), expected);
        }
    }

    /// What everybody costs the same is anybody's.
    #[derive(Debug)]
    struct Alike;

    impl Cost for Alike {
        fn cost(&self, _: &dyn Target, _: &Asked<'_>) -> u64 {
            1
        }
    }

    #[test]
    fn an_algorithm_of_ones_own_is_called_own() {
        for (algorithm, expected) in [
            (Algorithm::Hash, "algorithm=own, why=below_soft"),
            (
                Algorithm::RegionAffinity(Inner::Hash),
                "algorithm=region_affinity, inner=own, tier=2, why=below_soft",
            ),
        ] {
            let policy = Policy {
                algorithm,
                own: Some(Own::new(Alike)),
                ..Policy::default()
            };
            let told = decision(&policy, Grounds::BelowSoft { tier: 2 }, Admission::Regular);
            assert_eq!(told, format!("backend=\"b1\", attempt=2, {expected}"));
        }
    }

    #[test]
    fn it_is_bounded() {
        let id = BackendId::parse(&"b".repeat(BackendId::MAX_LEN)).unwrap();
        let told = Told {
            grounds: Grounds::BelowSoft { tier: 3 },
            admission: Admission::LastResort,
        };
        let policy = Policy {
            algorithm: Algorithm::RegionAffinity(Inner::LeastConnections),
            ..Policy::default()
        };
        let longest = Decision {
            backend: &id,
            attempt: usize::MAX,
            policy: &policy,
            told,
        };
        let length = longest.to_string().len();
        assert!(length <= 350, "{length}");
    }
}
