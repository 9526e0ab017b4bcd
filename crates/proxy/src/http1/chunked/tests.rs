use proptest::prelude::*;

use super::*;

/// Decodes pieces as they would be read; what is passed on, how much of the last piece was left, and where it
/// ended.
fn pieces(pieces: &[&[u8]], keep: Keep) -> Result<(Vec<u8>, usize, At), ChunkError> {
    let (mut decoder, mut out, mut left, mut at) = (Decoder::new(), Vec::new(), 0, At::Middle);
    for piece in pieces {
        let mut bytes = piece.to_vec();
        let decoded = decoder.decode(&mut bytes, keep)?;
        out.extend_from_slice(&bytes[..decoded.kept]);
        left = bytes.len() - decoded.consumed;
        at = decoded.at;
    }
    Ok((out, left, at))
}

fn whole(text: &str, keep: Keep) -> Result<(String, usize, At), ChunkError> {
    let (out, left, at) = pieces(&[text.as_bytes()], keep)?;
    Ok((String::from_utf8(out).unwrap(), left, at))
}

fn chunks(text: &str) -> Result<(String, usize, At), ChunkError> {
    whole(text, Keep::Chunks)
}

#[test]
fn plain_chunks_pass_as_they_are_and_the_rest_stays() {
    let body = "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";
    let piped = format!("{body}GET /");
    assert_eq!(chunks(&piped), Ok((body.to_owned(), 5, At::End)));
    assert_eq!(
        whole(&piped, Keep::Data),
        Ok(("hello0123456789".to_owned(), 5, At::End))
    );
}

#[test]
fn extensions_are_taken_out() {
    for extension in [";a", ";a=b", " ; a = b ; c", ";a=\"b;\\\" \t\"", ";a;b=1;c=\"\""] {
        let body = format!("3{extension}\r\nabc\r\n0{extension}\r\n\r\n");
        let plain = "3\r\nabc\r\n0\r\n\r\n".to_owned();
        assert_eq!(chunks(&body), Ok((plain, 0, At::End)), "{extension}");
    }
}

#[test]
fn trailers_are_left_where_they_begin() {
    let (out, left, at) = chunks("1\r\nx\r\n0\r\na: b\r\n\r\n").unwrap();
    assert_eq!((out.as_str(), left, at), ("1\r\nx\r\n0\r\n", 8, At::Trailers));
}

#[test]
fn what_is_not_the_grammar_is_refused() {
    for (bad, error) in [
        ("\r\n", ChunkError::Size),
        (";a\r\n", ChunkError::Size),
        ("g\r\n", ChunkError::Size),
        ("+1\r\n", ChunkError::Size),
        ("-1\r\n", ChunkError::Size),
        (" 1\r\n", ChunkError::Size),
        ("1 \r\n", ChunkError::Size),
        ("0x1\r\n", ChunkError::Size),
        ("1_0\r\n", ChunkError::Size),
        ("1\nx", ChunkError::Size),
        ("00000000000000001\r\n", ChunkError::Size),
        ("fffffffffffffffff\r\n", ChunkError::Size),
        ("1\rx", ChunkError::LineEnd),
        ("1;\r\n", ChunkError::Extension),
        ("1; \r\n", ChunkError::Extension),
        ("1;a \r\n", ChunkError::Extension),
        ("1;a=b c\r\n", ChunkError::Extension),
        ("1;a=\r\n", ChunkError::Extension),
        ("1;a\nx\r\n", ChunkError::Extension),
        ("1;a\"\r\n", ChunkError::Extension),
        ("1;a=\"b\rc\"\r\n", ChunkError::Extension),
        ("1;a=\"b\nc\"\r\n", ChunkError::Extension),
        ("1;a=\"b\0c\"\r\n", ChunkError::Extension),
        ("1\r\nxy", ChunkError::LineEnd),
        ("1\r\nx\n", ChunkError::LineEnd),
        ("1\r\nx\r\r\n", ChunkError::LineEnd),
        ("0\r\n\rx", ChunkError::LineEnd),
        ("0\r\n\n", ChunkError::LineEnd),
    ] {
        assert_eq!(chunks(bad), Err(error), "{bad:?}");
    }
    let long = format!("1;{}\r\n", "a".repeat(9_000));
    assert_eq!(chunks(&long), Err(ChunkError::Extension));
}

#[test]
fn the_largest_size_is_no_hang_but_a_very_long_chunk_and_larger_ones_are_refused() {
    let (out, left, at) = chunks("7fffffffffffffff\r\nabc").unwrap();
    assert_eq!(
        (out.as_str(), left, at),
        ("7fffffffffffffff\r\nabc", 0, At::Middle)
    );
    assert_eq!(chunks("8000000000000000\r\nabc"), Err(ChunkError::Size));
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_at_any_cut(
        data in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), "(;[a-z]{1,3}(=[a-z]{1,3}|=\"[ -!#-\\[]{0,3}\")?)?"), 0..6),
        rest in proptest::collection::vec(any::<u8>(), 0..8),
        cuts in proptest::collection::vec(0usize..200, 0..4),
    ) {
        let (mut encoded, mut plain, mut content) = (Vec::new(), Vec::new(), Vec::new());
        for (chunk, extension) in &data {
            let size = format!("{:X}", chunk.len());
            encoded.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            plain.extend_from_slice(format!("{size}\r\n").as_bytes());
            for out in [&mut encoded, &mut plain] {
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            content.extend_from_slice(chunk);
        }
        encoded.extend_from_slice(b"0\r\n\r\n");
        plain.extend_from_slice(b"0\r\n\r\n");
        let body = encoded.len();
        encoded.extend_from_slice(&rest);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body)).collect();
        cuts.extend([0, encoded.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &encoded[pair[0]..pair[1]]).collect();
        let (out, left, at) = pieces(&parts, Keep::Chunks).unwrap();
        prop_assert_eq!((&out, left, at), (&plain, rest.len(), At::End));
        let (out, left, at) = pieces(&parts, Keep::Data).unwrap();
        prop_assert_eq!((&out, left, at), (&content, rest.len(), At::End));
    }

    #[test]
    fn any_bytes_are_read_or_refused_alike_at_any_cut(
        bytes in proptest::collection::vec(proptest::sample::select(&b"0123af;=\"\\ \t\r\n\0xyz"[..]), 0..24),
        cut in 0usize..24,
    ) {
        let cut = cut.min(bytes.len());
        let whole = pieces(&[&bytes], Keep::Chunks);
        let parts = pieces(&[&bytes[..cut], &bytes[cut..]], Keep::Chunks);
        match (whole, parts) {
            (Ok((out, _, at)), Ok((parts, _, parts_at))) if at != At::Trailers => prop_assert_eq!((out, at), (parts, parts_at)),
            (Ok((_, _, At::Trailers)), _) | (_, Ok((_, _, At::Trailers))) => {}
            (whole, parts) => prop_assert_eq!(whole.is_err(), parts.is_err()),
        }
    }
}
