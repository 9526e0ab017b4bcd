use super::pieces::places;
use super::reference::{self, Field, Framing};
use crate::headers::via::Pseudonym;
use crate::http1::framing::Length;
use crate::http1::request::Method;
use crate::http1::response::{self, Asked, Delivery, Head, Manner, Persist};

const DATE: &[u8; 29] = b"Thu, 01 Jan 1970 00:00:00 GMT";

/// A head that has been read, and what is passed on of it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Read {
    head: Head,
    out: Vec<u8>,
}

/// What came of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    Part,
    Read(Read),
    Refused,
}

/// A response's head is read alike whatever stands behind it and however it comes. What is passed on of it is what
/// the specification's forwarding rules make of it, for each kind of client, and is read alike a second time.
pub fn response_head(bytes: &[u8]) {
    for method in [Method::Get, Method::Head] {
        for minor in [0, 1] {
            for upgrade in [false, true] {
                let asked = Asked {
                    method,
                    minor,
                    upgrade,
                };
                let whole = read(bytes, 0, asked);
                in_parts(bytes, &whole, asked);
                if let Outcome::Read(read) = &whole {
                    passed_on(bytes, read, asked);
                }
            }
        }
    }
}

fn read(bytes: &[u8], seen: usize, asked: Asked) -> Outcome {
    let pseudonym = Pseudonym::parse("edge").unwrap();
    let mut out = Vec::new();
    let read = response::read(bytes, seen, asked, |head, fields| {
        let manner = Manner {
            pseudonym: &pseudonym,
            asked,
            persist: head.persist(asked, true),
            date: &|| *DATE,
        };
        head.write(bytes, fields, &manner, &mut out)
    });
    match read {
        Ok(None) => Outcome::Part,
        Ok(Some((head, ()))) => Outcome::Read(Read { head, out }),
        Err(_) => Outcome::Refused,
    }
}

fn in_parts(bytes: &[u8], whole: &Outcome, asked: Asked) {
    let Outcome::Read(Read { head, .. }) = whole else {
        for place in places(bytes) {
            let part = read(&bytes[..place], 0, asked);
            assert!(
                part == Outcome::Part || part == *whole,
                "{place} bytes: {part:?}, all: {whole:?}"
            );
        }
        return;
    };
    assert!(head.len <= bytes.len() && head.len <= response::MAX_HEAD);
    assert_eq!(read(&bytes[..head.len], 0, asked), *whole, "nothing behind it");
    assert_eq!(
        read(&bytes[..head.len - 1], 0, asked),
        Outcome::Part,
        "a byte is missing"
    );
    for place in places(&bytes[..head.len]) {
        assert_eq!(read(&bytes[..place], 0, asked), Outcome::Part);
        assert_eq!(read(bytes, place, asked), *whole, "behind {place}");
    }
}

fn passed_on(bytes: &[u8], read: &Read, asked: Asked) {
    let came = reference::head(bytes).expect("what is accepted is beyond doubt");
    let left = reference::head(&read.out).expect("what is passed on is beyond doubt");
    assert_eq!((came.len, left.len), (read.head.len, read.out.len()));
    let (version, rest) = came.line.split_at(8);
    let minor = match version {
        b"HTTP/1.0" => 0,
        b"HTTP/1.1" => 1,
        other => panic!("{} is no version", other.escape_ascii()),
    };
    let space: &[u8] = if rest.len() == 4 { b" " } else { b"" };
    assert_eq!(left.line, [b"HTTP/1.1", rest, space].concat());
    let status = std::str::from_utf8(&rest[1..4])
        .ok()
        .and_then(|digits| digits.parse().ok());
    let status: u16 = status.expect("a status");
    assert_eq!(status, read.head.status);
    assert!((100..600).contains(&status) && matches!(rest.get(4), None | Some(b' ')));
    let framing = came.framing();
    assert_ne!(framing, Framing::Bad, "{:?}", came.fields);
    let length = match framing {
        _ if asked.method == Method::Head || status < 200 || matches!(status, 204 | 304) => Length::NONE,
        Framing::Length(length) => Length::Known(length),
        Framing::Chunked => Length::Chunked,
        _ => Length::UntilClose,
    };
    assert_eq!(read.head.length, length);
    let says = |word: &str| came.items("connection").iter().any(|item| item == word);
    let keeps = !says("close") && (minor == 1 || says("keep-alive")) && length != Length::UntilClose;
    assert_eq!(read.head.keep_alive, keeps);
    assert!(status != 101 || asked.upgrade);
    assert_eq!(left.fields, expected(&came, read, asked, minor));
    again(read, asked);
}

/// The client reads the same.
fn again(first: &Read, asked: Asked) {
    let Outcome::Read(second) = read(&first.out, 0, asked) else {
        panic!("{} is refused", first.out.escape_ascii());
    };
    let length = match first.head.delivery(asked.minor) {
        Delivery::AsIs => first.head.length,
        Delivery::Chunked => Length::Chunked,
        Delivery::Bare | Delivery::UntilClose => Length::UntilClose,
    };
    assert_eq!(
        (second.head.status, second.head.length),
        (first.head.status, length)
    );
    if first.head.length != Length::UntilClose && asked.minor == 1 {
        // It was told that its connection lasts, and there is an end that it can see.
        assert!(second.head.keep_alive);
    }
}

/// A length as the client gets it.
fn without_zeros(field: &Field) -> Field {
    let digits = std::str::from_utf8(&field.value).unwrap_or_default();
    match digits.trim_start_matches('0') {
        _ if field.name != "content-length" => field.clone(),
        "" => Field::new("content-length", "0"),
        number => Field::new("content-length", number),
    }
}

/// The fields that a client gets, in their order.
fn expected(came: &reference::Head<'_>, read: &Read, asked: Asked, minor: u8) -> Vec<Field> {
    let status = read.head.status;
    let named = |name: &str| {
        let framing = ["host", "content-length", "transfer-encoding", "via"];
        let own = ["close", "keep-alive", "upgrade"];
        !framing.contains(&name)
            && !own.contains(&name)
            && came.items("connection").iter().any(|item| item == name)
    };
    let keeps = |field: &&Field| {
        let name = field.name.as_str();
        !named(name)
            && match name {
                "connection" | "keep-alive" | "proxy-connection" | "te" | "transfer-encoding" | "upgrade" => {
                    false
                }
                "content-length" => status >= 200 && status != 204,
                _ => true,
            }
    };
    let mut fields: Vec<Field> = came.fields.iter().filter(keeps).map(without_zeros).collect();
    fields.push(Field::new("via", format!("1.{minor} edge")));
    let interim = status < 200;
    if status != 101 && interim {
        return fields;
    }
    if came.values("date").next().is_none() {
        fields.push(Field::new("date", *DATE));
    }
    if status == 101 {
        fields.push(Field::new("connection", "upgrade"));
        fields.push(Field::new(
            "upgrade",
            came.values("upgrade").last().unwrap_or_default(),
        ));
        return fields;
    }
    match read.head.persist(asked, true) {
        Persist::Open => {}
        Persist::KeepAlive => fields.push(Field::new("connection", "keep-alive")),
        Persist::Close => fields.push(Field::new("connection", "close")),
    }
    let chunks = matches!(read.head.length, Length::Chunked | Length::UntilClose);
    if chunks && asked.minor == 1 {
        fields.push(Field::new("transfer-encoding", "chunked"));
    }
    fields
}
