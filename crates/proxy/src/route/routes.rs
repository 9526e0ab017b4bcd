//! All routes, made quick to look up.

use std::collections::BTreeMap;
use std::fmt;

use edgeproxy_backend::AppName;
use hashbrown::HashMap;

use super::path::has_dot_segments;
use super::prefixes::Prefixes;
use super::rule::{HostPattern, Route};
use super::rules::{Lines, Rule, Rules};
use super::shares::Shares;

/// Every route, made quick to look up once for many tables: a host costs two lookups at most, a path one binary search,
/// and of routes that are for the same host and path those that ask for a field's value one lookup.
///
/// Nothing is allocated to find one.
#[derive(Default)]
pub struct Routes {
    exact: ByHost,
    below: ByHost,
    any: Option<ByPath>,
    apps: Vec<AppName>,
    count: usize,
    looks_at_paths: bool,
}

type ByHost = HashMap<Box<str>, ByPath, foldhash::fast::RandomState>;
type ByPath = Prefixes<Rules>;

/// What of a request a route is found by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'r> {
    /// Without a port, as it was written; empty without one.
    pub(crate) host: &'r [u8],
    /// A path and a query, as they were sent. Nothing in place of the path is the root; `*` is the server as a whole.
    pub(crate) target: &'r str,
}

impl<'r> Request<'r> {
    /// Whether it is for the server as a whole, and so for no path (RFC 9112 §3.2.4).
    pub(super) fn is_for_the_server(self) -> bool {
        self.target == "*"
    }

    fn path(self) -> &'r [u8] {
        let end = self.target.bytes().position(|byte| byte == b'?');
        match self.target.get(..end.unwrap_or(self.target.len())) {
            None | Some("" | "*") => b"/",
            Some(path) => path.as_bytes(),
        }
    }

    /// Refuses a path that could be another one to a backend.
    pub(super) fn check_path(self) -> Result<(), DotSegments> {
        if has_dot_segments(self.path()) {
            return Err(DotSegments);
        }
        Ok(())
    }
}

/// A request's path could be another one to its backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the request's path has a segment . or .., which a client resolves before it sends it (RFC 3986 §6.2.2.3)"
)]
pub(crate) struct DotSegments;

/// Longer hosts have no name (RFC 1035 §2.3.4).
const MAX_HOST: usize = 255;

impl Routes {
    /// Compiles `routes`, whose order plays no part unless two are equally narrow.
    #[must_use]
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let mut compiled = Self::default();
        let mut places = BTreeMap::new();
        let mut by_host: BTreeMap<_, BTreeMap<String, Vec<Rule>>> = BTreeMap::new();
        for route in routes {
            compiled.count += 1;
            compiled.looks_at_paths |= !route.path.is_root() || route.replace_prefix.is_some();
            let host = match route.host {
                HostPattern::Any => Host::Any,
                HostPattern::Below(name) => Host::Below(name.to_ascii_lowercase()),
                HostPattern::Exact(name) => Host::Exact(name.to_ascii_lowercase()),
            };
            let apps = Shares::new(route.apps.into_iter().map(|(app, share)| {
                let place = *places.entry(app.clone()).or_insert_with(|| {
                    compiled.apps.push(app);
                    compiled.apps.len() - 1
                });
                (place, share)
            }));
            let Some(apps) = apps else { continue };
            let rules = by_host.entry(host).or_default();
            rules.entry(route.path.to_string()).or_default().push(Rule {
                fields: route.fields.into(),
                path: route.path,
                replace_prefix: route.replace_prefix,
                max_body: route.max_body,
                apps,
            });
        }
        for (host, paths) in by_host {
            let paths = paths.into_values().filter_map(|rules| {
                let path = rules.first()?.path.clone();
                Some((path, Rules::new(rules)))
            });
            let paths = Prefixes::new(paths);
            match host {
                Host::Any => compiled.any = Some(paths),
                Host::Below(name) => drop(compiled.below.insert(name.into(), paths)),
                Host::Exact(name) => drop(compiled.exact.insert(name.into(), paths)),
            }
        }
        compiled
    }

    /// Whether there are none. Then apps are told apart by their names, see
    /// [`RouteTable::route`](crate::RouteTable::route).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// The apps that they lead to.
    pub(super) fn apps(&self) -> &[AppName] {
        &self.apps
    }

    /// Whether it matters what paths look like.
    pub(super) fn look_at_paths(&self) -> bool {
        self.looks_at_paths
    }

    /// The narrowest one that is for a request with those fields.
    pub(super) fn find<'s>(&'s self, request: Request<'_>, lines: &impl Lines) -> Option<&'s Rule> {
        let mut room = [0; MAX_HOST];
        let host = folded(request.host, &mut room);
        let path = request.path();
        let among = |paths: &'s ByPath| {
            let mut by_length = paths.covering(path);
            by_length.find_map(|rules| rules.find(lines))
        };
        let exact = host.and_then(|host| self.exact.get(host));
        let found = exact.and_then(among);
        let found = found.or_else(|| {
            let (_, parent) = host?.split_once('.')?;
            self.below.get(parent).and_then(among)
        });
        found.or_else(|| self.any.as_ref().and_then(among))
    }
}

/// In lower case. `None`: no name is like that.
fn folded<'m>(host: &[u8], room: &'m mut [u8; MAX_HOST]) -> Option<&'m str> {
    let room = room.get_mut(..host.len())?;
    room.copy_from_slice(host);
    room.make_ascii_lowercase();
    std::str::from_utf8(room).ok()
}

/// The hosts of routes, to be put together by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    Any,
    Below(String),
    Exact(String),
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}
