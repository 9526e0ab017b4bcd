//! Where a request goes.

use std::sync::Arc;

use bytes::BytesMut;
use http::Uri;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use crate::AppRoute;
use crate::exchange::answer::Answer;
use crate::request::inbound::{self, Inbound};
use crate::route::{self, Destination, Lines};
use crate::worker::Worker;

/// A request, and what has been found out about where it goes.
pub(super) struct Routed {
    pub(super) app: Arc<AppRoute>,
    /// How long its body may be, in bytes.
    pub(super) max_body: Option<u64>,
    /// In origin form, or `*`, as the backend gets it.
    pub(super) target: Uri,
}

impl Routed {
    /// Asks the table in force.
    ///
    /// # Errors
    /// What the client is told if it goes nowhere, or if its body is longer than it may be there.
    pub(super) fn find(worker: &Worker, inbound: &Inbound, headers: &HeaderMap) -> Result<Self, Answer> {
        let (table, host) = (worker.current_table(), inbound.name());
        let target = inbound.target.path_and_query().map_or("/", PathAndQuery::as_str);
        let request = route::Request {
            host: host.unwrap_or_default().as_bytes(),
            target,
        };
        let destination = table
            .destination(request, headers, || worker.random())
            .map_err(|error| Answer::bad_request(error.to_string()))?;
        let Some(Destination {
            app,
            max_body,
            rewrite,
            ..
        }) = destination
        else {
            return Err(table.no_route(host));
        };
        inbound::check_length(headers, max_body)?;
        let target = match rewrite {
            None => inbound.target.clone(),
            Some(rewrite) => {
                let mut written = BytesMut::with_capacity(2 * target.len());
                rewrite.each(target, |part| written.extend_from_slice(part.as_bytes()));
                let target = PathAndQuery::from_maybe_shared(written.freeze());
                Uri::from(
                    target.map_err(|error| Answer::bad_request(format!("the request's target: {error}")))?,
                )
            }
        };
        Ok(Self {
            app: Arc::clone(app),
            max_body,
            target,
        })
    }
}

impl Lines for HeaderMap {
    fn values(&self, name: &HeaderName) -> impl Iterator<Item = &[u8]> {
        self.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}
