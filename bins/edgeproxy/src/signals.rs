//! SIGTERM and SIGINT; and SIGHUP, for who does something about it.

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

/// SIGHUP, which otherwise ends a process; caught from the moment that this is made.
pub(crate) struct Hangup(unix::Signal);

impl Hangup {
    /// Needs a running tokio runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        unix::signal(SignalKind::hangup()).map(Self)
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
