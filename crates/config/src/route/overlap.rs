//! Routes that share requests although neither is a part of the other: right, and seldom meant.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{HeaderMatch, HostMatch, Route, order};
use crate::paths::PathPrefix;

/// Two routes with requests in common, where neither is a part of the other and no third one settles it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overlap<'r> {
    /// The one that gets the common requests.
    pub winner: &'r Route,
    /// The one that doesn't.
    pub loser: &'r Route,
    /// Why, in the words of the rule that decides: `host`, `path` or `fields`.
    pub decided_by: &'static str,
}

/// Every overlap between routes that lead to different places, for each losing route the first.
///
/// ```
/// use edgeproxy_config::{ConfigFile, Layers, overlaps};
///
/// let text = "[[routes]]\nhost = \"shop.example\"\napp = \"shop\"\n[[routes]]\npath_prefix = \"/api\"\napp = \"api\"\n";
/// let file = ConfigFile { path: "edgeproxy.toml".into(), text: text.to_owned() };
/// let loaded = Layers { file: Some(file), ..Layers::default() }.load()?;
/// let found = overlaps(&loaded.topology.routes);
/// // shop.example/api goes to the shop.
/// assert_eq!((found[0].winner.apps[0].0.as_str(), found[0].decided_by), ("shop", "host"));
/// # Ok::<(), edgeproxy_config::ConfigError>(())
/// ```
#[must_use]
pub fn overlaps(routes: &[Route]) -> Vec<Overlap<'_>> {
    let mut before = Before::default();
    among(routes, |loser| {
        let candidates = before.that_may_share_requests_with(loser);
        before.push(loser);
        candidates
    })
}

/// `before` gives those that are asked before each route and may have requests in common with it, in their order. It is called with
/// each route in turn.
fn among<'r>(routes: &'r [Route], mut before: impl FnMut(&'r Route) -> Vec<&'r Route>) -> Vec<Overlap<'r>> {
    let mut ordered: Vec<&Route> = routes.iter().collect();
    ordered.sort_by_key(|route| std::cmp::Reverse(order::rank(route)));
    let known: HashSet<_> = ordered
        .iter()
        .map(|route| (&route.host, &route.path, route.headers.as_slice()))
        .collect();
    let overlap = |loser: &&'r Route| {
        let loser = *loser;
        let winner = before(loser).into_iter().find(|winner| {
            let same_end = winner.apps == loser.apps && winner.replace_prefix == loser.replace_prefix;
            !same_end
                && common(winner, loser).is_some_and(|(host, path, headers)| {
                    !is_part(winner, loser) && !known.contains(&(host, path, headers.as_slice()))
                })
        })?;
        Some(Overlap {
            winner,
            loser,
            decided_by: decided_by(winner, loser),
        })
    };
    ordered.iter().filter_map(overlap).collect()
}

/// Those that are asked before, by hosts and paths: most of ten thousand have neither in common, and are not compared.
#[derive(Default)]
struct Before<'r> {
    count: usize,
    all: ByPath<'r>,
    by_host: HashMap<&'r HostMatch, ByPath<'r>>,
    /// Those of one host, by what is behind its first label.
    by_parent: HashMap<&'r str, ByPath<'r>>,
}

impl<'r> Before<'r> {
    fn push(&mut self, route: &'r Route) {
        let place = self.count;
        self.all.push(place, route);
        self.by_host.entry(&route.host).or_default().push(place, route);
        if let HostMatch::Exact(name) = &route.host
            && let Some((_, parent)) = name.as_str().split_once('.')
        {
            self.by_parent.entry(parent).or_default().push(place, route);
        }
        self.count += 1;
    }

