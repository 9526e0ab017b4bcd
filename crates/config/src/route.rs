//! `[[routes]]`: which requests go to which app.

mod order;
mod overlap;

use std::cmp::Reverse;
use std::fmt;
use std::ops::Range;

use edgeproxy_backend::AppName;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::draft::Draft;
use crate::paths::{Headers, PathPrefix};
use crate::policy::HeaderName;
use crate::problem::{Document, Place};
use crate::setting::Kind;
use crate::table::{self, Key, Table, keys};
use crate::types::HostName;
use crate::value::{FromValue, Mismatch, Value};

pub use overlap::{Overlap, overlaps};

/// The key of the tables.
pub(crate) const KEY: &str = "routes";

/// Requests, and where they go.
///
/// # Which one is asked first
///
/// The most specific one, wherever it stands in the file:
///
/// 1. a host before a wildcard before any host,
/// 2. then the longer path,
/// 3. then the one that asks for more fields by their value, and then for more that only have to be there.
///
/// Two that are equally specific and have a request in common are an error. So a route is never hidden by a
/// wider one, and moving lines changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The hosts that it is for.
    pub host: HostMatch,
    /// What paths begin with; compared byte by byte, as they are sent.
    pub path: PathPrefix,
    /// Fields that a request has to have, by name.
    pub headers: Vec<HeaderMatch>,
    /// The apps that get the requests, with their shares: at least one, and at least one share is above 0.
    pub apps: Vec<(AppName, u32)>,
    /// What takes the place of `path` on the way to the backend.
    pub replace_prefix: Option<PathPrefix>,
    /// Where it stands.
    pub place: Place,
}

/// The hosts that a route is for.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HostMatch {
    /// Every host.
    Any,
    /// Those with one label before this name: `*.shop.example` is for `www.shop.example`, neither for `shop.example`
    /// nor for `a.www.shop.example`.
    Below(HostName),
    /// This one.
    Exact(HostName),
}

/// A field that a request has to have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HeaderMatch {
    /// Its name.
    pub name: HeaderName,
    /// Its value. `None`: any.
    pub value: Option<String>,
}

/// A route without a fault of its own.
#[derive(Debug)]
pub(crate) struct RawRoute {
    route: Route,
    at: Range<usize>,
}

/// A table as it was read.
#[derive(Default)]
pub(crate) struct Raw {
    host: Option<HostMatch>,
    path: Option<PathPrefix>,
    headers: Option<Headers>,
    app: Option<AppName>,
    apps: Option<Shares>,
    replace_prefix: Option<PathPrefix>,
}

pub(crate) const KEYS: &[Key<Raw>] = keys!(Raw {
    /// The host that requests are for, without a port: a name, or `*.` and a name for all that have one label
    /// before it.
    host, "host", Kind::Text { name: "HOST", expected: "a host such as \"shop.example\" or \"*.shop.example\"" }, "any";
    /// What their path begins with, in whole segments.
    path, "path_prefix", Kind::Text { name: "PATH", expected: PathPrefix::EXPECTED }, "`/`";
    /// Fields that they have, with their values; `*` is any value.
    headers, "headers", Kind::Table {
        name: "NAME:VALUE,…",
        expected: "a table of names and values, such as { X-Canary = \"yes\" }",
    }, "none";
    /// The app that gets them.
    app, "app", Kind::Text { name: "APP", expected: "the name of an app, such as \"shop\"" }, "this or `apps` is required";
    /// The apps that get them, each with its share.
    apps, "apps", Kind::Numbers {
        name: "APP:SHARE,…",
        expected: "a table of apps and shares from 0 to 1000000, such as { shop = 90, shop-next = 10 }",
    }, "this or `app` is required";
    /// What takes the place of `path_prefix` on the way to a backend.
    replace_prefix, "replace_prefix", Kind::Text { name: "PATH", expected: PathPrefix::EXPECTED }, "the path stays";
});

impl FromValue for HostMatch {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let refused = |help: String| Err(Mismatch::text(text).help(help));
        if text == "*" {
            return refused("for every host leave it out".to_owned());
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or_default();
            return refused(format!("only the host: write {host:?}"));
        }
        if let Some((host, port)) = text.rsplit_once(':')
            && port.bytes().all(|b| b.is_ascii_digit())
        {
            return refused(format!("the port plays no part: write {host:?}"));
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return refused("a * is the whole first label or nothing, such as \"*.shop.example\"".to_owned());
        }
        match HostName::parse(name) {
            Ok(name) if wildcard => Ok(Self::Below(name)),
            Ok(name) => Ok(Self::Exact(name)),
            Err(error) => refused(format!("it {error}")),
        }
    }
}

/// Apps with their shares, in order of their names.
struct Shares(Vec<(AppName, u32)>);

impl Shares {
    const MOST_APPS: usize = 32;
    const MOST: u32 = 1_000_000;
}

