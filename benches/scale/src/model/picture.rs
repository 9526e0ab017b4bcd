//! Placeholder
use super::{Happening, paper::Fleet, world::Counted};
pub(crate) fn draw(_: &[(Fleet, Happening, Counted)]) -> String { String::new() }
