//! Connections to backends: made, kept for the next request, and one attempt on each.

pub(crate) mod attempt;
pub(crate) mod dialing;
pub(crate) mod pool;
pub(crate) mod wire;
