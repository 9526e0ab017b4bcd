//! SIGTERM and SIGINT; and SIGHUP and SIGUSR2, for who does something about them.

use std::io;
use std::process::ExitCode;

use tokio::signal::unix::{self, SignalKind};

/// The signals that ask the process to end, caught from the moment that this is made.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Needs a running tokio runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
        })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}

/// A signal that asks for something else, and would otherwise end the process; caught from the moment that this is made.
pub(crate) struct Request(unix::Signal);

impl Request {
    /// SIGHUP. Needs a running tokio runtime.
    pub(crate) fn to_reload() -> io::Result<Self> {
        unix::signal(SignalKind::hangup()).map(Self)
    }

    /// SIGUSR2. Needs a running tokio runtime.
    pub(crate) fn to_hand_over() -> io::Result<Self> {
        unix::signal(SignalKind::user_defined2()).map(Self)
    }

    /// The next one; several that come at once are one. Cancel safe.
    pub(crate) async fn next(&mut self) {
        let _ = self.0.recv().await;
    }
}

impl Signal {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }

    /// What a shell reports of a process that the signal ended: 128 and its number.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Terminate => ExitCode::from(128 + 15),
            Self::Interrupt => ExitCode::from(128 + 2),
        }
    }
}
