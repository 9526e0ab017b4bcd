//! Where the codec and hyper differ, and why that is meant.

use super::Verdict;
use super::ours::{MAX_HEAD, MAX_TARGET, PSEUDONYM};
use super::peer::AFTER;

/// A difference that is meant.
pub(super) struct Difference {
    pub(super) what: &'static str,
    /// What asks for it.
    #[allow(dead_code, reason = "for the reader")]
    pub(super) section: &'static str,
    /// Whether it is this one, by hyper's reading and by the bytes; never by the codec's own reading.
    shows: fn(&Evidence<'_>) -> bool,
    /// Part of what the codec says of it.
    says: &'static [&'static str],
}

/// Those that requests and responses share, and those of the one or the other.
pub(super) type Table = [&'static [Difference]; 2];

/// What is known of a case.
struct Evidence<'e> {
    /// The head as hyper's parser sees it: up to an empty line, whatever lines end in.
    head: &'e [u8],
    /// What stands behind that.
    body: &'e [u8],
}

/// The difference that explains it, if there is one.
pub(super) fn reason(table: Table, bytes: &[u8], ours: &Result<Verdict, Verdict>) -> Option<&'static str> {
    let says = match ours {
        Err(Verdict::Refused(error)) => error.as_str(),
        Err(_) => "waits",
        Ok(_) => "passed on",
    };
    let mut end = end_of_head(bytes);
    // Responses before the final one belong to it.
    while is_interim(bytes, end) {
        end += end_of_head(&bytes[end..]);
    }
    let (head, body) = bytes.split_at(end);
    let evidence = Evidence { head, body };
    let explains = |difference: &&Difference| {
        difference.says.iter().any(|part| says.contains(part)) && (difference.shows)(&evidence)
    };
    let mut all = table.into_iter().flatten();
    all.find(explains).map(|difference| difference.what)
}

fn end_of_head(bytes: &[u8]) -> usize {
    let begin = bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let mut at = begin;
    while let Some(end) = bytes[at..].iter().position(|b| *b == b'\n') {
        let line = &bytes[at..at + end];
        at += end + 1;
        if matches!(line, b"" | b"\r") {
            return at;
        }
    }
    bytes.len()
}

/// Whether the last head up to there is that of a response behind which another one follows.
fn is_interim(bytes: &[u8], end: usize) -> bool {
    let head = &bytes[..end];
    let begin = head
        .windows(7)
        .rposition(|window| window == b"HTTP/1.")
        .unwrap_or_default();
    let status = head.get(begin + 9..begin + 12).unwrap_or_default();
    head.starts_with(b"HTTP/") && status.starts_with(b"1") && status != b"101" && end < bytes.len()
}

impl Evidence<'_> {
    /// The last status line's status.
    fn status(&self) -> String {
        let lines: Vec<String> = self.lines().filter(|line| line.starts_with("HTTP/")).collect();
        let words = lines.last().and_then(|line| line.split(' ').nth(1));
        words.unwrap_or_default().trim().to_owned()
    }

    /// Whether there are empty lines before a status line, besides the one that ends a response.
    fn has_a_gap(&self) -> bool {
        let starts = (0..self.head.len()).filter(|at| self.head[*at..].starts_with(b"HTTP/"));
        starts.into_iter().any(|at| {
            let before = self.head[..at].iter().rev();
            let ends = before
                .take_while(|b| matches!(b, b'\r' | b'\n'))
                .filter(|b| **b == b'\n');
            ends.count() > if at > 0 && self.head[0] == b'H' { 2 } else { 0 }
        })
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let begin = self
            .head
            .iter()
            .take_while(|b| matches!(b, b'\r' | b'\n'))
            .count();
        let lines = self.head[begin..].split(|b| *b == b'\n');
        lines.map(|line| line.iter().copied().map(char::from).collect::<String>())
    }

    /// The values of a field as they stand in the head.
    fn raw(&self, name: &str) -> Vec<String> {
        let pair = |line: String| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_lowercase(), value.trim().to_owned()))
        };
        let pairs = self.lines().skip(1).filter_map(pair);
        pairs
            .filter(|(found, _)| found == name)
            .map(|(_, value)| value)
            .collect()
    }

    fn items(&self, name: &str) -> Vec<String> {
        let values = self.raw(name);
        let items = values.iter().flat_map(|value| value.split(','));
        let items = items.map(|item| item.trim().to_lowercase());
        items.filter(|item| !item.is_empty()).collect()
    }

    /// A word of the first line.
    fn word(&self, index: usize) -> String {
        let line = self.lines().next().unwrap_or_default();
        line.split(' ').nth(index).unwrap_or_default().trim().to_owned()
    }

    fn target(&self) -> String {
        self.word(1)
    }

    fn authority(&self) -> Option<String> {
        let target = self.target();
        let (_, rest) = target.split_once("://")?;
        rest.split(['/', '?']).next().map(str::to_owned)
    }

    fn has_bare_line_feed(&self) -> bool {
        has_bare_line_feed(self.head)
    }

    /// The lines of the chunks' sizes, and where the trailers begin.
    fn chunks(&self) -> (Vec<String>, &[u8]) {
        let (mut lines, mut rest) = (Vec::new(), self.body);
        if !rest.contains(&b'\n') {
            lines.push(rest.iter().copied().map(char::from).collect());
        }
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: String = rest[..end].iter().copied().map(char::from).collect();
            rest = &rest[end + 1..];
            let digits = line.chars().take_while(char::is_ascii_hexdigit).count();
            let size = u64::from_str_radix(&line[..digits], 16).unwrap_or(u64::MAX);
            lines.push(line);
            if size == 0 {
                break;
            }
            let next = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(2);
            rest = rest.get(next..).unwrap_or_default();
            if !rest.contains(&b'\n') {
                // A line that has not ended is looked at as well.
                lines.push(rest.iter().copied().map(char::from).collect());
            }
        }
        (lines, rest)
    }

    fn any_chunk(&self, is_odd: impl Fn(&str, &str) -> bool) -> bool {
        let (lines, _) = self.chunks();
        lines.iter().any(|line| {
            let digits = line.chars().take_while(char::is_ascii_hexdigit).count();
            let (size, rest) = line.split_at(digits);
            is_odd(size, rest)
        })
    }
}

