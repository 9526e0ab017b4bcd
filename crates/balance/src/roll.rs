//! Who may be picked at all: exclusions, weights of 0, fallbacks, and the panic in which health is ignored.

use crate::balancer::Candidate;
use crate::{Barred, Target};

/// Whom picks may propose, by place in the list of candidates.
#[derive(Debug)]
pub(crate) struct Roll {
    pub(crate) routable: Vec<bool>,
    /// Too few are well, so that all are used.
    pub(crate) panic: bool,
}

/// What a candidate is to an app, from the worst to the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fitness {
    /// Somebody wants it out, or it has no weight.
    Off,
    /// Out for its health alone.
    Unwell,
    /// It takes one request at a time.
    OnTrial,
    Well,
}

impl Fitness {
    fn of<T: Target>(candidate: &Candidate<T>) -> Self {
        match &candidate.excluded {
            Some(Barred::Firm(_)) => Self::Off,
            _ if candidate.target.weight() == 0 => Self::Off,
            Some(Barred::Unwell(_)) => Self::Unwell,
            None if candidate.on_trial => Self::OnTrial,
            None => Self::Well,
        }
    }
}

/// Of those that are no fallbacks, or of those that are.
#[derive(Clone, Copy, Default)]
struct Tally {
    well: u64,
    /// Those that nothing but their health could keep out.
    willing: u64,
}

impl Tally {
    fn is_too_few(self, permille: u16) -> bool {
        self.well * 1_000 < u64::from(permille) * self.willing
    }
}

/// Fallbacks come in when none of the others is well, and go on until one is: who is on trial takes one request at a
/// time, and the rest has to go somewhere. The threshold is that of whoever has the traffic, so that well fallbacks
/// come before others that are not.
pub(crate) fn call<T: Target>(candidates: &[Candidate<T>], panic_permille: u16) -> Roll {
    let fitness: Vec<Fitness> = candidates.iter().map(Fitness::of).collect();
    let all = || candidates.iter().zip(&fitness);
    let tally = |fallback| {
        all()
            .filter(|(candidate, fitness)| candidate.fallback == fallback && **fitness != Fitness::Off)
            .fold(Tally::default(), |tally, (_, fitness)| Tally {
                well: tally.well + u64::from(*fitness == Fitness::Well),
                willing: tally.willing + 1,
            })
    };
    let (others, fallbacks) = (tally(false), tally(true));
    let only_others = others.well > 0;
    let panic = if only_others {
        others.is_too_few(panic_permille)
    } else if fallbacks.well > 0 {
        fallbacks.is_too_few(panic_permille)
    } else {
        panic_permille > 0 && others.willing + fallbacks.willing > 0
    };
    // In a panic, the others' health is ignored where they have the traffic, or where nobody is well.
    let least = |fallback: bool| match (panic, fallback) {
        (false, false) => Some(Fitness::OnTrial),
        (false, true) => (!only_others).then_some(Fitness::OnTrial),
        (true, false) if only_others || fallbacks.well == 0 => Some(Fitness::Unwell),
        (true, false) => Some(Fitness::OnTrial),
        (true, true) if only_others || (fallbacks.well == 0 && others.willing > 0) => None,
        (true, true) => Some(Fitness::Unwell),
    };
    let routable =
        all().map(|(candidate, fitness)| least(candidate.fallback).is_some_and(|least| *fitness >= least));
    Roll {
        routable: routable.collect(),
        panic,
    }
}
