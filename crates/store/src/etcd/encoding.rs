//! What the values under the keys are: JSON, so that `etcdctl get` shows what is there.
//!
//! Fields that are not known are passed over and those that are missing have defaults, so that proxies of two
//! versions can share one etcd; `v` is raised only for a change that an older one must not misread.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Metadata, Protocol, Region, Weight,
};
use edgeproxy_registry::{Overrides, Record};
use serde::{Deserialize, Serialize};

/// The version of the form that is written and the latest that is read.
const VERSION: u32 = 1;

/// Who wrote a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Author {
    /// The proxy's name.
    pub(super) name: String,
    /// Which start of a proxy it was, of all that there ever were.
    pub(super) start: u64,
}

/// A registration, with who holds its lease.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) author: Author,
}

#[derive(Serialize, Deserialize)]
struct BackendValue<'a> {
    v: u32,
    owner: &'a str,
    start: u64,
    incarnation: u64,
    ttl_ms: u64,
    app: &'a str,
    region: &'a str,
    country: &'a str,
    ip: std::net::IpAddr,
    port: u16,
    #[serde(default = "default_weight")]
    weight: u64,
    soft_limit: u32,
    hard_limit: u32,
    #[serde(default)]
    fallback: bool,
    #[serde(default = "default_protocol", borrow)]
    protocol: &'a str,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    metadata: BTreeMap<String, String>,
}

fn default_weight() -> u64 {
    Weight::DEFAULT.get().into()
}

fn default_protocol<'a>() -> &'a str {
    Protocol::default().as_str()
}

#[derive(Serialize, Deserialize, Default)]
struct OverridesValue {
    v: u32,
    start: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    soft_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hard_limit: Option<u32>,
}

/// A proxy that lives.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) v: u32,
    pub(super) start: u64,
}

pub(super) fn member(start: u64) -> Vec<u8> {
    bytes(&Member { v: VERSION, start })
}

pub(super) fn read_member(value: &[u8]) -> Option<Member> {
    serde_json::from_slice(value).ok()
}

pub(super) fn backend(record: &Record, author: &Author) -> Vec<u8> {
    let backend = &record.backend;
    bytes(&BackendValue {
        v: VERSION,
        owner: &author.name,
        start: author.start,
        incarnation: record.incarnation.get(),
        ttl_ms: u64::try_from(record.ttl.as_millis()).unwrap_or(u64::MAX),
        app: backend.app.as_str(),
        region: backend.region.as_str(),
        country: backend.country.as_str(),
        ip: backend.addr.ip(),
        port: backend.addr.port(),
        weight: backend.weight.get().into(),
        soft_limit: backend.limits.soft(),
        hard_limit: backend.limits.hard(),
        fallback: backend.fallback,
        protocol: backend.protocol.as_str(),
        metadata: backend
            .metadata
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    })
}

/// # Errors
/// What is wrong with the value, in words that follow the key's name.
pub(super) fn read_backend(id: BackendId, value: &[u8]) -> Result<Stored, String> {
    let text = |what: &str, error: &dyn std::fmt::Display| format!("{what} {error}");
    let value: BackendValue<'_> = serde_json::from_slice(value).map_err(|e| text("is not what is kept there:", &e))?;
    known(value.v)?;
    let incarnation = Incarnation::new(value.incarnation).ok_or("has the incarnation 0")?;
    let mut backend = Backend::new(
        id,
        AppName::parse(value.app).map_err(|e| text("has an app that", &e))?,
        Region::parse(value.region).map_err(|e| text("has a region:", &e))?,
        Country::parse(value.country).map_err(|e| text("has a country:", &e))?,
        BackendAddr::new(value.ip, value.port).map_err(|e| text("has an address:", &e))?,
    );
    backend.weight = Weight::new(value.weight).map_err(|e| text("has a weight that", &e))?;
    backend.limits = Limits::new(value.soft_limit, value.hard_limit).map_err(|e| text("has limits:", &e))?;
    backend.fallback = value.fallback;
    backend.protocol =
        Protocol::from_name(value.protocol).ok_or_else(|| format!("has the protocol {:?}", value.protocol))?;
    backend.metadata = Metadata::new(value.metadata).map_err(|e| text("has metadata that", &e))?;
    Ok(Stored {
        record: Record {
            backend,
            incarnation,
            ttl: Duration::from_millis(value.ttl_ms),
        },
        author: Author {
            name: value.owner.to_owned(),
            start: value.start,
        },
    })
}

