//! The vocabulary: names, places, numbers, and the words that there are for states and events.

use edgeproxy_backend::{AppName, BackendId, Country, Protocol, Region, Weight};
use edgeproxy_registry::{EventKind, State};
use serde_json::{Value, json};

/// Of a backend's id.
pub(super) const ID: &str = "^[A-Za-z0-9._:-]+$";
/// Of an app's name: labels as DNS has them.
pub(super) const APP: &str =
    r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$";
/// Of a region's name.
pub(super) const REGION: &str = "^[A-Za-z0-9-]+$";
/// Of an event's id.
pub(in crate::openapi) const EVENT_ID: &str = "^[0-9A-Fa-f]{1,16}-[0-9]{1,19}$";
/// Of where a listing goes on.
pub(in crate::openapi) const CURSOR: &str = "^[0-9]{1,19}$";
/// Of a list of entity tags.
pub(in crate::openapi) const IF_MATCH: &str = r#"^(\*|(W/)?"[!#-~]*"( *, *(W/)?"[!#-~]*")*)$"#;
/// Of a drain's length, in the plainest way to write it.
pub(in crate::openapi) const DRAIN: &str = "^([0-9]{1,3}s|[12][0-9]{3}s|[0-5]?[0-9]m|1h)$";

pub(super) fn all() -> Vec<(&'static str, Value)> {
    let countries: Vec<String> = Country::all()
        .map(|country| country.as_str().to_owned())
        .collect();
    let states: Vec<&str> = State::ALL.map(State::as_str).into();
    let events: Vec<&str> = EventKind::ALL.map(EventKind::as_str).into();
    let protocols: Vec<&str> = Protocol::ALL.map(Protocol::as_str).into();
    vec![
        (
            "BackendId",
            json!({
                "type": "string", "minLength": 1, "maxLength": BackendId::MAX_LEN, "pattern": ID,
                "description": "What a backend is called. Whoever registers it chooses it.", "examples": ["backend-eu-1"],
            }),
        ),
        (
            "AppName",
            json!({
                "type": "string", "minLength": 1, "maxLength": AppName::MAX_LEN, "pattern": APP,
                "description": "The name of an app, a DNS name (RFC 1035, section 2.3.1). Upper case is folded.",
                "examples": ["myapp"],
            }),
        ),
        (
            "Region",
            json!({
                "type": "string", "minLength": 1, "maxLength": Region::MAX_LEN, "pattern": REGION, "format": "region",
                "description": "A region's name. Upper case is folded. Built in are sa, us, eu and ap; a configuration has its own.",
                "examples": ["eu"],
            }),
        ),
        (
            "Country",
            json!({
                "type": "string", "enum": countries,
                "description": "A country (ISO 3166-1 alpha-2). Lower case is taken, too.", "examples": ["DE"],
            }),
        ),
        (
            "Weight",
            json!({
                "type": "integer", "minimum": 0, "maximum": Weight::MAX.get(),
                "description": "Its share of requests beside those of others; 0 takes no new ones.",
            }),
        ),
        (
            "Limit",
            json!({
                "type": "integer", "minimum": 0, "maximum": u32::MAX,
                "description": "Requests at once; 0 is no limit.",
            }),
        ),
        (
            "Incarnation",
            json!({
                "type": "integer", "minimum": 1,
                "description": "Which life of its id: it grows with each address that the id is registered at. Its entity tag, too.",
                "examples": [7],
            }),
        ),
        (
            "State",
            json!({
                "type": "string", "enum": states,
                "description": "`routable`, `trial` and `suspect` get requests; the others don't, and `reason` says why.",
            }),
        ),
        ("EventType", json!({"type": "string", "enum": events})),
        (
            "EventId",
            json!({
                "type": "string", "pattern": EVENT_ID,
                "description": "One life of the process, a hyphen, and a number that grows by one.",
                "examples": ["644c1d2e3f4a5-17"],
            }),
        ),
        (
            "Protocol",
            json!({"type": "string", "enum": protocols, "description": "What the backend speaks."}),
        ),
        (
            "Address",
            json!({
                "type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}],
                "description": "An IPv4 or IPv6 address. Unspecified, multicast, broadcast and link-local ones are refused, so is \
                                what the proxy itself listens on, and what is outside `allowed_backend_cidrs`.",
                "examples": ["10.50.1.1"],
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edgeproxy_registry::Config;
    use proptest::prelude::*;
    use proptest::string::string_regex;

    use super::*;

    /// Texts that a pattern of the document allows.
    fn like(pattern: &str) -> impl Strategy<Value = String> {
        string_regex(pattern.strip_prefix('^').unwrap().strip_suffix('$').unwrap()).unwrap()
    }

    proptest! {
        #[test]
        fn what_a_pattern_allows_the_parser_takes(
            id in like(ID), app in like(APP), region in like(REGION), event in like(EVENT_ID),
            cursor in like(CURSOR), drain in like(DRAIN), tags in like(IF_MATCH),
        ) {
            prop_assert_eq!(BackendId::parse(&id).is_ok(), id.len() <= BackendId::MAX_LEN);
            prop_assert_eq!(AppName::parse(&app).is_ok(), app.len() <= AppName::MAX_LEN);
            prop_assert_eq!(Region::parse(&region).is_ok(), region.len() <= Region::MAX_LEN);
            prop_assert!(crate::events::is_id(&event), "{}", event);
            prop_assert!(cursor.parse::<u64>().is_ok());
            prop_assert!(crate::endpoint::backends::drain(&drain, Config::default().drain_max).is_ok(), "{}", drain);
            prop_assert!(crate::extract::if_match::IfMatch::parse(&tags).is_some(), "{}", tags);
        }

        #[test]
        fn what_a_pattern_does_not_allow_the_parser_refuses(text in "[ -~é\n]{0,6}") {
            let is = |set: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || set.contains(c));
            prop_assert_eq!(BackendId::parse(&text).is_ok(), is("._:-"));
            prop_assert_eq!(Region::parse(&text).is_ok(), is("-"));
        }
    }

    #[test]
    fn the_longest_drain_of_the_pattern_is_the_longest_that_there_is() {
        let longest = Config::default().drain_max;
        assert_eq!(crate::endpoint::backends::drain("1h", longest), Ok(longest));
        assert_eq!(longest, Duration::from_secs(3_600));
    }
}
