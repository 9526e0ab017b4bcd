//! A body on its way into a stream.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

/// Sends a body on a stream, as fast as the peer takes it.
///
/// Nothing is taken from the body before what was taken last may leave, so a peer that doesn't read holds up
/// whoever the body comes from.
pub(crate) struct Pump<B> {
    body: B,
    stream: SendStream<Bytes>,
    /// Taken from the body, and whether that was all.
    next: Option<(Bytes, bool)>,
    sent: u64,
}

/// Why a body didn't get to its end.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    /// It broke off. The stream is still to be reset.
    Source(E),
    /// The peer takes no more, or is gone.
    Peer,
}

impl<B> Pump<B> {
    pub(crate) fn new(body: B, stream: SendStream<Bytes>) -> Self {
        Self {
            body,
            stream,
            next: None,
            sent: 0,
        }
    }

    /// Whether it waits for the peer to take something.
    pub(crate) fn is_blocked(&self) -> bool {
        self.next.is_some()
    }

    /// How many bytes have been handed to the stream.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    pub(crate) fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Ends the stream before its end.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }
}

impl<B: Body<Data = Bytes> + Unpin> Pump<B> {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stopped<B::Error>>> {
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Err(Stopped::Peer));
        }
        loop {
            if let Some((data, end)) = self.next.take() {
                while self.stream.capacity() == 0 {
                    match self.stream.poll_capacity(cx) {
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(Err(Stopped::Peer)),
                        Poll::Pending => {
                            self.next = Some((data, end));
                            return Poll::Pending;
                        }
                    }
                }
                if self.send(data, end)? == Sent::Last {
                    return Poll::Ready(Ok(()));
                }
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let end = self.body.is_end_stream();
                        if data.is_empty() {
                            if end {
                                return Poll::Ready(self.send(data, true).map(drop));
                            }
                            continue;
                        }
                        // One byte asks for no more than a share; what is sent asks for its length by itself. To
                        // ask for everything beforehand would take it from the other streams of the connection.
                        self.stream.reserve_capacity(1);
                        self.next = Some((data, end));
                    }
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else {
                            continue;
                        };
                        self.stream.reserve_capacity(0);
                        let sent = self.stream.send_trailers(trailers);
                        return Poll::Ready(sent.map_err(|_| Stopped::Peer));
                    }
                },
                Some(Err(error)) => return Poll::Ready(Err(Stopped::Source(error))),
                None => return Poll::Ready(self.send(Bytes::new(), true).map(drop)),
            }
        }
    }

    fn send(&mut self, data: Bytes, end: bool) -> Result<Sent, Stopped<B::Error>> {
        self.sent += data.len() as u64;
        match self.stream.send_data(data, end) {
            Ok(()) if end => Ok(Sent::Last),
            Ok(()) => Ok(Sent::Part),
            Err(_) => Err(Stopped::Peer),
        }
    }
}

#[derive(PartialEq, Eq)]
enum Sent {
    Part,
    Last,
}
