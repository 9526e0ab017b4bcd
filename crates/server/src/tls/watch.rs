//! Files that change while they are in use.
//!
//! They are looked at, not subscribed to: a certificate's file is replaced by rename, by symlink, over a network
//! or in a container's volume, and a look at where the name leads now is right for all of them. Once a second it
//! costs a system call for each file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use edgeproxy_proxy as proxy;
use tokio::time::MissedTickBehavior;

use super::TlsFault;
use super::files::{BackendFiles, ListenerFiles};

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Files in use, and what is made of them.
pub(crate) struct Watched {
    /// Whose they are, for messages.
    of: String,
    subject: Subject,
    /// As they were when they were last read.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

/// What is made of the files.
pub(super) enum Subject {
    Listener(ListenerFiles, proxy::Tls),
    Backends(BackendFiles, proxy::BackendTls),
}

/// What tells one state of a file from another. `None`: it isn't there.
pub(super) type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl Watched {
    /// Files that have been read; `stamps` are from before that.
    pub(super) fn new(of: String, subject: Subject, stamps: Vec<Stamp>) -> Self {
        Self {
            of,
            subject,
            read: stamps.clone(),
            seen: stamps,
        }
    }

    /// Looks, and reads them again if they have changed. Not before they are the same at two looks: a file may be
    /// half written, and a key takes a moment to follow its certificate. `None`: nothing was to be done.
    pub(super) fn look(&mut self) -> Option<Result<(), TlsFault>> {
        let now = self.subject.stamps();
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        if now == self.read || !settled {
            return None;
        }
        self.read = now;
        Some(self.subject.reload())
    }

    fn look_and_tell(&mut self) {
        let Some(reloaded) = self.look() else { return };
        let of = self.of.as_str();
        match reloaded {
            Ok(()) => tracing::info!(
                of,
                "certificates have changed and are in force for new connections"
            ),
            Err(error) => {
                tracing::warn!(
                    of,
                    "certificates have changed and those before stay in force: {error}"
                );
            }
        }
    }
}

impl Subject {
    fn stamps(&self) -> Vec<Stamp> {
        match self {
            Self::Listener(files, _) => stamps(files.paths()),
            Self::Backends(files, _) => stamps(files.paths()),
        }
    }

    /// All of it, or nothing.
    fn reload(&self) -> Result<(), TlsFault> {
        match self {
            Self::Listener(files, tls) => files.read().map(|config| tls.replace(config)),
            Self::Backends(files, tls) => files.read().map(|config| tls.replace(config)),
        }
    }
}

/// How files are now.
pub(super) fn stamps<'a>(paths: impl Iterator<Item = &'a Path>) -> Vec<Stamp> {
    paths.map(stamp).collect()
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len(),
    ))
}

/// Looks at the files for as long as it is polled. On a thread for what may block, since they may be anywhere.
pub(crate) async fn watch(mut watched: Vec<Watched>) {
    if watched.is_empty() {
        return;
    }
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let looked = tokio::task::spawn_blocking(move || {
            watched.iter_mut().for_each(Watched::look_and_tell);
            watched
        });
        match looked.await {
            Ok(back) => watched = back,
            Err(error) => {
                tracing::error!(%error, "certificates are not watched any more");
                return;
            }
        }
    }
}
