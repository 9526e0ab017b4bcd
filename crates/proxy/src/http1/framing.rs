//! How long a message's body is (RFC 9112 §6), and what makes that ambiguous.

/// The end of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Length {
    /// After that many bytes; none for a message without a body.
    Known(u64),
    /// After the last chunk and the trailers.
    Chunked,
    /// When the connection ends. Responses only.
    UntilClose,
}

impl Length {
    pub(crate) const NONE: Self = Self::Known(0);
}

/// What makes a message's length ambiguous. One that two parsers could measure differently is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum FramingError {
    #[error("Content-Length is not a number of digits")]
    ContentLength,
    #[error("Content-Length is given more than once")]
    SeveralLengths,
    #[error("Transfer-Encoding is not a single chunked")]
    TransferEncoding,
    #[error("Content-Length and Transfer-Encoding contradict each other")]
    Both,
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    Version,
}

/// Gathers the fields that frame a message.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Framing {
    length: Option<u64>,
    chunked: bool,
}

impl Framing {
    pub(crate) fn content_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.length.is_some() {
            return Err(FramingError::SeveralLengths);
        }
        self.length = Some(digits(value).ok_or(FramingError::ContentLength)?);
        Ok(())
    }

    pub(crate) fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(FramingError::TransferEncoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// What the fields say; `None` if they say nothing. `minor` is the message's version.
    pub(crate) fn decide(self, minor: u8) -> Result<Option<Length>, FramingError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(FramingError::Both),
            // RFC 9112 §6.1: its framing is faulty, since whoever wrote HTTP/1.0 did not know of chunks.
            (true, None) if minor == 0 => Err(FramingError::Version),
            (true, None) => Ok(Some(Length::Chunked)),
            (false, length) => Ok(length.map(Length::Known)),
        }
    }
}

/// A number of one to nineteen digits. `str::parse` would take a plus sign.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(lengths: &[&str], codings: &[&str], minor: u8) -> Result<Option<Length>, FramingError> {
        let mut framing = Framing::default();
        for length in lengths {
            framing.content_length(length.as_bytes())?;
        }
        for coding in codings {
            framing.transfer_encoding(coding.as_bytes())?;
        }
        framing.decide(minor)
    }

    #[test]
    fn one_length_or_one_chunked_or_nothing() {
        assert_eq!(decide(&["0"], &[], 1), Ok(Some(Length::Known(0))));
        assert_eq!(
            decide(&["9999999999999999999"], &[], 0),
            Ok(Some(Length::Known(9_999_999_999_999_999_999)))
        );
        assert_eq!(decide(&[], &["Chunked"], 1), Ok(Some(Length::Chunked)));
        assert_eq!(decide(&[], &[], 1), Ok(None));
    }

    #[test]
    fn what_two_parsers_could_measure_differently_is_refused() {
        for bad in [
            "",
            "+5",
            "-1",
            "0x5",
            "5 5",
            "5, 5",
            "5,",
            " 5",
            "18446744073709551616",
            "５",
        ] {
            assert_eq!(
                decide(&[bad], &[], 1),
                Err(FramingError::ContentLength),
                "{bad:?}"
            );
        }
        assert_eq!(decide(&["5", "5"], &[], 1), Err(FramingError::SeveralLengths));
        for bad in [
            "",
            "gzip",
            "identity",
            "chunked, chunked",
            "gzip, chunked",
            "chunked;q=1",
            "xchunked",
        ] {
            assert_eq!(
                decide(&[], &[bad], 1),
                Err(FramingError::TransferEncoding),
                "{bad:?}"
            );
        }
        assert_eq!(
            decide(&[], &["chunked", "chunked"], 1),
            Err(FramingError::TransferEncoding)
        );
        assert_eq!(decide(&["5"], &["chunked"], 1), Err(FramingError::Both));
        assert_eq!(decide(&[], &["chunked"], 0), Err(FramingError::Version));
    }
}
