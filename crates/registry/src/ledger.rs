//! The ledgers: what speaks against routing to a backend, each with rules of its own. None knows another.

mod operator;
mod probe;
mod traffic;

pub(crate) use operator::{Asked, apply, in_force};
pub(crate) use probe::{ProbeLedger, Turn, Verdict};
pub(crate) use traffic::{Standing, Traffic};
