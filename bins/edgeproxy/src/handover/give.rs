//! The old process's side.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use edgeproxy_server::{Brought, OpenSocket, Running, StateError};
use rustix::process::Pid;
use tokio::process::{Child, Command};

use super::channel::Channel;
use super::{Message, PATIENCE, PROTOCOL, VARIABLE, is_gone};

/// Why the new process is not the one. The old one goes on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GiveError {
    #[error(
        "this process is the first one of its container, which would end with it: start another container instead"
    )]
    FirstProcess,
    #[error("{binary} can't be started: {source}")]
    Start { binary: String, source: io::Error },
    #[error("the new process refused: {0}")]
    Refused(String),
    #[error("the new process ended before it was ready: {0}; what it said is above")]
    Ended(ExitStatus),
    #[error("the new process was not ready within {PATIENCE:?}")]
    Late,
    #[error("the new process can't be spoken to: {0}")]
    Channel(#[from] io::Error),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the new process said {0} out of turn")]
    OutOfTurn(String),
}

/// The place has been given to the new process, which waits for [`Given::go`].
pub(crate) struct Given {
    /// Its process id.
    pub(crate) successor: u32,
    /// The listeners that it doesn't have.
    pub(crate) untaken: Vec<usize>,
    channel: Channel,
}

/// A hand-over under way. Dropped halfway, the new process is ended.
pub(crate) type Giving<'a> = Pin<Box<dyn Future<Output = Result<Given, GiveError>> + 'a>>;

/// Starts a process in the place of this one, by the same command line, and hands over to it.
pub(crate) async fn give(running: &Running) -> Result<Given, GiveError> {
    check_place(rustix::process::getpid())?;
    let (mut channel, theirs) = Channel::pair()?;
    // Before the new process, so that it is dropped after it: nothing goes on here while that could still have the store.
    let paused = Paused(running);
    let mut child = Successor::start(theirs)?;
    let successor = child.id();
    tracing::info!(successor, "handing over: a new process was started");
    let untaken = child.outcome(PATIENCE, converse(running, &mut channel)).await?;
    // Nothing goes on here any more.
    std::mem::forget(paused);
    child.release();
    Ok(Given {
        successor,
        untaken,
        channel,
    })
}

impl Given {
    /// Tells the new process that it is the one. Returns what it [asks](super::answer) by from now on.
    pub(crate) async fn go(mut self) -> Channel {
        // It goes on without it, too.
        let _ = self.channel.send(&Message::Go).await;
        self.channel
    }
}

/// Whether a process of that id may end while another one goes on.
fn check_place(own: Pid) -> Result<(), GiveError> {
    if own == Pid::INIT {
        return Err(GiveError::FirstProcess);
    }
    Ok(())
}

async fn converse(running: &Running, channel: &mut Channel) -> Result<Vec<usize>, GiveError> {
    let sockets = running.sockets();
    channel
        .send(&Message::Offer {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sockets: sockets.len(),
        })
        .await?;
    for socket in sockets {
        channel.send_with(&told(socket), Some(&socket.socket)).await?;
    }
    tracing::info!(sockets = sockets.len(), "handing over: the sockets were offered");
    let untaken = match channel.receive().await?.0 {
        Message::Prepared { untaken } => untaken,
        Message::Refused { reason } => return Err(GiveError::Refused(reason)),
        other => return Err(GiveError::OutOfTurn(format!("{other:?}"))),
    };
    let state = running.give_state().await?;
    channel.send(&Message::State { state }).await?;
    match channel.receive().await?.0 {
        Message::Ready => Ok(untaken),
        Message::Refused { reason } => Err(GiveError::Refused(reason)),
        other => Err(GiveError::OutOfTurn(format!("{other:?}"))),
    }
}

fn told(open: &OpenSocket) -> Message {
    let (asked, listener) = match open.brought {
        Brought::ByPredecessor { asked, listener } => (asked, listener),
        // Those of a process that runs are its own to hand on, so this is never met; the address is right all the same.
        Brought::ByManager => {
            let local = open.socket.local_addr();
            (local.unwrap_or_else(|_| ([0, 0, 0, 0], 0).into()), usize::MAX)
        }
    };
    Message::Socket {
        listener,
        name: open.name.clone(),
        asked,
    }
}

