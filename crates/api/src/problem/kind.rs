//! Every kind of refusal that there is: its name, its status, and what to do about it. The reference of errors, the
//! OpenAPI document and the answers themselves are made of this one table.

use http::StatusCode;

/// Makes the type and its table, so that none can be without its row.
macro_rules! kinds {
    ($($kind:ident: $status:ident, $name:literal, $title:literal, $advice:literal;)+) => {
        /// What is wrong, as far as whoever asked can do something different about it.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub(crate) enum Kind {
            $(#[doc = $title] $kind,)+
        }

        impl Kind {
            /// Each, in the order of their statuses.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// The status that it is answered with.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)+ }
            }

            /// What it is called; never changed, since programs go by it.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }

            /// `type` of an answer (RFC 9457 §3.1.1): its place on this server's own page.
            pub(crate) const fn uri(self) -> &'static str {
                match self { $(Self::$kind => concat!("/docs#problem-", $name),)+ }
            }

            /// The same in a few words for people.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)+ }
            }

            /// What to do about it.
            pub(crate) const fn advice(self) -> &'static str {
                match self { $(Self::$kind => $advice,)+ }
            }
        }
    };
}

kinds! {
    Malformed: BAD_REQUEST, "malformed", "The request can't be read",
        "Mend what `error` names: the JSON (it says line and column), the id in the path, the query's form, or a header. \
         Sending the same again can't succeed.";
    PlainHttp: BAD_REQUEST, "plain-http", "This port speaks TLS",
        "Use https:// instead of http://.";
    PeerNotServed: UNAUTHORIZED, "peer-not-served", "This network isn't served without a token",
        "Call from loopback or a private network, or have the operator set `api_tokens_file`.";
    TokenRequired: UNAUTHORIZED, "token-required", "This takes a token",
        "Send one as `Authorization: Bearer TOKEN`; its operator makes it by `edgeproxy token new`.";
    TokenUnknown: UNAUTHORIZED, "token-unknown", "The token isn't known here",
        "It has been replaced, or is for another proxy: ask its operator for the one in force.";
    TokenExpired: UNAUTHORIZED, "token-expired", "The token has expired",
        "Ask its operator for a new one; `error` says since when.";
    TokenElsewhere: FORBIDDEN, "token-elsewhere", "The token may not be used from this address",
        "Use it from the networks that its entry lists under `from`, or have the entry changed.";
    CertificateUnknown: FORBIDDEN, "certificate-unknown", "The certificate is nobody's here",
        "Have a `[[certificates]]` entry with one of its names added to the file of tokens.";
    RoleTooLow: FORBIDDEN, "role-too-low", "The role doesn't allow that",
        "Use a token with the role that `error` names.";
    OtherApp: FORBIDDEN, "other-app", "That is about an app that isn't yours",
        "Use a token whose `app` covers it; what is about all apps takes one for `*`.";
    AddressNotYours: FORBIDDEN, "address-not-yours", "A backend registers its own address here",
        "Register from the address that is registered, or have the operator set `register_source = \"any\"`.";
    ForeignHost: FORBIDDEN, "foreign-host", "The Host is not this listener's",
        "Address the proxy by its IP address or as localhost, or have the name added to `api_allowed_hosts`.";
    ForeignOrigin: FORBIDDEN, "foreign-origin", "A page of another site asked",
        "Changes are taken from this listener's own pages only; programs send no `Origin`.";
    NoSuchPath: NOT_FOUND, "no-such-path", "There is nothing at this path",
        "Look for the path in this reference; the API begins at /api/v1/.";
    UnknownBackend: NOT_FOUND, "unknown-backend", "There is no such backend",
        "To a heartbeat it says that the lease is over: register again. Otherwise it is gone, or was never here.";
    UnknownApp: NOT_FOUND, "unknown-app", "No backend of that app is registered",
        "Check the name, or wait for its first backend.";
    NothingToShow: NOT_FOUND, "nothing-to-show", "This server has nothing of that to show",
        "It is part of a program that shows neither; the `edgeproxy` binary has both.";
    MethodNotAllowed: METHOD_NOT_ALLOWED, "method-not-allowed", "The path doesn't take that method",
        "Use one of those that `Allow` lists.";
    NotAcceptable: NOT_ACCEPTABLE, "not-acceptable", "The answer can't be in what `Accept` asks for",
        "Leave `Accept` away, or let it have room for what `error` names.";
    BodyTooSlow: REQUEST_TIMEOUT, "body-too-slow", "The body didn't come in time",
        "Send it again, as a whole; nothing was changed.";
    AppTaken: CONFLICT, "app-taken", "The id belongs to another app",
        "Choose another id, or deregister the backend that has this one.";
    InTheFile: CONFLICT, "in-the-file", "The backend is the configuration file's",
        "Change the file; or switch the backend off by PATCH with {\"enabled\":false}.";
    DeadIncarnation: PRECONDITION_FAILED, "dead-incarnation", "If-Match names no live incarnation",
        "Somebody has registered the id since. Whoever is stopping has nothing left to do; others read it again and decide anew.";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "body-too-large", "The body is over 64 KiB",
        "No request needs as much: look for what has got into it.";
    NotJson: UNSUPPORTED_MEDIA_TYPE, "not-json", "The body's type isn't taken",
        "Send `Content-Type: application/json`, and no `Content-Encoding`.";
    InvalidFields: UNPROCESSABLE_ENTITY, "invalid-fields", "Fields break their rules",
        "Mend every field that `fields` lists; all are listed at once. Sending the same again can't succeed.";
    TooManyRequests: TOO_MANY_REQUESTS, "too-many-requests", "Too many requests from this address",
        "Wait as long as `Retry-After` says. `api_rate_per_peer` is the limit.";
    TooManyWrongTokens: TOO_MANY_REQUESTS, "too-many-wrong-tokens", "Too many wrong tokens from this address",
        "Find who has a wrong token, and wait as long as `Retry-After` says. Right ones are served meanwhile.";
    Internal: INTERNAL_SERVER_ERROR, "internal", "The server made a mistake",
        "Report it, with what its log says at that time.";
    Starting: SERVICE_UNAVAILABLE, "starting", "The server isn't ready yet",
        "Ask again after `Retry-After`.";
    Draining: SERVICE_UNAVAILABLE, "draining", "The server ends what is in flight and takes nothing new",
        "Send traffic to another proxy.";
    Stopping: SERVICE_UNAVAILABLE, "stopping", "The server is stopping",
        "Try again after `Retry-After`, or another proxy; nothing was changed.";
    RegistryFull: SERVICE_UNAVAILABLE, "registry-full", "The registry is full",
        "Try again after `Retry-After`; the operator raises `max_backends` or `max_apps`.";
    TooManyReaders: SERVICE_UNAVAILABLE, "too-many-readers", "As many follow the events as may",
        "Try again after `Retry-After`, or read the events as JSON.";
    Overdue: SERVICE_UNAVAILABLE, "overdue", "There was no answer in time",
        "Send it again: a change may have been made, and making it twice does no harm.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_statuses_in_order() {
        let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.status()));
        for kind in Kind::ALL {
            assert!(
                kind.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{kind:?}"
            );
            assert!(
                kind.advice().ends_with('.') && !kind.title().ends_with('.'),
                "{kind:?}"
            );
        }
    }
}