fn has_bare_line_feed(bytes: &[u8]) -> bool {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.any(|(at, _)| at == 0 || bytes[at - 1] != b'\r')
}

const fn row(
    what: &'static str,
    section: &'static str,
    says: &'static [&'static str],
    shows: fn(&Evidence<'_>) -> bool,
) -> Difference {
    Difference {
        what,
        section,
        shows,
        says,
    }
}

fn is_odd_authority(text: &str) -> bool {
    let port = text.rsplit_once(':').map_or("", |(_, port)| port);
    let port_is_none = !port.contains(']') && !port.is_empty() && port.parse::<u16>().is_err();
    let literal = text
        .strip_prefix('[')
        .map(|text| text.split(']').next().unwrap_or_default());
    let literal_is_none = literal.is_some_and(|literal| literal.parse::<std::net::Ipv6Addr>().is_err());
    let is_within = text.rfind('[').is_some_and(|at| at > 0);
    let is_followed = text
        .split_once(']')
        .is_some_and(|(_, rest)| !(rest.is_empty() || rest.starts_with(':')));
    text.starts_with(':')
        || is_within
        || is_followed
        || text.parse::<http::uri::Authority>().is_err()
        || text.contains('@')
        || port_is_none
        || literal_is_none
}

pub(super) const REQUESTS: Table = [&OF_BOTH, &OF_REQUESTS];
pub(super) const RESPONSES: Table = [&OF_BOTH, &OF_RESPONSES];

const OF_BOTH: [Difference; 12] = [
    row(
        "a bare line feed ends a line",
        "RFC 9112 §2.2",
        &["CR LF"],
        |e| e.has_bare_line_feed(),
    ),
    row(
        "Content-Length is given more than once",
        "RFC 9112 §6.3",
        &["Content-Length is given more than once"],
        |e| e.raw("content-length").len() > 1,
    ),
    row(
        "Content-Length is no number, or too long for one",
        "RFC 9110 §8.6",
        &["Content-Length is not"],
        |e| {
            e.raw("content-length")
                .iter()
                .any(|text| text.is_empty() || text.len() > 19 || !text.bytes().all(|b| b.is_ascii_digit()))
        },
    ),
    row(
        "Transfer-Encoding lists more than chunked",
        "RFC 9112 §6.1",
        &["Transfer-Encoding is not"],
        |e| !matches!(e.raw("transfer-encoding").as_slice(), [coding] if coding.eq_ignore_ascii_case("chunked")),
    ),
    row(
        "Content-Length and Transfer-Encoding",
        "RFC 9112 §6.1",
        &["contradict each other"],
        |e| !e.raw("content-length").is_empty() && !e.raw("transfer-encoding").is_empty(),
    ),
    row(
        "Connection is heeded beside a byte that is not ASCII",
        "RFC 9110 §7.6.1",
        &["passed on"],
        |e| e.raw("connection").iter().any(|value| !value.is_ascii()),
    ),
    row(
        "Connection names more than 16 fields",
        "the codec's limit",
        &["names more fields"],
        |e| e.items("connection").len() > 16,
    ),
    row(
        "a chunk's size that is negative to somebody, or has more than 16 digits",
        "RFC 9112 §7.1",
        &["a chunk's size"],
        |e| e.any_chunk(|size, _| size.len() > 16 || size.len() == 16 && size.as_bytes()[0] >= b'8'),
    ),
    row(
        "white space behind a chunk's size and no extension",
        "RFC 9112 §7.1",
        &["a chunk's size"],
        |e| e.any_chunk(|_, rest| rest.starts_with([' ', '\t']) && rest.trim().is_empty()),
    ),
    row(
        "a chunk's extension is none",
        "RFC 9112 §7.1.1",
        &["a chunk's extension"],
        |e| e.any_chunk(|_, rest| rest.contains(';')),
    ),
    row(
        "a bare line feed in the trailers",
        "RFC 9112 §7.1.2",
        &["CR LF", "the trailers are malformed"],
        |e| has_bare_line_feed(e.chunks().1),
    ),
    row(
        "a trailer that frames or routes",
        "RFC 9110 §6.5.1",
        &["the trailers are malformed"],
        |e| {
            let (_, trailers) = e.chunks();
            let text: String = trailers.iter().copied().map(char::from).collect();
            let names = ["content-length:", "transfer-encoding:", "host:"];
            text.to_lowercase()
                .split('\n')
                .any(|line| names.iter().any(|name| line.starts_with(name)))
        },
    ),
];

