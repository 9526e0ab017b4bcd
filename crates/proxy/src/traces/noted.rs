//! What is noted of a request that is told of, while it is under way.

use std::time::Duration;

use edgeproxy_backend::Endpoint;

use super::{AttemptSpan, Traced};

/// The spans of a request as far as the access log doesn't know them anyway.
pub(crate) struct Noted {
    pub(crate) traced: Traced,
    pub(crate) tls: bool,
    attempts: Vec<AttemptSpan>,
    /// The latest attempt has not ended.
    is_open: bool,
}

impl Noted {
    pub(crate) fn new(traced: Traced, tls: bool) -> Self {
        Self {
            traced,
            tls,
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

    pub(crate) fn into_attempts(self) -> Vec<AttemptSpan> {
        self.attempts
    }
}
