//! The PROXY protocol: a header before everything else that says for whom a proxy connects
//! (haproxy.org, `proxy-protocol.txt`, versions 1 and 2).

use std::io;
use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::ProxyVersion;

/// The longest header that is read. Addresses take 52 bytes; the rest is for what a proxy may say besides,
/// such as a certificate's name, and is not looked at.
const MAX_BYTES: usize = 4 * 1024;

/// As much as is looked at in one go. Headers longer than this are rare.
const CHUNK: usize = 256;

/// Two ends of a connection, as a header names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    pub(crate) client: SocketAddr,
    /// Where the client connected to.
    pub(crate) server: SocketAddr,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The peer's bytes are no header.
    #[error("it does not begin with a PROXY protocol header of version 1 or 2")]
    Malformed,
    /// The header is longer than [`MAX_BYTES`].
    #[error("its PROXY protocol header is longer than 4096 bytes")]
    TooLong,
    /// The peer left in the middle of it.
    #[error("it ended within the PROXY protocol header")]
    Ended,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads the header and not a byte more. `None`: it names nobody, since the proxy speaks for itself (a health
/// check of its own) or can't say for whom.
///
/// It is looked at before it is taken. As long as it is incomplete all that has come belongs to it, so that
/// is taken, and the next look waits for more.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Option<Named>, HeaderError> {
    let mut header = Vec::with_capacity(CHUNK);
    loop {
        let taken = header.len();
        header.resize(taken + CHUNK, 0);
        let Some(free) = header.get_mut(taken..) else {
            return Err(HeaderError::TooLong);
        };
        let seen = stream.peek(free).await?;
        if seen == 0 {
            return Err(HeaderError::Ended);
        }
        header.truncate(taken + seen);
        let (whole, named) = match parse(&header)? {
            Some((length, named)) => (Some(length), named),
            None => (None, None),
        };
        let end = whole.unwrap_or(header.len());
        let Some(now) = header.get_mut(taken..end) else {
            // It ended before what was already taken for incomplete, which can't be.
            return Err(HeaderError::Malformed);
        };
        stream.read_exact(now).await?;
        if whole.is_some() {
            return Ok(named);
        }
        if header.len() >= MAX_BYTES {
            return Err(HeaderError::TooLong);
        }
    }
}

/// A header's length and whom it names, or `None` while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(usize, Option<Named>)>, HeaderError> {
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    match ProxyHeader::parse(bytes, config) {
        Ok((_, length)) if !is_exact(bytes.get(..length).unwrap_or_default()) => Err(HeaderError::Malformed),
        Ok((header, length)) => Ok(Some((length, header.proxied_address().and_then(named)))),
        Err(proxy_header::Error::BufferTooShort) if may_become_one(bytes) => Ok(None),
        Err(_) => Err(HeaderError::Malformed),
    }
}

/// The longest header of version 1, with its line end.
const MAX_LINE: usize = 107;

/// Whether a header of version 1 is one to the letter: the parser takes any byte behind `PROXY`, anything that
/// begins with `UNKNOWN`, a plus sign before a port, and a longer line if it comes in one piece.
fn is_exact(header: &[u8]) -> bool {
    let Some(line) = header.strip_prefix(b"PROXY") else {
        return header.starts_with(b"\r\n");
    };
    let Some(line) = line.strip_suffix(b"\r\n") else {
        return false;
    };
    let mut words = line.split(|b| *b == b' ').skip(1);
    let is_port = |word: Option<&[u8]>| word.is_some_and(|word| word.iter().all(u8::is_ascii_digit));
    let exact = match words.next() {
        Some(b"UNKNOWN") => true,
        // Two addresses and two ports.
        Some(b"TCP4" | b"TCP6") => is_port(words.nth(2)) && is_port(words.next()) && words.next().is_none(),
        _ => false,
    };
    exact && line.starts_with(b" ") && !line.contains(&b'\n') && header.len() <= MAX_LINE
}

/// Told from the first byte that differs, where the parser would wait for the shortest header's length; and from
/// the end of a line, where it would wait for the rest of an address.
fn may_become_one(bytes: &[u8]) -> bool {
    let begins = |signature: &[u8]| {
        let length = signature.len().min(bytes.len());
        bytes.get(..length) == signature.get(..length)
    };
    let is_line = || bytes.windows(2).any(|end| end == b"\r\n");
    let is_version_2 = || bytes.get(12).is_none_or(|version| version >> 4 == 2);
    (begins(b"PROXY ") && !is_line()) || (begins(b"\r\n\r\n\0\r\nQUIT\n") && is_version_2())
}

fn named(address: &ProxiedAddress) -> Option<Named> {
    (address.protocol == Protocol::Stream).then_some(Named {
        client: address.source,
        server: address.destination,
    })
}

