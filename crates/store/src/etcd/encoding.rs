//! What the values under the keys are: JSON, so that `etcdctl get` shows what is there.
//!
//! Fields that are not known are passed over and those that are missing have defaults, so that proxies of two
//! versions can share one etcd; `v` is raised only for a change that an older one must not misread.

use std::borrow::Cow;

use edgeproxy_backend::BackendId;
use edgeproxy_registry::{Overridden, Record};
use serde::{Deserialize, Serialize};

use crate::form::{OverridesForm, RecordForm};

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
        name: value.owner.into_owned(),
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
            name: "edge-1".to_owned(),
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
            ("\"incarnation\":5", "\"incarnation\":0", "incarnation is 0"),
            ("0000001", "0000002", "is about backend-eu-0000002"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            let message = read_backend(&id(1), bad.as_bytes()).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
