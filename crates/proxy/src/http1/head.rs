//! A head as bytes: where it ends, and where each of its lines is. Common to requests and responses.

use std::mem::MaybeUninit;

use httparse::Header;

use super::field::Field;

/// The most fields that are looked for, whatever is configured: they are indexed on the stack.
pub(crate) const MAX_FIELDS: usize = 256;

/// Room for the fields of one head.
pub(crate) type Room<'b> = [MaybeUninit<Header<'b>>; MAX_FIELDS];

pub(crate) const fn room<'b>() -> Room<'b> {
    [const { MaybeUninit::uninit() }; MAX_FIELDS]
}

/// Room for what each of them is.
pub(crate) type Kinds = [Field; MAX_FIELDS];

pub(crate) const fn kinds() -> Kinds {
    [Field::Other; MAX_FIELDS]
}

/// Why bytes are no head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the status line is malformed")]
    StatusLine,
    #[error("a field's name is malformed")]
    Name,
    #[error("a field's value holds a control character")]
    Value,
    #[error("a line does not end in CR LF")]
    LineEnd,
    #[error("the head has more fields than are taken")]
    TooManyFields,
    #[error("the version is not HTTP/1.0 or HTTP/1.1")]
    Version,
}

/// The fields of a parsed head, each with its line.
pub(crate) struct Fields<'h, 'b> {
    buf: &'b [u8],
    headers: &'h [Header<'b>],
    /// Of each header. Found out once: every head is gone through twice.
    kinds: &'h [Field],
    /// Where the last field's line ends: before the empty line.
    end: usize,
}

/// One field and where its line is in the buffer.
#[derive(Clone, Copy)]
pub(crate) struct Line<'b> {
    pub(crate) field: Field,
    pub(crate) name: &'b str,
    pub(crate) value: &'b [u8],
    /// Of its name.
    pub(crate) start: usize,
    /// Behind its line end.
    pub(crate) end: usize,
}

impl<'h, 'b> Fields<'h, 'b> {
    /// Checks what the parser overlooks: that every line, the first one included, ends in CR LF. `head` is all
    /// of the head, or of the trailers, the empty line included; `kinds` is room for one of each field.
    pub(crate) fn check(
        head: &'b [u8],
        headers: &'h [Header<'b>],
        kinds: &'h mut [Field],
    ) -> Result<Self, HeadError> {
        let end = head.len().saturating_sub(2);
        // Trailers have no line before their first field.
        let ends_in_crlf = |end: usize| end == 0 || head.get(end.wrapping_sub(2)..end) == Some(b"\r\n");
        for (header, kind) in headers.iter().zip(&mut *kinds) {
            if !ends_in_crlf(offset(head, header.name)) {
                return Err(HeadError::LineEnd);
            }
            *kind = Field::of(header.name);
        }
        if ends_in_crlf(end) && ends_in_crlf(head.len()) {
            Ok(Self {
                buf: head,
                headers,
                kinds,
                end,
            })
        } else {
            Err(HeadError::LineEnd)
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }

    /// Where the first field's line begins, which is where the first line ends.
    pub(crate) fn start(&self) -> usize {
        self.headers
            .first()
            .map_or(self.end, |header| offset(self.buf, header.name))
    }

    /// Where the last field's line ends.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// Whether `Connection` names that field.
    pub(crate) fn connection_names(&self, name: &str) -> bool {
        let lines = self.iter().filter(|line| line.field == Field::Connection);
        lines
            .flat_map(|line| tokens(line.value))
            .any(|named| named.eq_ignore_ascii_case(name))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Line<'b>> {
        let ends = self
            .headers
            .iter()
            .skip(1)
            .map(|next| offset(self.buf, next.name));
        let ends = ends.chain(std::iter::once(self.end));
        let fields = self.headers.iter().zip(self.kinds);
        fields.zip(ends).map(|((header, field), end)| Line {
            field: *field,
            name: header.name,
            value: header.value,
            start: offset(self.buf, header.name),
            end,
        })
    }
}

/// Where a part of `buf` begins in it.
pub(crate) fn offset(buf: &[u8], part: &str) -> usize {
    (part.as_ptr() as usize).wrapping_sub(buf.as_ptr() as usize)
}

/// The items of a list of tokens; empty ones are none (RFC 9110 §5.6.1.2).
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &str> {
    let items = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    items
        .filter(|item| !item.is_empty())
        .filter_map(|item| std::str::from_utf8(item).ok())
}

