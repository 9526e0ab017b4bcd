//! Heads and chunks read to the letter of RFC 9112, slowly and from the specification alone.

use std::ops::Range;

/// A head, or trailers.
pub(super) struct Head<'b> {
    pub(super) line: &'b [u8],
    pub(super) fields: Vec<Field>,
    /// Its bytes.
    pub(super) len: usize,
}

/// Its name in lower case, and its value without the white space around it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: Vec<u8>,
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.value.escape_ascii())
    }
}

impl Field {
    pub(super) fn new(name: &str, value: impl Into<Vec<u8>>) -> Self {
        let (name, value) = (name.to_owned(), value.into());
        Self { name, value }
    }
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Reads a whole head; `None` if these bytes don't begin with one that is beyond doubt.
pub(super) fn head(bytes: &[u8]) -> Option<Head<'_>> {
    let end = find(bytes, b"\r\n\r\n")?;
    let mut lines = lines(&bytes[..end])?.into_iter();
    Some(Head {
        line: lines.next()?,
        fields: lines.map(field).collect::<Option<_>>()?,
        len: end + 4,
    })
}

/// Lines that end in CR LF and hold nothing that could be taken for another line's end.
fn lines(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut lines, mut rest) = (Vec::new(), bytes);
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    let is_clean = |line: &&[u8]| line.iter().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..));
    lines.iter().all(is_clean).then_some(lines)
}

fn field(line: &[u8]) -> Option<Field> {
    let colon = line.iter().position(|b| *b == b':')?;
    let name = std::str::from_utf8(&line[..colon]).ok()?;
    is_token(name).then(|| Field::new(&name.to_lowercase(), trimmed(&line[colon + 1..])))
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |b: &u8| matches!(b, b' ' | b'\t');
    let start = value.iter().position(|b| !is_space(b)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|b| !is_space(b))
        .map_or(start, |last| last + 1);
    &value[start..end]
}

pub(super) fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}

impl Head<'_> {
    pub(super) fn values<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let named = self.fields.iter().filter(move |field| field.name == name);
        named.map(|field| field.value.as_slice())
    }

    /// The items of all fields of that name, in lower case.
    pub(super) fn items(&self, name: &str) -> Vec<String> {
        self.raw_items(name)
            .iter()
            .map(|item| item.to_lowercase())
            .collect()
    }

    pub(super) fn raw_items(&self, name: &str) -> Vec<String> {
        let items = self.values(name).flat_map(|value| value.split(|b| *b == b','));
        let items = items.filter_map(|item| String::from_utf8(item.to_vec()).ok());
        let items = items.map(|item| item.trim().to_owned());
        items.filter(|item| !item.is_empty()).collect()
    }

    /// What frames the body: `Content-Length` or else `Transfer-Encoding`, of which there must not be two.
    pub(super) fn framing(&self) -> Framing {
        let lengths: Vec<_> = self.values("content-length").collect();
        let codings: Vec<_> = self.values("transfer-encoding").collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([], []) => Framing::None,
            ([length], []) => match std::str::from_utf8(length)
                .ok()
                .and_then(|text| text.parse().ok())
            {
                Some(length) if length_is_plain(self.values("content-length").next()) => {
                    Framing::Length(length)
                }
                _ => Framing::Bad,
            },
            ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Framing::Chunked,
            _ => Framing::Bad,
        }
    }
}

fn length_is_plain(text: Option<&[u8]>) -> bool {
    text.is_some_and(|text| text.iter().all(u8::is_ascii_digit))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    None,
    Length(u64),
    Chunked,
    Bad,
}

/// A chunked body.
#[derive(Debug)]
pub(super) enum Chunked {
    Bad,
    /// Its end has not come.
    Part,
    Whole {
        content: Vec<u8>,
        /// Where the trailers and the empty line behind them are.
        trailers: Range<usize>,
        /// Bytes behind the sizes, up to the line's end.
        extensions: usize,
    },
}

pub(super) fn chunked(bytes: &[u8]) -> Chunked {
    let (mut at, mut content, mut extensions) = (0, Vec::new(), 0);
    loop {
        let Some(line) = find(&bytes[at..], b"\r\n") else {
            return Chunked::Part;
        };
        let Some((size, extension)) = size(&bytes[at..at + line]) else {
            return Chunked::Bad;
        };
        extensions += extension;
        at += line + 2;
        if size == 0 {
            break;
        }
        let rest = &bytes[at..];
        let Some(data) = usize::try_from(size).ok().and_then(|size| rest.get(..size)) else {
            return Chunked::Part;
        };
        content.extend_from_slice(data);
        at += data.len();
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Chunked::Bad,
            None => return Chunked::Part,
        }
    }
    let rest = &bytes[at..];
    let length = if rest.starts_with(b"\r\n") {
        2
    } else {
        match find(rest, b"\r\n\r\n") {
            Some(end) => end + 4,
            None => return Chunked::Part,
        }
    };
    Chunked::Whole {
        content,
        trailers: at..at + length,
        extensions,
    }
}

/// The fields of a trailer section, the empty line included.
pub(super) fn trailers(section: &[u8]) -> Option<Vec<Field>> {
    let lines_of = section.strip_suffix(b"\r\n")?;
    if lines_of.is_empty() {
        return Some(Vec::new());
    }
    let lines = lines(lines_of.strip_suffix(b"\r\n")?)?;
    lines.into_iter().map(field).collect()
}

/// A chunk's size, and how many bytes of its line are extensions.
fn size(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(&line[..digits]).ok()?, 16).ok()?;
    let extensions = &line[digits..];
    let permitted = extensions.is_empty() || is_extensions(extensions);
    (permitted && i64::try_from(size).is_ok()).then_some((size, extensions.len()))
}

/// `*( BWS ";" BWS name [ BWS "=" BWS value ] )`
fn is_extensions(text: &[u8]) -> bool {
    let text = skip_space(text);
    let Some(text) = text.strip_prefix(b";").map(skip_space) else {
        return false;
    };
    let Some(text) = skip_token(text) else {
        return false;
    };
    let text = match skip_space(text).strip_prefix(b"=") {
        None => text,
        Some(value) => {
            let value = skip_space(value);
            match skip_token(value).or_else(|| skip_quoted(value)) {
                Some(text) => text,
                None => return false,
            }
        }
    };
    text.is_empty() || is_extensions(text)
}

fn skip_space(text: &[u8]) -> &[u8] {
    let spaces = text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    &text[spaces..]
}

fn skip_token(text: &[u8]) -> Option<&[u8]> {
    let is_tchar = |b: &&u8| b.is_ascii() && is_token(&char::from(**b).to_string());
    let count = text.iter().take_while(is_tchar).count();
    (count > 0).then(|| &text[count..])
}

fn skip_quoted(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
            [b'\t' | b' '..=b'[' | b']'..=b'~' | 0x80.., rest @ ..] => rest,
            _ => return None,
        };
    }
}
