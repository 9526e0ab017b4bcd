//! What the control thread sees: probes and events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use edgeproxy_health::{Class, Failure, Outcome};
use edgeproxy_registry::EventKind;

/// Counts what nobody else remembers. Cheap to clone; a clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen(Arc<Mutex<Counts>>);

/// As many as there are names in the code.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) events: BTreeMap<&'static str, u64>,
    /// By what they are for, and how they ended.
    pub(super) probes: BTreeMap<(&'static str, &'static str), u64>,
}

impl Seen {
    pub(crate) fn event(&self, kind: EventKind) {
        *self.counts().events.entry(kind.as_str()).or_default() += 1;
    }

    pub(crate) fn probe(&self, class: Class, outcome: &Outcome) {
        let class = match class {
            Class::Monitor => "monitor",
            Class::Suspect => "suspect",
        };
        *self.counts().probes.entry((class, result(outcome))).or_default() += 1;
    }

    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counts that a panic has left are no worse than others.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn result(outcome: &Outcome) -> &'static str {
    let Outcome::Failed { reason, .. } = outcome else {
        return "passed";
    };
    match reason {
        Failure::Connect { .. } | Failure::SelfConnect => "connect",
        Failure::ConnectTimeout { .. } => "connect_timeout",
        Failure::Tls { .. } => "tls",
        Failure::ReadTimeout { .. } => "response_timeout",
        Failure::Status { .. } | Failure::HeaderMissing { .. } | Failure::HeaderValue { .. } => "unexpected",
        Failure::HeadTooLarge { .. } | Failure::Exchange { .. } => "malformed",
        Failure::NotGrpc { .. } | Failure::Call { .. } | Failure::NotServing { .. } => "grpc",
    }
}
