//! What the proxy adds to a backend's answer by itself: the cookie that binds its client, and how it was decided.

use std::fmt::Display;
use std::io::Write as _;

use edgeproxy_backend::{Incarnation, MonoTime};
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use crate::AppRoute;
use crate::exchange::decision::{DECISION, Decision};
use crate::exchange::pick::Taken;
use crate::request::keys::Standing;

/// Whether there may be any, or a client to bind: for most apps there never is.
#[inline]
pub(crate) fn may_be(app: &AppRoute, taken: &Taken) -> bool {
    app.keys.is_some() || taken.told.is_some()
}

/// The answer that they are for.
pub(crate) struct Answered<'a> {
    pub(crate) app: &'a AppRoute,
    pub(crate) taken: &'a Taken,
    pub(crate) standing: Standing,
    /// Whom the request was tried on without success: with the one that answers, if its answer counts as a failure.
    pub(crate) tried: &'a [Incarnation],
    pub(crate) now: MonoTime,
}

impl Answered<'_> {
    /// Adds them to a head of HTTP/1, which ends in an empty line.
    #[cold]
    pub(crate) fn add_to_head(&self, head: &mut Vec<u8>) {
        head.truncate(head.len().saturating_sub(b"\r\n".len()));
        self.each(|name, value| {
            // Writing to a Vec can't fail.
            let _ = write!(head, "{name}: {value}\r\n");
        });
        head.extend_from_slice(b"\r\n");
    }

    /// Adds them to the fields of an answer.
    #[cold]
    pub(crate) fn add_to_map(&self, headers: &mut HeaderMap) {
        self.each(|name, value| {
            // They are made of what is valid.
            if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
                headers.append(name, value);
            }
        });
    }

    fn each(&self, mut put: impl FnMut(HeaderName, &dyn Display)) {
        let endpoint = self.taken.place.endpoint();
        let has_failed = self.tried.last() == Some(&endpoint.incarnation);
        if let Some(keys) = &self.app.keys
            && !has_failed
            && let Some(cookie) = keys.settle(self.standing, endpoint, self.now)
        {
            put(SET_COOKIE, &cookie);
        }
        if let Some(told) = self.taken.told {
            let decision = Decision {
                backend: &endpoint.id,
                attempt: self.tried.len() + usize::from(!has_failed),
                policy: self.app.balancer.policy(),
                told,
            };
            put(DECISION, &decision);
        }
    }
}
