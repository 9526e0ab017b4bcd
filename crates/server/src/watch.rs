//! Files that change while they are in use.
//!
//! They are looked at, not subscribed to: a file is replaced by rename, by symlink, over a network
//! or in a container's volume, and a look at where the name leads now is right for all of them. Once a second it
//! costs a system call for each file.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

/// The time between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// Files in use, and what is made of them.
pub(crate) struct Watched {
    /// Whose they are, for messages.
    of: String,
    subject: Box<dyn Subject>,
    /// As they were when they were last read.
    read: Vec<Stamp>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

/// What is made of files.
pub(crate) trait Subject: Send {
    /// Those that have to stay the same.
    fn paths(&self) -> Vec<&Path>;
    /// Reads all of them and puts what they make in force, or nothing.
    fn reload(&self) -> Result<(), Fault>;
}

/// Why what has changed can't be put in force.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// What tells one state of a file from another. `None`: it isn't there.
pub(crate) type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl Watched {
    /// Files that have been read; `stamps` are from before that.
    pub(crate) fn new(of: String, subject: impl Subject + 'static, stamps: Vec<Stamp>) -> Self {
        Self {
            of,
            subject: Box::new(subject),
            read: stamps.clone(),
            seen: stamps,
        }
    }

    /// Looks, and reads them again if they have changed. Not before they are the same at two looks: a file may be
    /// half written, and a key takes a moment to follow its certificate. `None`: nothing was to be done.
    pub(crate) fn look(&mut self) -> Option<Result<(), Fault>> {
        let now = stamps(self.subject.paths());
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
            Ok(()) => tracing::info!(of, "files have changed and are in force from now on"),
            Err(error) => {
                tracing::warn!(of, "files have changed and those before stay in force: {error}");
            }
        }
    }
}

/// How files are now.
pub(crate) fn stamps<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Vec<Stamp> {
    paths.into_iter().map(stamp).collect()
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
                tracing::error!(%error, "files are not watched any more");
                return;
            }
        }
    }
}
