//! The half that is Pingora's: which of its callbacks tells the fleet what.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use edgeproxy_backend::Incarnation;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{ProxyHttp, Session};

use crate::fleet::{Attempt, Fleet};

/// Backends that are tried for one request.
const ATTEMPTS: usize = 3;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A proxy whose backends register.
pub(crate) struct Edge(pub(crate) Arc<Fleet>);

/// One request. Pingora drops it after [`ProxyHttp::logging`], when the body has been sent: until then the attempt in it
/// counts as in flight.
#[derive(Default)]
pub(crate) struct Request {
    attempt: Option<Attempt>,
    tried: Vec<Incarnation>,
}

impl Edge {
    fn failed(&self, request: &mut Request) {
        if let Some(attempt) = &mut request.attempt {
            self.0.failed(attempt);
        }
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Request;

    fn new_ctx(&self) -> Request {
        Request::default()
    }

    /// Called once for each attempt.
    async fn upstream_peer(&self, _: &mut Session, request: &mut Request) -> Result<Box<HttpPeer>> {
        // The place of the attempt before is given back first, or it would count beside its successor.
        request.attempt = None;
        let attempt = self
            .0
            .take(&request.tried)
            .map_err(|error| Error::explain(ErrorType::HTTPStatus(503), error.to_string()))?;
        let endpoint = attempt.endpoint();
        let mut peer = HttpPeer::new(endpoint.addr.socket_addr(), false, String::new());
        peer.options.connection_timeout = Some(CONNECT_TIMEOUT);
        peer.options.read_timeout = Some(ANSWER_TIMEOUT);
        request.tried.push(endpoint.incarnation);
        request.attempt = Some(attempt);
        Ok(Box::new(peer))
    }

    /// Nothing was sent yet, so that another backend can have any request.
    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        request: &mut Request,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.failed(request);
        error.set_retry(request.tried.len() < ATTEMPTS);
        error
    }

    /// The head of an answer. It may be an interim one, which is no answer yet.
    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        head: &mut ResponseHeader,
        request: &mut Request,
    ) -> Result<()> {
        if !head.status.is_informational()
            && let Some(attempt) = &mut request.attempt
        {
            self.0.answered(attempt);
        }
        Ok(())
    }

    /// The connection stood, and then something broke. On the backend's side that is its failure, unless its answer had
    /// begun; a client that has left says nothing of a backend.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        request: &mut Request,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("to {peer}"));
        error.retry.decide_reuse(client_reused);
        // A kept connection that the backend closed in the same moment is nobody's failure.
        let was_stale = error.retry();
        let is_of_backend = *error.esource() == ErrorSource::Upstream;
        let has_begun = request.attempt.as_ref().is_some_and(Attempt::is_told);
        if is_of_backend && !was_stale {
            self.failed(request);
        }
        let can_be_repeated =
            session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        if was_stale && can_be_repeated {
            // The same backend may have it, on a fresh connection.
            request.tried.pop();
        }
        let elsewhere = is_of_backend && !has_begun && request.tried.len() < ATTEMPTS;
        error.set_retry(can_be_repeated && (was_stale || elsewhere));
        error
    }
}
