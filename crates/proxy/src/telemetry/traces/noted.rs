//! What is noted of a request that is told of, while it is under way.

use std::net::IpAddr;
use std::time::Duration;

use edgeproxy_backend::Endpoint;

use super::{AttemptSpan, Traced};
use crate::telemetry::access_log::{Asker, Words};

/// The spans of a request as far as the access log doesn't know them anyway.
pub(crate) struct Noted {
    pub(crate) traced: Traced,
    asked: NotedRequest,
    attempts: Vec<AttemptSpan>,
    /// The latest attempt has not ended.
    is_open: bool,
}

/// What is known of a request as soon as it has come.
pub(crate) struct NotedRequest {
    /// Since 1970.
    pub(crate) began: Duration,
    pub(crate) client: IpAddr,
    pub(crate) protocol: &'static str,
    pub(crate) tls: bool,
    pub(crate) method: Box<str>,
    pub(crate) host: Box<str>,
    pub(crate) path: Box<str>,
}

impl Noted {
    /// `began` is since 1970.
    pub(crate) fn new(traced: Traced, from: Asker, asked: &Words<'_>, began: Duration) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into();
        let asked = NotedRequest {
            began,
            client: from.client,
            protocol: asked.protocol,
            tls: from.tls,
            method: text(&asked.method),
            host: text(&asked.host),
            path: path_of(&String::from_utf8_lossy(&asked.path)).into(),
        };
        Self {
            traced,
            asked,
            attempts: Vec::new(),
            is_open: false,
        }
    }

    /// An attempt begins, so long `after` the request; its id, which the backend is to be told. `random` is 64 bits.
    pub(crate) fn begin(
        &mut self,
        endpoint: &Endpoint,
        after: Duration,
        random: impl FnOnce() -> u64,
    ) -> u64 {
        let id = match self.attempts.len() {
            0 => self.traced.attempt,
            _ => random().max(1),
        };
        let backend = &endpoint.backend;
        self.attempts.push(AttemptSpan {
            id,
            after,
            took: Duration::ZERO,
            connect: None,
            backend: backend.id.clone(),
            addr: backend.addr,
            region: backend.region,
            protocol: backend.protocol,
            status: None,
            failure: None,
        });
        self.is_open = true;
        id
    }

    /// A connection was made for the latest attempt, or could not be.
    pub(crate) fn connected(&mut self, took: Duration) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.connect = Some(attempt.connect.unwrap_or_default() + took);
        }
    }

    /// The latest attempt has ended, so long `after` the request's beginning. One that has ended before stays as it is.
    pub(crate) fn end(&mut self, after: Duration, status: Option<u16>, failure: Option<&'static str>) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.took = after.saturating_sub(attempt.after);
            (attempt.status, attempt.failure) = (status, failure);
        }
    }

    pub(crate) fn into_parts(self) -> (NotedRequest, Vec<AttemptSpan>) {
        (self.asked, self.attempts)
    }
}

/// Of a target in origin or absolute form (RFC 9112 §3.2) the path alone; any other one as it is.
fn path_of(target: &str) -> &str {
    let target = target.split('?').next().unwrap_or_default();
    match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            let path = rest.find('/').and_then(|at| rest.get(at..));
            path.unwrap_or("/")
        }
        _ => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_the_path_alone_whatever_form_the_target_has() {
        for (target, path) in [
            ("/a/b?c=d", "/a/b"),
            ("/a?to=http://b/c", "/a"),
            ("/to/http://b/c", "/to/http://b/c"),
            ("http://user:secret@shop.example:80/a?b", "/a"),
            ("HTTPS://shop.example", "/"),
            ("http://shop.example?a=/b", "/"),
            ("*", "*"),
            ("shop.example:443", "shop.example:443"),
            ("", ""),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
