//! The four forms of a request's target (RFC 9112 §3.2).

use super::{Method, Stop};
use crate::exchange::answer::Answer;

/// What a request is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Target<'b> {
    /// Of an absolute target.
    pub(super) authority: Option<&'b str>,
    /// Path and query, as the backend gets them, but for a missing first slash.
    pub(super) path: &'b str,
    /// Whether the path lacks its first slash.
    pub(super) rootless: bool,
}

impl<'b> Target<'b> {
    pub(super) fn parse(text: &'b str, method: Method) -> Result<Self, Stop> {
        check_bytes(text)?;
        if text.starts_with('/') || (text == "*" && method == Method::Options) {
            return Ok(Self {
                authority: None,
                path: text,
                rootless: false,
            });
        }
        let Some(rest) = without_scheme(text) else {
            return Err(no_target().into());
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = match path {
            // RFC 9112 §3.2.4: OPTIONS on a server without a path is about the server as a whole.
            "" if method == Method::Options => "*",
            path => path,
        };
        Ok(Self {
            authority: Some(authority),
            path,
            rootless: !path.starts_with(['/', '*']),
        })
    }
}

/// The same bytes are permitted by whatever protocol a target comes.
pub(crate) fn check_bytes(text: &str) -> Result<(), Answer> {
    let path = text.split('?').next().unwrap_or_default();
    // Browsers encode a backtick in a path, and not every parser takes one there.
    if text.bytes().all(is_permitted) && !path.contains('`') {
        return Ok(());
    }
    Err(Answer::bad_request(
        "the request's target holds a byte that has no place there",
    ))
}

pub(crate) fn no_target() -> Answer {
    Answer::bad_request("the request's target is neither a path nor an http URL")
}

fn without_scheme(text: &str) -> Option<&str> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = text.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    })
}

/// RFC 3986 §2, and what every browser leaves as it is in a query (the URL standard's query percent-encode set), which no parser
/// takes for the end of anything: brackets, braces, `^`, `|` and the backtick. No backslash, which some take for a slash, and no
/// fragment: a client keeps that to itself.
fn is_permitted(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']'..=b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, method: Method) -> Option<(Option<&str>, &str, bool)> {
        let target = Target::parse(text, method).ok()?;
        Some((target.authority, target.path, target.rootless))
    }

    #[test]
    fn every_form_but_the_authoritys_is_taken() {
        assert_eq!(parse("/a?b[]=c", Method::Get), Some((None, "/a?b[]=c", false)));
        let json = "/a?filter={%22b%22:[1|2]}^`";
        assert_eq!(parse(json, Method::Get), Some((None, json, false)));
        assert_eq!(parse("*", Method::Options), Some((None, "*", false)));
        assert_eq!(
            parse("http://a:1/b", Method::Get),
            Some((Some("a:1"), "/b", false))
        );
        assert_eq!(parse("HTTPS://a", Method::Get), Some((Some("a"), "", true)));
        assert_eq!(parse("http://a?q", Method::Get), Some((Some("a"), "?q", true)));
        assert_eq!(parse("http://a", Method::Options), Some((Some("a"), "*", false)));
        assert_eq!(parse("http://a/", Method::Options), Some((Some("a"), "/", false)));
    }

    #[test]
    fn what_is_no_target_is_refused() {
        for bad in [
            "*", "a", "a:80", "ftp://a/", "/a#b", "/a\"", "/<", "/>", "/`", "/\\", "/é", "/\u{7f}", "",
        ] {
            assert_eq!(parse(bad, Method::Get), None, "{bad:?}");
        }
    }
}
