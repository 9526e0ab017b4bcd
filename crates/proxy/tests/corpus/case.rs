//! The form of the files: see README.md beside them.

use std::ops::Range;

use serde::Deserialize;

/// Bytes written as text: each character is the byte of its number, as in Latin-1. A part may be repeated.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Form")]
pub(crate) struct Bytes {
    pub(crate) all: Vec<u8>,
    /// Where a part is repeated.
    repeats: Vec<Range<usize>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Repeated(Repeated),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeated {
    repeat: String,
    times: usize,
}

impl From<Form> for Bytes {
    fn from(form: Form) -> Self {
        let parts = match form {
            Form::Text(text) => vec![Part::Text(text)],
            Form::Parts(parts) => parts,
        };
        let mut bytes = Self::default();
        for part in parts {
            match part {
                Part::Text(text) => bytes.all.extend(latin1(&text)),
                Part::Repeated(Repeated { repeat, times }) => {
                    let start = bytes.all.len();
                    bytes.all.extend(latin1(&repeat).repeat(times));
                    bytes.repeats.push(start..bytes.all.len());
                }
            }
        }
        bytes
    }
}

pub(crate) fn latin1(text: &str) -> Vec<u8> {
    let byte =
        |c: char| u8::try_from(u32::from(c)).unwrap_or_else(|_| panic!("{c:?} in {text:?} is no byte"));
    text.chars().map(byte).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// As far from a repeated part's ends as a parser may care.
const EDGE: usize = 3;
/// Buffers have such sizes, or multiples of it.
const PAGE: usize = 4096;

impl Bytes {
    /// Every place to split at. Within a repeated part, where one place is like the other: its ends, and
    /// around every multiple of 4,096 from the beginning.
    pub(crate) fn splits(&self) -> Vec<usize> {
        let dull = |at: usize| {
            let within = |range: &Range<usize>| range.start + EDGE < at && at + EDGE < range.end;
            self.repeats.iter().any(within) && !matches!(at % PAGE, 0 | 1 | 4095)
        };
        (1..self.all.len()).filter(|at| !dull(*at)).collect()
    }

    pub(crate) fn text(&self) -> String {
        text(&self.all)
    }
}

/// A field's name and value.
pub(crate) type Field = (String, String);

/// A message as the other side must see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expected {
    /// All values of each field that is named.
    pub(crate) fields: Vec<Field>,
    /// `name`, or `name: value`.
    pub(crate) absent: Vec<String>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<Field>,
}

/// A request and what must become of it.
#[derive(Clone, Debug)]
pub(crate) struct RequestCase {
    pub(crate) name: String,
    pub(crate) section: String,
    pub(crate) bytes: Bytes,
    /// The client shuts its side down behind it.
    pub(crate) fin: bool,
    /// The client says nothing more, and the proxy doesn't wait for ever.
    pub(crate) stalls: bool,
    pub(crate) verdict: Verdict,
    pub(crate) closes: bool,
}

#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// The backend sees that; the client gets the backend's answer.
    Forwarded { line: String, expected: Expected },
    /// The proxy's error, of one of these statuses; the backend sees nothing.
    Refused(Vec<u16>),
    /// The proxy's own answer, which is no error; the backend sees nothing.
    Answered { status: u16, expected: Expected },
    /// A good head with a bad body: the backend may have seen a beginning of this, never an end.
    BrokenOff {
        status: Vec<u16>,
        line: String,
        body: String,
    },
    /// Closed. An error may be sent before; the backend sees nothing that is whole.
    Dropped,
}

/// A response and what must become of it.
#[derive(Clone, Debug)]
pub(crate) struct ResponseCase {
    pub(crate) name: String,
    pub(crate) section: String,
    pub(crate) bytes: Bytes,
    /// What the client asks.
    pub(crate) request: Bytes,
    /// Whether the backend shuts its side down behind it.
    pub(crate) fin: bool,
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// The client gets that.
    Forwarded {
        interim: Vec<u16>,
        status: u16,
        expected: Expected,
        /// Whether the client's connection ends with it.
        closes: bool,
        /// Whether the backend's connection serves the next request; `None`: either way.
        reused: Option<bool>,
    },
    /// The client gets a 502, the ledger counts a failure, the backend's connection is not used again.
    BadGateway,
    /// The client gets that much of it and sees it break; or a 502, where nothing was passed on yet.
    Truncated { status: u16, body: String },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    case: Vec<Raw>,
}

/// One status, or several that are as good.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Status {
    One(u16),
    Any(Vec<u16>),
}

