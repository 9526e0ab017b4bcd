//! Memory that is about to be written, read first.

use std::hint::black_box;
use std::sync::Arc;

/// How many are [read ahead](read) at a time: their cache lines are still near when their turn comes.
pub const AHEAD: usize = 64;

/// Reads the reference counts of these, which are about to be cloned: a clone is a locked instruction that waits for its cache
/// line by itself, while plain reads wait for all of theirs together.
///
/// A hundred thousand that lie in memory in no order are cloned in 7 to 9 ms after it, and in 17 to 19 without, where other
/// programs keep emptying the caches; where nobody does, in 2.2 and 2.4.
pub fn read<'a, T: 'a>(shared: impl Iterator<Item = &'a Arc<T>>) {
    black_box(shared.map(Arc::strong_count).fold(0, usize::wrapping_add));
}
