//! Which of two routes is asked first.

use std::collections::HashMap;

use super::{HeaderMatch, HostMatch, Route};

/// How specific a route is; the greater is asked first.
pub(super) type Rank = (u8, usize, usize, usize);

pub(super) fn rank(route: &Route) -> Rank {
    let host = match route.host {
        HostMatch::Any => 0,
        HostMatch::Below(_) => 1,
        HostMatch::Exact(_) => 2,
    };
    let by_value = route
        .headers
        .iter()
        .filter(|header| header.value.is_some())
        .count();
    let path = route.path.as_str().len();
    (host, path, by_value, route.headers.len() - by_value)
}

impl Route {
    /// Whether a request is one of this route's: `host` without a port, in lower case; `path` as it was sent,
    /// without a query; `header` gives a field's value by its name in lower case.
    ///
    /// ```
    /// use edgeproxy_config::{ConfigFile, Layers};
    ///
    /// let text = "[[routes]]\nhost = \"*.shop.example\"\npath_prefix = \"/api\"\napp = \"shop\"\n";
    /// let file = ConfigFile { path: "edgeproxy.toml".into(), text: text.to_owned() };
    /// let loaded = Layers { file: Some(file), ..Layers::default() }.load()?;
    /// let route = &loaded.topology.routes[0];
    /// assert!(route.matches("eu.shop.example", "/api/v1", |_| None));
    /// assert!(!route.matches("shop.example", "/api/v1", |_| None));
    /// assert!(!route.matches("eu.shop.example", "/apis", |_| None));
    /// # Ok::<(), edgeproxy_config::ConfigError>(())
    /// ```
    pub fn matches<'h>(&self, host: &str, path: &str, header: impl Fn(&str) -> Option<&'h str>) -> bool {
        let host = match &self.host {
            HostMatch::Any => true,
            HostMatch::Below(name) => host
                .split_once('.')
                .is_some_and(|(_, rest)| rest == name.as_str()),
            HostMatch::Exact(name) => host == name.as_str(),
        };
        let has = |wanted: &HeaderMatch| {
            let found = header(wanted.name.as_str());
            found.is_some() && (wanted.value.is_none() || found == wanted.value.as_deref())
        };
        host && self.path.covers(path) && self.headers.iter().all(has)
    }
}

/// Whether a request can have the fields of both.
pub(super) fn compatible(a: &[HeaderMatch], b: &[HeaderMatch]) -> bool {
    let differ = |a: &HeaderMatch, b: &HeaderMatch| {
        a.name == b.name && a.value.is_some() && b.value.is_some() && a.value != b.value
    };
    !a.iter().any(|a| b.iter().any(|b| differ(a, b)))
}

/// Pairs that are equally specific and have a request in common, the earlier one first; each route is the later
/// one of at most one pair.
///
/// Equally specific ones have one in common only where host and path are the same, so only those are compared.
pub(super) fn ties<R>(routes: &[R], route: impl Fn(&R) -> &Route) -> Vec<(&R, &R)> {
    let mut alike: HashMap<_, Vec<&R>> = HashMap::new();
    let mut ties = Vec::new();
    for later in routes {
        let it = route(later);
        let before = alike.entry((&it.host, &it.path, rank_of_fields(it))).or_default();
        let earlier = before
            .iter()
            .find(|earlier| compatible(&route(earlier).headers, &it.headers));
        ties.extend(earlier.map(|earlier| (*earlier, later)));
        before.push(later);
    }
    ties
}

fn rank_of_fields(route: &Route) -> (usize, usize) {
    let (_, _, by_value, others) = rank(route);
    (by_value, others)
}

/// What is wrong with the later one of a pair.
pub(super) fn tie(earlier: &Route, later: &Route, line: usize) -> String {
    let (host, path) = (&later.host, &later.path);
    let where_ = match host {
        HostMatch::Any => format!("path {path} of any host"),
        _ => format!("path {path} of host {host}"),
    };
    if earlier.headers == later.headers {
        return format!(
            "this route and that on line {line} are for the same requests, {where_}; expected one of them to be narrower"
        );
    }
    let names = |route: &Route| {
        let names: Vec<&str> = route.headers.iter().map(|header| header.name.as_str()).collect();
        names.join(", ")
    };
    format!(
        "a request with the fields of this route ({}) and of that on line {line} ({}), {where_}, belongs to both; expected \
         one of them to be narrower",
        names(later),
        names(earlier)
    )
}
