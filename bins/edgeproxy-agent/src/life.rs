//! What becomes of a server, as a state machine without clock, socket or process.

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::Signal;

use crate::signals::{Received, name};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Until the port answers.
    pub(crate) start: Duration,
    /// What is in flight may last so long once the server is out of rotation.
    pub(crate) drain: Duration,
    /// The server may take so long to stop after a signal.
    pub(crate) kill_after: Duration,
}

/// Whether the server is this program's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Server {
    /// It was started, and is stopped.
    Child,
    /// It runs already, and goes on.
    Running,
}

/// How a process has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    Code(i32),
    Signal(i32),
}

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// Register.
    Join,
    /// Send no heartbeats.
    Hold,
    /// Send them again.
    Resume,
    /// Deregister, and let what is in flight end for so long. [`Life::left`] answers.
    Leave(Duration),
    /// Send the server a signal.
    Pass(Signal),
    /// Kill the server and what it has started.
    Kill,
    /// End with this code.
    End(u8),
}

/// From a start to an end. Times are since whatever the caller chose.
#[derive(Debug)]
pub(crate) struct Life {
    server: Server,
    limits: Limits,
    phase: Phase,
    /// Probes in a row that got no answer.
    silent: u32,
    orders: VecDeque<Order>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Its port has not answered yet.
    Starting {
        until: Duration,
    },
    Serving,
    /// Out of rotation, before it gets the signal.
    Leaving {
        signal: Signal,
        until: Duration,
    },
    /// It has got the signal. `code` is how this program ends, unless as the server does.
    Stopping {
        code: Option<u8>,
        until: Duration,
    },
    Killed {
        code: Option<u8>,
        until: Duration,
    },
    /// It has ended by itself, and is deregistered.
    Departing {
        code: u8,
        until: Duration,
    },
    Over,
}

/// As of timeout(1): the port did not answer in time.
pub(crate) const NEVER_ANSWERED: u8 = 124;
/// As of env(1): this program could not do its work; the registration was refused.
pub(crate) const FAILED: u8 = 125;

/// How many probes in a row get no answer before heartbeats stop.
const SILENT: u32 = 3;
/// Saying goodbye takes no longer than that beyond the drain.
const GOODBYE: Duration = Duration::from_secs(5);
/// A killed process is gone in no time, unless the kernel can't end it.
const BURIAL: Duration = Duration::from_secs(5);

impl Exit {
    /// As a shell says it.
    pub(crate) fn code(self) -> u8 {
        let code = match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        };
        u8::try_from(code).unwrap_or(FAILED)
    }
}

impl Life {
    pub(crate) fn new(server: Server, limits: Limits, now: Duration) -> Self {
        Self {
            server,
            limits,
            phase: Phase::Starting {
                until: now + limits.start,
            },
            silent: 0,
            orders: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Starting { until }
            | Phase::Leaving { until, .. }
            | Phase::Stopping { until, .. }
            | Phase::Killed { until, .. }
            | Phase::Departing { until, .. } => Some(until),
            Phase::Serving | Phase::Over => None,
        }
    }

    /// The port answers.
    pub(crate) fn answered(&mut self) {
        match self.phase {
            Phase::Starting { .. } => {
                self.phase = Phase::Serving;
                self.order(Order::Join);
            }
            Phase::Serving if self.silent >= SILENT => {
                tracing::info!("the server answers again");
                self.order(Order::Resume);
            }
            _ => {}
        }
        self.silent = 0;
    }

    /// The port does not answer.
    pub(crate) fn silent(&mut self, what: &str) {
        if self.phase != Phase::Serving {
            return;
        }
        self.silent = self.silent.saturating_add(1);
        if self.silent == SILENT {
            tracing::warn!("the server does not answer ({what}): no heartbeats until it does");
            self.order(Order::Hold);
        }
    }

    /// The registration was refused, and won't be accepted.
    pub(crate) fn refused(&mut self, now: Duration) {
        if self.phase == Phase::Serving {
            self.stop(now, Signal::TERM, Some(FAILED));
        }
    }

    /// Deregistered, or as good as that.
    pub(crate) fn left(&mut self, now: Duration) {
        match self.phase {
            Phase::Leaving { signal, .. } => self.stop(now, signal, None),
            Phase::Departing { code, .. } => self.end(code),
            _ => {}
        }
    }

