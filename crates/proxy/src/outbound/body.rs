//! A request's body on its way out, and a response's on its way in. Whoever waits for the one moves the other on.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Collected};

use super::{BoxError, OutboundError};
use crate::exchange::answer::WORD;
use crate::http2::pump::{Pump, Stopped};
use crate::request::grpc;

/// A request that is under way.
pub(super) struct Exchange {
    /// What of its body has not left. `None`: all has.
    upload: Option<Pump<UnsyncBoxBody<Bytes, BoxError>>>,
}

impl Exchange {
    pub(super) fn new(body: UnsyncBoxBody<Bytes, BoxError>, stream: Option<SendStream<Bytes>>) -> Self {
        Self {
            upload: stream.map(|stream| Pump::new(body, stream)),
        }
    }

    /// Moves the request's body on, as far as it is taken.
    fn poll_upload(&mut self, cx: &mut Context<'_>) -> Result<(), OutboundError> {
        let Some(upload) = &mut self.upload else {
            return Ok(());
        };
        match upload.poll(cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Err(Stopped::Source(error))) => {
                upload.reset(Reason::CANCEL);
                self.upload = None;
                return Err(OutboundError::Body(error));
            }
            // Whoever takes no more of it has answered, or will be found to have broken it off.
            Poll::Ready(Ok(()) | Err(Stopped::Peer)) => {}
        }
        self.upload = None;
        Ok(())
    }
}

/// Waits for the response's head. An answer of the data plane's own is an error.
pub(super) async fn answer(
    mut exchange: Exchange,
    response: ResponseFuture,
) -> Result<Response<OutboundBody>, OutboundError> {
    let mut response = pin!(response);
    let response = poll_fn(|cx| {
        exchange.poll_upload(cx)?;
        let response = ready!(response.as_mut().poll(cx));
        Poll::Ready(response.map_err(|error| OutboundError::of_h2(&error)))
    })
    .await?;
    let (parts, incoming) = response.into_parts();
    let body = OutboundBody {
        left: length(&parts.headers),
        incoming,
        data_ended: false,
        exchange,
    };
    match parts.headers.get(WORD) {
        // A call of gRPC is told by trailers, which whoever speaks it reads.
        Some(word) if !parts.headers.get(header::CONTENT_TYPE).is_some_and(grpc::is_grpc) => {
            let word = String::from_utf8_lossy(word.as_bytes()).into_owned();
            Err(unanswered(word, &parts, body).await)
        }
        _ => Ok(Response::from_parts(parts, body)),
    }
}

/// How long a sentence may be.
const LONGEST: usize = 16 * 1024;

async fn unanswered(word: String, parts: &http::response::Parts, body: OutboundBody) -> OutboundError {
    let text = http_body_util::Limited::new(body, LONGEST).collect().await;
    let text = text.map(Collected::to_bytes).unwrap_or_default();
    let retry_after = parts.headers.get(header::RETRY_AFTER);
    let secs = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    OutboundError::Unanswered {
        message: sentence(&text).unwrap_or_else(|| parts.status.to_string()),
        word,
        told: parts.status,
        retry_after: secs.map(Duration::from_secs),
    }
}

/// The member `error` of the data plane's own answers, which are its own to read.
fn sentence(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let (_, rest) = text.split_once("\"error\":\"")?;
    let mut sentence = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(sentence),
            '\\' => sentence.push(characters.next()?),
            c => sentence.push(c),
        }
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A response's body. Dropped before its end, it lets the backend know that nobody wants the rest.
pub struct OutboundBody {
    incoming: RecvStream,
    /// How much is to come, where that is known.
    left: Option<u64>,
    data_ended: bool,
    exchange: Exchange,
}

impl Body for OutboundBody {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        let this = self.get_mut();
        this.exchange.poll_upload(cx)?;
        if !this.data_ended {
            match ready!(this.incoming.poll_data(cx)) {
                Some(Ok(data)) => {
                    // It has been taken, so as much may come.
                    let _ = this.incoming.flow_control().release_capacity(data.len());
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(OutboundError::of_h2(&error)))),
                None => this.data_ended = true,
            }
        }
        let trailers = ready!(this.incoming.poll_trailers(cx));
        let trailers = trailers.map_err(|error| OutboundError::of_h2(&error)).transpose();
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl std::fmt::Debug for OutboundBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundBody")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_an_answer_is_read() {
        let text = br#"{"type":"about:blank","status":503,"error":"no backend of app \"shop\" is routable"}"#;
        assert_eq!(
            sentence(text).as_deref(),
            Some("no backend of app \"shop\" is routable")
        );
        assert_eq!(sentence(b"{\"error\":\"open"), None);
        assert_eq!(sentence(b"hello"), None);
    }
}
