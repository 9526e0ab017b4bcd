use super::pieces::divisions;
use super::reference::{self, Chunked};
use crate::http1::chunked::{At, ChunkError, Decoder, Keep};

/// What is read of a chunked body.
#[derive(PartialEq, Eq, Debug)]
struct Read {
    kept: Vec<u8>,
    consumed: usize,
    data: u64,
    at: At,
}

/// The chunked coding is read alike however it is cut, as RFC 9112 §7.1 has it, and what is passed on reads the
/// same again. Bytes as content come back as they were.
pub fn chunked_body(bytes: &[u8]) {
    for keep in [Keep::Chunks, Keep::Data] {
        let [whole, few, single] = divisions(bytes).map(|pieces| read(&pieces, keep));
        assert_eq!(whole, few, "in a few pieces");
        assert_eq!(whole, single, "byte by byte");
        match reference::chunked(bytes) {
            Chunked::Whole {
                content,
                trailers,
                extensions,
            } => match whole {
                Ok(read) => {
                    assert_eq!(read.data, content.len() as u64);
                    let (end, at) = if trailers.len() == 2 {
                        (trailers.end, At::End)
                    } else {
                        (trailers.start, At::Trailers)
                    };
                    // A line feed here is no empty line, and no trailer either.
                    assert_eq!((read.consumed, read.at), (end, at));
                    passed_on(&read, keep, &content);
                }
                Err(error) => {
                    let overlong = error == ChunkError::Extension && extensions > 8 * 1024;
                    let line_feed =
                        error == ChunkError::LineEnd && matches!(bytes[trailers.start], b'\n' | b'\r');
                    assert!(overlong || line_feed, "{error}");
                }
            },
            Chunked::Bad => assert!(whole.is_err(), "{whole:?} is bad"),
            Chunked::Part => {
                let ended = whole.is_ok_and(|read| read.at == At::End);
                assert!(!ended, "the end has not come");
            }
        }
    }
    round_trip(bytes);
}

fn read(pieces: &[&[u8]], keep: Keep) -> Result<Read, ChunkError> {
    let mut decoder = Decoder::new();
    let mut read = Read {
        kept: Vec::new(),
        consumed: 0,
        data: 0,
        at: At::Middle,
    };
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let decoded = decoder.decode(&mut bytes, keep)?;
        assert!(decoded.kept <= decoded.consumed && decoded.consumed <= bytes.len());
        assert!(decoded.data <= decoded.consumed as u64);
        assert_eq!(decoded.at == At::End, decoder.has_ended());
        read.kept.extend_from_slice(&bytes[..decoded.kept]);
        read.consumed += decoded.consumed;
        read.data += decoded.data;
        read.at = decoded.at;
        if decoded.at != At::Middle {
            break;
        }
        assert_eq!(decoded.consumed, bytes.len(), "it stopped in the middle");
    }
    Ok(read)
}

fn passed_on(read: &Read, keep: Keep, content: &[u8]) {
    if keep == Keep::Data {
        assert_eq!(read.kept, content);
        return;
    }
    let mut kept = read.kept.clone();
    if read.at == At::Trailers {
        kept.extend_from_slice(b"\r\n");
    }
    let Chunked::Whole {
        content: again,
        trailers,
        extensions,
    } = reference::chunked(&kept)
    else {
        panic!("{} is no body", kept.escape_ascii());
    };
    assert_eq!(again, content);
    assert_eq!((trailers.end, trailers.len(), extensions), (kept.len(), 2, 0));
}

fn round_trip(content: &[u8]) {
    let mut body = Vec::new();
    for (index, chunk) in divisions(content)[1].iter().enumerate() {
        if !chunk.is_empty() {
            let size = if index.is_multiple_of(2) {
                format!("{:x}\r\n", chunk.len())
            } else {
                format!("{:08X};index={index}\r\n", chunk.len())
            };
            body.extend_from_slice(&[size.as_bytes(), chunk, b"\r\n"].concat());
        }
    }
    body.extend_from_slice(b"000\r\n\r\n");
    for pieces in divisions(&body) {
        let read = read(&pieces, Keep::Data).unwrap();
        assert_eq!(
            (read.kept.as_slice(), read.consumed, read.at),
            (content, body.len(), At::End)
        );
    }
}