/// A case as it is written. What belongs to which verdict is checked in [`Raw::request`] and
/// [`Raw::response`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: String,
    section: String,
    bytes: Bytes,
    verdict: String,
    #[serde(default)]
    #[allow(dead_code, reason = "for the reader")]
    note: String,
    #[serde(default)]
    fin: bool,
    #[serde(default)]
    stalls: bool,
    request: Option<Bytes>,
    line: Option<Bytes>,
    status: Option<Status>,
    closes: Option<bool>,
    reused: Option<bool>,
    #[serde(default)]
    interim: Vec<u16>,
    #[serde(default)]
    fields: Vec<Field>,
    #[serde(default)]
    absent: Vec<String>,
    #[serde(default)]
    body: Bytes,
    #[serde(default)]
    trailers: Vec<Field>,
}

impl Raw {
    fn expected(&self) -> Expected {
        Expected {
            fields: self.fields.clone(),
            absent: self.absent.clone(),
            body: self.body.text(),
            trailers: self.trailers.clone(),
        }
    }

    fn line(&self) -> String {
        match &self.line {
            Some(line) => line.text(),
            None => panic!("{}: the line is missing", self.name),
        }
    }

    fn statuses(&self) -> Vec<u16> {
        match &self.status {
            Some(Status::One(status)) => vec![*status],
            Some(Status::Any(statuses)) => statuses.clone(),
            None => panic!("{}: the status is missing", self.name),
        }
    }

    fn status(&self) -> u16 {
        match self.statuses().as_slice() {
            [status] => *status,
            statuses => panic!("{}: one status, not {statuses:?}", self.name),
        }
    }

    /// What only some verdicts have must not stand where it is not looked at.
    fn check(&self, permitted: &[&str]) {
        let given = [
            ("line", self.line.is_some()),
            ("status", self.status.is_some()),
            ("closes", self.closes.is_some()),
            ("reused", self.reused.is_some()),
            ("request", self.request.is_some()),
            ("stalls", self.stalls),
            ("interim", !self.interim.is_empty()),
            ("fields", !self.fields.is_empty()),
            ("absent", !self.absent.is_empty()),
            ("body", !self.body.all.is_empty()),
            ("trailers", !self.trailers.is_empty()),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            assert!(
                permitted.contains(key),
                "{}: \"{key}\" is not looked at where the verdict is {}",
                self.name,
                self.verdict
            );
        }
    }

    fn request(self) -> RequestCase {
        let (verdict, closes) = match self.verdict.as_str() {
            "forwarded" => {
                self.check(&["line", "closes", "fields", "absent", "body", "trailers"]);
                let (line, expected) = (self.line(), self.expected());
                (Verdict::Forwarded { line, expected }, false)
            }
            "refused" => {
                self.check(&["status", "closes", "stalls"]);
                (Verdict::Refused(self.statuses()), true)
            }
            "answered" => {
                self.check(&["status", "closes", "fields", "absent", "body"]);
                let (status, expected) = (self.status(), self.expected());
                (Verdict::Answered { status, expected }, false)
            }
            "broken_off" => {
                self.check(&["status", "line", "body"]);
                let (status, line, body) = (self.statuses(), self.line(), self.body.text());
                (Verdict::BrokenOff { status, line, body }, true)
            }
            "dropped" => {
                self.check(&[]);
                (Verdict::Dropped, true)
            }
            other => panic!("{}: {other} is no verdict on a request", self.name),
        };
        RequestCase {
            name: self.name,
            section: self.section,
            bytes: self.bytes,
            fin: self.fin,
            stalls: self.stalls,
            verdict,
            closes: self.closes.unwrap_or(closes),
        }
    }

    fn response(self) -> ResponseCase {
        let outcome = match self.verdict.as_str() {
            "forwarded" => {
                self.check(&[
                    "status", "closes", "reused", "request", "interim", "fields", "absent", "body",
                    "trailers",
                ]);
                Outcome::Forwarded {
                    interim: self.interim.clone(),
                    status: self.status(),
                    expected: self.expected(),
                    closes: self.closes.unwrap_or(false),
                    reused: self.reused,
                }
            }
            "bad_gateway" => {
                self.check(&["request"]);
                Outcome::BadGateway
            }
            "truncated" => {
                self.check(&["status", "request", "body"]);
                let (status, body) = (self.status(), self.body.text());
                Outcome::Truncated { status, body }
            }
            other => panic!("{}: {other} is no verdict on a response", self.name),
        };
        let plain = || Form::Text("GET / HTTP/1.1\r\nHost: app\r\n\r\n".to_owned()).into();
        ResponseCase {
            name: self.name,
            section: self.section,
            bytes: self.bytes,
            request: self.request.unwrap_or_else(plain),
            fin: self.fin,
            outcome,
        }
    }
}

pub(crate) fn requests(file: &str) -> Vec<RequestCase> {
    read(file).into_iter().map(Raw::request).collect()
}

pub(crate) fn responses(file: &str) -> Vec<ResponseCase> {
    read(file).into_iter().map(Raw::response).collect()
}

fn read(file: &str) -> Vec<Raw> {
    let file: File = toml::from_str(file).unwrap_or_else(|error| panic!("{error}"));
    file.case
}
