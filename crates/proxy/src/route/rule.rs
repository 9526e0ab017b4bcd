use edgeproxy_backend::AppName;
use http::header::{HeaderName, HeaderValue};

use crate::PathPrefix;

/// Requests, and where they go.
///
/// Of several that are for one request the narrowest gets it, wherever it stands: a host before a wildcard before any
/// host, then the longer path, then the one that asks for more fields by their value, and then for more that only
/// have to be there. Between two that are equally narrow the earlier one is chosen.
///
/// Where a route looks at paths, or puts another one in their place, a path with a segment `.` or `..` is refused with
/// 400, in whatever way its dots and slashes are written: to the backend it could be another path than the one that the
/// route was chosen for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The hosts that it is for.
    pub host: HostPattern,
    /// What paths begin with. A request for the server as a whole (`OPTIONS *`) has the root for its path.
    pub path: PathPrefix,
    /// Fields that a request has to have. Of one that comes several times one line suffices.
    pub fields: Vec<FieldPattern>,
    /// The apps that get the requests, with their shares of them. Those without a share get none; with no share at all
    /// the route is for no request.
    pub apps: Vec<(AppName, u32)>,
    /// What takes the place of `path` on the way to the backend.
    pub replace_prefix: Option<PathPrefix>,
    /// How long a body may be. Else 413.
    pub max_body: BodyLimit,
}

impl Route {
    /// Every request, to that app.
    #[must_use]
    pub fn to(app: AppName) -> Self {
        Self {
            host: HostPattern::Any,
            path: PathPrefix::root(),
            fields: Vec::new(),
            apps: vec![(app, 1)],
            replace_prefix: None,
            max_body: BodyLimit::OfApp,
        }
    }
}

/// The hosts that a route is for. They are compared without a port, and in any case.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum HostPattern {
    /// Every host, and none.
    Any,
    /// Those with one label before this name: of `shop.example` it is `www.shop.example`, neither `shop.example` nor
    /// `a.www.shop.example`.
    Below(String),
    /// This one.
    Exact(String),
}

/// A field that a request has to have.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FieldPattern {
    /// Its name.
    pub name: HeaderName,
    /// Its value, byte by byte. `None`: any.
    pub value: Option<HeaderValue>,
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

impl BodyLimit {
    /// In bytes, of an app that has this limit of its own.
    pub(super) fn or(self, of_app: Option<u64>) -> Option<u64> {
        match self {
            Self::OfApp => of_app,
            Self::Unlimited => None,
            Self::Bytes(bytes) => Some(bytes),
        }
    }
}
