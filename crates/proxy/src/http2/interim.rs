//! A client's stream of HTTP/2 before its final response: interim ones (1xx, RFC 9110 §15.2) leave by it.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, Response, StatusCode, Version, header};

use crate::exchange::upload::Upload;
use crate::headers::hop;
use crate::headers::via::Pseudonym;
use crate::http2::sections::Sections;

/// Interim responses before the final one, at most. A backend that goes on is not serving anybody.
pub(crate) const MAX_INTERIM: u32 = 32;

/// What a client's stream can still be sent.
pub(crate) struct Respond {
    stream: RefCell<SendResponse<Bytes>>,
    sections: Rc<Sections>,
}

impl Respond {
    pub(crate) fn new(stream: SendResponse<Bytes>, sections: Rc<Sections>) -> Self {
        Self {
            stream: RefCell::new(stream),
            sections,
        }
    }

    /// Ready when nothing can be sent any more.
    pub(crate) fn poll_reset(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.stream.borrow_mut().poll_reset(cx).map(drop)
    }

    /// What is known of the trailers that come on the client's connection.
    pub(crate) fn sections(&self) -> &Rc<Sections> {
        &self.sections
    }

    /// Passes an interim response on, if the client is still there, which may ask for the rest of its request.
    pub(crate) fn pass(&self, cx: &mut Context<'_>, interim: Response<()>, upload: &Upload) {
        if interim.status() == StatusCode::CONTINUE {
            upload.grant();
        }
        let mut stream = self.stream.borrow_mut();
        // A head behind a reset would end the whole connection.
        if stream.poll_reset(cx).is_pending()
            && let Err(error) = stream.send_informational(interim)
        {
            tracing::debug!(%error, "an interim response was not passed on");
        }
    }

    /// Why the client's stream has to be reset whatever the answer is, if it has to.
    pub(crate) fn fault(&self) -> Option<Reason> {
        // Nearly always there is none, and to ask for the stream's number would cost more than to know that.
        let spoiled = self.sections.has_spoiled() && self.sections.is_spoiled(self.id());
        // RFC 9113 §8.1.1.
        spoiled.then_some(Reason::PROTOCOL_ERROR)
    }

    pub(crate) fn reset(&self, reason: Reason) {
        self.stream.borrow_mut().send_reset(reason);
    }

    /// Begins the final response.
    pub(crate) fn answer(
        &self,
        response: Response<()>,
        ended: bool,
    ) -> Result<h2::SendStream<Bytes>, h2::Error> {
        self.stream.borrow_mut().send_response(response, ended)
    }

    fn id(&self) -> u32 {
        self.stream.borrow().stream_id().as_u32()
    }
}

impl Drop for Respond {
    fn drop(&mut self) {
        if self.sections.has_spoiled() {
            self.sections.end(self.id());
        }
    }
}

/// A backend's interim response as a client gets it. `version`: by which it came. `None`: it is none.
pub(crate) fn interim(
    status: StatusCode,
    version: Version,
    mut headers: HeaderMap,
    pseudonym: &Pseudonym,
) -> Option<Response<()>> {
    // To switch the protocol is HTTP/1.1's (RFC 9113 §8.6), and no interim response.
    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    hop::strip(&mut headers);
    // RFC 9110 §8.6.
    headers.remove(header::CONTENT_LENGTH);
    pseudonym.sign(&mut headers, version);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_neighbours_or_frames_is_left_out() {
        let pseudonym = Pseudonym::parse("here").unwrap();
        let fields = [
            ("link", "x"),
            ("content-length", "5"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ];
        let fields = fields.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let headers: HeaderMap = fields.into_iter().collect();
        let passed = |status| interim(status, Version::HTTP_11, headers.clone(), &pseudonym);
        let early = passed(StatusCode::EARLY_HINTS).unwrap();
        assert_eq!(
            (early.headers()["link"].as_bytes(), early.headers().len()),
            (&b"x"[..], 2)
        );
        assert_eq!(early.headers()["via"], "1.1 here");
        assert!(passed(StatusCode::SWITCHING_PROTOCOLS).is_none() && passed(StatusCode::OK).is_none());
    }
}
