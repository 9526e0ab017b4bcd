use edgeproxy_backend::BackendAddr;

use super::reference;
use crate::headers::forwarded::is_chain;
use crate::headers::trace;
use crate::headers::via::Pseudonym;
use crate::request::host::Authority;

/// Bytes as an authority, a trace's parent, a request's id, a chain of addresses, a list of hops, and the address
/// of a backend: what is taken is what the specifications permit, and can't be taken for anything else.
pub fn values(bytes: &[u8]) {
    authority(bytes);
    assert_eq!(trace::is_traceparent(bytes), is_traceparent(bytes));
    assert_eq!(trace::is_request_id(bytes), is_request_id(bytes));
    let is_clean = bytes.iter().all(|b| matches!(b, b'\t' | b' '..=b'~'));
    assert_eq!(is_chain(bytes), is_clean && !bytes.is_empty());
    via(bytes);
    backend_address(bytes);
}

fn authority(bytes: &[u8]) {
    let Ok(authority) = Authority::parse(bytes) else {
        return;
    };
    assert_eq!(authority.text.as_bytes(), bytes);
    assert!(!authority.host.is_empty());
    let delimiters = ['@', '/', '?', '#', ' ', ',', '[', ']', '"', '<', '\\'];
    let is_delimiter =
        |c: char| c.is_ascii_control() || !c.is_ascii() || (delimiters.contains(&c) && c != ',');
    assert!(!authority.host.contains(is_delimiter));
    let host = if authority.host.contains(':') {
        format!("[{}]", authority.host)
    } else {
        authority.host.to_owned()
    };
    let rest = authority.text.strip_prefix(&host).expect("the host comes first");
    match authority.port {
        None => assert!(matches!(rest, "" | ":")),
        Some(port) => assert_eq!(rest[1..].parse(), Ok(port)),
    }
    // The crate `http` knows no percent sign in a host.
    if !authority.text.contains('%') {
        let second: http::uri::Authority = authority.text.parse().expect("it is one to others");
        assert_eq!(second.host(), host);
        if authority.port.is_some() {
            assert_eq!(second.port_u16(), authority.port);
        }
    }
}

/// W3C Trace Context §3.2.
pub(super) fn is_traceparent(bytes: &[u8]) -> bool {
    let hex = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let some = |part: &str| hex(part) && part.bytes().any(|b| b != b'0');
    let (Some(known), Some(rest)) = (bytes.get(..55), bytes.get(55..)) else {
        return false;
    };
    let Ok(known) = std::str::from_utf8(known) else {
        return false;
    };
    match known.split('-').collect::<Vec<_>>().as_slice() {
        [version, trace, parent, flags] => {
            let lengths = [version, trace, parent, flags].map(|part| part.len()) == [2, 32, 16, 2];
            let more = match *version {
                "ff" => false,
                "00" => rest.is_empty(),
                _ => rest.is_empty() || rest[0] == b'-',
            };
            lengths && more && hex(version) && some(trace) && some(parent) && hex(flags)
        }
        _ => false,
    }
}

pub(super) fn is_request_id(bytes: &[u8]) -> bool {
    let permitted = |c: char| c.is_ascii_alphanumeric() || "-_.:/+=@~".contains(c);
    std::str::from_utf8(bytes)
        .is_ok_and(|text| (1..=128).contains(&text.len()) && text.chars().all(permitted))
}

fn via(bytes: &[u8]) {
    let pseudonym = Pseudonym::parse("edge").unwrap();
    let signed = [bytes, b", 1.1 edge"].concat();
    assert!(
        pseudonym.is_in(&signed) || bytes.ends_with(b"\\"),
        "it is overlooked behind others"
    );
    assert!(pseudonym.is_in(&[b"1.0 edge (comment) , ", bytes].concat()));
    if pseudonym.is_in(bytes) {
        assert!(reference::find(bytes, b"edge").is_some());
    }
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(named) = Pseudonym::parse(name)
    {
        let mut line = Vec::new();
        named.push_line(&mut line, 1);
        assert_eq!(line, format!("via: 1.1 {name}\r\n").into_bytes());
        assert!(named.is_in(&line[5..line.len() - 2]));
    }
}

fn backend_address(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match BackendAddr::parse(text, 80) {
        Ok(addr) => {
            let again = BackendAddr::parse(&addr.ip().to_string(), 80);
            assert_eq!(again, Ok(addr), "it has one spelling");
            let ip = addr.ip();
            assert!(!(ip.is_unspecified() || ip.is_multicast()) && ip == ip.to_canonical());
            assert!(BackendAddr::parse(text, 0).is_err());
        }
        Err(error) => {
            let message = error.to_string();
            assert!(
                message.len() < 1024 && !message.contains(['\r', '\n', '\0']),
                "{message:?}"
            );
        }
    }
}
