//! Ways of cutting bytes into pieces. They follow from the bytes, so that a finding is replayed by them alone.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

fn random(bytes: &[u8]) -> fastrand::Rng {
    fastrand::Rng::with_seed(BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes))
}

/// Places before the end of them.
pub(super) fn places(bytes: &[u8]) -> Vec<usize> {
    let Some(last) = bytes.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut random = random(bytes);
    let mut places: Vec<usize> = (0..6).map(|_| random.usize(..bytes.len())).collect();
    places.push(last);
    places.sort_unstable();
    places.dedup();
    places
}

/// Each is all of them: in one piece, in a few, and byte by byte.
pub(super) fn divisions(bytes: &[u8]) -> [Vec<&[u8]>; 3] {
    let mut few = Vec::new();
    let mut start = 0;
    for place in places(bytes) {
        few.push(&bytes[start..place]);
        start = place;
    }
    few.push(&bytes[start..]);
    [vec![bytes], few, bytes.chunks(1).collect()]
}
