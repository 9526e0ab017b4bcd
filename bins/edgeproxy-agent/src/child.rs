//! The server, as a process.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

use crate::life::Exit;

/// A process that was started and has not been waited for, so its number is its own.
pub(crate) struct Child {
    pid: Pid,
}

impl Child {
    /// Starts it, in a process group of its own: a Ctrl-C at the terminal reaches the agent alone, which takes the
    /// server out of rotation first.
    pub(crate) fn start(command: &[OsString]) -> io::Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::other("there is no command"))?;
        let child = Command::new(program).args(args).process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the system gave it no process id"))?;
        Ok(Self { pid })
    }

    pub(crate) fn id(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends the signal to the server itself, which knows how to stop what it has started.
    pub(crate) fn send(&self, signal: Signal) {
        // Fails only if it has just ended, which is noticed elsewhere.
        let _ = kill_process(self.pid, signal);
    }

    /// Kills it and everything that it has started in its group.
    pub(crate) fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// How it has ended, if it has. Buries everybody else's children that were left to this process, as the first one
    /// of a container has to.
    pub(crate) fn reap(&self) -> Option<Exit> {
        let mut exit = None;
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => {
                    exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Some(Exit::Code(code)),
                        (None, Some(signal)) => Some(Exit::Signal(signal)),
                        (None, None) => exit,
                    };
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return exit,
            }
        }
    }
}
