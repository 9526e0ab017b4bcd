use crate::ProxyVersion;
use crate::listen::proxy_protocol::{HeaderError, Named, header, parse};

/// What came of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Part,
    Read(usize, Option<Named>),
    Refused,
}

/// A header of the PROXY protocol is found as soon as it is whole, and what is refused is never waited for: the
/// bytes of one that is incomplete are taken before it is looked at again. Whom it names is what a second reader
/// makes of it, and is written as it is read.
pub fn proxy_header(bytes: &[u8]) {
    let whole = read(bytes);
    for end in 0..bytes.len().min(600) {
        let agrees = match (read(&bytes[..end]), whole) {
            (Outcome::Part, Outcome::Read(length, _)) => end < length,
            (Outcome::Part, _) => true,
            (part, whole) => part == whole,
        };
        assert!(agrees, "{end} bytes: {:?}, all: {whole:?}", read(&bytes[..end]));
    }
    let Outcome::Read(length, named) = whole else {
        return;
    };
    assert!(length <= bytes.len());
    assert_eq!(
        named,
        second(&bytes[..length]),
        "{}",
        bytes[..length].escape_ascii()
    );
    let Some(named) = named else {
        return;
    };
    let canonical = |addr: std::net::SocketAddr| (addr.ip().to_canonical(), addr.port());
    let (client, server) = (canonical(named.client), canonical(named.server));
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let written = header(version, named);
        let expected = (client.0.is_ipv4() == server.0.is_ipv4()).then_some(Named {
            client: client.into(),
            server: server.into(),
        });
        assert_eq!(read(&written), Outcome::Read(written.len(), expected));
    }
}

fn read(bytes: &[u8]) -> Outcome {
    match parse(bytes) {
        Ok(None) => Outcome::Part,
        Ok(Some((length, named))) => Outcome::Read(length, named),
        Err(HeaderError::Malformed) => Outcome::Refused,
        Err(error) => panic!("{error}"),
    }
}

/// Whom a whole header names, read by the specification's two pages on versions 1 and 2.
fn second(header: &[u8]) -> Option<Named> {
    match header.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n") {
        Some(rest) => version_2(rest),
        None => version_1(header),
    }
}

fn version_1(header: &[u8]) -> Option<Named> {
    let line = header.strip_suffix(b"\r\n").expect("a line");
    assert!(!line.contains(&b'\n'), "there is a line in it");
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    if let [b"PROXY", b"UNKNOWN", ..] = words.as_slice() {
        return None;
    }
    assert!(header.len() <= 107, "it is longer than the longest");
    let words: Vec<&str> = words
        .iter()
        .map(|word| std::str::from_utf8(word).expect("text"))
        .collect();
    let ["PROXY", family, client, server, from, to] = words.as_slice() else {
        panic!("{words:?} are not six words");
    };
    let end = |ip: &str, port: &str| {
        assert!(port.bytes().all(|b| b.is_ascii_digit()), "{port} is no port");
        let ip: std::net::IpAddr = ip.parse().expect("an address");
        assert_eq!(*family, if ip.is_ipv4() { "TCP4" } else { "TCP6" });
        (ip, port.parse().expect("a port")).into()
    };
    Some(Named {
        client: end(client, from),
        server: end(server, to),
    })
}

fn version_2(rest: &[u8]) -> Option<Named> {
    let [command, family, high, low, rest @ ..] = rest else {
        panic!("it is too short");
    };
    assert_eq!(command >> 4, 2);
    assert_eq!(rest.len(), usize::from(u16::from_be_bytes([*high, *low])));
    let ends = |size: usize| {
        let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        (
            &rest[..size],
            &rest[size..2 * size],
            port(2 * size),
            port(2 * size + 2),
        )
    };
    let (client, server) = match (command & 15, family) {
        (1, 0x11) => {
            let (client, server, from, to) = ends(4);
            let ip = |bytes: &[u8]| std::net::IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap());
            ((ip(client), from), (ip(server), to))
        }
        (1, 0x21) => {
            let (client, server, from, to) = ends(16);
            let ip = |bytes: &[u8]| std::net::IpAddr::from(<[u8; 16]>::try_from(bytes).unwrap());
            ((ip(client), from), (ip(server), to))
        }
        // The proxy speaks for itself, or for something that is not a TCP connection.
        _ => return None,
    };
    Some(Named {
        client: client.into(),
        server: server.into(),
    })
}
