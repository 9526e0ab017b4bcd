//! What makes a request recognisable across machines: `X-Request-Id` and W3C `traceparent`.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Longer ones are replaced: they end up in every log line.
const REQUEST_ID_MAX: usize = 128;

/// Keeps what the client sent if it is sane, and creates what is missing; `random` gives 64 bits a call.
pub(crate) fn identify(headers: &mut HeaderMap, mut random: impl FnMut() -> u64) {
    if single(headers, &REQUEST_ID).is_none_or(|id| !is_request_id(id)) {
        insert(headers, REQUEST_ID, format!("{:016x}{:016x}", random(), random()));
    }
    if single(headers, &TRACEPARENT).is_none_or(|parent| !is_traceparent(parent)) {
        // A state without its parent means nothing (W3C Trace Context §3.3).
        headers.remove(TRACESTATE);
        let trace = (u128::from(random()) << 64 | u128::from(random())).max(1);
        // Flags 00: this proxy records no span, so it must not claim that it was sampled.
        insert(
            headers,
            TRACEPARENT,
            format!("00-{trace:032x}-{:016x}-00", random().max(1)),
        );
    }
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: String) {
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)) {
        headers.insert(name, value);
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        None
    } else {
        Some(first.as_bytes())
    }
}

pub(crate) fn is_request_id(id: &[u8]) -> bool {
    let permitted = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:/+=@~".contains(b);
    !id.is_empty() && id.len() <= REQUEST_ID_MAX && id.iter().all(permitted)
}

/// W3C Trace Context §3.2. A version above 00 may be longer, and is passed on as it is.
pub(crate) fn is_traceparent(value: &[u8]) -> bool {
    let hex = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let some = |part: &[u8]| hex(part) && part.iter().any(|b| *b != b'0');
    if value.len() < 55 || value[2] != b'-' || value[35] != b'-' || value[52] != b'-' {
        return false;
    }
    let version = &value[..2];
    let length = match version {
        b"ff" => false,
        b"00" => value.len() == 55,
        _ => value.len() == 55 || value[55] == b'-',
    };
    length && hex(version) && some(&value[3..35]) && some(&value[36..52]) && hex(&value[53..55])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn after(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut n = 0;
        identify(&mut headers, || {
            n += 1;
            n
        });
        headers
    }

    #[test]
    fn sane_ones_are_kept() {
        let headers = after(&[
            ("x-request-id", "a-1:2"),
            ("traceparent", PARENT),
            ("tracestate", "x=y"),
        ]);
        assert_eq!(headers["x-request-id"], "a-1:2");
        assert_eq!(headers["traceparent"], PARENT);
        assert_eq!(headers["tracestate"], "x=y");
    }

    #[test]
    fn missing_ones_are_created() {
        let headers = after(&[]);
        assert_eq!(headers["x-request-id"], "00000000000000010000000000000002");
        assert_eq!(
            headers["traceparent"],
            "00-00000000000000030000000000000004-0000000000000005-00"
        );
    }

    #[test]
    fn insane_ones_are_replaced() {
        for bad in ["", "a b", "<script>", &"x".repeat(129)] {
            assert_eq!(after(&[("x-request-id", bad)])["x-request-id"].len(), 32, "{bad}");
        }
        assert_eq!(
            after(&[("x-request-id", "a"), ("x-request-id", "b")])
                .get_all("x-request-id")
                .iter()
                .count(),
            1
        );
        for bad in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            let headers = after(&[("traceparent", bad), ("tracestate", "x=y")]);
            assert_ne!(headers["traceparent"], bad);
            assert!(!headers.contains_key("tracestate"));
        }
    }

    proptest! {
        #[test]
        fn whatever_came_what_leaves_is_sane(
            id in proptest::option::of("[ -~]{0,140}"),
            parent in proptest::option::of("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-x)?"),
        ) {
            let fields: Vec<_> = [("x-request-id", id.as_deref()), ("traceparent", parent.as_deref())]
                .into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
            let headers = after(&fields);
            prop_assert!(is_request_id(headers["x-request-id"].as_bytes()));
            prop_assert!(is_traceparent(headers["traceparent"].as_bytes()));
        }
    }
}
