//! Path prefixes, of which the longest that a path begins with is looked for.

use std::cmp::Ordering;

use crate::PathPrefix;

/// Values by path prefix.
///
/// The prefixes are sorted as a walk through the tree of segments comes by them, each before those that it is a prefix
/// of. So the greatest one that is not above a path has among itself and the prefixes of it every one that the path
/// begins with: one binary search finds them all, however many there are.
#[derive(Debug)]
pub(super) struct Prefixes<T>(Box<[Node<T>]>);

#[derive(Debug)]
struct Node<T> {
    path: PathPrefix,
    /// The longest other one that is a prefix of it.
    parent: Option<usize>,
    value: T,
}

impl<T> Prefixes<T> {
    /// Each path may come once.
    pub(super) fn new(values: impl IntoIterator<Item = (PathPrefix, T)>) -> Self {
        let mut values: Vec<(PathPrefix, T)> = values.into_iter().collect();
        values.sort_by(|(a, _), (b, _)| compare(a.text().as_bytes(), b.text().as_bytes()));
        let mut nodes: Vec<Node<T>> = Vec::with_capacity(values.len());
        for (path, value) in values {
            let mut parent = nodes.len().checked_sub(1);
            while let Some(node) = parent.and_then(|at| nodes.get(at))
                && !covers(node.path.text(), path.text().as_bytes())
            {
                parent = node.parent;
            }
            nodes.push(Node { path, parent, value });
        }
        Self(nodes.into())
    }

    /// The values of all prefixes that a path begins with, the longest first.
    pub(super) fn covering(&self, path: &[u8]) -> impl Iterator<Item = &T> {
        let above = self
            .0
            .partition_point(|node| compare(node.path.text().as_bytes(), path) != Ordering::Greater);
        let mut next = above.checked_sub(1);
        // What the one that was found has in common with the path, all prefixes of it have.
        let common = next.and_then(|at| self.0.get(at)).map_or(0, |node| {
            let pairs = node.path.text().bytes().zip(path);
            pairs.take_while(|(a, b)| a == *b).count()
        });
        std::iter::from_fn(move || {
            loop {
                let node = self.0.get(next?)?;
                next = node.parent;
                let length = node.path.text().len();
                if length <= common && ends_a_segment(path, length) {
                    return Some(&node.value);
                }
            }
        })
    }
}

fn covers(prefix: &str, path: &[u8]) -> bool {
    path.starts_with(prefix.as_bytes()) && ends_a_segment(path, prefix.len())
}

/// Whether a segment of the path ends there. The root's prefix is empty, and a slash follows it.
fn ends_a_segment(path: &[u8], at: usize) -> bool {
    path.get(at).is_none_or(|byte| *byte == b'/')
}

/// Segment by segment: a slash is below everything else.
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let weight = |byte: u8| if byte == b'/' { 0 } else { byte };
    match a.iter().zip(b).find(|(a, b)| a != b) {
        Some((a, b)) => weight(*a).cmp(&weight(*b)),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn those_found_are_all_that_cover_a_path_longest_first(
            prefixes in proptest::collection::hash_set("(/[ab!]{1,2}){0,4}", 0..20),
            path in "(/[ab!]{0,2}){1,5}",
        ) {
            let parsed = |text: &String| PathPrefix::parse(if text.is_empty() { "/" } else { text }).unwrap();
            let found = Prefixes::new(prefixes.iter().map(|text| (parsed(text), text.clone())));
            let mut naive: Vec<&String> = prefixes.iter().filter(|prefix| covers(prefix, path.as_bytes())).collect();
            naive.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
            prop_assert_eq!(found.covering(path.as_bytes()).collect::<Vec<_>>(), naive);
        }
    }
}
