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
        let candidates: &[(&[u8], Self)] = match name.len() {
            2 => &[(b"te", Self::Te)],
            3 => &[(b"via", Self::Via)],
            4 => &[(b"host", Self::Host), (b"date", Self::Date)],
            6 => &[(b"expect", Self::Expect)],
            7 => &[(b"upgrade", Self::Upgrade), (b"trailer", Self::Trailer)],
            9 => &[(b"forwarded", Self::Forwarded), (b"x-real-ip", Self::XOther)],
            10 => &[
                (b"connection", Self::Connection),
                (b"keep-alive", Self::KeepAlive),
                (b"tracestate", Self::Tracestate),
            ],
            11 => &[(b"traceparent", Self::Traceparent)],
            12 => &[
                (b"x-request-id", Self::RequestId),
                (b"max-forwards", Self::MaxForwards),
            ],
            14 => &[
                (b"content-length", Self::ContentLength),
                (b"http2-settings", Self::Http2Settings),
            ],
            15 => &[(b"x-forwarded-for", Self::XFor)],
            16 => &[
                (b"x-forwarded-host", Self::XHost),
                (b"x-forwarded-port", Self::XOther),
                (b"proxy-connection", Self::ProxyConnection),
            ],
            17 => &[
                (b"transfer-encoding", Self::TransferEncoding),
                (b"x-forwarded-proto", Self::XProto),
            ],
            18 => &[(b"x-forwarded-server", Self::XOther)],
            _ => &[],
        };
        for (known, field) in candidates {
            if folds_to(name, known) {
                return if name.contains(&b'_') {
                    Self::Lookalike
                } else {
                    *field
                };
            }
        }
        Self::Other
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

/// Whether `name` is `known` when case, and `_` for `-`, are overlooked.
#[inline]
fn folds_to(name: &[u8], known: &[u8]) -> bool {
    let fold = |b: u8| match b {
        b'_' => b'-',
        b => b.to_ascii_lowercase(),
    };
    name.len() == known.len() && name.iter().zip(known).all(|(b, k)| fold(*b) == *k)
}

#[cfg(test)]
mod tests {
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
