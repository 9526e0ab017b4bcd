//! Server-sent events, as <https://html.spec.whatwg.org/multipage/server-sent-events.html> has them.

use std::collections::VecDeque;
use std::time::Duration;

/// Cuts a stream of bytes into its events. Sans IO.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    /// A line that hasn't ended.
    line: Vec<u8>,
    /// The event that is being read.
    name: String,
    data: String,
    ready: VecDeque<Told>,
    /// Of the event that is being read: it counts once that is whole.
    next_id: Option<String>,
    last_id: Option<String>,
    retry: Option<Duration>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// What kind it is of.
    pub(crate) name: String,
    /// What it says.
    pub(crate) data: String,
    /// Its id, or that of the latest before it that had one.
    pub(crate) id: Option<String>,
}

/// The most bytes of one event, or of a line: figures of 5,000 backends whose ids are as long as may be have a third of it.
const LONGEST: usize = 4 << 20;

/// A stream that edgeproxy doesn't write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {} MiB: is that the API of edgeproxy?", LONGEST >> 20)]
pub(crate) struct TooLong;

impl Parser {
    /// Takes in what has come; what is whole then is given out by [`next`](Self::next).
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at(end);
            self.extend(line)?;
            let line = std::mem::take(&mut self.line);
            self.read(line.strip_suffix(b"\r").unwrap_or(&line));
            rest = after.get(1..).unwrap_or_default();
        }
        self.extend(rest)
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + self.data.len() + bytes.len() > LONGEST {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let data = std::mem::take(&mut self.data);
            self.last_id.clone_from(&self.next_id);
            if !data.is_empty() {
                self.ready.push_back(Told {
                    name,
                    data,
                    id: self.last_id.clone(),
                });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                if !self.data.is_empty() {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "id" => self.next_id = Some(value.to_owned()),
            "retry" => {
                if let Ok(millis) = value.parse() {
                    self.retry = Some(Duration::from_millis(millis));
                }
            }
            // A comment, or something newer than this.
            _ => {}
        }
    }

    /// The next event that is whole.
    pub(crate) fn next(&mut self) -> Option<Told> {
        self.ready.pop_front()
    }

    /// The latest id that was told, also one without an event.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long the server wants to be left alone after a connection has ended.
    pub(crate) const fn retry(&self) -> Option<Duration> {
        self.retry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\nid: a-1\n\n: still here\n\nid: a-2\r\nevent: ejected\r\ndata: {\"ü\":1}\r\n\r\nevent: stats\ndata: x\ndata: y\n\n";

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let told = |name: &str, data: &str| Told {
            name: name.to_owned(),
            data: data.to_owned(),
            id: Some("a-2".to_owned()),
        };
        let expected = [told("ejected", "{\"ü\":1}"), told("stats", "x\ny")];
        for size in 1..=STREAM.len() {
            let mut parser = Parser::default();
            for part in STREAM.as_bytes().chunks(size) {
                parser.take(part).unwrap();
            }
            let found: Vec<_> = std::iter::from_fn(|| parser.next()).collect();
            assert_eq!(found, expected, "by {size}");
            assert_eq!(parser.retry(), Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn an_id_without_an_event_is_a_place_to_come_back_to() {
        let mut parser = Parser::default();
        parser.take(b"id: a-7\n\n").unwrap();
        assert_eq!((parser.next(), parser.last_id()), (None, Some("a-7")));
    }

    #[test]
    fn an_event_that_is_cut_is_no_place_to_come_back_to() {
        let mut parser = Parser::default();
        parser.take(b"id: a-1\ndata: x\n\nid: a-2\ndata:").unwrap();
        assert_eq!(parser.last_id(), Some("a-1"));
        parser.take(b" y\n\ndata: z\n\n").unwrap();
        let found: Vec<_> = std::iter::from_fn(|| parser.next())
            .filter_map(|told| told.id)
            .collect();
        assert_eq!(found, ["a-1", "a-2", "a-2"]);
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut parser = Parser::default();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..4 {
            parser.take(&block).unwrap();
        }
        assert_eq!(parser.take(b"x"), Err(TooLong));
        let mut parser = Parser::default();
        let mut given_up = false;
        for _ in 0..5 {
            given_up |= parser.take(b"data: ").is_err()
                || parser.take(&block).is_err()
                || parser.take(b"\n").is_err();
        }
        assert!(given_up);
    }
}
