//! What makes a request recognisable across machines: `X-Request-Id` and W3C `traceparent`.

use http::HeaderMap;
use http::header::HeaderName;

use super::Present;
use crate::http1::field::Field;
use crate::http1::text::push_hex;
use crate::telemetry::traces::Traced;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Of version 00.
const TRACEPARENT_LEN: usize = 55;

/// Longer ones are replaced: they end up in every log line.
const REQUEST_ID_MAX: usize = 128;

/// The ones that a request lacks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    request: Option<[u64; 2]>,
    trace: Option<Step>,
}

/// What a backend is told of the trace that a request is a part of.
#[derive(Clone, Copy, Debug)]
struct Step {
    trace: u128,
    span: u64,
    /// Whether this proxy tells of it.
    sampled: bool,
}

impl Ids {
    /// Keeps what the client sent if it is sane, and creates what is missing; `random` gives 64 bits a call. Of a request
    /// that is `traced` the backend is told the proxy's own step.
    pub(crate) fn complete(
        headers: &mut HeaderMap,
        present: Present,
        traced: Option<&Traced>,
        mut random: impl FnMut() -> u64,
    ) -> Self {
        let mut lacks = |field, name: &HeaderName, is_sane: fn(&[u8]) -> bool| {
            let there = present.has(field);
            let kept = there && single(headers, name).is_some_and(is_sane);
            if there && !kept {
                headers.remove(name);
            }
            !kept
        };
        let request = lacks(Field::RequestId, &REQUEST_ID, is_request_id);
        let trace = lacks(Field::Traceparent, &TRACEPARENT, is_traceparent);
        // A state without its parent means nothing (W3C Trace Context §3.3).
        if trace && present.has(Field::Tracestate) {
            headers.remove(TRACESTATE);
        }
        if traced.is_some() && !trace {
            headers.remove(TRACEPARENT);
        }
        Self {
            request: request.then(|| [random(), random()]),
            trace: match traced {
                Some(traced) => Some(Step {
                    trace: traced.trace,
                    span: traced.attempt,
                    sampled: true,
                }),
                // An id of zeros would be none. And what records no span must not claim that it was sampled.
                None => trace.then(|| Step {
                    trace: u128::from(random().max(1)) << 64 | u128::from(random()),
                    span: random().max(1),
                    sampled: false,
                }),
            },
        }
    }

    /// Has the backend told another step of a request that is traced.
    pub(crate) fn step(&mut self, span: u64) {
        if let Some(step) = &mut self.trace {
            step.span = span;
        }
    }

    /// Every field that was lacking.
    pub(crate) fn each(&self, mut put: impl FnMut(&HeaderName, &[u8])) {
        let mut text = Vec::new();
        if let Some([high, low]) = self.request {
            text.reserve(TRACEPARENT_LEN);
            push_hex(&mut text, high);
            push_hex(&mut text, low);
            put(&REQUEST_ID, &text);
        }
        if let Some(step) = self.trace {
            text.clear();
            text.reserve(TRACEPARENT_LEN);
            push_traceparent(&mut text, step.trace, step.span, step.sampled);
            put(&TRACEPARENT, &text);
        }
    }
}

/// The value of `traceparent`, of version 00.
pub(crate) fn push_traceparent(out: &mut Vec<u8>, trace: u128, span: u64, sampled: bool) {
    #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
    let (high, low) = ((trace >> 64) as u64, trace as u64);
    out.extend_from_slice(b"00-");
    push_hex(out, high);
    push_hex(out, low);
    out.push(b'-');
    push_hex(out, span);
    out.extend_from_slice(if sampled { b"-01" } else { b"-00" });
}

/// What a `traceparent` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Parent {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// Whether the one that it comes from tells of it.
    pub(crate) sampled: bool,
}

impl Parent {
    /// `None`: it is not sane.
    pub(crate) fn read(value: &[u8]) -> Option<Self> {
        if !is_traceparent(value) {
            return None;
        }
        let digits = |range| std::str::from_utf8(value.get(range)?).ok();
        Some(Self {
            trace: u128::from_str_radix(digits(3..35)?, 16).ok()?,
            span: u64::from_str_radix(digits(36..52)?, 16).ok()?,
            sampled: u8::from_str_radix(digits(53..55)?, 16).ok()? & 1 == 1,
        })
    }
}

/// The only value of that name among the fields.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<&[u8]> {
    single(headers, &TRACEPARENT)
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

    use http::header::HeaderValue;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn after(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut n = 0;
        let present = Present::of(&headers);
        let ids = Ids::complete(&mut headers, present, None, || {
            n += 1;
            n
        });
        ids.each(|name, value| {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
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
    fn a_traced_request_s_backend_is_told_the_proxy_s_own_step() {
        let traced = Traced {
            trace: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            parent: Some(0x00f0_67aa_0ba9_02b7),
            id: 1,
            attempt: 2,
        };
        let mut headers = HeaderMap::new();
        headers.append("traceparent", HeaderValue::from_static(PARENT));
        headers.append("tracestate", HeaderValue::from_static("x=y"));
        let present = Present::of(&headers);
        let mut ids = Ids::complete(&mut headers, present, Some(&traced), || 7);
        assert!(!headers.contains_key("traceparent"));
        assert_eq!(headers["tracestate"], "x=y");
        for (span, told) in [(2, "0000000000000002"), (0xab, "00000000000000ab")] {
            ids.step(span);
            let mut values = Vec::new();
            ids.each(|name, value| values.push((name.clone(), value.to_vec())));
            let expected = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{told}-01");
            assert!(
                values.contains(&(TRACEPARENT, expected.into_bytes())),
                "{values:?}"
            );
        }
    }

    #[test]
    fn what_a_parent_says_is_read() {
        let parent = Parent::read(PARENT.as_bytes()).unwrap();
        let expected = (
            0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            0x00f0_67aa_0ba9_02b7,
            true,
        );
        assert_eq!((parent.trace, parent.span, parent.sampled), expected);
        assert!(
            !Parent::read(PARENT.replace("-01", "-02").as_bytes())
                .unwrap()
                .sampled
        );
        assert_eq!(Parent::read(b"00-4bf9"), None);
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
