//! A request's body on its way to a backend, kept while it may have to be sent again. No I/O.

use super::body::Body;
use super::framing::Length;

/// A client's request body. What each attempt has sent is kept, up to a limit, and sent first by the next one.
pub(crate) struct Upload {
    pub(crate) body: Body,
    /// What has been sent, as it was sent. `None`: something was sent that is not kept.
    kept: Option<Vec<u8>>,
    keep_max: usize,
    /// How much of it the current attempt has sent.
    again: usize,
    /// Some of it has been sent, by whatever attempt.
    begun: bool,
}

impl Upload {
    /// Up to `keep_max` bytes are kept, if the body is not known to be longer.
    pub(crate) fn new(body: Body, length: Length, keep_max: usize) -> Self {
        let keeps = match length {
            Length::Known(length) => length <= keep_max as u64,
            Length::Chunked | Length::UntilClose => true,
        };
        Self {
            body,
            kept: Some(Vec::new()),
            keep_max: if keeps { keep_max } else { 0 },
            again: 0,
            begun: false,
        }
    }

    /// Up to so many bytes are kept, if none has been sent.
    pub(crate) fn keep(&mut self, keep_max: usize) {
        if !self.begun {
            self.keep_max = keep_max;
        }
    }

    /// Begins another attempt.
    pub(crate) fn restart(&mut self) {
        self.again = 0;
    }

    /// Whether another attempt would send all of it.
    pub(crate) fn is_replayable(&self) -> bool {
        self.kept.is_some()
    }

    /// No further attempt will be made: nothing more needs to be kept.
    pub(crate) fn settle(&mut self) {
        self.keep_max = 0;
    }

    fn to_repeat(&self) -> &[u8] {
        self.kept
            .as_deref()
            .and_then(|kept| kept.get(self.again..))
            .unwrap_or_default()
    }

    /// What is to leave next; empty if more has to come first, or if all has left.
    pub(crate) fn outgoing(&self) -> &[u8] {
        let repeated = self.to_repeat();
        if repeated.is_empty() {
            self.body.outgoing()
        } else {
            repeated
        }
    }

    /// That many bytes of what was outgoing have left.
    pub(crate) fn sent(&mut self, count: usize) {
        if !self.to_repeat().is_empty() {
            self.again += count;
            return;
        }
        self.begun |= count > 0;
        let sent = self.body.outgoing().get(..count).unwrap_or_default();
        match &mut self.kept {
            Some(kept) if kept.len() + sent.len() <= self.keep_max => {
                kept.extend_from_slice(sent);
                self.again = kept.len();
            }
            _ if sent.is_empty() => {}
            kept => *kept = None,
        }
        self.body.sent(count);
    }

    /// Whether any of it has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun || !self.body.buffer.is_empty()
    }

    /// Whether all of it has left.
    pub(crate) fn has_left(&self) -> bool {
        self.to_repeat().is_empty() && self.body.has_left()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::transport::buffer::Buffers;

    fn upload(length: u64, keep_max: usize) -> Upload {
        let length = Length::Known(length);
        let body = Body::request(Rc::<Buffers>::default().buffer(), length, None);
        Upload::new(body, length, keep_max)
    }

    fn comes(upload: &mut Upload, bytes: &[u8]) {
        assert!(upload.body.buffer.append(bytes));
        upload.body.decode().unwrap();
    }

    #[test]
    fn the_next_attempt_sends_what_was_sent_and_goes_on() {
        let mut upload = upload(6, 6);
        comes(&mut upload, b"abcd");
        upload.sent(3);
        upload.restart();
        assert_eq!(upload.outgoing(), b"abc");
        upload.sent(2);
        upload.restart();
        assert_eq!(upload.outgoing(), b"abc");
        upload.sent(3);
        assert_eq!(upload.outgoing(), b"d");
        upload.sent(1);
        assert!(!upload.has_left());
        comes(&mut upload, b"ef");
        upload.sent(2);
        assert!(upload.has_left() && upload.is_replayable());
        upload.restart();
        assert!(!upload.has_left());
        assert_eq!(upload.outgoing(), b"abcdef");
    }

    #[test]
    fn nothing_is_kept_beyond_the_limit_or_once_it_is_settled() {
        let mut long = upload(7, 6);
        comes(&mut long, b"a");
        assert!(long.is_replayable(), "nothing has been sent");
        long.sent(1);
        assert!(!long.is_replayable());
        let mut settled = upload(2, 6);
        comes(&mut settled, b"ab");
        settled.sent(1);
        settled.settle();
        settled.sent(1);
        assert!(!settled.is_replayable() && settled.has_left());
    }
}
