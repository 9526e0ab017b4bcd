//! The body of a stream, as it comes.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

use super::sections::Sections;

/// What a peer sends on a stream. The peer may send as much again as has been taken of it.
pub(crate) struct Receive {
    /// `None`: there is none.
    stream: Option<RecvStream>,
    /// All data has been taken; trailers may follow.
    data_ended: bool,
    /// What is left of the length that the head names.
    left: Option<u64>,
    /// What has been counted on its connection; `None` if there is no body.
    sections: Option<Rc<Sections>>,
}

impl Receive {
    /// The body that follows a head with those fields, on a connection whose `sections` are counted.
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap, sections: &Rc<Sections>) -> Self {
        let left = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse().ok());
        // A head that ends its stream may have been counted.
        if !sections.is_empty() && stream.is_end_stream() {
            sections.forget(stream.stream_id().as_u32());
        }
        Self {
            stream: Some(stream),
            data_ended: false,
            left,
            sections: Some(Rc::clone(sections)),
        }
    }

    /// Nothing.
    pub(crate) fn empty() -> Self {
        Self {
            stream: None,
            data_ended: true,
            left: Some(0),
            sections: None,
        }
    }
}

impl Body for Receive {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        while !this.data_ended {
            match ready!(stream.poll_data(cx)) {
                // Frames without anything in them are not worth a frame on the other side.
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    // It fails only for more than has come.
                    let _ = stream.flow_control().release_capacity(data.len());
                    if let Some(left) = &mut this.left {
                        *left = left.saturating_sub(data.len() as u64);
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_ended = true,
            }
        }
        let trailers = ready!(stream.poll_trailers(cx))?;
        if let (Some(trailers), Some(sections)) = (&trailers, &this.sections)
            && !sections.is_whole(stream.stream_id().as_u32(), trailers.len())
        {
            return Poll::Ready(Some(Err(Reason::PROTOCOL_ERROR.into())));
        }
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
