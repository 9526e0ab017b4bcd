//! The new process's side.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use anyhow::Context;
use edgeproxy_server::{App, Brought, OpenSocket};
use rustix::process::Pid;

use super::channel::Channel;
use super::{Message, PATIENCE, PROTOCOL, VARIABLE, is_gone};

/// The process that this one is to take the place of.
pub(crate) struct Predecessor {
    /// `None` once it has gone.
    channel: Option<Channel>,
}

/// What came of it.
pub(crate) struct Taken {
    channel: Option<Channel>,
}

impl Predecessor {
    /// Whoever started this process to be its successor, if somebody did. Needs a tokio runtime. To be called once.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        let Some(named) = std::env::var_os(VARIABLE) else {
            return Ok(None);
        };
        let stdin = io::stdin();
        // A variable that somebody's child has inherited is not meant for it. The other end may have died already, and
        // what it has sent is there all the same.
        if giver(stdin.as_fd()).is_some_and(|giver| named == *giver.as_raw_nonzero().to_string()) {
            Self::of(stdin.as_fd()).map(Some)
        } else {
            Ok(None)
        }
    }

    fn of(stdin: BorrowedFd<'_>) -> anyhow::Result<Self> {
        let channel = stdin.try_clone_to_owned();
        let channel = channel.and_then(|channel| Channel::of(UnixStream::from(channel)));
        let channel = channel.context("the process before can't be spoken to")?;
        // The channel is to end when this end of it is dropped.
        let null = std::fs::File::open("/dev/null");
        null.and_then(|null| Ok(rustix::stdio::dup2_stdin(null)?))
            .context("the standard input can't be closed")?;
        Ok(Self {
            channel: Some(channel),
        })
    }

    /// The sockets that it hands over: all, unless it dies over it.
    pub(crate) async fn sockets(&mut self) -> anyhow::Result<Vec<OpenSocket>> {
        let mut sockets = Vec::new();
        let Some((
            Message::Offer {
                protocol,
                version,
                sockets: count,
            },
            _,
        )) = self.receive().await?
        else {
            return Ok(sockets);
        };
        if protocol != PROTOCOL {
            let reason = format!(
                "edgeproxy {version} hands over by protocol {protocol}, and {} by {PROTOCOL}: restart it instead",
                env!("CARGO_PKG_VERSION"),
            );
            self.refuse(&reason).await;
            anyhow::bail!(reason);
        }
        while sockets.len() < count
            && let Some((message, socket)) = self.receive().await?
        {
            let (
                Message::Socket {
                    listener,
                    name,
                    asked,
                },
                Some(socket),
            ) = (message, socket)
            else {
                anyhow::bail!("the process before sent no socket where one was due");
            };
            sockets.push(OpenSocket {
                name,
                brought: Brought::ByPredecessor { asked, listener },
                socket,
            });
        }
        Ok(sockets)
    }

    /// Says that this process can't, with the reason.
    pub(crate) async fn refuse(&mut self, reason: &str) {
        if let Some(channel) = &mut self.channel {
            let reason = reason.to_owned();
            // It sees the end as well.
            let _ = channel.send(&Message::Refused { reason }).await;
        }
    }

    /// Says that `app` could serve, and waits until the other one changes nothing any more. Returns its state; `None` if
    /// it has gone.
    pub(crate) async fn prepared(&mut self, app: &App) -> anyhow::Result<Option<String>> {
        let untaken = app.untaken().to_vec();
        self.send(&Message::Prepared { untaken }).await;
        match self.receive().await? {
            None => Ok(None),
            Some((Message::State { state }, _)) => Ok(Some(state)),
            Some((other, _)) => anyhow::bail!("the process before said {other:?} out of turn"),
        }
    }

    /// Says that this process serves.
    pub(crate) async fn ready(mut self) -> Taken {
        self.send(&Message::Ready).await;
        Taken {
            channel: self.channel,
        }
    }

    async fn send(&mut self, message: &Message) {
        if let Some(channel) = &mut self.channel
            && let Err(error) = channel.send(message).await
        {
            self.lost(&error);
        }
    }

    /// `None`: it has gone. This process goes on as after any start then, with the sockets that it has got.
    async fn receive(&mut self) -> anyhow::Result<Option<(Message, Option<std::net::TcpListener>)>> {
        let Some(channel) = &mut self.channel else {
            return Ok(None);
        };
        // Twice as long as the other one waits, which ends this one before.
        match tokio::time::timeout(2 * PATIENCE, channel.receive()).await {
            Ok(Ok(received)) => Ok(Some(received)),
            Ok(Err(error)) if is_gone(&error) => {
                self.lost(&error);
                Ok(None)
            }
            Ok(Err(error)) => Err(error).context("the process before can't be understood"),
            Err(_) => anyhow::bail!("the process before says nothing"),
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.channel = None;
        tracing::warn!(%error, "the process before has ended while it handed over; going on alone");
    }
}

impl Taken {
    /// Resolves once the process before has left, or gone. Returns what it can be [asked](super::follow) by, unless it has
    /// gone.
    pub(crate) async fn go(self) -> Option<Channel> {
        let mut channel = self.channel?;
        // Whatever it says now, it is over.
        channel.receive().await.ok().map(|_| channel)
    }
}

/// Who made the channel.
#[cfg(target_os = "linux")]
fn giver(channel: BorrowedFd<'_>) -> Option<Pid> {
    Some(rustix::net::sockopt::socket_peercred(channel).ok()?.pid)
}

/// Who made the channel; elsewhere that is known only for as long as it lives.
#[cfg(not(target_os = "linux"))]
fn giver(_channel: BorrowedFd<'_>) -> Option<Pid> {
    rustix::process::getppid()
}
