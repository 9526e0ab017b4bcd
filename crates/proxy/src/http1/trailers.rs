//! The fields behind a chunked body (RFC 9112 §7.1.2). No I/O.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::chunked::ChunkError;
use super::head::{Fields, find_end, kinds, room};

/// The fields behind a body, at most.
const MAX_TRAILERS: usize = 100;

/// Reads the trailers at the beginning of `bytes`, the empty line included, and writes those that may be passed
/// on to `out`, the empty line included. How many bytes they are; `None` if they have not come whole.
pub(crate) fn trailers(bytes: &[u8], max: usize, out: &mut Vec<u8>) -> Result<Option<usize>, ChunkError> {
    let Some(end) = find_end(bytes, 0) else {
        return if bytes.len() < max {
            Ok(None)
        } else {
            Err(ChunkError::TrailersTooLong)
        };
    };
    let section = bytes.get(..end).unwrap_or_default();
    if section.len() > max {
        return Err(ChunkError::TrailersTooLong);
    }
    let mut room = room();
    let mut headers = room
        .each_mut()
        .map(|header| *header.write(httparse::EMPTY_HEADER));
    let parsed = httparse::parse_headers(section, &mut headers).map_err(|_| ChunkError::Trailers)?;
    let httparse::Status::Complete((length, headers)) = parsed else {
        return Err(ChunkError::Trailers);
    };
    if length != end {
        return Err(ChunkError::Trailers);
    }
    let mut kinds = kinds();
    let fields = Fields::check(section, headers, &mut kinds).map_err(|_| ChunkError::Trailers)?;
    if fields.len() > MAX_TRAILERS {
        return Err(ChunkError::TrailersTooLong);
    }
    for line in fields.iter() {
        if line.field.spoils_trailers() {
            return Err(ChunkError::Trailers);
        }
        if line.field.may_trail() {
            out.extend_from_slice(section.get(line.start..line.end).unwrap_or_default());
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(Some(end))
}

/// Trailers that have been checked, as [`trailers`] writes them.
pub(crate) fn map(lines: &[u8]) -> Result<HeaderMap, ChunkError> {
    let mut map = HeaderMap::new();
    let lines = lines.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(ChunkError::Trailers)?);
        let name = HeaderName::from_bytes(name).map_err(|_| ChunkError::Trailers)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        map.append(
            name,
            HeaderValue::from_bytes(value).map_err(|_| ChunkError::Trailers)?,
        );
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &str) -> Result<Option<(usize, String)>, ChunkError> {
        let mut out = Vec::new();
        let read = trailers(bytes.as_bytes(), 100, &mut out)?;
        Ok(read.map(|read| (read, String::from_utf8(out).unwrap())))
    }

    #[test]
    fn fields_pass_but_those_that_frame_route_or_are_between_neighbours() {
        let section = "a: 1\r\nVia: 1.1 x\r\nConnection: a\r\ncontent_length: 1\r\nB: 2\r\n\r\n";
        assert_eq!(
            read(&format!("{section}GET")),
            Ok(Some((section.len(), "a: 1\r\nB: 2\r\n\r\n".to_owned())))
        );
    }

    #[test]
    fn they_are_waited_for_up_to_the_limit() {
        assert_eq!(read("a: 1\r\n"), Ok(None));
        assert_eq!(read(&"a".repeat(100)), Err(ChunkError::TrailersTooLong));
        let long = format!("a: {}\r\n\r\n", "b".repeat(100));
        assert_eq!(read(&long), Err(ChunkError::TrailersTooLong));
    }

    #[test]
    fn malformed_ones_are_refused() {
        for bad in [
            "a\r\n\r\n",
            "a : 1\r\n\r\n",
            "a: 1\n\r\n",
            "a: 1\r\n b\r\n\r\n",
            ": 1\r\n\r\n",
            "\n\n",
            "a: 1\r\nContent-Length: 5\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n",
            "host: x\r\n\r\n",
            "a: \0\r\n\r\n",
        ] {
            assert_eq!(read(bad), Err(ChunkError::Trailers), "{bad:?}");
        }
    }
}
