//! What strangers say, as it may stand in a line that a terminal shows.

use std::borrow::Cow;

/// At most `max` bytes of it, and what is cut ends in `…`.
pub(super) fn shortened(text: &[u8], max: usize) -> Cow<'_, [u8]> {
    match text.get(..max) {
        Some(kept) if text.len() > max => Cow::Owned([kept, "…".as_bytes()].concat()),
        _ => Cow::Borrowed(text),
    }
}

/// RFC 8259 §7; and no control character gets to a terminal, DEL and those of Latin-1 included. What is no UTF-8 is shown as
/// that.
pub(super) fn write_escaped(out: &mut Vec<u8>, text: &[u8]) {
    if is_plain(text) {
        out.extend_from_slice(text);
    } else {
        write_special(out, &String::from_utf8_lossy(text));
    }
}

/// One word of several, with a `-` for none. One that holds a space is written as in JSON, so that it isn't two.
pub(super) fn write_word(out: &mut Vec<u8>, word: &[u8]) {
    if word.is_empty() {
        return out.push(b'-');
    }
    let text = String::from_utf8_lossy(word);
    if text.contains([' ', '"', '\\']) || text.contains(char::is_control) {
        out.push(b'"');
        write_special(out, &text);
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

#[cold]
fn write_special(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            c if c.is_control() => {
                // Writing to memory can't fail.
                let _ = std::io::Write::write_fmt(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Whether all of it is ASCII that stands for itself in JSON: eight bytes at a time, since it is asked for each request.
fn is_plain(text: &[u8]) -> bool {
    let (eights, rest) = text.as_chunks::<8>();
    let special = eights.iter().fold(0, |seen, eight| seen | specials(*eight));
    let special = match text.last_chunk() {
        // The last ones, some of them once more.
        Some(last) => special | specials(*last),
        None => {
            let mut last = [b' '; 8];
            last.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
            specials(last)
        }
    };
    special == 0
}

/// Is 0 if none of eight bytes is special. The bits of a byte that is not may be set behind one that is (a borrow), so that the
/// answer is good for all of them only. After "Determine if a word has a byte less than n", S. E. Anderson, Bit Twiddling Hacks.
fn specials(eight: [u8; 8]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    let bytes = u64::from_ne_bytes(eight);
    let below = |bytes: u64, limit: u8| bytes.wrapping_sub(EACH * u64::from(limit)) & !bytes;
    let is = |byte: u8| below(bytes ^ (EACH * u64::from(byte)), 1);
    (bytes | below(bytes, b' ') | is(b'"') | is(b'\\') | is(0x7f)) & TOP
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_escaped(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_byte_is_told_from_a_plain_one_wherever_it_stands() {
        for byte in 0..=255_u8 {
            let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
            for len in 1..=24 {
                for at in 0..len {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    assert_eq!(is_plain(&text), plain, "{byte:#x} at {at} of {len}");
                }
            }
        }
        assert!(is_plain(b""));
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in "\\PC{0,40}|[\\x00-\\xff]{0,40}") {
            // Strings of TOML are escaped in the same way.
            let line = format!("text = \"{}\"", escaped(text.as_bytes()));
            let read: toml::Table = line.parse().unwrap();
            prop_assert_eq!(read["text"].as_str(), Some(text.as_str()));
        }

        #[test]
        fn no_control_character_gets_through(bytes in vec(any::<u8>(), 0..40)) {
            let mut word = Vec::new();
            write_word(&mut word, &bytes);
            for text in [escaped(&bytes), String::from_utf8(word).unwrap()] {
                prop_assert!(!text.contains(char::is_control), "{}", text);
            }
        }
    }
}