impl FromValue for Shares {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let Value::Pairs(pairs) = value else {
            return Err(value.unfit());
        };
        if pairs.is_empty() || pairs.len() > Self::MOST_APPS {
            let found = Mismatch::new(format!("{} apps", pairs.len()));
            return Err(found.help(format!("1 to {} can be named", Self::MOST_APPS)));
        }
        let mut shares: Vec<(AppName, u32)> = Vec::with_capacity(pairs.len());
        for (index, (name, share)) in pairs.iter().enumerate() {
            let refused = |help: String| {
                Mismatch::new(format!("{name:.64} = {share:.32}"))
                    .help(help)
                    .item(index)
            };
            let app = AppName::parse(name).map_err(|error| refused(format!("the name {error}")))?;
            if shares.iter().any(|(other, _)| *other == app) {
                return Err(refused(
                    "it comes twice, since the case of a name plays no part".to_owned(),
                ));
            }
            match share.parse() {
                Ok(share) if share <= Self::MOST => shares.push((app, share)),
                _ => {
                    return Err(refused(
                        "shares are parts of their sum, and need not be percent".to_owned(),
                    ));
                }
            }
        }
        if shares.iter().all(|(_, share)| *share == 0) {
            return Err(Mismatch::new("shares that are all 0").help("give at least one app a share above 0"));
        }
        Ok(Self(shares))
    }
}

/// The most routes in a file.
const MOST: usize = 4_096;

/// Reads the tables into the draft.
pub(crate) fn read(document: &Document<'_>, draft: &mut Draft<'_>, value: &Spanned<DeValue<'_>>) {
    for (at, keys) in table::each(document, draft, KEY, MOST, value) {
        let mut table = Table::one_of(document, draft, "a route", at.clone());
        if let Some(route) = table.route(keys) {
            draft.sections.routes.push(RawRoute { route, at });
        }
    }
}

impl Table<'_, '_> {
    fn route(&mut self, keys: &DeTable<'_>) -> Option<Route> {
        let mut raw = Raw::default();
        self.read(keys, KEYS, &[], &mut raw);
        if raw.replace_prefix.is_some() && self.span("path_prefix").is_none() {
            let message = "a route has a replace_prefix and no path_prefix that it would replace".to_owned();
            let help = "add `path_prefix = \"/…\"`; to put something before every path, write add_prefix in [apps.NAME]";
            self.problem_at("replace_prefix", message, Some(help.to_owned()));
        }
        let fields = raw.headers.as_ref().map_or(&[][..], |headers| &headers.0);
        if fields.iter().any(|(name, _)| name.as_str() == "host") {
            let message =
                "a route's headers name Host, which HTTP/2 doesn't have; expected it as host".to_owned();
            self.problem_at(
                "headers",
                message,
                Some("write `host = …` in place of it".to_owned()),
            );
        }
        let apps = self.target(raw.app, raw.apps);
        self.is_sound().then_some(())?;
        let header = |(name, value): (HeaderName, String)| HeaderMatch {
            name,
            value: (value != "*").then_some(value),
        };
        let mut headers: Vec<HeaderMatch> = raw
            .headers
            .unwrap_or_default()
            .0
            .into_iter()
            .map(header)
            .collect();
        headers.sort_unstable();
        Some(Route {
            host: raw.host.unwrap_or(HostMatch::Any),
            path: raw.path.unwrap_or_else(PathPrefix::root),
            headers,
            apps: apps?,
            replace_prefix: raw.replace_prefix,
            place: self.document.place(&self.at),
        })
    }

    fn target(&mut self, app: Option<AppName>, apps: Option<Shares>) -> Option<Vec<(AppName, u32)>> {
        match (self.span("app"), self.span("apps")) {
            (Some(_), Some(span)) => {
                let message = "a route has an app and apps; expected one of them".to_owned();
                self.problem(
                    &span,
                    message,
                    Some("put the app into apps, with its share".to_owned()),
                );
                None
            }
            (None, None) => {
                let message = "a route has no app; expected the app that gets its requests".to_owned();
                let help = "add `app = \"shop\"`, or `apps = { shop = 90, shop-next = 10 }` to share them";
                self.problem(&self.at.clone(), message, Some(help.to_owned()));
                None
            }
            _ => app.map(|app| vec![(app, 1)]).or(apps.map(|apps| apps.0)),
        }
    }
}

/// Puts the routes in order, and refuses those that have no order.
pub(crate) fn resolve(draft: &mut Draft<'_>, mut routes: Vec<RawRoute>) -> Vec<Route> {
    for (earlier, later) in order::ties(&routes, |raw| &raw.route) {
        let line = draft.line(&earlier.at);
        let message = order::tie(&earlier.route, &later.route, line);
        let help = "give one of them a longer path_prefix, a host or another field; or remove it, or join them by apps";
        draft.conflict_at(&later.at, message, Some(help.to_owned()));
    }
    routes.sort_by_key(|raw| Reverse(order::rank(&raw.route)));
    routes.into_iter().map(|raw| raw.route).collect()
}

/// The requests, for a message: `shop.example/api with x-canary`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)?;
        for (index, header) in self.headers.iter().enumerate() {
            let joint = if index == 0 { " with " } else { ", " };
            write!(f, "{joint}{}", header.name.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Display for HostMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(name) => write!(f, "*.{}", name.as_str()),
            Self::Exact(name) => f.write_str(name.as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
