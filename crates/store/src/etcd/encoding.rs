//! What the values under the keys are: JSON, so that `etcdctl get` shows what is there.
//!
//! Fields that are not known are passed over and those that are missing have defaults, so that proxies of two
//! versions can share one etcd; `v` is raised only for a change that an older one must not misread.

use std::borrow::Cow;
use std::str::FromStr;

use bytes::Bytes;
use edgeproxy_backend::BackendId;
use edgeproxy_registry::{Overridden, Record};
use serde::{Deserialize, Serialize};

use crate::ProxyName;
use crate::cluster::Owned;
use crate::form::{OverridesForm, RecordForm};

/// The version of the form that is written and the latest that is read.
const VERSION: u32 = 1;

/// Who wrote a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Author {
    /// The proxy's name.
    pub(super) name: ProxyName,
    /// Which start of a proxy it was, of all that there ever were.
    pub(super) start: u64,
}

/// A registration, with who holds its lease.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) author: Author,
}

impl Stored {
    pub(super) fn owned(&self) -> Owned {
        Owned {
            id: self.record.backend.id.clone(),
            incarnation: self.record.incarnation,
            ttl: self.record.ttl,
            owner: self.author.name.clone(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct BackendValue<'a> {
    v: u32,
    #[serde(borrow)]
    owner: Cow<'a, str>,
    start: u64,
    #[serde(flatten, borrow)]
    record: RecordForm<'a>,
}

#[derive(Serialize, Deserialize)]
struct OverridesValue<'a> {
    v: u32,
    start: u64,
    #[serde(flatten, borrow)]
    overrides: OverridesForm<'a>,
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

/// Which transaction of which start was the last that a proxy did.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Guard {
    pub(super) start: u64,
    pub(super) number: u64,
}

impl Guard {
    pub(super) fn write(self) -> Bytes {
        format!("{} {}", self.start, self.number).into()
    }

    /// What can't be read is older than everything.
    pub(super) fn read(value: &[u8]) -> Self {
        let numbers = std::str::from_utf8(value).ok().and_then(|text| {
            let (start, number) = text.split_once(' ')?;
            Some((u64::from_str(start).ok()?, u64::from_str(number).ok()?))
        });
        let (start, number) = numbers.unwrap_or((0, 0));
        Self { start, number }
    }
}

#[derive(Serialize, Deserialize)]
struct HeardValue<'a> {
    v: u32,
    #[serde(borrow)]
    ids: Vec<Cow<'a, str>>,
}

/// What one value may hold: a request with a value in each slot is a third of what etcd takes.
const HEARD_MAX: usize = 64 << 10;

/// Values that name these ids, each of at most 64 KiB.
pub(super) fn heard(ids: &[BackendId]) -> Vec<Bytes> {
    let mut values = Vec::new();
    let mut rest = ids;
    while !rest.is_empty() {
        let mut size = 0;
        let fits = |id: &&BackendId| {
            size += id.as_str().len() + 3;
            size <= HEARD_MAX
        };
        let (these, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        let ids = these.iter().map(|id| id.as_str().into()).collect();
        values.push(bytes(&HeardValue { v: VERSION, ids }).into());
        rest = after;
    }
    values
}

/// The ids that were heard; those that are none are passed over, and so is all of a form that is not known.
pub(super) fn read_heard(value: &[u8]) -> Vec<BackendId> {
    match serde_json::from_slice::<HeardValue<'_>>(value) {
        Ok(value) if value.v <= VERSION => {
            let ids = value.ids.iter();
            ids.filter_map(|id| BackendId::parse(id).ok()).collect()
        }
        _ => Vec::new(),
    }
}

pub(super) fn backend(record: &Record, author: &Author) -> Vec<u8> {
    bytes(&BackendValue {
        v: VERSION,
        owner: author.name.as_str().into(),
        start: author.start,
        record: record.into(),
    })
}

/// # Errors
/// What is wrong with the value, in words that follow the key's name.
pub(super) fn read_backend(id: &BackendId, value: &[u8]) -> Result<Stored, String> {
    let value: BackendValue<'_> = serde_json::from_slice(value).map_err(misread)?;
    known(value.v)?;
    let author = Author {
        name: ProxyName::parse(&value.owner).map_err(misread)?,
        start: value.start,
    };
    let record = Record::try_from(value.record).map_err(misread)?;
    is_about(id, &record.backend.id)?;
    Ok(Stored { record, author })
}

pub(super) fn overrides(overridden: &Overridden, start: u64) -> Vec<u8> {
    bytes(&OverridesValue {
        v: VERSION,
        start,
        overrides: overridden.into(),
    })
}

/// What is set, and the start of the proxy that set it.
///
/// # Errors
/// As [`read_backend`].
pub(super) fn read_overrides(id: &BackendId, value: &[u8]) -> Result<(Overridden, u64), String> {
    let value: OverridesValue<'_> = serde_json::from_slice(value).map_err(misread)?;
    known(value.v)?;
    let overridden = Overridden::try_from(value.overrides).map_err(misread)?;
    is_about(id, &overridden.id)?;
    Ok((overridden, value.start))
}

fn misread(error: impl std::fmt::Display) -> String {
    format!("is not what is kept there: {error}")
}

fn is_about(id: &BackendId, found: &BackendId) -> Result<(), String> {
    if id == found {
        return Ok(());
    }
    Err(format!("is about {found}"))
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
    use edgeproxy_backend::Weight;
    use edgeproxy_registry::Overrides;

    use super::*;
    use crate::testing::{id, record};

    fn author() -> Author {
        Author {
            name: ProxyName::parse("edge-1").unwrap(),
            start: 7,
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for variant in 0..12 {
            let stored = Stored {
                record: record(1, u64::MAX, variant),
                author: author(),
            };
            let value = backend(&stored.record, &stored.author);
            assert_eq!(read_backend(&id(1), &value), Ok(stored));
        }
        let set = Overridden {
            overrides: Overrides {
                enabled: Some(false),
                weight: Some(Weight::ZERO),
                ..Overrides::default()
            },
            app: Some(record(1, 5, 2).backend.app),
            ..Overridden::nothing(id(1))
        };
        assert_eq!(read_overrides(&id(1), &overrides(&set, 7)), Ok((set, 7)));
        let earlier = br#"{"v":1,"start":7,"id":"backend-eu-0000001","enabled":false}"#;
        let (read, _) = read_overrides(&id(1), earlier).unwrap();
        assert!(read.is_some() && read.app.is_none(), "{read:?}");
        assert_eq!(read_member(&member(3)).unwrap().start, 3);
    }

    #[test]
    fn fields_of_a_later_version_are_passed_over() {
        let value = String::from_utf8(backend(&record(1, 5, 2), &author())).unwrap();
        let value = value.replacen('{', "{\"colour\":[\"red\"],", 1);
        let read = read_backend(&id(1), value.as_bytes()).unwrap();
        assert_eq!(read.record, record(1, 5, 2));
    }

    #[test]
    fn a_value_that_is_not_valid_any_more_is_told_why() {
        let good = String::from_utf8(backend(&record(1, 5, 2), &author())).unwrap();
        for (from, to, words) in [
            ("{", "[", "is not what is kept there"),
            ("\"v\":1", "\"v\":2", "a later version of edgeproxy"),
            ("\"DE\"", "\"XX\"", "country"),
            ("edge-1", "edge 1", "is not a proxy's name"),
            ("\"incarnation\":5", "\"incarnation\":0", "incarnation is 0"),
            ("0000001", "0000002", "is about backend-eu-0000002"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            let message = read_backend(&id(1), bad.as_bytes()).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn what_is_heard_is_named_in_values_of_limited_length() {
        let ids: Vec<_> = (0..10_000).map(id).collect();
        let values = heard(&ids);
        assert!(values.len() > 2);
        assert!(values.iter().all(|value| value.len() <= HEARD_MAX + 64));
        let read: Vec<_> = values.iter().flat_map(|value| read_heard(value)).collect();
        assert_eq!(read, ids);
        assert_eq!(heard(&[]), [Bytes::new(); 0]);
        for other in [&b"{\"v\":2,\"ids\":[\"a\"]}"[..], b"x"] {
            assert_eq!(read_heard(other), []);
        }
        assert_eq!(
            read_heard(b"{\"v\":1,\"ids\":[\"a b\",\"c\"]}"),
            [BackendId::parse("c").unwrap()]
        );
    }

    #[test]
    fn a_guard_is_read_as_it_was_written_and_what_is_none_is_older_than_all() {
        let guard = Guard { start: 3, number: 14 };
        assert_eq!(Guard::read(&guard.write()), guard);
        for other in [&b""[..], b"3", b"3 x", b"\xff 1"] {
            assert!(Guard::read(other) < guard);
        }
    }
}
