//! `[[routes]]`: which requests go to which app.

mod host;
mod order;
mod overlap;
mod shares;

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
use crate::value::{FromValue, Mismatch, Value};

pub use host::HostMatch;
pub use overlap::{Overlap, overlaps};
use shares::Shares;

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
///
/// With routes, a request that none is for goes nowhere; without any, its host names the app.
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
    /// How long a body may be, before 413.
    pub max_body: BodyLimit,
    /// Where it stands.
    pub place: Place,
}

/// How long the body of a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLimit {
    /// As long as the app's [`max_body_bytes`](crate::AppSettings::max_body_bytes) says.
    OfApp,
    /// As long as it likes.
    Unlimited,
    /// So many bytes.
    Bytes(u64),
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
    max_body: Option<BodyLimit>,
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
    /// The longest body of a request, before 413.
    max_body, "max_body_bytes",
        Kind::Number { min: 0, max: 1 << 50, unit: "bytes", word: Some("unlimited") }, "the app's `max_body_bytes`";
});

impl FromValue for BodyLimit {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        // A word in place of the number is no limit.
        Option::from_value(value).map(|bytes: Option<u64>| bytes.map_or(Self::Unlimited, Self::Bytes))
    }
}

/// The most routes in a file.
const MOST: usize = 16_384;

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
                "a route's headers name Host, which HTTP/2 sends by another name; expected it as host"
                    .to_owned();
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
            max_body: raw.max_body.unwrap_or(BodyLimit::OfApp),
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

#[cfg(test)]
mod tests;
