//! Simulated fleets against theory, against themselves, and against what the real parts promise.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod conservation;
mod failures;
mod fleet;
mod theory;
