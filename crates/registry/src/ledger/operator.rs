//! What an operator has set, laid over what the backend asked for.

use edgeproxy_backend::{Backend, Limits, LimitsError, Weight};

use crate::{Change, Overrides, Patch, Share};

/// What the backend itself asked for, where an operator's change hides it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) weight: Weight,
    pub(crate) limits: Limits,
}

impl Asked {
    pub(crate) fn of(backend: &Backend) -> Self {
        Self {
            weight: backend.weight,
            limits: backend.limits,
        }
    }
}

/// The weight and limits in force.
///
/// An operator's limit and a later registration's may contradict each other, where a patch at once would
/// have been refused. The hard limit wins then, whoever set it, and the soft one is lowered to it: a
/// backend that is asked for less than it is comfortable with is safe, one that is sent more than it
/// takes is not.
///
/// Of limits, it is this registry's share.
pub(crate) fn in_force(asked: Asked, overrides: &Overrides, share: Share) -> Asked {
    let (soft, hard) = limits(asked, overrides);
    let soft = if hard == 0 { soft } else { soft.min(hard) };
    // Can't fail: `soft` is at most `hard`. What was asked for is valid by its type.
    let limits = Limits::new(soft, hard).unwrap_or(asked.limits);
    Asked {
        weight: overrides.weight.unwrap_or(asked.weight),
        limits: share.of_limits(limits),
    }
}

/// The overrides with a patch applied.
///
/// # Errors
/// When the patch touches the limits and those that would result contradict each other.
pub(crate) fn apply(overrides: Overrides, patch: &Patch, asked: Asked) -> Result<Overrides, LimitsError> {
    let next = Overrides {
        enabled: changed(overrides.enabled, patch.enabled),
        weight: changed(overrides.weight, patch.weight),
        soft_limit: changed(overrides.soft_limit, patch.soft_limit),
        hard_limit: changed(overrides.hard_limit, patch.hard_limit),
    };
    if (patch.soft_limit, patch.hard_limit) != (Change::Keep, Change::Keep) {
        let (soft, hard) = limits(asked, &next);
        Limits::new(soft, hard)?;
    }
    Ok(next)
}

fn limits(asked: Asked, overrides: &Overrides) -> (u32, u32) {
    let soft = overrides.soft_limit.unwrap_or(asked.limits.soft());
    let hard = overrides.hard_limit.unwrap_or(asked.limits.hard());
    (soft, hard)
}

fn changed<T>(current: Option<T>, change: Change<T>) -> Option<T> {
    match change {
        Change::Keep => current,
        Change::Clear => None,
        Change::Set(value) => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(soft: u32, hard: u32) -> Asked {
        Asked {
            weight: Weight::DEFAULT,
            limits: Limits::new(soft, hard).unwrap(),
        }
    }

    #[test]
    fn a_contradicting_patch_is_refused_but_a_later_contradiction_lowers_the_soft_limit() {
        let soft = Patch {
            soft_limit: Change::Set(120),
            ..Patch::default()
        };
        let overrides = apply(Overrides::default(), &soft, asked(100, 150)).unwrap();
        assert_eq!(
            in_force(asked(100, 150), &overrides, Share::WHOLE).limits,
            Limits::new(120, 150).unwrap()
        );
        // The backend restarts on a smaller machine: what it can't take, nobody orders.
        assert_eq!(
            in_force(asked(10, 50), &overrides, Share::WHOLE).limits,
            Limits::new(50, 50).unwrap()
        );
        assert_eq!(
            apply(overrides, &soft, asked(10, 50)),
            Err(LimitsError { soft: 120, hard: 50 })
        );
        let weight = Patch {
            weight: Change::Set(Weight::MAX),
            ..Patch::default()
        };
        assert!(
            apply(overrides, &weight, asked(10, 50)).is_ok(),
            "it doesn't touch the limits"
        );
    }

    proptest! {
        #[test]
        fn the_limits_in_force_are_those_asked_for_or_ordered_but_for_a_soft_one_above_hard(
            soft in 0_u32..50, more in 0_u32..50, unlimited: bool,
            over_soft in prop::option::of(0_u32..100), over_hard in prop::option::of(0_u32..100),
        ) {
            let hard = if unlimited { 0 } else { soft + more };
            let overrides = Overrides { soft_limit: over_soft, hard_limit: over_hard, ..Overrides::default() };
            let limits = in_force(asked(soft, hard), &overrides, Share::WHOLE).limits;
            prop_assert_eq!(limits.hard(), over_hard.unwrap_or(hard));
            let wanted = over_soft.unwrap_or(soft);
            prop_assert!(limits.soft() == wanted || (limits.soft() == limits.hard() && wanted > limits.hard()));
        }
    }
}
