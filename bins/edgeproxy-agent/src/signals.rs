//! The signals that the agent gets, and hands on.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// What a signal asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Received {
    /// To end: SIGTERM, SIGINT, SIGQUIT.
    Stop(Signal),
    /// Something between whoever sent it and the server: SIGHUP, SIGUSR1, SIGUSR2.
    Other(Signal),
    /// A process has ended.
    Child,
}

/// Every one of them, caught from the moment that this is made.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    quit: unix::Signal,
    hangup: unix::Signal,
    user1: unix::Signal,
    user2: unix::Signal,
    child: unix::Signal,
}

impl Signals {
    /// Needs a running tokio runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        let catch = unix::signal;
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
            hangup: catch(SignalKind::hangup())?,
            user1: catch(SignalKind::user_defined1())?,
            user2: catch(SignalKind::user_defined2())?,
            child: catch(SignalKind::child())?,
        })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Received {
        tokio::select! {
            _ = self.terminate.recv() => Received::Stop(Signal::TERM),
            _ = self.interrupt.recv() => Received::Stop(Signal::INT),
            _ = self.quit.recv() => Received::Stop(Signal::QUIT),
            _ = self.hangup.recv() => Received::Other(Signal::HUP),
            _ = self.user1.recv() => Received::Other(Signal::USR1),
            _ = self.user2.recv() => Received::Other(Signal::USR2),
            _ = self.child.recv() => Received::Child,
        }
    }
}

/// For people.
pub(crate) fn name(signal: Signal) -> String {
    match signal {
        Signal::TERM => "SIGTERM".to_owned(),
        Signal::INT => "SIGINT".to_owned(),
        Signal::QUIT => "SIGQUIT".to_owned(),
        Signal::KILL => "SIGKILL".to_owned(),
        other => format!("signal {}", other.as_raw()),
    }
}
