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
struct Headcount {
    well: u64,
    /// Those that nothing but their health could keep out.
    willing: u64,
}

impl Headcount {
    fn is_too_few(self, permille: u16) -> bool {
        self.well * 1_000 < u64::from(permille) * self.willing
    }
}

/// Who has the traffic, since some of them are well.
#[derive(Clone, Copy)]
enum Carriers {
    Others,
    Fallbacks,
    Nobody,
}

/// Fallbacks come in when none of the others is well, and go on until one is: who is on trial takes one request at a
/// time, and the rest has to go somewhere. The threshold is that of whoever has the traffic, so that well fallbacks
/// come before others that are ill.
pub(crate) fn call<T: Target>(candidates: &[Candidate<T>], panic_permille: u16) -> Roll {
    let fitness: Vec<Fitness> = candidates.iter().map(Fitness::of).collect();
    let all = || candidates.iter().zip(&fitness);
    let headcount = |fallback| {
        all()
            .filter(|(candidate, fitness)| candidate.fallback == fallback && **fitness != Fitness::Off)
            .fold(Headcount::default(), |headcount, (_, fitness)| Headcount {
                well: headcount.well + u64::from(*fitness == Fitness::Well),
                willing: headcount.willing + 1,
            })
    };
    let (others, fallbacks) = (headcount(false), headcount(true));
    let carriers = match (others.well, fallbacks.well) {
        (1.., _) => Carriers::Others,
        (0, 1..) => Carriers::Fallbacks,
        (0, 0) => Carriers::Nobody,
    };
    let panic = match carriers {
        Carriers::Others => others.is_too_few(panic_permille),
        Carriers::Fallbacks => fallbacks.is_too_few(panic_permille),
        Carriers::Nobody => panic_permille > 0 && others.willing + fallbacks.willing > 0,
    };
    // From which fitness on the others get traffic, and fallbacks.
    let (others_from, fallbacks_from) = match (carriers, panic) {
        (Carriers::Others, false) => (Some(Fitness::OnTrial), None),
        (Carriers::Others, true) => (Some(Fitness::Unwell), None),
        (Carriers::Fallbacks | Carriers::Nobody, false) => (Some(Fitness::OnTrial), Some(Fitness::OnTrial)),
        (Carriers::Nobody, true) if others.willing > 0 => (Some(Fitness::Unwell), Some(Fitness::OnTrial)),
        (Carriers::Fallbacks | Carriers::Nobody, true) => (Some(Fitness::OnTrial), Some(Fitness::Unwell)),
    };
    let routable = all().map(|(candidate, fitness)| {
        let from = if candidate.fallback {
            fallbacks_from
        } else {
            others_from
        };
        from.is_some_and(|from| *fitness >= from)
    });
    Roll {
        routable: routable.collect(),
        panic,
    }
}
