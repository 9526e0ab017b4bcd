//! What the crate promises, tested from outside.

mod allocation;
mod explanations;
mod fleet;
mod least_loaded;
mod naive;
mod region_affinity;
mod turns;
