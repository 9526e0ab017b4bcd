//! The files that paths lead to. What can't be read is a problem, and doesn't stop the others.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use edgeproxy_config::{ApigeeFile, MAX_APIGEE_FILE_BYTES, Place, Problem};

use super::archive;

/// How many files are read at the most.
pub(super) const MOST_FILES: usize = 20_000;
/// How many bytes they may have together: 256 MiB.
pub(super) const MOST_BYTES: u64 = 256 << 20;
/// How deep folders may be in one another.
const MAX_DEPTH: usize = 32;

/// Files on their way in, within the limits.
pub(super) struct Gathered<'p> {
    pub(super) files: Vec<ApigeeFile>,
    pub(super) problems: &'p mut Vec<Problem>,
    bytes: u64,
    /// Folders that were entered, by their real paths: symbolic links can lead in a circle.
    entered: HashSet<PathBuf>,
    full: bool,
}

/// Reads everything that the paths lead to: files whatever they are called, and of folders and zip files those that end in
/// `.xml` and `.json`.
pub(super) fn gather(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<ApigeeFile> {
    let mut gathered = Gathered {
        files: Vec::new(),
        problems,
        bytes: 0,
        entered: HashSet::new(),
        full: false,
    };
    for path in paths {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => {
                gathered.refuse(path, &error);
                continue;
            }
        };
        if metadata.is_dir() {
            match fs::canonicalize(path) {
                Ok(root) => gathered.folder(path, &root, 0),
                Err(error) => gathered.refuse(path, &error),
            }
        } else if has_extension(path, "zip") {
            archive::read(path, &mut gathered);
        } else {
            gathered.file(path);
        }
    }
    if gathered.files.is_empty() && gathered.problems.is_empty() {
        let place = paths
            .first()
            .map_or(Place::CommandLine, |path| Place::File(path.clone()));
        let problem = Problem::new(
            place,
            "there is no file of Apigee's; expected some that end in .xml or .json",
        );
        gathered.problems.push(problem);
    }
    gathered.files
}

impl Gathered<'_> {
    fn folder(&mut self, path: &Path, root: &Path, depth: usize) {
        if depth > MAX_DEPTH {
            return self.problem(path, format!("is inside of {MAX_DEPTH} folders; expected fewer"));
        }
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return self.refuse(path, &error),
        };
        if !self.entered.insert(real) {
            return;
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut paths: Vec<PathBuf> = match entries {
            Ok(entries) => entries.iter().map(fs::DirEntry::path).collect(),
            Err(error) => return self.refuse(path, &error),
        };
        // The same tree is the same file, whatever the system's order is.
        paths.sort();
        for path in paths {
            if self.full {
                return;
            }
            self.entry(&path, root, depth);
        }
    }

    fn entry(&mut self, path: &Path, root: &Path, depth: usize) {
        let linked = path
            .symlink_metadata()
            .is_ok_and(|metadata| metadata.is_symlink());
        if linked && !fs::canonicalize(path).is_ok_and(|real| real.starts_with(root)) {
            let message = "is a link that leads outside of the folder, and was not followed";
            return self.problem(path, message.to_owned());
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, root, depth + 1),
            // A pipe or a device would be waited for.
            Ok(metadata) if metadata.is_file() && is_wanted(path) => self.file(path),
            Ok(_) => {}
            Err(error) => self.refuse(path, &error),
        }
    }

    fn file(&mut self, path: &Path) {
        match read(path) {
            Ok(bytes) => self.take(path.to_owned(), bytes),
            Err(error) => self.refuse(path, &error),
        }
    }

    /// Takes a file, if there is room. Its own length is judged with its content.
    pub(super) fn take(&mut self, path: PathBuf, bytes: Vec<u8>) {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.full {
            return;
        }
        if self.files.len() >= MOST_FILES || self.bytes > MOST_BYTES {
            self.full = true;
            let message = format!(
                "is more than can be imported at once: {MOST_FILES} files, {} MiB; it and those after it were left out",
                MOST_BYTES >> 20
            );
            return self.problem(&path, message);
        }
        self.files.push(ApigeeFile { path, bytes });
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn refuse(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        self.problem(path, format!("can't be read: {error}"));
    }

    pub(super) fn problem(&mut self, path: &Path, message: String) {
        self.problems
            .push(Problem::new(Place::File(path.to_owned()), message));
    }
}

/// Whether a file that nobody has named is one of Apigee's.
pub(super) fn is_wanted(path: &Path) -> bool {
    has_extension(path, "xml") || has_extension(path, "json")
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(wanted))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One more than is accepted, which tells a file that is too long from one that just fits.
    File::open(path)?
        .take(MAX_APIGEE_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}
