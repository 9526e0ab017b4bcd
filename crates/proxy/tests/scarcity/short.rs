//! Taking descriptors away.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::{Mutex, MutexGuard};

/// One test at a time takes descriptors away, and the others of its program have none to lose meanwhile.
pub(crate) async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// The same for one without a runtime.
#[cfg(target_os = "linux")]
pub(crate) fn alone_blocking() -> MutexGuard<'static, ()> {
    ALONE.blocking_lock()
}

static ALONE: Mutex<()> = Mutex::const_new(());

/// The process opens nothing more until this is dropped.
pub(crate) struct Short(Rlimit);

impl Short {
    /// Whatever is closed.
    pub(crate) fn of_all() -> Self {
        Self::below(0)
    }

    /// Unless something is closed.
    pub(crate) fn of_more() -> Self {
        // The system gives out the lowest number that is free, so all below this one are taken.
        let lowest = File::open("/dev/null").unwrap().as_raw_fd();
        Self::below(lowest.try_into().unwrap())
    }

    fn below(limit: u64) -> Self {
        let before = getrlimit(Resource::Nofile);
        let short = Rlimit {
            current: Some(limit),
            ..before
        };
        setrlimit(Resource::Nofile, short).unwrap();
        Self(before)
    }
}

impl Drop for Short {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.0).unwrap();
    }
}
