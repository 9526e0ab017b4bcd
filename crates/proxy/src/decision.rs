//! Whom a request went to and why, for whoever debugs that.

use std::fmt;

use edgeproxy_backend::{Admission, BackendId};
use edgeproxy_balance::{Algorithm, Grounds};
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
    pub(crate) algorithm: Algorithm,
    pub(crate) told: Told,
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An id holds neither quotes nor backslashes.
        write!(
            f,
            "backend=\"{}\", attempt={}, algorithm={}",
            self.backend, self.attempt, self.algorithm
        )?;
        let tiered = match self.algorithm {
            Algorithm::RegionAffinity(inner) => {
                write!(f, ", inner={inner}")?;
                true
            }
            _ => false,
        };
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
    use edgeproxy_balance::Inner;

    use super::*;

    fn decision(algorithm: Algorithm, grounds: Grounds, admission: Admission) -> String {
        let backend = &BackendId::parse("b1").unwrap();
        let told = Told { grounds, admission };
        Decision {
            backend,
            attempt: 2,
            algorithm,
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
            assert_eq!(decision(algorithm, grounds, admission), expected);
        }
    }

    #[test]
    fn it_is_bounded() {
        let id = BackendId::parse(&"b".repeat(BackendId::MAX_LEN)).unwrap();
        let told = Told {
            grounds: Grounds::BelowSoft { tier: 3 },
            admission: Admission::LastResort,
        };
        let algorithm = Algorithm::RegionAffinity(Inner::LeastConnections);
        let longest = Decision {
            backend: &id,
            attempt: usize::MAX,
            algorithm,
            told,
        };
        let length = longest.to_string().len();
        assert!(length <= 350, "{length}");
    }
}
