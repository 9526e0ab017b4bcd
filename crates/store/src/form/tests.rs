use std::time::Duration;

use edgeproxy_backend::{
    AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Limits, Metadata, Protocol, Region,
    Weight,
};
use edgeproxy_registry::Record;
use proptest::prelude::*;

use super::RecordForm;

fn records() -> impl Strategy<Value = Record> {
    let numbers = (
        1..=u64::MAX,
        any::<u32>(),
        any::<[u8; 4]>(),
        1..=u16::MAX,
        0..=1_000_u32,
    );
    let rest = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..100_u32,
        any::<bool>(),
    );
    (("[A-Za-z0-9._:-]{1,20}", "[a-z0-9]{1,20}"), numbers, rest).prop_filter_map(
        "an address that no backend can have",
        |((id, app), (incarnation, ttl, ip, port, weight), (v6, is_fallback, has_metadata, soft, is_h2c))| {
            let ip = if v6 {
                std::net::Ipv6Addr::from(u128::from(u32::from_be_bytes(ip)) << 64 | 0x2001 << 112).into()
            } else {
                ip.into()
            };
            let mut backend = Backend::new(
                BackendId::parse(&id).ok()?,
                AppName::parse(&app).ok()?,
                Region::parse("eu").ok()?,
                Country::parse("DE").ok()?,
                BackendAddr::new(ip, port).ok()?,
            );
            backend.weight = Weight::new(weight.into()).ok()?;
            backend.limits = Limits::new(soft, soft + 7).ok()?;
            backend.fallback = is_fallback;
            backend.protocol = if is_h2c { Protocol::H2c } else { Protocol::Http1 };
            if has_metadata {
                let pairs = [("a \"b\"".to_owned(), "\u{e9}\n".to_owned())];
                backend.metadata = Metadata::new(pairs).ok()?;
            }
            Some(Record {
                backend,
                incarnation: Incarnation::new(incarnation)?,
                ttl: Duration::from_millis(u64::from(ttl).max(1_000)),
            })
        },
    )
}

fn by_serde(json: &[u8]) -> Option<Record> {
    Record::try_from(serde_json::from_slice::<RecordForm<'_>>(json).ok()?).ok()
}

fn plainly(json: &[u8]) -> Option<Record> {
    Record::try_from(RecordForm::plain(json)?).ok()
}

proptest! {
    #[test]
    fn what_is_read_plainly_is_what_serde_reads(record in records()) {
        let json = serde_json::to_vec(&RecordForm::from(&record)).unwrap();
        prop_assert_eq!(by_serde(&json), Some(record.clone()));
        let is_plain = !record.backend.fallback && record.backend.metadata == Metadata::default();
        prop_assert_eq!(plainly(&json), is_plain.then_some(record));
    }

    /// Whatever a byte that is another one makes of it.
    #[test]
    fn what_is_read_plainly_is_never_read_otherwise(record in records(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut json = serde_json::to_vec(&RecordForm::from(&record)).unwrap();
        let at = at.index(json.len());
        json[at] = byte;
        if let Some(read) = plainly(&json) {
            prop_assert_eq!(by_serde(&json), Some(read));
        }
    }
}

#[test]
fn a_lease_of_no_time_at_all_is_read_as_one_of_a_second() {
    let json = r#"{"id":"b","incarnation":7,"ttl_ms":0,"app":"a","region":"eu","country":"DE","ip":"10.0.0.1","port":80,"weight":1,"soft_limit":1,"hard_limit":2,"protocol":"http1"}"#;
    let read = plainly(json.as_bytes()).unwrap();
    assert_eq!(read.ttl, Duration::from_secs(1));
}

#[test]
fn a_number_that_json_spells_otherwise_is_left_to_serde() {
    let json = r#"{"id":"b","incarnation":7,"ttl_ms":60000,"app":"a","region":"eu","country":"DE","ip":"10.0.0.1","port":80,"weight":1,"soft_limit":1,"hard_limit":2,"protocol":"http1"}"#;
    assert!(plainly(json.as_bytes()).is_some());
    for (from, to) in [
        (":7,", ":07,"),
        (":7,", ":7.0,"),
        (":7,", ":7e1,"),
        (":7,", ": 7,"),
        ("\"b\"", "\"\\u0062\""),
    ] {
        let other = json.replace(from, to);
        assert!(RecordForm::plain(other.as_bytes()).is_none(), "{other}");
    }
}