    fn that_may_share_requests_with(&self, route: &Route) -> Vec<&'r Route> {
        let (first, second) = match &route.host {
            HostMatch::Any => (Some(&self.all), None),
            HostMatch::Below(name) => (self.by_parent.get(name.as_str()), self.by_host.get(&route.host)),
            HostMatch::Exact(_) => (self.by_host.get(&route.host), None),
        };
        let mut found = Vec::new();
        for index in first.into_iter().chain(second) {
            index.gather(&route.path, &mut found);
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        found.into_iter().map(|(_, route)| route).collect()
    }
}

/// Routes by their paths, with their places in the order.
#[derive(Default)]
struct ByPath<'r>(BTreeMap<&'r str, Vec<(usize, &'r Route)>>);

impl<'r> ByPath<'r> {
    fn push(&mut self, place: usize, route: &'r Route) {
        self.0
            .entry(route.path.as_str())
            .or_default()
            .push((place, route));
    }

    /// Adds those whose path is that one, below it, or above it.
    fn gather(&self, prefix: &PathPrefix, found: &mut Vec<(usize, &'r Route)>) {
        let path = prefix.as_str();
        let below = self
            .0
            .range(path..)
            .take_while(move |(other, _)| other.starts_with(path))
            .filter(|(other, _)| prefix.covers(other));
        let above = path
            .match_indices('/')
            .map(move |(end, root)| if end == 0 { root } else { &path[..end] })
            .filter(move |above| *above != path)
            .filter_map(|above| self.0.get_key_value(above));
        found.extend(below.chain(above).flat_map(|(_, routes)| routes).copied());
    }
}

/// The requests that both are for.
fn common<'r>(a: &'r Route, b: &'r Route) -> Option<(&'r HostMatch, &'r PathPrefix, Vec<HeaderMatch>)> {
    let host = if is_host_part(&a.host, &b.host) {
        &a.host
    } else if is_host_part(&b.host, &a.host) {
        &b.host
    } else {
        return None;
    };
    let path = if b.path.covers(a.path.as_str()) {
        &a.path
    } else if a.path.covers(b.path.as_str()) {
        &b.path
    } else {
        return None;
    };
    if !order::compatible(&a.headers, &b.headers) {
        return None;
    }
    let narrower_elsewhere = |header: &HeaderMatch, others: &[HeaderMatch]| {
        header.value.is_none() && others.iter().any(|other| other.name == header.name)
    };
    let mut headers: Vec<HeaderMatch> = a.headers.to_vec();
    headers.retain(|header| !narrower_elsewhere(header, &b.headers));
    for header in &b.headers {
        if !headers.contains(header) && !narrower_elsewhere(header, &headers) {
            headers.push(header.clone());
        }
    }
    headers.sort_unstable();
    Some((host, path, headers))
}

fn is_host_part(part: &HostMatch, whole: &HostMatch) -> bool {
    match (part, whole) {
        (_, HostMatch::Any) => true,
        (HostMatch::Exact(name), HostMatch::Below(parent)) => name
            .as_str()
            .split_once('.')
            .is_some_and(|(_, rest)| rest == parent.as_str()),
        (part, whole) => part == whole,
    }
}

/// Whether every request of the one is one of the other's.
fn is_part(part: &Route, whole: &Route) -> bool {
    let has = |wanted: &HeaderMatch| {
        part.headers.iter().any(|header| {
            header.name == wanted.name && (wanted.value.is_none() || header.value == wanted.value)
        })
    };
    is_host_part(&part.host, &whole.host)
        && whole.path.covers(part.path.as_str())
        && whole.headers.iter().all(has)
}

fn decided_by(winner: &Route, loser: &Route) -> &'static str {
    let (winner, loser) = (order::rank(winner), order::rank(loser));
    if winner.0 != loser.0 {
        "host"
    } else if winner.1 != loser.1 {
        "path"
    } else {
        "fields"
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The same with each compared to all before it.
    pub(in crate::route) fn overlaps_of_all_pairs(routes: &[Route]) -> Vec<Overlap<'_>> {
        let mut before = Vec::new();
        among(routes, |route| {
            let all = before.clone();
            before.push(route);
            all
        })
    }
}
