//! The store that needs nothing but a folder: an append-only file of checksummed lines.
//!
//! A file is the latest of three things: a write is appended and synced before it is acknowledged; what no longer
//! holds is left behind when the file is written anew, beside the old one and then in its place; and whatever has
//! become of it meanwhile, it can be opened. Why it is so: `docs/decisions/0015-an-append-only-file.md`.

mod disk;
mod findings;
mod journal;
mod line;
mod reading;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::Write;
use tokio::sync::oneshot;

use self::disk::{Folder, FolderError};
use self::journal::{Journal, LOG};
use crate::{CommitError, LoadError, Loaded, Store, Task, Update};

/// Commits that may wait for the disk. One caller has one, and those that it has given up on.
const WAITING: usize = 64;

/// Changes that are written with one sync, at most.
const SHARED: usize = 50_000;

/// How often it is looked whether what was written is still there, while nothing is.
const LOOK: Duration = Duration::from_secs(10);

/// How long dropping a store waits for a disk that doesn't answer.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Keeps registrations in a folder, which is one process's alone for as long as this value lives.
///
/// The files are read and written by a thread of its own, so it can be awaited on any runtime. Commits that arrive
/// while another one is written share a sync. Dropping it waits until what was committed is written, for 5 s at the most.
///
/// ```
/// use edgeproxy_store::{FileStore, Store as _};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let folder = tempfile::tempdir()?;
/// let store = FileStore::open(folder.path().join("edgeproxy"));
/// let loaded = store.load().await?;
/// assert!(loaded.records.is_empty() && loaded.findings.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    // None only while it is dropped: the end of the channel is the end of the thread.
    jobs: Option<SyncSender<Job>>,
    thread: Option<Thread>,
}

enum Job {
    Load(oneshot::Sender<Result<Loaded, LoadError>>),
    Release(oneshot::Sender<()>),
    Commit(Commit),
}

struct Commit {
    writes: Vec<Write>,
    done: oneshot::Sender<Result<(), CommitError>>,
}

impl FileStore {
    /// A store in that folder, which is made by [`load`](Store::load) if it is missing. Nothing is touched before.
    #[must_use]
    pub fn open(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        let (jobs, queue) = sync_channel(WAITING);
        let writer = Writer {
            folder: folder.clone(),
            journal: None,
            has_told: false,
        };
        // Without a thread the channel has no end that listens, and every call says so.
        let thread = Thread::start(move || writer.run(&queue));
        Self {
            folder,
            jobs: Some(jobs),
            thread,
        }
    }

    fn hand(&self, job: Job) -> Result<(), String> {
        let folder = self.folder.display();
        let Some(jobs) = &self.jobs else {
            return Err(format!("{folder}: this store has been closed"));
        };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => format!(
                "{folder}: {WAITING} batches are waiting for the disk already; look at what keeps it busy"
            ),
            TrySendError::Disconnected(_) => format!("{folder}: {NO_THREAD}"),
        })
    }
}

const NO_THREAD: &str = "the thread that writes here could not be started, or has ended; restart edgeproxy";

impl Store for FileStore {
    fn name(&self) -> &'static str {
        "file"
    }

    fn load(&self) -> Task<'_, Result<Loaded, LoadError>> {
        Box::pin(async {
            let (done, result) = oneshot::channel();
            let failed = |message| LoadError {
                message,
                source: None,
            };
            self.hand(Job::Load(done)).map_err(failed)?;
            result
                .await
                .unwrap_or_else(|_| Err(failed(format!("{}: {NO_THREAD}", self.folder.display()))))
        })
    }

    fn commit<'a>(&'a self, writes: &'a [Write]) -> Task<'a, Result<(), CommitError>> {
        Box::pin(async {
            let (done, result) = oneshot::channel();
            let failed = |message| CommitError {
                message,
                source: None,
            };
            self.hand(Job::Commit(Commit {
                writes: writes.to_vec(),
                done,
            }))
            .map_err(failed)?;
            result
                .await
                .unwrap_or_else(|_| Err(failed(format!("{}: {NO_THREAD}", self.folder.display()))))
        })
    }

    fn release(&self) -> Task<'_, ()> {
        Box::pin(async {
            let (done, released) = oneshot::channel();
            // Without a thread there is no lock either.
            if self.hand(Job::Release(done)).is_ok() {
                let _ = released.await;
            }
        })
    }

    fn update(&self) -> Task<'_, Update> {
        Box::pin(std::future::pending())
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && !thread.ends_within(LAST_PATIENCE)
        {
            tracing::error!(
                "{}: the disk has not answered for {} s and is not waited for any longer; what was committed last may \
                 not be kept",
                self.folder.display(),
                LAST_PATIENCE.as_secs()
            );
        }
    }
}

/// A thread whose end can be waited for, though not for ever.
#[derive(Debug)]
struct Thread {
    // Its other end goes with the thread.
    ended: Mutex<Receiver<()>>,
}

