use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, ReadBuf};

use super::pieces;
use crate::tcp::sni::{MAX_HELLO, Refused, hello};

/// Stands before what comes, as a header of the PROXY protocol does.
const BEFORE: &[u8] = b"before ";

/// What came of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Outcome {
    /// The server name.
    Read(Option<String>),
    Malformed,
    TooLong,
    Ended,
}

/// A ClientHello means the same in any pieces, its server name is what a second reader finds in it, and what was
/// read of it is there for the backend as it came. A client that never comes to its end is refused at the limit,
/// and one that is malformed is told so by an alert.
pub fn client_hello(bytes: &[u8]) {
    let [all, others @ ..] = pieces::divisions(bytes);
    let whole = read(&mut all.into_iter());
    for division in others {
        let said = format!("in {} pieces", division.len());
        assert_eq!(read(&mut division.into_iter()), whole, "{said}");
    }
    match whole {
        Outcome::Read(name) => assert_eq!(name, second(bytes), "{}", bytes.escape_ascii()),
        Outcome::Ended if !bytes.is_empty() => {
            let endless = read(&mut std::iter::repeat(bytes));
            assert_ne!(endless, Outcome::Ended);
        }
        _ => {}
    }
}

fn read(pieces: &mut dyn Iterator<Item = &[u8]>) -> Outcome {
    let mut client = Client {
        pieces,
        piece: &[],
        given: Vec::new(),
    };
    let mut lead = BEFORE.to_vec();
    // It is never pending.
    let read = pin!(hello(&mut client, &mut lead)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(read) = read else {
        panic!("it waits for a client that has something");
    };
    assert_eq!(
        lead,
        [BEFORE, &client.given].concat(),
        "it is not kept as it came"
    );
    assert!(
        client.given.len() <= MAX_HELLO,
        "{} bytes were read",
        client.given.len()
    );
    match read {
        Ok(name) => Outcome::Read(name),
        Err(Refused::TooLong) => {
            assert_eq!(client.given.len(), MAX_HELLO);
            Outcome::TooLong
        }
        Err(Refused::Ended) => Outcome::Ended,
        Err(refused @ Refused::Malformed { .. }) => {
            let said = refused.to_string();
            // A record of TLS with a fatal alert of two bytes (RFC 8446 §6).
            let alert = refused.alert().unwrap_or_default();
            assert!(
                matches!(alert.as_slice(), [21, 3, _, 0, 2, 2, _]),
                "{said}: {alert:?}"
            );
            Outcome::Malformed
        }
        Err(error) => panic!("{error}"),
    }
}

/// Gives its pieces out one by one.
struct Client<'b, 'p> {
    pieces: &'p mut dyn Iterator<Item = &'b [u8]>,
    piece: &'b [u8],
    given: Vec<u8>,
}

impl AsyncRead for Client<'_, '_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.piece.is_empty() {
            let Some(piece) = self.pieces.next() else {
                return Poll::Ready(Ok(()));
            };
            self.piece = piece;
        }
        let (now, later) = self.piece.split_at(self.piece.len().min(buf.remaining()));
        buf.put_slice(now);
        self.given.extend_from_slice(now);
        self.piece = later;
        Poll::Ready(Ok(()))
    }
}

/// The server name of a whole ClientHello, read by RFC 8446 §4.1.2 and §5.1 and RFC 6066 §3.
fn second(bytes: &[u8]) -> Option<String> {
    let (mut records, mut message) = (Parts(bytes), Vec::new());
    // The message's own head says how long it is.
    let whole = |message: &[u8]| {
        let [1, high, middle, low, ..] = message else {
            assert!(message.len() < 4, "it is no ClientHello");
            return false;
        };
        message.len() >= 4 + usize::from(*high) * 65_536 + usize::from(*middle) * 256 + usize::from(*low)
    };
    while !whole(&message) {
        assert_eq!(records.take(1), [22], "it is no record of a handshake");
        records.take(2);
        message.extend_from_slice(records.counted(2));
    }
    let mut message = Parts(&message[4..]);
    message.take(2 + 32);
    message.counted(1);
    message.counted(2);
    message.counted(1);
    if message.0.is_empty() {
        return None;
    }
    let mut extensions = Parts(message.counted(2));
    while !extensions.0.is_empty() {
        let kind = extensions.number(2);
        let mut extension = Parts(extensions.counted(2));
        if kind == 0 {
            let mut names = Parts(extension.counted(2));
            assert_eq!(names.number(1), 0, "it is no host's name");
            let name = std::str::from_utf8(names.counted(2)).expect("text");
            // The root's dot may be left out.
            let name = name.strip_suffix('.').unwrap_or(name);
            let is_address = name.parse::<std::net::IpAddr>().is_ok();
            return (!is_address).then(|| name.to_ascii_lowercase());
        }
    }
    None
}

/// What is left to read.
struct Parts<'b>(&'b [u8]);

impl<'b> Parts<'b> {
    fn take(&mut self, count: usize) -> &'b [u8] {
        let (part, rest) = self.0.split_at_checked(count).expect("enough bytes");
        self.0 = rest;
        part
    }

    fn number(&mut self, bytes: usize) -> usize {
        let bytes = self.take(bytes);
        bytes
            .iter()
            .fold(0, |number, byte| number * 256 + usize::from(*byte))
    }

    /// What follows a length of so many bytes.
    fn counted(&mut self, bytes: usize) -> &'b [u8] {
        let count = self.number(bytes);
        self.take(count)
    }
}
