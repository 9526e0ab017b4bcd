use proptest::prelude::*;

use super::*;

/// A value as the format writes it: the text of a map is keys and values in turn.
enum Value {
    Text(&'static str),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(&'static str, Value)>),
    List(Vec<Value>),
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                out.push(2 << 5 | u8::try_from(text.len()).unwrap());
                out.extend(text.as_bytes());
            }
            Self::Short(number) => {
                out.push(5 << 5 | 2);
                out.extend(number.to_be_bytes());
            }
            Self::Long(number) => {
                out.extend([8, 9 - 7]);
                out.extend(number.to_be_bytes());
            }
            Self::Number(number) => {
                out.push(6 << 5 | 4);
                out.extend(number.to_be_bytes());
            }
            Self::Map(pairs) => {
                out.push(7 << 5 | u8::try_from(pairs.len()).unwrap());
                for (key, value) in pairs {
                    Self::Text(key).write(out);
                    value.write(out);
                }
            }
            Self::List(values) => {
                out.extend([u8::try_from(values.len()).unwrap(), 11 - 7]);
                for value in values {
                    value.write(out);
                }
            }
        }
    }
}

/// A file with a record for each network, given as an address and its length within 128 bits.
fn file(kind: &'static str, networks: &[(&str, u8, Value)]) -> Vec<u8> {
    const NONE: usize = usize::MAX;
    enum Leaf {
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[NONE; 2]];
    let mut data = Vec::new();
    let mut leaves: Vec<Leaf> = Vec::new();
    for (address, length, record) in networks {
        let bits = match address.parse().unwrap() {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        let at = data.len();
        record.write(&mut data);
        let mut node = 0;
        for depth in 0..*length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == *length {
                leaves.push(Leaf::Data(at));
                nodes[node][side] = leaves.len() - 1;
            } else if let Some(Leaf::Node(next)) = leaves.get(nodes[node][side]) {
                node = *next;
            } else {
                nodes.push([NONE; 2]);
                leaves.push(Leaf::Node(nodes.len() - 1));
                nodes[node][side] = leaves.len() - 1;
                node = nodes.len() - 1;
            }
        }
    }
    let count = nodes.len();
    let mut out = Vec::new();
    for record in nodes.iter().flatten() {
        let value = match leaves.get(*record) {
            None => count,
            Some(Leaf::Node(node)) => *node,
            Some(Leaf::Data(at)) => count + 16 + at,
        };
        out.extend(&u32::try_from(value).unwrap().to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    let meta = vec![
        ("binary_format_major_version", Value::Short(2)),
        ("binary_format_minor_version", Value::Short(0)),
        ("build_epoch", Value::Long(1_700_000_000)),
        ("database_type", Value::Text(kind)),
        (
            "description",
            Value::Map(vec![("en", Value::Text("made by a test"))]),
        ),
        ("ip_version", Value::Short(6)),
        ("languages", Value::List(vec![Value::Text("en")])),
        ("node_count", Value::Number(u32::try_from(count).unwrap())),
        ("record_size", Value::Short(24)),
    ];
    Value::Map(meta).write(&mut out);
    out
}

fn nested(code: &'static str) -> Value {
    let country = Value::Map(vec![
        ("geoname_id", Value::Number(1)),
        ("iso_code", Value::Text(code)),
    ]);
    Value::Map(vec![("continent", Value::Text("x")), ("country", country)])
}

fn countries() -> Vec<u8> {
    let networks = [
        ("127.0.0.0", 96 + 8, nested("UY")),
        ("192.0.2.0", 96 + 24, nested("BR")),
        ("198.51.100.0", 96 + 25, nested("DE")),
        ("198.51.100.128", 96 + 25, nested("XX")),
        ("2001:db8::", 32, nested("JP")),
        (
            "2001:db9::",
            32,
            Value::Map(vec![("continent", Value::Text("x"))]),
        ),
    ];
    file("GeoLite2-Country", &networks)
}

/// What other crates test with. Written by hand it would be a secret; so it is what the writer here makes.
#[test]
fn the_fixture_is_what_is_written_here() {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/countries.mmdb");
    if std::env::var_os("EDGEPROXY_WRITE_FIXTURES").is_some() {
        std::fs::write(fixture, countries()).unwrap();
    }
    assert!(
        std::fs::read(fixture).unwrap() == countries(),
        "write it with EDGEPROXY_WRITE_FIXTURES=1"
    );
}

fn country(database: &Database, address: &str) -> Option<String> {
    database
        .country(address.parse().unwrap())
        .map(|country| country.to_string())
}

#[test]
fn an_address_has_the_country_of_its_network() {
    let database = Database::read(countries()).unwrap();
    assert_eq!(
        (database.kind(), database.built()),
        ("GeoLite2-Country", 1_700_000_000)
    );
    for (address, expected) in [
        ("192.0.2.1", Some("BR")),
        ("::ffff:192.0.2.255", Some("BR")),
        ("192.0.3.1", None),
        ("198.51.100.127", Some("DE")),
        // No country has that code.
        ("198.51.100.128", None),
        ("2001:db8::1", Some("JP")),
        ("2001:db9::1", None),
        ("127.0.0.1", Some("UY")),
        ("::1", None),
    ] {
        assert_eq!(country(&database, address).as_deref(), expected, "{address}");
    }
}

#[test]
fn the_flat_layouts_of_other_makers_are_read_too() {
    for key in ["country_code", "country"] {
        let record = Value::Map(vec![("asn", Value::Number(1)), (key, Value::Text("UY"))]);
        let database = Database::read(file("other", &[("192.0.2.0", 120, record)])).unwrap();
        assert_eq!(country(&database, "192.0.2.1").as_deref(), Some("UY"), "{key}");
    }
}

#[test]
fn what_is_no_such_database_is_refused_with_what_was_found() {
    let message = |bytes: &[u8]| Database::read(bytes.to_vec()).unwrap_err().to_string();
    let sound = countries();
    for damaged in [&b""[..], b"hello", &sound[..sound.len() - 100], &sound[100..]] {
        let message = message(damaged);
        assert!(
            message.starts_with("is no sound MaxMind database (.mmdb): "),
            "{message}"
        );
    }
    let asn = Value::Map(vec![("autonomous_system_number", Value::Number(1))]);
    assert_eq!(
        message(&file("GeoLite2-ASN", &[("192.0.2.0", 120, asn)])),
        "is a database of type \"GeoLite2-ASN\" whose records name no country; expected one such as GeoLite2-Country"
    );
}

proptest! {
    /// It is refused, or it answers something.
    #[test]
    fn no_damage_makes_it_panic(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        end in any::<proptest::sample::Index>(),
        cut in proptest::bool::weighted(0.2),
        addresses in proptest::collection::vec(any::<u128>(), 8),
    ) {
        let mut bytes = countries();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        if let Ok(database) = Database::read(bytes) {
            for address in addresses {
                let _ = database.country(IpAddr::V6(address.into()));
                let _ = database.country(IpAddr::V4(u32::try_from(address & 0xffff_ffff).unwrap().into()));
            }
        }
    }
}
