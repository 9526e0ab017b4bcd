//! Fields and cookies of a request, whichever protocol it came by.

use http::{HeaderMap, HeaderValue};

/// The fields of a head.
pub(crate) trait Fields {
    /// Every value of a field, in their order; `name` in lower case.
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]>;
}

/// A head of HTTP/1 that has been checked: every line ends in CR LF, and none is folded. Read in place, since only
/// the app that it turned out to be for says which field is wanted.
pub(crate) struct RawFields<'b>(pub(crate) &'b [u8]);

impl Fields for RawFields<'_> {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        // Behind the first line.
        let lines = self.0.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(move |line| {
            let (found, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b":")?;
            found
                .eq_ignore_ascii_case(name.as_bytes())
                .then(|| value.trim_ascii())
        })
    }
}

impl Fields for &HeaderMap {
    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .map(<[u8]>::trim_ascii)
    }
}

/// The first value of a field, unless it is empty.
pub(super) fn field<'a>(fields: &'a impl Fields, name: &'a str) -> Option<&'a [u8]> {
    fields.values(name).next().filter(|value| !value.is_empty())
}

/// The first value of a cookie that is not empty.
pub(super) fn cookie<'a>(fields: &'a impl Fields, name: &'a str) -> Option<&'a [u8]> {
    cookies(fields, name).find(|value| !value.is_empty())
}

/// Every value of a cookie (RFC 6265 §4.2.1), in the order of the fields and within them.
pub(super) fn cookies<'a>(fields: &'a impl Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let pairs = fields
        .values("cookie")
        .flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?;
        Some(value.strip_prefix(b"=")?.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http1::head;

    fn values(head: &str, name: &str) -> Vec<String> {
        let fields = RawFields(head.as_bytes());
        fields
            .values(name)
            .map(|value| String::from_utf8(value.to_vec()).unwrap())
            .collect()
    }

    #[test]
    fn a_field_is_found_by_its_whole_name_in_any_case() {
        let head = "GET x-user: 0 HTTP/1.1\r\nX-User: 1\r\nx-user-2: 2\r\nxx-user: 3\r\nx-use: 4\r\n\
                    X-USER:  5 \r\nx-user:\r\n\r\n";
        assert_eq!(values(head, "x-user"), ["1", "5", ""]);
        assert_eq!(values("GET / HTTP/1.1\r\n\r\n", "x-user"), [""; 0]);
    }

    #[test]
    fn several_cookie_fields_and_several_cookies_in_one_field() {
        let mut map = HeaderMap::new();
        for value in ["a=1; b=2", " c=3 ;a=4;", "bb=5; b; =6; b = 7", "B=8; b=\"9\"; a="] {
            map.append("cookie", value.parse().unwrap());
        }
        let all = |name| -> Vec<String> {
            let fields = &map;
            cookies(&fields, name)
                .map(|value| String::from_utf8(value.to_vec()).unwrap())
                .collect()
        };
        assert_eq!(all("a"), ["1", "4", ""]);
        // Its name is `b` and nothing around it, and its quotes are its own (RFC 6265 §5.2).
        assert_eq!(all("b"), ["2", "\"9\""]);
        assert_eq!(all("c"), ["3"]);
        assert_eq!(cookie(&&map, "c"), Some(&b"3"[..]));
    }

    #[test]
    fn an_empty_value_is_as_none() {
        let mut map = HeaderMap::new();
        map.append("x-user", "".parse().unwrap());
        map.append("x-user", "1".parse().unwrap());
        map.append("cookie", "a=; a=2".parse().unwrap());
        assert_eq!(field(&&map, "x-user"), None);
        assert_eq!(cookie(&&map, "a"), Some(&b"2"[..]));
    }

    proptest! {
        #[test]
        fn what_is_read_in_place_is_what_the_parser_finds(
            lines in prop::collection::vec(("[aAbB-]{1,3}", "[ a-c:=;,\t]{0,12}"), 0..6),
            name in "[ab-]{1,3}",
        ) {
            let mut head = "GET /a:b HTTP/1.1\r\n".to_owned();
            for (field, value) in &lines {
                head += &format!("{field}:{value}\r\n");
            }
            head += "\r\n";
            let mut room = head::room();
            let mut request = httparse::Request::new(&mut []);
            request.parse_with_uninit_headers(head.as_bytes(), &mut room).unwrap();
            let named = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(&name));
            let expected: Vec<String> = named
                .map(|field| String::from_utf8(field.value.trim_ascii().to_vec()).unwrap())
                .collect();
            prop_assert_eq!(values(&head, &name), expected);
        }
    }
}
