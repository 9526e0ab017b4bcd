//! Which key holds what, below the prefix.
//!
//! | key | value |
//! |---|---|
//! | `/PREFIX/backends/ID` | a registration, with its owner |
//! | `/PREFIX/overrides/ID` | what an operator has set on the id |
//! | `/PREFIX/proxies/NAME` | that a proxy lives; bound to its lease |
//! | `/PREFIX/heard/NAME/SLOT` | others' backends that a proxy has heard; bound to its lease, and written over round and round |
//! | `/PREFIX/commits/NAME` | the start and the number of the last transaction of a proxy |
//! | `/PREFIX/incarnation` | a number later than every incarnation that was ever written |
//! | `/PREFIX/starts` | how many times a proxy has started |

use bytes::Bytes;
use edgeproxy_backend::BackendId;

use crate::ProxyName;

/// The keys of one prefix.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    root: String,
}

/// What a key is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Backend(BackendId),
    Overrides(BackendId),
    Proxy(ProxyName),
    /// What that proxy has heard.
    Heard(ProxyName),
    /// Which transaction of that proxy was the last.
    Commits(ProxyName),
    /// A counter, or somebody else's.
    Other,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            root: format!("/{prefix}/"),
        }
    }

    pub(super) fn backend(&self, id: &BackendId) -> Bytes {
        format!("{}backends/{id}", self.root).into()
    }

    pub(super) fn overrides(&self, id: &BackendId) -> Bytes {
        format!("{}overrides/{id}", self.root).into()
    }

    pub(super) fn proxy(&self, name: &ProxyName) -> Bytes {
        format!("{}proxies/{name}", self.root).into()
    }

    pub(super) fn heard(&self, name: &ProxyName, slot: usize) -> Bytes {
        format!("{}heard/{name}/{slot}", self.root).into()
    }

    pub(super) fn commits(&self, name: &ProxyName) -> Bytes {
        format!("{}commits/{name}", self.root).into()
    }

    pub(super) fn incarnation(&self) -> Bytes {
        format!("{}incarnation", self.root).into()
    }

    pub(super) fn starts(&self) -> Bytes {
        format!("{}starts", self.root).into()
    }

    /// First and end of the range that holds them all.
    pub(super) fn all(&self) -> (Bytes, Bytes) {
        (self.root.clone().into(), after(&self.root))
    }

    pub(super) fn kind(&self, key: &[u8]) -> Kind {
        let Some(rest) = std::str::from_utf8(key)
            .ok()
            .and_then(|key| key.strip_prefix(&self.root))
        else {
            return Kind::Other;
        };
        let id = |text| BackendId::parse(text).ok();
        let proxy = |text| ProxyName::parse(text).ok();
        let kind = match rest.split_once('/') {
            Some(("backends", name)) => id(name).map(Kind::Backend),
            Some(("overrides", name)) => id(name).map(Kind::Overrides),
            Some(("proxies", name)) => proxy(name).map(Kind::Proxy),
            Some(("commits", name)) => proxy(name).map(Kind::Commits),
            Some(("heard", slot)) => slot
                .rsplit_once('/')
                .and_then(|(name, _)| proxy(name))
                .map(Kind::Heard),
            _ => None,
        };
        kind.unwrap_or(Kind::Other)
    }
}

/// The first key that doesn't begin with that, which ends in a slash.
fn after(prefix: &str) -> Bytes {
    let next = char::from(b'/' + 1);
    format!("{}{next}", prefix.strip_suffix('/').unwrap_or(prefix)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_what_it_is_about_and_its_range_holds_it() {
        let keys = Keys::new("shop/eu");
        let id = BackendId::parse("a:1").unwrap();
        assert_eq!(keys.kind(&keys.backend(&id)), Kind::Backend(id.clone()));
        assert_eq!(keys.kind(&keys.overrides(&id)), Kind::Overrides(id.clone()));
        let proxy = ProxyName::parse("p").unwrap();
        assert_eq!(keys.kind(&keys.proxy(&proxy)), Kind::Proxy(proxy.clone()));
        assert_eq!(keys.kind(&keys.heard(&proxy, 3)), Kind::Heard(proxy.clone()));
        assert_eq!(keys.kind(&keys.commits(&proxy)), Kind::Commits(proxy));
        for other in [
            keys.starts(),
            keys.incarnation(),
            "/shop/backends/a".into(),
            "/shop/eu/backends/a b".into(),
            "/shop/eu/proxies/a b".into(),
            "/shop/eu/heard/a".into(),
        ] {
            assert_eq!(keys.kind(&other), Kind::Other, "{other:?}");
        }
        let (first, end) = keys.all();
        assert!(first <= keys.backend(&id) && keys.backend(&id) < end && keys.starts() < end);
        assert!(Keys::new("shop/eu2").backend(&id) > end);
    }
}
