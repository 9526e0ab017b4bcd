//! What the proxy adds to a backend's answer by itself: the cookie that binds its client, and how it was decided.

use std::io::Write as _;

use edgeproxy_backend::MonoTime;
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};

use crate::AppRoute;
use crate::decision::{DECISION, Decision};
use crate::keys::Standing;
use crate::pick::Taken;

/// Whether there may be any, or a client to bind: for most apps there never is.
#[inline]
pub(crate) fn may_be(app: &AppRoute, taken: &Taken) -> bool {
    app.keys.is_some() || taken.told.is_some()
}

/// Adds them to the head of HTTP/1, which ends in an empty line. `attempt` is the one that was answered, from 1.
#[cold]
pub(crate) fn add_to_head(
    head: &mut Vec<u8>,
    app: &AppRoute,
    taken: &Taken,
    standing: Standing,
    attempt: usize,
    now: MonoTime,
) {
    head.truncate(head.len().saturating_sub(b"\r\n".len()));
    each(app, taken, standing, attempt, now, |name, value| {
        // Writing to a Vec can't fail.
        let _ = write!(head, "{name}: {value}\r\n");
    });
    head.extend_from_slice(b"\r\n");
}

/// Adds them to the fields of an answer.
#[cold]
pub(crate) fn add_to_map(
    headers: &mut HeaderMap,
    app: &AppRoute,
    taken: &Taken,
    standing: Standing,
    attempt: usize,
    now: MonoTime,
) {
    each(app, taken, standing, attempt, now, |name, value| {
        // They are made of what is valid.
        if let Ok(value) = HeaderValue::from_str(&value.to_string()) {
            headers.append(name, value);
        }
    });
}

fn each(
    app: &AppRoute,
    taken: &Taken,
    standing: Standing,
    attempt: usize,
    now: MonoTime,
    mut put: impl FnMut(HeaderName, &dyn std::fmt::Display),
) {
    let endpoint = taken.place.endpoint();
    let keys = app.keys.as_ref();
    if let Some(cookie) = keys.and_then(|keys| keys.settle(standing, endpoint, now)) {
        put(SET_COOKIE, &cookie);
    }
    if let Some(told) = taken.told {
        let decision = Decision {
            backend: &endpoint.id,
            attempt,
            algorithm: app.balancer.policy().algorithm,
            told,
        };
        put(DECISION, &decision);
    }
}
