//! Field names that mean something to a proxy.

/// A field name, as far as forwarding is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Field {
    /// Passed on as it is.
    Other,
    Connection,
    ContentLength,
    Date,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    MaxForwards,
    ProxyConnection,
    RequestId,
    Te,
    Traceparent,
    Tracestate,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    /// `X-Forwarded-For`.
    XFor,
    /// `X-Forwarded-Host`.
    XHost,
    /// `X-Forwarded-Proto`.
    XProto,
    /// Says who the client is besides those three, and is believed by some backends.
    XOther,
    /// One of the others spelt with underscores. CGI and its heirs turn hyphens into underscores, so that a
    /// backend could not tell the two apart, and would believe a client where it means to believe the proxy.
    Lookalike,
}

impl Field {
    /// Which field that name is, in any case.
    #[inline]
    pub(crate) fn of(name: &str) -> Self {
        let name = name.as_bytes();
        let first = name.first().map_or(0, |first| first | 0x20);
        // Length and first letter leave one candidate, or few: most names are told apart from all of them by that.
        match (name.len(), first) {
            (2, b't') => Self::Te.if_named(name, b"te"),
            (3, b'v') => Self::Via.if_named(name, b"via"),
            (4, b'h') => Self::Host.if_named(name, b"host"),
            (4, b'd') => Self::Date.if_named(name, b"date"),
            (6, b'e') => Self::Expect.if_named(name, b"expect"),
            (7, b'u') => Self::Upgrade.if_named(name, b"upgrade"),
            (7, b't') => Self::Trailer.if_named(name, b"trailer"),
            (9, b'f') => Self::Forwarded.if_named(name, b"forwarded"),
            (9, b'x') => Self::XOther.if_named(name, b"x-real-ip"),
            (10, b'c') => Self::Connection.if_named(name, b"connection"),
            (10, b'k') => Self::KeepAlive.if_named(name, b"keep-alive"),
            (10, b't') => Self::Tracestate.if_named(name, b"tracestate"),
            (11, b't') => Self::Traceparent.if_named(name, b"traceparent"),
            (12, b'x') => Self::RequestId.if_named(name, b"x-request-id"),
            (12, b'm') => Self::MaxForwards.if_named(name, b"max-forwards"),
            (14, b'c') => Self::ContentLength.if_named(name, b"content-length"),
            (14, b'h') => Self::Http2Settings.if_named(name, b"http2-settings"),
            (15, b'x') => Self::XFor.if_named(name, b"x-forwarded-for"),
            (16, b'x') => Self::XHost
                .if_named(name, b"x-forwarded-host")
                .or_else(|| Self::XOther.if_named(name, b"x-forwarded-port")),
            (16, b'p') => Self::ProxyConnection.if_named(name, b"proxy-connection"),
            (17, b't') => Self::TransferEncoding.if_named(name, b"transfer-encoding"),
            (17, b'x') => Self::XProto.if_named(name, b"x-forwarded-proto"),
            (18, b'x') => Self::XOther.if_named(name, b"x-forwarded-server"),
            _ => None,
        }
        .unwrap_or(Self::Other)
    }

    /// This field if `name` is `known` in any case, and a lookalike if it is but for `_` in place of `-`. `name`
    /// is a token, and `known` lower case.
    #[inline]
    fn if_named<const N: usize>(self, name: &[u8], known: &[u8; N]) -> Option<Self> {
        let name: &[u8; N] = name.try_into().ok()?;
        // Without a branch for each letter, so that several are compared at a time. In a token this bit is all
        // that tells an upper case letter from its lower case, and no `-` from anything.
        let differs = |fold: fn(u8) -> u8| {
            let pairs = name.iter().zip(known);
            pairs.fold(0, |differs, (byte, known)| differs | (fold(*byte) ^ known)) != 0
        };
        if !differs(|byte| byte | 0x20) {
            return Some(self);
        }
        (!differs(|byte| if byte == b'_' { b'-' } else { byte | 0x20 })).then_some(Self::Lookalike)
    }