pub(super) fn overrides(overrides: &Overrides, start: u64) -> Vec<u8> {
    bytes(&OverridesValue {
        v: VERSION,
        start,
        enabled: overrides.enabled,
        weight: overrides.weight.map(|weight| weight.get().into()),
        soft_limit: overrides.soft_limit,
        hard_limit: overrides.hard_limit,
    })
}

/// What is set, and the start of the proxy that set it.
///
/// # Errors
/// As [`read_backend`].
pub(super) fn read_overrides(value: &[u8]) -> Result<(Overrides, u64), String> {
    let value: OverridesValue =
        serde_json::from_slice(value).map_err(|error| format!("is not what is kept there: {error}"))?;
    known(value.v)?;
    let weight = value.weight.map(Weight::new).transpose();
    let overrides = Overrides {
        enabled: value.enabled,
        weight: weight.map_err(|error| format!("has a weight that {error}"))?,
        soft_limit: value.soft_limit,
        hard_limit: value.hard_limit,
    };
    Ok((overrides, value.start))
}

fn known(version: u32) -> Result<(), String> {
    if version > VERSION {
        return Err(format!(
            "has the form {version}, which a later version of edgeproxy wrote; this one reads up to {VERSION}"
        ));
    }
    Ok(())
}

/// Structs of texts and numbers, which can always be written.
fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let mut backend = Backend::new(
            BackendId::parse("b-1").unwrap(),
            AppName::parse("shop").unwrap(),
            Region::parse("eu").unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("::1", 80).unwrap(),
        );
        backend.protocol = Protocol::H2c;
        backend.fallback = true;
        backend.metadata = Metadata::new([("a\"\n".to_owned(), "ü".to_owned())]).unwrap();
        Record {
            backend,
            incarnation: Incarnation::new(u64::MAX).unwrap(),
            ttl: Duration::from_millis(1500),
        }
    }

    fn author() -> Author {
        Author {
            name: "edge-1".to_owned(),
            start: 7,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let stored = Stored {
            record: record(),
            author: author(),
        };
        let value = backend(&stored.record, &stored.author);
        let id = stored.record.backend.id.clone();
        assert_eq!(read_backend(id, &value), Ok(stored));
        let set = Overrides {
            enabled: Some(false),
            weight: Some(Weight::ZERO),
            ..Overrides::default()
        };
        assert_eq!(read_overrides(&overrides(&set, 7)), Ok((set, 7)));
        assert_eq!(read_member(&member(3)).unwrap().start, 3);
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over_and_missing_ones_have_defaults() {
        let value = br#"{"v":1,"owner":"a","start":1,"incarnation":5,"ttl_ms":1000,"app":"shop","region":"eu",
            "country":"DE","ip":"10.0.0.1","port":80,"soft_limit":1,"hard_limit":2,"colour":"red"}"#;
        let read = read_backend(BackendId::parse("b").unwrap(), value).unwrap();
        assert_eq!(read.record.backend.weight, Weight::DEFAULT);
        assert_eq!(read.record.backend.protocol, Protocol::Http1);
    }

    #[test]
    fn a_value_that_is_not_valid_any_more_is_told_why() {
        let good = String::from_utf8(backend(&record(), &author())).unwrap();
        for (from, to, words) in [
            ("{", "[", "is not what is kept there"),
            ("\"v\":1", "\"v\":2", "a later version of edgeproxy"),
            ("\"DE\"", "\"XX\"", "country"),
            ("\"::1\"", "\"::\"", "address"),
            ("h2c", "h9", "protocol"),
            ("\"weight\":2", "\"weight\":2000", "weight"),
            ("18446744073709551615", "0", "incarnation 0"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            let message = read_backend(BackendId::parse("b").unwrap(), bad.as_bytes()).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