const OF_REQUESTS: [Difference; 15] = [
    row(
        "more than an empty line before the request",
        "RFC 9112 §2.2",
        &["request line"],
        |e| e.head.starts_with(b"\n") || e.head.starts_with(b"\r\n\r\n") || e.head.starts_with(b"\r\n\n"),
    ),
    row(
        "more than an empty line before the next request",
        "RFC 9112 §2.2",
        &["passed on"],
        |e| {
            let before = e.body.strip_suffix(AFTER).unwrap_or_default();
            before.ends_with(b"\n\r\n") || before.ends_with(b"\n") && !before.ends_with(b"\r\n")
        },
    ),
    row("Host is missing", "RFC 9112 §3.2", &["Host is missing"], |e| {
        e.word(2) == "HTTP/1.1" && e.raw("host").is_empty()
    }),
    row(
        "Host is given more than once",
        "RFC 9112 §3.2",
        &["Host is given more than once"],
        |e| e.raw("host").len() > 1,
    ),
    row(
        "Host is no authority",
        "RFC 9112 §3.2",
        &["Host is empty", "Host holds"],
        |e| e.raw("host").iter().any(|host| is_odd_authority(host)),
    ),
    row(
        "the target's authority has a user, or a port that is none",
        "RFC 9110 §4.2.4",
        &["the target's authority"],
        |e| {
            e.authority()
                .is_some_and(|authority| is_odd_authority(&authority))
        },
    ),
    row(
        "a percent sign in the target's host",
        "RFC 3986 §3.2.2",
        &["passed on", "waits"],
        |e| e.authority().is_some_and(|authority| authority.contains('%')),
    ),
    row(
        "a byte in the target that no URI has",
        "RFC 3986 §2",
        &["has no place there"],
        |e| {
            !e.target()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b))
        },
    ),
    row(
        "a target that is neither a path nor an http URL",
        "RFC 9112 §3.2",
        &["neither a path nor"],
        |e| {
            let target = e.target().to_lowercase();
            !["/", "http://", "https://"]
                .iter()
                .any(|begin| target.starts_with(begin))
        },
    ),
    row("CONNECT is for no app", "RFC 9110 §9.3.6", &["CONNECT"], |e| {
        e.word(0) == "CONNECT"
    }),
    row(
        "an expectation that nobody knows",
        "RFC 9110 §10.1.1",
        &["100-continue"],
        |e| {
            let values = e.raw("expect");
            values.len() > 1 || !values[0].eq_ignore_ascii_case("100-continue")
        },
    ),
    row(
        "it has come through here before",
        "RFC 9110 §7.6.3",
        &["before"],
        |e| {
            e.items("via")
                .iter()
                .any(|hop| hop.split_whitespace().nth(1) == Some(PSEUDONYM))
        },
    ),
    row(
        "Max-Forwards is no number",
        "RFC 9110 §7.6.2",
        &["Max-Forwards is"],
        |e| {
            let values = e.raw("max-forwards");
            values.len() > 1 || values[0].is_empty() || !values[0].bytes().all(|b| b.is_ascii_digit())
        },
    ),
    row(
        "Max-Forwards ends here",
        "RFC 9110 §7.6.2",
        &["the last recipient"],
        |e| e.raw("max-forwards") == ["0"] && matches!(e.word(0).as_str(), "OPTIONS" | "TRACE"),
    ),
    row(
        "the head is over a limit",
        "the codec's limit",
        &["longer than", "more than"],
        |e| e.head.len() > MAX_HEAD || e.lines().count() > 100 || e.target().len() > MAX_TARGET,
    ),
];

const OF_RESPONSES: [Difference; 5] = [
    row(
        "empty lines before the response",
        "RFC 9112 §4",
        &["status line"],
        |e| e.has_a_gap(),
    ),
    row(
        "HTTP/1.0 with Transfer-Encoding and no body",
        "RFC 9112 §6.1",
        &["HTTP/1.0 has no"],
        |e| !e.raw("transfer-encoding").is_empty(),
    ),
    row(
        "a status beyond 599",
        "RFC 9110 §15",
        &["the status is not"],
        |e| matches!(e.status().as_bytes()[0], b'6'..=b'9'),
    ),
    row(
        "a switch that nobody asked for",
        "RFC 9110 §15.2.2",
        &["without being asked"],
        |e| e.status() == "101",
    ),
    row(
        "trailers are looked at when they have come whole",
        "RFC 9112 §7.1.2",
        &["waits"],
        |e| {
            let (_, trailers) = e.chunks();
            trailers
                .windows(2)
                .any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
        },
    ),
];
