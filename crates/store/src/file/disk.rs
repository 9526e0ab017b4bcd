//! What the journal asks of a disk, and the folder that does it.

#[cfg(test)]
pub(super) mod model;

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The files of one folder, by name. Small enough to be modelled, with each of its operations failing in turn.
pub(super) trait Disk {
    /// An open file.
    type File;

    /// Opens a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes an empty file, in place of what has that name.
    fn create(&self, name: &str) -> io::Result<Self::File>;
    /// How long the file is; `None`: it doesn't have that name any more.
    fn len_as(&self, name: &str, file: &Self::File) -> io::Result<Option<u64>>;
    /// All of it. Sectors that can't be read any more come as question marks.
    fn read(&self, file: &Self::File) -> io::Result<Vec<u8>>;
    /// Writes all of `bytes`, or some of them and fails.
    fn write(&self, file: &Self::File, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts what is beyond `len` off.
    fn truncate(&self, file: &Self::File, len: u64) -> io::Result<()>;
    /// Returns when the content is durable.
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    /// Every name there is.
    fn names(&self) -> io::Result<Vec<String>>;
    /// Gives a file another name as well.
    fn link(&self, name: &str, other: &str) -> io::Result<()>;
    /// Gives a file another name, in place of what has that one.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a name away.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names are durable.
    fn sync_names(&self) -> io::Result<()>;
}

/// A folder that is this process's alone.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    folder: File,
    // Its lock ends with it. None where another process has taken it meanwhile.
    lock: Option<File>,
}

/// Holds the lock, and the number of the process that has it.
const LOCK: &str = "registrations.lock";

/// Read at a time where reading everything at once has failed: a sector of most disks.
const SECTOR: usize = 4_096;

/// Why a folder can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FolderError {
    /// It can't be made.
    #[error("it can't be made")]
    Make(#[source] io::Error),
    /// It can't be opened, or nothing can be written in it.
    #[error("it can't be written to")]
    Open(#[source] io::Error),
    /// Another process has it.
    #[error("another process has it")]
    Taken {
        /// The number of that process, as it said itself.
        process: String,
    },
}

impl Folder {
    /// Makes it, where it isn't there, readable for its owner alone; and locks it until this value is dropped. What
    /// couldn't be locked, since the file system knows no locks, comes as an error beside it.
    pub(super) fn take(path: &Path) -> Result<(Self, Option<io::Error>), FolderError> {
        let missing = path.ancestors().take_while(|path| !path.exists()).count();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(FolderError::Make)?;
        sync_way_to(path, missing);
        let folder = File::open(path).map_err(FolderError::Open)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut lock = options.open(path.join(LOCK)).map_err(FolderError::Open)?;
        let unlocked = match lock.try_lock() {
            Ok(()) => None,
            Err(TryLockError::Error(error)) => Some(error),
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                // Only for the message.
                let _ = (&mut lock).take(20).read_to_string(&mut process);
                return Err(FolderError::Taken { process });
            }
        };
        // Only for the message of others: a disk that is full harms nothing.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.write_all_at(std::process::id().to_string().as_bytes(), 0));
        let path = path.to_owned();
        let folder = Self {
            path,
            folder,
            lock: Some(lock),
        };
        Ok((folder, unlocked))
    }

    /// Sees to it that it still is this process's. If it was removed, or replaced, or its lock was, it is
    /// [taken](Self::take) once more; says whether it was.
    pub(super) fn hold(&mut self) -> Result<bool, FolderError> {
        if self.is_held().map_err(FolderError::Open)? {
            return Ok(false);
        }
        // Should its file be there after all, by whatever name, it must not keep this process itself out.
        self.lock = None;
        let path = self.path.clone();
        (*self, _) = Self::take(&path)?;
        Ok(true)
    }

    fn is_held(&self) -> io::Result<bool> {
        let Some(lock) = &self.lock else { return Ok(false) };
        Ok(leads_to(&self.path, &self.folder)?.is_some() && leads_to(&self.path.join(LOCK), lock)?.is_some())
    }
}

/// What is known of that file, if it is the one that the path leads to.
fn leads_to(path: &Path, file: &File) -> io::Result<Option<Metadata>> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let found = match fs::metadata(path) {
        Err(error) if matches!(error.kind(), NotFound | NotADirectory) => return Ok(None),
        found => found?,
    };
    let own = file.metadata()?;
    let is_same = (found.dev(), found.ino()) == (own.dev(), own.ino());
    Ok(is_same.then_some(own))
}

/// Makes the name of a folder durable, and of those above it as far as `made` of them were made just now. Its own may
/// have been made by a process that was killed before it came to this. A parent that can't be opened is nothing to stop
/// for: a service manager has made the folder then.
fn sync_way_to(path: &Path, made: usize) {
    for parent in path.ancestors().skip(1).take(made.max(1)) {
        let here = Path::new(".");
        let parent = if parent.as_os_str().is_empty() {
            here
        } else {
            parent
        };
        let _ = File::open(parent).and_then(|parent| parent.sync_all());
    }
}

impl Disk for Folder {
    type File = File;

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path.join(name))
    }

    fn create(&self, name: &str) -> io::Result<File> {
        // Not what is there already: whoever has that open, or has made it a link to elsewhere, doesn't get ours.
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.path.join(name))
    }

    fn read(&self, file: &File) -> io::Result<Vec<u8>> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(len);
        let mut from_start = file;
        let whole = from_start
            .seek(SeekFrom::Start(0))
            .and_then(|_| from_start.take(len as u64).read_to_end(&mut bytes));
        if whole.ok() != Some(len) {
            bytes.resize(len, b'?');
            let mut at = 0;
            for sector in bytes.chunks_mut(SECTOR) {
                if file.read_exact_at(sector, at).is_err() {
                    sector.fill(b'?');
                }
                at += sector.len() as u64;
            }
        }
        Ok(bytes)
    }

    fn len_as(&self, name: &str, file: &File) -> io::Result<Option<u64>> {
        Ok(leads_to(&self.path.join(name), file)?.map(|found| found.len()))
    }

    fn write(&self, file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.path)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn link(&self, name: &str, other: &str) -> io::Result<()> {
        let (from, to) = (self.path.join(name), self.path.join(other));
        match fs::hard_link(&from, &to) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => fs::copy(from, &to)
                .and_then(|_| File::open(to)?.sync_all())
                .map_err(|_| error),
            result => result,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.folder.sync_all()
    }
}