    /// A signal came.
    pub(crate) fn signalled(&mut self, now: Duration, signal: Received) {
        let signal = match (signal, self.server) {
            (Received::Stop(signal), _) => signal,
            (Received::Other(signal), Server::Child) => {
                // One that has ended has been waited for, and its number may be another's.
                if !matches!(self.phase, Phase::Departing { .. } | Phase::Over) {
                    self.order(Order::Pass(signal));
                }
                return;
            }
            // The terminal is gone, and with it whoever wanted this.
            (Received::Other(Signal::HUP), Server::Running) => Signal::HUP,
            (Received::Other(_), Server::Running) | (Received::Child, _) => return,
        };
        match self.phase {
            Phase::Starting { .. } => self.stop(now, signal, None),
            Phase::Serving => {
                tracing::info!("{}: taking the server out of rotation first", name(signal));
                self.phase = Phase::Leaving {
                    signal,
                    until: now + self.limits.drain + GOODBYE,
                };
                self.order(Order::Leave(self.limits.drain));
            }
            Phase::Leaving { .. } => {
                tracing::info!("{} again: not waiting for what is in flight", name(signal));
                self.order(Order::Leave(Duration::ZERO));
                self.stop(now, signal, None);
            }
            Phase::Stopping { .. } | Phase::Killed { .. } => self.order(Order::Pass(signal)),
            Phase::Departing { code, .. } => self.end(code),
            Phase::Over => {}
        }
    }

    /// The server has ended.
    pub(crate) fn ended(&mut self, now: Duration, exit: Exit) {
        let code = exit.code();
        match self.phase {
            Phase::Starting { .. } => {
                tracing::error!("the server ended before its port answered, with {code}");
                self.end(code);
            }
            Phase::Serving | Phase::Leaving { .. } => {
                tracing::warn!(
                    "the server ended unasked, with {code}; whether it is started again is its supervisor's matter"
                );
                self.phase = Phase::Departing {
                    code,
                    until: now + GOODBYE,
                };
                self.order(Order::Leave(Duration::ZERO));
            }
            Phase::Stopping { code: own, .. } | Phase::Killed { code: own, .. } => {
                self.end(own.unwrap_or(code));
            }
            Phase::Departing { .. } | Phase::Over => {}
        }
    }

    /// The time has come. `found` is what the last probe found, in words.
    pub(crate) fn handle_timeout(&mut self, now: Duration, found: &str) {
        if self.poll_timeout().is_none_or(|until| until > now) {
            return;
        }
        match self.phase {
            Phase::Starting { .. } => {
                tracing::error!(
                    "the server does not answer after {} s, and is not registered ({found}); does it listen on that \
                     address, and on that port? --ip and --port say otherwise, and --start-timeout for how long it may take",
                    self.limits.start.as_secs_f64()
                );
                self.stop(now, Signal::TERM, Some(NEVER_ANSWERED));
            }
            Phase::Leaving { signal, .. } => self.stop(now, signal, None),
            Phase::Stopping { code, .. } => {
                tracing::warn!(
                    "the server is still there {} s after the signal: killing it",
                    self.limits.kill_after.as_secs_f64()
                );
                self.order(Order::Kill);
                self.phase = Phase::Killed {
                    code,
                    until: now + BURIAL,
                };
            }
            Phase::Killed { code, .. } => self.end(code.unwrap_or(Exit::Signal(9).code())),
            Phase::Departing { code, .. } => self.end(code),
            Phase::Serving | Phase::Over => {}
        }
    }

    fn stop(&mut self, now: Duration, signal: Signal, code: Option<u8>) {
        match self.server {
            Server::Child => {
                self.order(Order::Pass(signal));
                self.phase = Phase::Stopping {
                    code,
                    until: now + self.limits.kill_after,
                };
            }
            Server::Running => self.end(code.unwrap_or(0)),
        }
    }

    fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    fn end(&mut self, code: u8) {
        self.phase = Phase::Over;
        self.order(Order::End(code));
    }
}

/// The code of a command that can't be started, as of env(1).
pub(crate) fn not_started(error: &std::io::Error) -> ExitCode {
    match error.kind() {
        std::io::ErrorKind::NotFound => ExitCode::from(127),
        _ => ExitCode::from(126),
    }
}

#[cfg(test)]
mod tests;