/// The header for a backend. Ends of different families, which a header can't carry, are left out of it.
pub(crate) fn header(version: ProxyVersion, ends: Named) -> Vec<u8> {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, server) = (canonical(ends.client), canonical(ends.server));
    let header = if client.is_ipv4() == server.is_ipv4() {
        ProxyHeader::with_address(ProxiedAddress::stream(client, server))
    } else {
        ProxyHeader::with_local()
    };
    let mut bytes = Vec::with_capacity(CHUNK);
    let encoded = match version {
        ProxyVersion::V1 => header.encode_v1(&mut bytes),
        ProxyVersion::V2 => header.encode_v2(&mut bytes),
    };
    // Two addresses of one family always fit.
    debug_assert!(encoded.is_ok(), "{encoded:?}");
    bytes
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

    fn ends(client: &str, server: &str) -> Named {
        Named {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
        }
    }

    fn v4() -> Named {
        ends("192.0.2.7:4711", "198.51.100.1:443")
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connected = TcpStream::connect(listener.local_addr().unwrap()).await;
        (connected.unwrap(), listener.accept().await.unwrap().0)
    }

    /// What is made of these bytes, and how many of those after the header are left.
    async fn read_of(bytes: &[u8]) -> Result<Option<Named>, HeaderError> {
        let (mut sender, mut receiver) = pair().await;
        sender.write_all(bytes).await.unwrap();
        sender.write_all(b"payload").await.unwrap();
        sender.shutdown().await.unwrap();
        let named = read(&mut receiver).await?;
        let mut rest = Vec::new();
        receiver.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"payload");
        Ok(named)
    }

    #[tokio::test]
    async fn both_versions_name_the_client_and_exactly_the_header_is_taken() {
        let v6 = ends("[2001:db8::7]:4711", "[2001:db8::1]:443");
        for named in [v4(), v6] {
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                assert_eq!(read_of(&header(version, named)).await.unwrap(), Some(named));
            }
        }
        assert_eq!(header(ProxyVersion::V1, v4()), V1);
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let (mut sender, mut receiver) = pair().await;
            sender.set_nodelay(true).unwrap();
            let bytes = header(version, v4());
            let (named, ()) = tokio::join!(read(&mut receiver), async {
                for byte in &bytes {
                    sender.write_all(&[*byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            });
            assert_eq!(named.unwrap(), Some(v4()));
        }
    }

    #[tokio::test]
    async fn a_header_that_names_nobody_is_one() {
        let mut local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
        assert_eq!(read_of(&local).await.unwrap(), None);
        local[15] = 5;
        local.extend_from_slice(b"\x04\0\x02xx");
        assert_eq!(read_of(&local).await.unwrap(), None);
        assert_eq!(read_of(b"PROXY UNKNOWN whatever it is\r\n").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused_at_its_first_wrong_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n\r\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\0",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 99999\r\n",
            b"PROXY TCP4 192.0.2.7\r\n",
            b"PROXYTCP4 1.1.1.1 1.1.1.1 1 1\r\n",
            b"PROXYxTCP4 192.0.2.7 198.51.100.1 4711 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 +4711 443\r\n",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 +443\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY UNKNOWNS 192.0.2.7 198.51.100.1 4711 443\r\n",
            b"PROXY UNKNOWN a\nb\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        ] {
            let (mut sender, mut receiver) = pair().await;
            sender.write_all(bytes).await.unwrap();
            let error = read(&mut receiver).await.unwrap_err();
            assert!(
                matches!(error, HeaderError::Malformed),
                "{error} {}",
                bytes.escape_ascii()
            );
        }
        let (mut sender, mut receiver) = pair().await;
        sender.write_all(b"PO").await.unwrap();
        assert!(matches!(read(&mut receiver).await, Err(HeaderError::Malformed)));
    }

    #[tokio::test]
    async fn an_end_within_the_header_and_an_endless_header_are_told() {
        let (mut sender, mut receiver) = pair().await;
        sender.write_all(&V1[..20]).await.unwrap();
        drop(sender);
        assert!(matches!(read(&mut receiver).await, Err(HeaderError::Ended)));

        let (mut sender, mut receiver) = pair().await;
        sender
            .write_all(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff")
            .await
            .unwrap();
        sender.write_all(&[0; 8 * 1024]).await.unwrap();
        assert!(matches!(read(&mut receiver).await, Err(HeaderError::TooLong)));
    }

    #[test]
    fn a_longer_line_is_refused_however_it_comes() {
        let line = |spaces: usize| format!("PROXY UNKNOWN{}\r\n", " ".repeat(spaces));
        assert!(matches!(
            parse(line(MAX_LINE - 15).as_bytes()),
            Ok(Some((MAX_LINE, None)))
        ));
        let longer = line(MAX_LINE - 14);
        assert!(parse(longer.as_bytes()).is_err());
        assert!(parse(&longer.as_bytes()[..MAX_LINE]).is_err());
    }

    #[test]
    fn mapped_addresses_are_written_as_what_they_are_and_mixed_ones_left_out() {
        let mapped = ends("[::ffff:192.0.2.7]:4711", "[::ffff:198.51.100.1]:443");
        assert_eq!(header(ProxyVersion::V1, mapped), V1);
        let mixed = ends("192.0.2.7:4711", "[2001:db8::1]:443");
        assert_eq!(header(ProxyVersion::V1, mixed), b"PROXY UNKNOWN\r\n");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), version in 0..3) {
            let begins: [&[u8]; 3] = [b"", b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n"];
            let whole = [begins[version as usize], &bytes].concat();
            if let Ok(Some((length, _))) = parse(&whole) {
                assert!(length <= whole.len());
            }
        }
    }
}
