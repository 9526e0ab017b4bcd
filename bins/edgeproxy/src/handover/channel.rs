//! Messages, and descriptors with them, over a pair of sockets.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use super::Message;

/// One end.
pub(crate) struct Channel(UnixStream);

/// A message at most, in bytes: a state of some hundred thousand registrations.
const LONGEST: u32 = 512 * 1024 * 1024;

impl Channel {
    /// Both ends; the second is to be given away.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (own, other) = StdUnixStream::pair()?;
        Ok((Self::of(own)?, other.into()))
    }

    /// Needs a tokio runtime.
    pub(super) fn of(socket: StdUnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        UnixStream::from_std(socket).map(Self)
    }

    pub(super) async fn send(&mut self, message: &Message) -> io::Result<()> {
        self.send_with(message, None).await
    }

    /// Sends a message, and a socket with it.
    pub(super) async fn send_with(
        &mut self,
        message: &Message,
        socket: Option<&TcpListener>,
    ) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
        let mut head = &length.to_be_bytes()[..];
        // Descriptors go with the first byte.
        let stream = &self.0;
        let sent = stream
            .async_io(Interest::WRITABLE, || send_head(stream, head, socket))
            .await?;
        head = head.get(sent..).unwrap_or_default();
        self.0.write_all(head).await?;
        self.0.write_all(&text).await
    }

    /// The next message, and the socket that came with it.
    ///
    /// # Errors
    /// The other side has gone (`UnexpectedEof`), or says what is no message.
    pub(super) async fn receive(&mut self) -> io::Result<(Message, Option<TcpListener>)> {
        let mut head = [0; 4];
        let stream = &self.0;
        let (read, socket) = stream
            .async_io(Interest::READABLE, || receive_head(stream, &mut head))
            .await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(rest) = head.get_mut(read..) {
            self.0.read_exact(rest).await?;
        }
        let length = u32::from_be_bytes(head);
        if length > LONGEST {
            return Err(invalid(&format!(
                "a message of {length} bytes; at most {LONGEST} are expected"
            )));
        }
        let mut text = vec![0; length as usize];
        self.0.read_exact(&mut text).await?;
        let message =
            serde_json::from_slice(&text).map_err(|error| invalid(&format!("no message: {error}")))?;
        Ok((message, socket.map(TcpListener::from)))
    }

    /// Resolves once the other side has gone, or says something that it wasn't asked. Can be dropped halfway.
    pub(super) async fn stirs(&self) {
        let stream = &self.0;
        let mut first = [0];
        let peek = || {
            let peeked = rustix::net::recv(stream, &mut first, RecvFlags::PEEK);
            Ok(peeked.map(drop)?)
        };
        // An error is its end, too.
        let _ = stream.async_io(Interest::READABLE, peek).await;
    }
}

/// No child is to get what is received.
#[cfg(target_os = "linux")]
const RECEIVE: RecvFlags = RecvFlags::CMSG_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const RECEIVE: RecvFlags = RecvFlags::empty();

fn send_head(stream: &UnixStream, head: &[u8], socket: Option<&TcpListener>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = socket.map(AsFd::as_fd);
    if sockets.is_some() && !control.push(SendAncillaryMessage::ScmRights(sockets.as_slice())) {
        return Err(io::Error::other("no room for a descriptor"));
    }
    Ok(sendmsg(
        stream,
        &[IoSlice::new(head)],
        &mut control,
        SendFlags::empty(),
    )?)
}

fn receive_head(stream: &UnixStream, head: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(head)], &mut control, RECEIVE)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    Ok((received.bytes, descriptors.flatten().next()))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = Channel::pair().unwrap();
        (one, Channel::of(StdUnixStream::from(other)).unwrap())
    }

    #[tokio::test]
    async fn messages_arrive_in_their_order_each_with_its_own_socket() {
        let (mut one, mut other) = pair();
        let sockets: Vec<_> = (0..300)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let message = |listener: usize, socket: &TcpListener| Message::Socket {
            listener,
            name: "n".repeat(listener),
            asked: socket.local_addr().unwrap(),
        };
        let sending = async {
            for (number, socket) in sockets.iter().enumerate() {
                let with = (number % 3 > 0).then_some(socket);
                one.send_with(&message(number, socket), with).await.unwrap();
            }
        };
        let receiving = async {
            for (number, socket) in sockets.iter().enumerate() {
                let (received, with) = other.receive().await.unwrap();
                assert_eq!(received, message(number, socket));
                let with = with.map(|socket| socket.local_addr().unwrap());
                assert_eq!(with, (number % 3 > 0).then(|| socket.local_addr().unwrap()));
            }
        };
        tokio::join!(sending, receiving);
        {
            let mut stirs = std::pin::pin!(other.stirs());
            let pending =
                std::future::poll_fn(|cx| std::task::Poll::Ready(stirs.as_mut().poll(cx).is_pending()));
            assert!(pending.await, "nothing is left to be received");
            drop(one);
            stirs.await;
        }
        let error = other.receive().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn what_is_no_message_is_an_error() {
        for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02{}", b"\0\0"] {
            let (mut one, mut other) = pair();
            one.0.write_all(bytes).await.unwrap();
            drop(one);
            other.receive().await.unwrap_err();
        }
    }
}
