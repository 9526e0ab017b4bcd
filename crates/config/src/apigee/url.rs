//! `URL`: a target without a name.

use super::element::Element;
use super::notes::{Notes, has_variable, shown};
use super::rules;
use super::server::Host;

/// The pieces of an `http` or `https` URL, as far as they were written.
pub(super) struct Url<'u> {
    secure: bool,
    host: &'u str,
    port: Option<&'u str>,
    path: &'u str,
}

impl<'u> Url<'u> {
    /// `http://10.0.0.1:8080/path?query`, without a judgement of the host.
    fn parse(text: &'u str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rfind(':') {
            // A colon inside of brackets is an IPv6 address's.
            Some(colon) if !authority[colon..].contains(']') => {
                (&authority[..colon], authority.get(colon + 1..))
            }
            _ => (authority, None),
        };
        (!host.is_empty() && !authority.contains('@')).then_some(Self {
            secure,
            host,
            port,
            path,
        })
    }

    /// Where it leads. What it doesn't say right is told.
    pub(super) fn read(notes: &mut Notes<'_>, element: &'u Element) -> Option<Host> {
        let text = element.text.as_str();
        let authority = text.split_once("://").map_or(text, |(_, rest)| rest);
        let end = authority.find('/').unwrap_or(authority.len());
        let schemeless = !text.contains("://") || text.starts_with('{');
        if has_variable(text) && (schemeless || authority[..end].contains('{')) {
            let message = format!(
                "the URL {} has a variable that only Apigee could fill in",
                shown(text)
            );
            let advice = "write the address that it stands for";
            notes.tell(rules::VARIABLE, &element.text_at, message, advice);
            return None;
        }
        let url = Self::parse(text);
        let port = url.as_ref().and_then(|url| match url.port {
            Some(port) => port.parse::<u16>().ok().filter(|port| *port > 0),
            None => Some(if url.secure { 443 } else { 80 }),
        });
        let (Some(url), Some(port)) = (url, port) else {
            let found = format!("\"{}\"", shown(text));
            notes.bad(element, &found, "a URL such as http://10.0.0.1:8080/path", None);
            return None;
        };
        if url.path.contains(['?', '#']) {
            notes.tell(
                rules::NO_COUNTERPART,
                &element.text_at,
                "the query of a URL has no counterpart and was not taken over",
                "have clients send it",
            );
        }
        Some(Host {
            name: Some(url.host.to_owned()),
            port,
            protocol: if url.secure { "https" } else { "http1" },
            at: element.text_at.clone(),
        })
    }

    /// The path of an element's URL, without the query.
    pub(super) fn path_of(element: &Element) -> (&Element, String) {
        let path = Url::parse(&element.text).map_or("", |url| url.path);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        (element, path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_falls_into_its_pieces() {
        for (text, host, port, path) in [
            ("http://10.0.0.1", "10.0.0.1", None, ""),
            (
                "https://shop.example:8443/api?x=1",
                "shop.example",
                Some("8443"),
                "/api?x=1",
            ),
            ("http://[2001:db8::1]:80/", "[2001:db8::1]", Some("80"), "/"),
            ("HTTP://[::1]", "[::1]", None, ""),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host, url.port, url.path), (host, port, path), "{text}");
        }
        for bad in ["", "shop.example", "ftp://a", "http://", "http://user:secret@a/"] {
            assert!(Url::parse(bad).is_none(), "{bad}");
        }
    }
}
