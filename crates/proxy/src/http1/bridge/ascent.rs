//! A client's body on its way into a stream.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::SendStream;
use http::HeaderMap;

use crate::http1::body::BodyError;
use crate::http1::chunked::{At, Decoder, Keep};
use crate::http1::converse::{Listening, Silence, Uploaded, fill};
use crate::http1::trailers;
use crate::http1::upload::Upload;
use crate::transport::socket::Socket;

/// Sends a body as fast as the backend takes it. Nothing is asked of the client before there is room for it. Dropped
/// before its end it has the stream reset.
pub(crate) struct Ascent {
    stream: SendStream<Bytes>,
    framing: Framing,
    /// All of it has left.
    ended: bool,
    /// The backend takes no more.
    deaf: bool,
}

/// How a body comes, as it would go to a backend of HTTP/1.1.
enum Framing {
    Bare,
    Chunked(Decoder),
    /// Behind the last chunk.
    Trailers(Vec<u8>),
}

impl Ascent {
    /// `ended`: there is none.
    pub(crate) fn new(stream: SendStream<Bytes>, chunked: bool, ended: bool) -> Self {
        let framing = if chunked {
            Framing::Chunked(Decoder::new())
        } else {
            Framing::Bare
        };
        Self {
            stream,
            framing,
            ended,
            deaf: false,
        }
    }

    /// Whether nothing more will be sent.
    pub(crate) fn is_over(&self) -> bool {
        self.ended || self.deaf
    }

    /// Whether all of it has left.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Sends no more.
    pub(crate) fn stop(&mut self) {
        self.deaf = true;
    }

    /// Moves the body on as far as both sides allow. Ready when something moved, once all has left, or when the client
    /// fails; a backend that takes no more is only noted, since its response may be on its way.
    pub(crate) fn poll<S: Socket>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Listening<'_, S>,
        upload: &mut Upload,
    ) -> Poll<Result<Uploaded, Silence>> {
        if self.ended {
            return Poll::Ready(Ok(Uploaded::All));
        }
        let mut moved = false;
        loop {
            match self.poll_step(cx, client, upload, &mut moved) {
                Poll::Pending if moved => return Poll::Ready(Ok(Uploaded::Moved)),
                Poll::Ready(Ok(Uploaded::Moved)) => {}
                decided => return decided,
            }
        }
    }

    fn poll_step<S: Socket>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut Listening<'_, S>,
        upload: &mut Upload,
        moved: &mut bool,
    ) -> Poll<Result<Uploaded, Silence>> {
        if self.deaf || self.stream.poll_reset(cx).is_ready() {
            self.deaf = true;
            return Poll::Pending;
        }
        upload.body.decode().map_err(Silence::Body)?;
        if upload.has_left() {
            self.end(Bytes::new())?;
            return Poll::Ready(Ok(Uploaded::All));
        }
        if upload.outgoing().is_empty() {
            ready!(fill(cx, client.socket, upload))?;
            *moved = true;
            return Poll::Ready(Ok(Uploaded::Moved));
        }
        // What is sent asks for its length by itself, see the pump of HTTP/2's clients.
        self.stream.reserve_capacity(1);
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                _ => {
                    self.deaf = true;
                    return Poll::Pending;
                }
            }
        }
        *moved = true;
        let next = upload.outgoing();
        let count = next.len();
        let data = self.framing.unframe(next).map_err(Silence::Body)?;
        upload.sent(count);
        upload.body.decode().map_err(Silence::Body)?;
        if upload.has_left() {
            self.end(data)?;
            return Poll::Ready(Ok(Uploaded::All));
        }
        if !data.is_empty() {
            self.deaf = self.stream.send_data(data, false).is_err();
        }
        Poll::Ready(Ok(Uploaded::Moved))
    }

    /// Sends the last of it.
    fn end(&mut self, data: Bytes) -> Result<(), Silence> {
        let trailers = self.framing.trailers().map_err(Silence::Body)?;
        self.ended = true;
        let sent = match trailers {
            None => self.stream.send_data(data, true),
            Some(trailers) if data.is_empty() => self.stream.send_trailers(trailers),
            Some(trailers) => {
                let sent = self.stream.send_data(data, false);
                sent.and_then(|()| self.stream.send_trailers(trailers))
            }
        };
        self.deaf = sent.is_err();
        Ok(())
    }
}

impl Framing {
    /// The content among some bytes.
    fn unframe(&mut self, bytes: &[u8]) -> Result<Bytes, BodyError> {
        let mut data = BytesMut::from(bytes);
        match self {
            Self::Bare => {}
            Self::Trailers(lines) => {
                lines.extend_from_slice(bytes);
                data.clear();
            }
            Self::Chunked(decoder) => {
                let decoded = decoder.decode(&mut data, Keep::Data)?;
                if decoded.at == At::Trailers {
                    let lines = data.get(decoded.consumed..).unwrap_or_default().to_vec();
                    *self = Self::Trailers(lines);
                }
                data.truncate(decoded.kept);
            }
        }
        Ok(data.freeze())
    }

    /// Once all has come.
    fn trailers(&self) -> Result<Option<HeaderMap>, BodyError> {
        match self {
            Self::Trailers(lines) => Ok(Some(trailers::map(lines)?)),
            Self::Bare | Self::Chunked(_) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What comes in chunks, in whatever pieces, is its content and its trailers.
        #[test]
        fn chunks_become_content_and_trailers(
            chunks in proptest::collection::vec("[a-z]{1,20}", 0..5),
            trailer in proptest::option::of("[a-z]{1,9}"),
            cuts in proptest::collection::vec(1_usize..20, 1..9),
        ) {
            let mut bytes = String::new();
            for chunk in &chunks {
                bytes.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
            }
            bytes.push_str("0\r\n");
            if let Some(value) = &trailer {
                bytes.push_str(&format!("x-t: {value}\r\n"));
            }
            bytes.push_str("\r\n");
            let (mut framing, mut content) = (Framing::Chunked(Decoder::new()), Vec::new());
            let mut rest = bytes.as_bytes();
            for cut in cuts.iter().cycle() {
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                content.extend_from_slice(&framing.unframe(piece).unwrap());
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(String::from_utf8(content).unwrap(), chunks.concat());
            let trailers = framing.trailers().unwrap();
            let got = trailers.as_ref().map(|trailers| trailers["x-t"].to_str().unwrap());
            prop_assert_eq!(got, trailer.as_deref());
        }
    }
}