    /// Whether `Connection` may have it removed. Without these a message would have another length or another
    /// addressee.
    pub(crate) fn may_be_named(self) -> bool {
        !matches!(
            self,
            Self::Host | Self::ContentLength | Self::TransferEncoding | Self::Via
        )
    }

    /// Whether it may stand behind a chunked body (RFC 9110 §6.5.1): nothing that frames, routes or
    /// authenticates, and nothing that is between two neighbours.
    pub(crate) fn may_trail(self) -> bool {
        matches!(self, Self::Other | Self::Date)
    }

    /// Whether a message that has it behind its body is refused: somebody could take it for what frames or routes
    /// the message after all.
    pub(crate) fn spoils_trailers(self) -> bool {
        matches!(self, Self::ContentLength | Self::Host | Self::TransferEncoding)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(Field::of("Host"), Field::Host);
        assert_eq!(Field::of("TRANSFER-encoding"), Field::TransferEncoding);
        assert_eq!(Field::of("X-Forwarded-For"), Field::XFor);
        assert_eq!(Field::of("X-Forwarded-Fox"), Field::Other);
        assert_eq!(Field::of(""), Field::Other);
        assert_eq!(Field::of("accept"), Field::Other);
    }

    proptest! {
        #[test]
        fn a_name_is_known_by_all_of_its_letters(
            known in proptest::sample::select(KNOWN), at: proptest::sample::Index, byte in "[!#$%&'*+.^_`|~0-9A-Za-z-]",
        ) {
            let (name, field) = known;
            prop_assert_eq!(Field::of(name), field);
            prop_assert_eq!(Field::of(&name.to_uppercase()), field);
            let at = at.index(name.len());
            let mut other = name.to_owned();
            other.replace_range(at..=at, &byte);
            let expected = if other.eq_ignore_ascii_case(name) {
                field
            } else if other.replace('_', "-").eq_ignore_ascii_case(name) {
                Field::Lookalike
            } else {
                let same = KNOWN.iter().find(|(known, _)| other.eq_ignore_ascii_case(known));
                same.map_or(Field::Other, |(_, field)| *field)
            };
            prop_assert_eq!(Field::of(&other), expected, "{}", other);
        }
    }

    const KNOWN: &[(&str, Field)] = &[
        ("connection", Field::Connection),
        ("content-length", Field::ContentLength),
        ("date", Field::Date),
        ("expect", Field::Expect),
        ("forwarded", Field::Forwarded),
        ("host", Field::Host),
        ("http2-settings", Field::Http2Settings),
        ("keep-alive", Field::KeepAlive),
        ("max-forwards", Field::MaxForwards),
        ("proxy-connection", Field::ProxyConnection),
        ("te", Field::Te),
        ("traceparent", Field::Traceparent),
        ("tracestate", Field::Tracestate),
        ("trailer", Field::Trailer),
        ("transfer-encoding", Field::TransferEncoding),
        ("upgrade", Field::Upgrade),
        ("via", Field::Via),
        ("x-forwarded-for", Field::XFor),
        ("x-forwarded-host", Field::XHost),
        ("x-forwarded-port", Field::XOther),
        ("x-forwarded-proto", Field::XProto),
        ("x-forwarded-server", Field::XOther),
        ("x-real-ip", Field::XOther),
        ("x-request-id", Field::RequestId),
    ];

    #[test]
    fn what_a_cgi_could_not_tell_apart_is_a_lookalike() {
        for name in [
            "Content_Length",
            "x_forwarded-for",
            "X_Real_IP",
            "TRANSFER_ENCODING",
        ] {
            assert_eq!(Field::of(name), Field::Lookalike, "{name}");
        }
        assert_eq!(Field::of("x_custom"), Field::Other);
    }
}
