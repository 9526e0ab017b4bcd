//! From what the configuration says of keys and stickiness to what the data plane goes by.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_balance::Bindings;
use edgeproxy_config as config;
use edgeproxy_config::AppSettings;
use edgeproxy_proxy::{CookieName, HashKey, Keys, Sticky, StickyCookie};

/// An app's keys as the configuration wants them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeysPlan {
    hash: Option<HashKey>,
    sticky: StickyPlan,
    ttl: Duration,
    /// How many bindings there is room for, where they have a table.
    max_bindings: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum StickyPlan {
    Off,
    ClientIp,
    /// Of this name.
    Header(config::HeaderName),
    Cookie(CookieName),
}

impl KeysPlan {
    /// `hash` is what is hashed, where the algorithm does.
    pub(crate) fn of(hash: Option<&config::HashKey>, app: &AppSettings) -> Self {
        let cookie = || CookieName::parse(app.sticky_cookie.as_str()).ok();
        // Both crates ask for a token, so that nothing is lost on the way; what could not be would be off.
        let sticky = match &app.sticky {
            config::Sticky::Off => None,
            config::Sticky::ClientIp => Some(StickyPlan::ClientIp),
            config::Sticky::Header(name) => Some(StickyPlan::Header(name.clone())),
            config::Sticky::Cookie => cookie().map(StickyPlan::Cookie),
        };
        Self {
            hash: hash.map(hash_key),
            sticky: sticky.unwrap_or(StickyPlan::Off),
            ttl: app.binding_ttl,
            max_bindings: app.max_bindings,
        }
    }

    /// What the app's requests go by; `None` if they go by nothing. Goes on with the bindings of the keys before.
    pub(crate) fn built(&self, previous: Option<&Keys>) -> Option<Keys> {
        let bindings = || {
            let before = previous
                .and_then(|keys| keys.sticky.as_ref())
                .and_then(|sticky| match sticky {
                    Sticky::ClientIp(bindings) | Sticky::Header(_, bindings) => Some(bindings),
                    Sticky::Cookie(_) => None,
                });
            match before.filter(|bindings| bindings.is_of(self.max_bindings, self.ttl)) {
                Some(bindings) => Arc::clone(bindings),
                None => Arc::new(Bindings::new(self.max_bindings, self.ttl)),
            }
        };
        let sticky = match &self.sticky {
            StickyPlan::Off => None,
            StickyPlan::ClientIp => Some(Sticky::ClientIp(bindings())),
            StickyPlan::Header(name) => header(name).map(|name| Sticky::Header(name, bindings())),
            StickyPlan::Cookie(name) => Some(Sticky::Cookie(StickyCookie::new(name.clone(), self.ttl))),
        };
        (self.hash.is_some() || sticky.is_some()).then(|| Keys {
            hash: self.hash.clone(),
            sticky,
        })
    }
}

fn hash_key(key: &config::HashKey) -> HashKey {
    match key {
        config::HashKey::ClientIp => HashKey::ClientIp,
        config::HashKey::Header(name) => header(name).map_or(HashKey::ClientIp, HashKey::Header),
        config::HashKey::Cookie(name) => {
            CookieName::parse(name.as_str()).map_or(HashKey::ClientIp, HashKey::Cookie)
        }
    }
}

fn header<T: FromStr>(name: &config::HeaderName) -> Option<T> {
    name.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use edgeproxy_backend::AppName;

    use crate::plan::tests::plan;

    use super::*;

    fn shop(text: &str) -> KeysPlan {
        let name = AppName::parse("shop").unwrap();
        plan(&format!("[apps.shop]\n{text}\n")).app(&name).keys.clone()
    }

    fn sticky(keys: Option<&Keys>) -> Option<&Arc<Bindings>> {
        match keys?.sticky.as_ref()? {
            Sticky::ClientIp(bindings) | Sticky::Header(_, bindings) => Some(bindings),
            Sticky::Cookie(_) => None,
        }
    }

    #[test]
    fn an_app_that_goes_by_nothing_has_no_keys() {
        assert!(shop("").built(None).is_none());
    }

    #[test]
    fn what_is_hashed_is_what_the_file_says_inside_region_affinity_as_well() {
        for (text, expected) in [
            ("algorithm = \"hash\"", HashKey::ClientIp),
            (
                "algorithm = \"hash\"\nhash_key = \"header:X-User\"",
                HashKey::Header("x-user".parse().unwrap()),
            ),
            (
                "algorithm = \"region_affinity\"\ninner = \"hash\"\nhash_key = \"cookie:Session\"",
                HashKey::Cookie(CookieName::parse("Session").unwrap()),
            ),
        ] {
            assert_eq!(shop(text).built(None).unwrap().hash, Some(expected), "{text}");
        }
        let others = plan("algorithm = \"hash\"\nhash_key = \"header:X-User\"\n");
        let keys = others.others().keys.built(None).unwrap();
        assert_eq!(keys.hash, Some(HashKey::Header("x-user".parse().unwrap())));
    }

    #[test]
    fn bindings_are_handed_on_unless_their_time_or_number_changes() {
        let first = shop("sticky = \"client_ip\"").built(None);
        let next = shop("sticky = \"client_ip\"").built(first.as_ref());
        let (first_table, next_table) = (sticky(first.as_ref()).unwrap(), sticky(next.as_ref()).unwrap());
        assert!(Arc::ptr_eq(first_table, next_table));
        for changed in ["binding_ttl_secs = 5", "max_bindings = 1000"] {
            let text = format!("sticky = \"header:X-Session\"\n{changed}");
            let next = shop(&text).built(first.as_ref());
            assert!(
                !Arc::ptr_eq(first_table, sticky(next.as_ref()).unwrap()),
                "{changed}"
            );
        }
    }

    #[test]
    fn a_cookie_needs_no_table_and_has_the_name_of_the_file() {
        let keys = shop("sticky = \"cookie\"\nsticky_cookie = \"route\"\nbinding_ttl_secs = 60").built(None);
        let expected = StickyCookie::new(CookieName::parse("route").unwrap(), Duration::from_secs(60));
        match keys.unwrap().sticky {
            Some(Sticky::Cookie(cookie)) => assert_eq!(cookie, expected),
            other => panic!("{other:?}"),
        }
    }
}
