//! Bytes to text: UTF-8, or UTF-16 where a byte order mark says so (XML 1.0, appendix F).

use std::path::Path;

use super::MAX_APIGEE_FILE_BYTES;
use crate::problem::{Document, Place, Problem};

/// The text of a file, without its byte order mark.
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<String, Problem> {
    if bytes.len() as u64 > MAX_APIGEE_FILE_BYTES {
        return Err(whole(
            path,
            "is longer than 4 MiB; expected one of Apigee's files",
            "leave it out",
        ));
    }
    match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(path, rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(path, rest, u16::from_be_bytes),
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(path, rest),
        bytes => utf8(path, bytes),
    }
}

fn utf8(path: &Path, bytes: &[u8]) -> Result<String, Problem> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let end = error.valid_up_to();
        let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
        let place = Document::new(path, &text).place(&(end..end));
        Problem {
            place,
            ..whole(
                path,
                "a byte that is not UTF-8; expected text",
                "save the file as UTF-8",
            )
        }
    })
}

fn utf16(path: &Path, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Problem> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let text: Option<String> = char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .map(Result::ok)
        .collect();
    let broken = || {
        whole(
            path,
            "begins as UTF-16 and isn't; expected text",
            "save the file as UTF-8",
        )
    };
    text.filter(|_| rest.is_empty()).ok_or_else(broken)
}

fn whole(path: &Path, message: &str, help: &str) -> Problem {
    Problem {
        place: Place::File(path.to_owned()),
        message: message.to_owned(),
        help: Some(help.to_owned()),
        excerpt: None,
    }
}