/// Goes on when it is dropped.
struct Paused<'a>(&'a Running);

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}

/// The new process, which is ended when this is dropped: two that accept would be one too many.
struct Successor(Option<Child>);

impl Successor {
    fn start(channel: std::os::fd::OwnedFd) -> Result<Self, GiveError> {
        let mut words = std::env::args_os();
        // As it was called, not what that was then: an upgrade puts another binary, or a link to one, in its place.
        let binary = words.next().unwrap_or_else(|| "edgeproxy".into());
        let mut command = Command::new(&binary);
        command
            .args(words)
            .env(VARIABLE, std::process::id().to_string())
            // Those were for this process.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .stdin(Stdio::from(channel));
        let child = command.spawn().map_err(|source| GiveError::Start {
            binary: binary.to_string_lossy().into_owned(),
            source,
        })?;
        Ok(Self(Some(child)))
    }

    fn id(&self) -> u32 {
        self.0.as_ref().and_then(Child::id).unwrap_or_default()
    }

    /// What comes of a conversation with it. If that is nothing it has been ended.
    async fn outcome<T>(
        &mut self,
        patience: Duration,
        conversation: impl Future<Output = Result<T, GiveError>>,
    ) -> Result<T, GiveError> {
        match tokio::time::timeout(patience, conversation).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(GiveError::Channel(error))) if is_gone(&error) => Err(self.ended().await?),
            Ok(Err(error)) => {
                self.kill().await;
                Err(error)
            }
            Err(_) => {
                self.kill().await;
                Err(GiveError::Late)
            }
        }
    }

    /// How it ended, after it closed the channel; ended by force if it only did that.
    async fn ended(&mut self) -> io::Result<GiveError> {
        let Some(child) = &mut self.0 else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if tokio::time::timeout(ENDING, child.wait()).await.is_err() {
            child.start_kill()?;
        }
        Ok(GiveError::Ended(child.wait().await?))
    }

    /// Ends it, and waits until it is gone.
    async fn kill(&mut self) {
        if let Some(child) = &mut self.0
            && !matches!(tokio::time::timeout(ENDING, child.kill()).await, Ok(Ok(())))
        {
            tracing::warn!("the new process has not ended yet");
        }
    }

    /// Leaves it alone from now on.
    fn release(mut self) {
        self.0 = None;
    }
}

/// How long a process may take to end once it has closed the channel.
const ENDING: Duration = Duration::from_secs(2);

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            // It may have ended by itself.
            let _ = child.start_kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_process_of_a_container_hands_nothing_over() {
        let error = check_place(Pid::INIT).unwrap_err();
        assert!(
            error.to_string().contains("start another container instead"),
            "{error}"
        );
        check_place(rustix::process::getpid()).unwrap();
    }

    /// A process that says nothing and doesn't end by itself.
    fn silent() -> Successor {
        let mut command = Command::new("sleep");
        Successor(Some(command.arg("3600").spawn().unwrap()))
    }

    #[tokio::test]
    async fn a_new_process_that_is_not_ready_in_time_is_ended_and_that_is_told() {
        let mut child = silent();
        let never = std::future::pending::<Result<(), GiveError>>();
        let error = child.outcome(Duration::from_millis(1), never).await.unwrap_err();
        assert_eq!(error.to_string(), "the new process was not ready within 30s");
        let ended = child.0.as_mut().unwrap().try_wait().unwrap();
        assert!(ended.is_some_and(|status| !status.success()), "{ended:?}");
    }

    #[tokio::test]
    async fn a_new_process_that_closes_the_channel_and_stays_is_ended() {
        let mut child = silent();
        tokio::time::pause();
        let gone = async { Err::<(), _>(GiveError::Channel(io::ErrorKind::UnexpectedEof.into())) };
        let error = child.outcome(PATIENCE, gone).await.unwrap_err();
        assert!(
            matches!(error, GiveError::Ended(status) if !status.success()),
            "{error}"
        );
    }
}