impl Thread {
    fn start(run: impl FnOnce() + Send + 'static) -> Option<Self> {
        let (end, ended) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                run();
                drop(end);
            })
            .ok()?;
        let ended = Mutex::new(ended);
        Some(Self { ended })
    }

    fn ends_within(self, patience: Duration) -> bool {
        let ended = self.ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent there.
        ended.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

/// What the thread has.
struct Writer {
    folder: PathBuf,
    journal: Option<Journal<Folder>>,
    /// Whether it has been told that what was written is gone, and can't be written anew.
    has_told: bool,
}

impl Writer {
    fn run(mut self, queue: &Receiver<Job>) {
        let mut next = None;
        loop {
            let job = match next.take() {
                Some(job) => Ok(job),
                None => queue.recv_timeout(LOOK),
            };
            let job = match job {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => {
                    self.look();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match job {
                // Nobody waits for it any more: then nobody is told.
                Job::Load(done) => drop(done.send(self.load())),
                Job::Release(done) => {
                    self.journal = None;
                    let _ = done.send(());
                }
                Job::Commit(first) => next = self.commit_with_those_that_wait(first, queue),
            }
        }
    }

    fn load(&mut self) -> Result<Loaded, LoadError> {
        // The lock of the one before ends with it.
        self.journal = None;
        let (folder, unlocked) = Folder::take(&self.folder).map_err(|error| LoadError {
            message: not_taken(&self.folder, &error),
            // The message has said it already.
            source: None,
        })?;
        let (journal, mut loaded) =
            Journal::open(folder, clock()).map_err(|error| not_opened(&self.folder, error))?;
        if let Some(error) = unlocked {
            loaded.findings.push(findings::unlocked(&error));
        }
        for finding in &mut loaded.findings {
            finding
                .message
                .insert_str(0, &format!("{}: ", self.folder.display()));
        }
        self.journal = Some(journal);
        Ok(loaded)
    }

    /// Returns the job that came after those that share the sync.
    fn commit_with_those_that_wait(&mut self, first: Commit, queue: &Receiver<Job>) -> Option<Job> {
        let mut writes = first.writes;
        let mut waiting = vec![first.done];
        let mut next = None;
        while writes.len() < SHARED {
            match queue.try_recv() {
                Ok(Job::Commit(commit)) => {
                    writes.extend(commit.writes);
                    waiting.push(commit.done);
                }
                Ok(job) => {
                    next = Some(job);
                    break;
                }
                Err(_) => break,
            }
        }
        let result = self.commit(writes);
        for done in waiting {
            // Nobody waits for it any more: it is done all the same.
            let _ = done.send(match &result {
                Ok(()) => Ok(()),
                Err(failure) => Err(failure.told(&self.folder)),
            });
        }
        self.compact_if_worth_it();
        next
    }

    fn commit(&mut self, writes: Vec<Write>) -> Result<(), Failure> {
        self.held()?.commit(writes).map_err(Failure::Io)
    }

    /// The journal, in a folder that is this process's.
    fn held(&mut self) -> Result<&mut Journal<Folder>, Failure> {
        let journal = self.journal.as_mut().ok_or(Failure::NotLoaded)?;
        if journal.disk().hold().map_err(Failure::Folder)? {
            tracing::warn!(
                "{}, or the lock in it, has been removed or replaced while it was in use: all that is kept is written \
                 there anew",
                self.folder.display()
            );
            journal.distrust();
        }
        Ok(journal)
    }

    /// Whether what was written is still there, though there is nothing to be written.
    fn look(&mut self) {
        if self.journal.is_none() {
            return;
        }
        let looked = self
            .held()
            .and_then(|journal| journal.look().map_err(Failure::Io));
        let is_first = !std::mem::replace(&mut self.has_told, looked.is_err());
        if let Err(failure) = looked
            && is_first
        {
            tracing::error!(
                "{}; a restart would forget what was registered, and it is tried again",
                failure.told(&self.folder).message
            );
        }
    }

    fn compact_if_worth_it(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if !journal.is_worth_compacting() {
            return;
        }
        if let Err(error) = journal.compact() {
            let folder = self.folder.display();
            tracing::warn!(
                "{folder}/{LOG} could not be written anew without what no longer holds ({error}); nothing is lost, \
                 and it is tried again when it has grown by half"
            );
        }
    }
}

/// Why a commit failed; told to each whose changes were in it.
enum Failure {
    NotLoaded,
    Folder(FolderError),
    Io(io::Error),
}

impl Failure {
    fn told(&self, folder: &Path) -> CommitError {
        match self {
            Self::NotLoaded => CommitError {
                message: format!(
                    "{}: nothing was loaded from there yet, or that has failed; load first",
                    folder.display()
                ),
                source: None,
            },
            Self::Folder(error) => CommitError {
                message: not_taken(folder, error),
                source: None,
            },
            Self::Io(error) => CommitError {
                message: format!(
                    "{}/{LOG} can't be written to: {error}; {}",
                    folder.display(),
                    mend(error)
                ),
                source: Some(Box::new(same(error))),
            },
        }
    }
}

// An io::Error can't be cloned.
fn same(error: &io::Error) -> io::Error {
    error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// What helps with a folder that can't be made or opened.
fn mend_folder(error: &io::Error) -> &'static str {
    use io::ErrorKind::{AlreadyExists, NotADirectory, NotFound};
    match error.kind() {
        AlreadyExists | NotADirectory | NotFound => "no folder can be there: choose another data_dir",
        _ => mend(error),
    }
}

/// What helps with a file in it.
fn mend(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        FileTooLarge, IsADirectory, NotADirectory, NotFound, PermissionDenied, QuotaExceeded,
        ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => "make room there, or choose another data_dir",
        FileTooLarge => "raise the limit of files' sizes (ulimit -f)",
        PermissionDenied => "give edgeproxy's user the right to write there, or choose another data_dir",
        ReadOnlyFilesystem => "mount it for writing, or choose another data_dir",
        NotFound | NotADirectory => {
            "the folder has been taken away: put it back where it was, or restart edgeproxy with another data_dir"
        }
        IsADirectory => "a folder is in the file's place: move it away, or choose another data_dir",
        _ => "the system's log may say more about that disk",
    }
}

fn not_opened(folder: &Path, error: io::Error) -> LoadError {
    LoadError {
        message: format!(
            "{}/{LOG} can't be opened: {error}; {}",
            folder.display(),
            mend(&error)
        ),
        source: Some(Box::new(error)),
    }
}

fn not_taken(folder: &Path, error: &FolderError) -> String {
    let folder = folder.display();
    match error {
        FolderError::Make(source) => format!("{folder} can't be made: {source}; {}", mend_folder(source)),
        FolderError::Open(source) => {
            format!("{folder} can't be written to: {source}; {}", mend_folder(source))
        }
        FolderError::Taken { process } => {
            let process = if process.is_empty() { "one" } else { process };
            format!(
                "{folder} is in use by another edgeproxy (process {process}); stop that one first, or choose another \
                 data_dir for this one"
            )
        }
    }
}

/// Milliseconds since 1970, as an incarnation: later than all that were counted one by one, unless more than a thousand
/// backends registered in each second since then.
fn clock() -> Incarnation {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(0);
    Incarnation::new(millis).unwrap_or(Incarnation::FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helps_with_a_file_is_not_what_helps_with_a_folder() {
        let in_the_way = io::Error::from(io::ErrorKind::AlreadyExists);
        assert!(mend_folder(&in_the_way).contains("no folder can be there"));
        for kind in [
            io::ErrorKind::NotFound,
            io::ErrorKind::NotADirectory,
            io::ErrorKind::IsADirectory,
        ] {
            let told = mend(&kind.into());
            assert!(
                !told.contains("no folder can be there") && told.contains(": "),
                "{told}"
            );
        }
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(mend_folder(&full), mend(&full));
    }

    #[test]
    fn what_was_taken_away_is_written_anew_though_nothing_changes() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("edgeproxy");
        let mut writer = Writer {
            folder: folder.clone(),
            journal: None,
            has_told: false,
        };
        writer.look();
        assert!(!folder.exists(), "nothing is touched before it is loaded");
        writer.load().unwrap();
        writer
            .commit(vec![crate::testing::registered(1, 1)])
            .ok()
            .unwrap();
        for removed in [folder.clone(), folder.join(LOG)] {
            if removed.is_dir() {
                std::fs::remove_dir_all(&removed).unwrap();
            } else {
                std::fs::remove_file(&removed).unwrap();
            }
            writer.look();
            assert!(removed.exists());
        }
        writer.look();
        assert!(!writer.has_told && !folder.join("registrations.damaged-1").exists());

        // Where it can't be, that is told once, until it can.
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "").unwrap();
        writer.look();
        assert!(writer.has_told);
        std::fs::remove_file(&folder).unwrap();
        writer.look();
        assert!(!writer.has_told);
        assert_eq!(writer.load().unwrap().records.len(), 1);
    }

    #[test]
    fn a_thread_that_hangs_is_not_waited_for_for_ever_and_one_that_ends_to_its_end() {
        let (release, hangs) = mpsc::channel::<()>();
        let hanging = Thread::start(move || {
            let _ = hangs.recv();
        })
        .unwrap();
        assert!(!hanging.ends_within(Duration::from_millis(20)));
        drop(release);

        let (done, is_done) = mpsc::channel();
        let ending = Thread::start(move || {
            std::thread::sleep(Duration::from_millis(50));
            let _ = done.send(());
        });
        assert!(ending.unwrap().ends_within(Duration::from_secs(60)));
        assert_eq!(is_done.try_recv(), Ok(()));
    }
}
