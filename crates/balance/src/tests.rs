//! What the crate promises, tested from outside.

mod admitted;
mod allocation;
mod explanations;
mod fairness;
mod fleet;
mod keyed;
mod least_loaded;
mod naive;
mod own;
mod panic;
mod region_affinity;
mod reported;
mod slow_start;
mod sooner;
mod spilling;
mod stickiness;
mod turns;