/// Where the head ends in `buf`, looking only at what came since `seen` bytes were there. A head that ends in
/// bare line feeds is found too, so that it is refused rather than waited for.
pub(crate) fn find_end(buf: &[u8], seen: usize) -> Option<usize> {
    // The end may have begun in what was seen before: LF CR LF is three bytes.
    let from = seen.saturating_sub(3);
    let mut at = from;
    while let Some(found) = buf.get(at..)?.iter().position(|b| *b == b'\n') {
        let next = at + found + 1;
        match buf.get(next..) {
            Some([b'\n', ..]) => return Some(next + 1),
            Some([b'\r', b'\n', ..]) => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Whether what came since `seen` bytes were there tells something new: the head has ended, or its first line, or some line has
/// in a way that is refused.
pub(crate) fn is_due(buf: &[u8], seen: usize) -> bool {
    let ends_line = |bytes: Option<&[u8]>| bytes.unwrap_or_default().contains(&b'\n');
    find_end(buf, seen).is_some()
        || has_odd_line_end(buf, seen)
        || ends_line(buf.get(seen..)) && !ends_line(buf.get(..seen))
}

/// Whether, in what came since `seen` bytes were there, a line feed has no carriage return before it, or one of those has
/// something else behind it.
pub(crate) fn has_odd_line_end(buf: &[u8], seen: usize) -> bool {
    // The last one seen may be a carriage return.
    let from = seen.saturating_sub(1);
    let begins_with_lf = from == 0 && buf.first() == Some(&b'\n');
    let pairs = buf.get(from..).unwrap_or_default().windows(2);
    begins_with_lf
        || pairs
            .into_iter()
            .any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn news_is_an_end_of_the_first_line_or_of_the_head_and_a_line_that_ends_oddly() {
        let head = b"GET / HTTP/1.1\r\nhost: app\r\nx: y\r\n\r\n";
        let news: Vec<_> = (1..head.len())
            .filter(|seen| is_due(&head[..=*seen], *seen))
            .collect();
        assert_eq!(news, [15, head.len() - 1]);
        for (came, seen, odd) in [
            (&b"a\r\nb\r"[..], 0, false),
            (b"a\r\nb\r\n", 5, false),
            (b"a\r\nb\rc", 5, true),
            (b"a\nb", 0, true),
            (b"a\nb", 1, true),
            (b"a\nb", 2, false),
            (b"\n", 0, true),
            (b"\r\r", 1, true),
            (b"", 0, false),
        ] {
            assert_eq!(has_odd_line_end(came, seen), odd, "{came:?} behind {seen}");
        }
    }

    fn check(head: &str) -> Result<Vec<(String, String)>, HeadError> {
        let mut room = room();
        let mut request = httparse::Request::new(&mut []);
        let parsed = request
            .parse_with_uninit_headers(head.as_bytes(), &mut room)
            .unwrap();
        let mut kinds = kinds();
        let fields = Fields::check(&head.as_bytes()[..parsed.unwrap()], request.headers, &mut kinds)?;
        let line = |line: Line<'_>| (line.name.to_owned(), head[line.start..line.end].to_owned());
        Ok(fields.iter().map(line).collect())
    }

    #[test]
    fn each_line_is_where_it_says() {
        let lines = check("GET / HTTP/1.1\r\na: 1\r\nbb:\t 2 \r\n\r\nrest").unwrap();
        assert_eq!(lines[0], ("a".to_owned(), "a: 1\r\n".to_owned()));
        assert_eq!(lines[1], ("bb".to_owned(), "bb:\t 2 \r\n".to_owned()));
        assert_eq!(check("GET / HTTP/1.1\r\n\r\n").unwrap(), []);
    }

    #[test]
    fn a_line_that_ends_in_a_bare_line_feed_is_refused() {
        for head in [
            "GET / HTTP/1.1\na: 1\r\n\r\n",
            "GET / HTTP/1.1\r\na: 1\nb: 2\r\n\r\n",
            "GET / HTTP/1.1\r\na: 1\n\r\n",
            "GET / HTTP/1.1\r\na: 1\r\n\n",
            "GET / HTTP/1.1\n\n",
        ] {
            assert_eq!(check(head), Err(HeadError::LineEnd), "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn the_end_is_found_wherever_the_bytes_are_cut(
            head in "[a-c:\r\n]{0,20}\r?\n\r?\n", rest in "[a-c\r\n]{0,6}", cut in 0usize..30,
        ) {
            let bytes = format!("{head}{rest}").into_bytes();
            let cut = cut.min(bytes.len());
            let whole = find_end(&bytes, 0);
            let first = find_end(&bytes[..cut], 0);
            let found = first.or_else(|| find_end(&bytes, cut));
            prop_assert_eq!(found, whole);
            prop_assert!(whole.is_some());
        }
    }
}
