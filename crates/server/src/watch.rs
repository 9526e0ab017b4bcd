//! Files that change while they are in use.
//!
//! They are looked at, not subscribed to: a file is replaced by rename, by symlink, over a network
//! or in a container's volume, and a look at where the name leads now is right for all of them. Once a second it
//! costs a system call for each file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

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
    /// Why one of them couldn't be read the last time, if that was it.
    unread: Option<String>,
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

/// What tells one state of a file from another: by the time of its last change of any kind, so that one whose mode or owner
/// has changed is read again. `None`: it isn't there.
pub(crate) type Stamp = Option<(u64, u64, i64, i64, u64)>;

impl Watched {
    /// Files that have been read; `stamps` are from before that.
    pub(crate) fn new(of: String, subject: impl Subject + 'static, stamps: Vec<Stamp>) -> Self {
        Self {
            of,
            subject: Box::new(subject),
            read: stamps.clone(),
            seen: stamps,
            unread: None,
        }
    }

    /// Looks, and reads them again if they have changed. Not before they are the same at two looks: a file may be
    /// half written, and a key takes a moment to follow its certificate. Those that couldn't be read are tried again each time,
    /// since what keeps them from it need not show in them: a folder's mode, or the network. `None`: nothing was to be done,
    /// or the same keeps them from being read as the last time.
    pub(crate) fn look(&mut self) -> Option<Result<(), Fault>> {
        let now = stamps(self.subject.paths());
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        let changed = now != self.read;
        if !settled || !(changed || self.unread.is_some()) {
            return None;
        }
        self.read = now;
        let reloaded = self.subject.reload();
        let fault = reloaded.as_ref().err().filter(|fault| is_of_reading(fault));
        let before = std::mem::replace(&mut self.unread, fault.map(ToString::to_string));
        if !changed && self.unread.is_some() && self.unread == before {
            return None;
        }
        Some(reloaded)
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

/// Whether the system is behind it, and not what a file says.
fn is_of_reading(fault: &Fault) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**fault);
    while let Some(error) = next {
        if error.is::<std::io::Error>() {
            return true;
        }
        next = error.source();
    }
    false
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
        metadata.ctime(),
        metadata.ctime_nsec(),
        metadata.len(),
    ))
}

/// The files that are watched. A clone is the same.
#[derive(Clone, Default)]
pub(crate) struct Watchlist(Arc<Mutex<Vec<Watched>>>);

impl Watchlist {
    /// Has these watched from now on, and no others. Waits while those before are being read.
    pub(crate) fn replace(&self, watched: Vec<Watched>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = watched;
    }

    fn look(&self) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter_mut().for_each(Watched::look_and_tell);
    }

    /// Looks at the files for as long as it is polled. On a thread for what may block, since they may be anywhere.
    pub(crate) async fn watch(self) {
        let mut looks = looks();
        loop {
            looks.tick().await;
            let watched = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || watched.look()).await {
                tracing::error!(%error, "files are not watched any more");
                return;
            }
        }
    }
}

fn looks() -> Interval {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks
}

/// A file whose changes somebody waits for.
#[derive(Debug)]
pub struct WatchedFile {
    path: PathBuf,
    /// As it was when it was last told of.
    told: Stamp,
    /// As it was at the last look.
    seen: Stamp,
    looks: Option<Interval>,
}

impl WatchedFile {
    /// The file at `path`, which need not be there, as it is now: to be called before it is read.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let now = stamp(&path);
        Self {
            path,
            told: now,
            seen: now,
            looks: None,
        }
    }

    /// As it is now it is known: to be called before it is read for another reason than a change.
    pub fn known(&mut self) {
        self.told = stamp(&self.path);
        self.seen = self.told;
    }

    /// Resolves when the file has come, gone, or changed, and has been the same at two looks, a second apart. Needs a
    /// tokio runtime. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            self.looks.get_or_insert_with(looks).tick().await;
            let path = self.path.clone();
            // A look that fails is one that was not had.
            let Ok(now) = tokio::task::spawn_blocking(move || stamp(&path)).await else {
                continue;
            };
            let settled = now == self.seen;
            self.seen = now;
            if settled && now != self.told {
                self.told = now;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Refused {
        #[error("can't be read: {source}")]
        Read { source: io::Error },
        #[error("says nonsense")]
        Wrong,
    }

    /// Answers as it is told to, whatever the file says.
    struct Answers {
        path: PathBuf,
        next: Arc<Mutex<Result<(), Refused>>>,
    }

    impl Subject for Answers {
        fn paths(&self) -> Vec<&Path> {
            vec![&self.path]
        }

        fn reload(&self) -> Result<(), Fault> {
            Ok(std::mem::replace(&mut *self.next.lock().unwrap(), Ok(()))?)
        }
    }

    #[test]
    fn a_file_that_could_not_be_read_is_tried_again_and_one_that_is_wrong_is_not() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tokens.toml");
        let next = Arc::new(Mutex::new(Ok(())));
        let subject = Answers {
            path: path.clone(),
            next: Arc::clone(&next),
        };
        let mut watched = Watched::new("tokens".to_owned(), subject, stamps([path.as_path()]));
        let mut look = |answer: Result<(), Refused>| {
            *next.lock().unwrap() = answer;
            watched.look().map(|read| read.map_err(|fault| fault.to_string()))
        };
        let unread = |kind: io::ErrorKind| {
            let source = kind.into();
            Err(Refused::Read { source })
        };
        assert_eq!(look(Ok(())), None);

        std::fs::write(&path, "a").unwrap();
        assert_eq!(look(Ok(())), None, "not before it has settled");
        let told = look(unread(io::ErrorKind::PermissionDenied));
        assert_eq!(told, Some(Err("can't be read: permission denied".to_owned())));
        assert_eq!(look(unread(io::ErrorKind::PermissionDenied)), None, "told once");
        let told = look(unread(io::ErrorKind::TimedOut));
        assert_eq!(told, Some(Err("can't be read: timed out".to_owned())));
        assert_eq!(look(Ok(())), Some(Ok(())));
        assert_eq!(look(Ok(())), None, "it has been read");

        std::fs::write(&path, "bc").unwrap();
        assert_eq!(look(Ok(())), None);
        assert_eq!(look(Err(Refused::Wrong)), Some(Err("says nonsense".to_owned())));
        assert_eq!(look(Ok(())), None, "the same would come of it");
    }

    #[test]
    fn another_mode_is_a_change() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("tokens.toml");
        std::fs::write(&path, "a").unwrap();
        let before = stamp(&path);
        // Files' times may be no finer than the kernel's ticks.
        let changed = (0..100_000).any(|_| {
            std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
            stamp(&path) != before
        });
        assert!(changed);
    }

    /// The clock stands still but for what is waited for, so no second passes in vain.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_comes_changes_and_goes_is_told_of_once_each() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("edgeproxy.toml");
        let mut file = WatchedFile::new(path.clone());
        let silence = async |file: &mut WatchedFile| {
            let told = tokio::time::timeout(5 * EVERY, file.changed()).await;
            assert!(told.is_err(), "nothing has changed");
        };
        silence(&mut file).await;
        std::fs::write(&path, "a").unwrap();
        file.changed().await;
        silence(&mut file).await;
        std::fs::write(&path, "bc").unwrap();
        file.changed().await;
        std::fs::write(&path, "def").unwrap();
        file.known();
        silence(&mut file).await;
        std::fs::remove_file(&path).unwrap();
        file.changed().await;
        silence(&mut file).await;
    }
}
