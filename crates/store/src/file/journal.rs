//! The file that registrations are appended to: opened whatever has become of it, appended to, written anew.

use std::io;

use edgeproxy_backend::Incarnation;
use edgeproxy_registry::Write;

use super::disk::Disk;
use super::findings::{Fate, findings, unwritable};
use super::reading::{Reading, put_head, put_write};
use crate::kept::Kept;
use crate::{Finding, Loaded};

/// The file.
pub(super) const LOG: &str = "registrations.log";
/// What is to take its place, while it is written.
const NEW: &str = "registrations.new";
/// What was damaged, with a number.
const DAMAGED: &str = "registrations.damaged-";

/// Damaged files that are left for people to look at; older ones are removed.
const DAMAGED_KEPT: usize = 4;

/// Bytes that say nothing any more are left alone up to this many: to write the file anew takes two syncs.
const IDLE_BYTES: u64 = 1 << 20;

/// How much of a new file is gathered before it is written, in bytes.
const CHUNK: usize = 1 << 20;

/// An open file and what it says.
///
/// What it says is known here, and not only there: so a file can be written anew when it isn't to be trusted any
/// more.
#[derive(Debug)]
pub(super) struct Journal<D: Disk> {
    disk: D,
    kept: Kept,
    /// None while there is no file to trust; then the next commit writes one.
    file: Option<Appended<D::File>>,
    /// Whether the file that is there is to have another name before a new one takes its place.
    aside: Aside,
    /// The length at which it is tried to write the file anew, when that has failed.
    patience: u64,
}

/// What is to become of a file in whose place a new one is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aside {
    /// All that it says is known here.
    Needless,
    /// It is damaged, and for people to look at, if that can be had.
    Wished,
    /// It says what this version doesn't know.
    Needed,
}

/// A file that is durable up to its end.
#[derive(Debug)]
struct Appended<F> {
    file: F,
    end: u64,
    /// The byte before the end is no line feed.
    is_unended: bool,
    /// Bytes beyond the end could not be cut off.
    has_excess: bool,
}

/// What went wrong with an append.
enum AppendError {
    /// Nothing was added.
    Undone(io::Error),
    /// Nobody knows what is durable. A sync that is tried again would say that all is well: what could not be written
    /// is not tried again by the system, it is forgotten.
    Unknown(io::Error),
}

impl<D: Disk> Journal<D> {
    /// Opens the file, or makes it. Where something is wrong with it, the numbers of incarnations go on from `clock`,
    /// which is later than any that can have been lost.
    ///
    /// # Errors
    /// When nothing can be read or written there. Neither damage nor a disk that is full is an error.
    pub(super) fn open(disk: D, clock: Incarnation) -> io::Result<(Self, Loaded)> {
        // What was being written when it ended.
        let _ = disk.remove(NEW);
        let mut journal = Self {
            disk,
            kept: Kept::default(),
            file: None,
            aside: Aside::Needless,
            patience: 0,
        };
        let found = match journal.disk.open(LOG) {
            Ok(file) => journal.read(file, clock)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => journal.begin()?,
            Err(error) => return Err(error),
        };
        let mut loaded = journal.kept.loaded();
        loaded.findings = found;
        Ok((journal, loaded))
    }

    /// Where there is no file yet.
    fn begin(&mut self) -> io::Result<Vec<Finding>> {
        match self.rewrite() {
            Ok(()) => Ok(Vec::new()),
            Err(error) if is_refusal(&error) => Err(error),
            Err(error) => Ok(vec![unwritable(&error)]),
        }
    }

    fn read(&mut self, file: D::File, clock: Incarnation) -> io::Result<Vec<Finding>> {
        let bytes = self.disk.read(&file)?;
        let mut reading = Reading::of(&bytes);
        let is_sound = reading.is_sound();
        if !is_sound || reading.torn.is_some() {
            reading.kept.reach(clock);
        }
        if !is_sound && let Some(after) = after_lost(reading.kept.latest()) {
            reading.kept.reach(after);
        }
        self.kept = std::mem::take(&mut reading.kept);
        if reading.is_of_later_version() {
            // Nothing is to be added to it, nor cut off.
            self.aside = Aside::Needed;
            let fate = self
                .set_aside_and_begin()
                .map_or_else(Fate::Waits, Fate::SetAside);
            return Ok(findings(&reading, self.kept.records(), &fate));
        }
        let end = reading.torn.as_ref().map_or(bytes.len(), |torn| torn.start);
        let last = bytes.get(..end).and_then(<[u8]>::last);
        self.file = Some(Appended {
            has_excess: end < bytes.len() && self.disk.truncate(&file, end as u64).is_err(),
            is_unended: last.is_some_and(|last| *last != b'\n'),
            file,
            end: end as u64,
        });
        let fate = if is_sound {
            Fate::Used
        } else {
            // Where that fails it is used as it is: what can be read of it now can be read the next time as well.
            self.aside = Aside::Wished;
            self.set_aside_and_begin().map_or_else(Fate::Left, Fate::SetAside)
        };
        if matches!(fate, Fate::Used | Fate::Left(_)) {
            self.settle();
        }
        Ok(findings(&reading, self.kept.records(), &fate))
    }

    /// Makes durable what was read: whoever has written it may have been killed before that. Where it can't be done,
    /// the next commit writes it anew.
    fn settle(&mut self) {
        let Some(appended) = &self.file else { return };
        let synced = self
            .disk
            .sync(&appended.file)
            .and_then(|()| self.disk.sync_names());
        if let Err(error) = synced {
            tracing::warn!("{LOG} could not be synced ({error}): it is written anew with the next change");
            self.file = None;
        }
    }

    /// Sets a file aside and writes what could be read to a new one; or leaves everything as it is.
    fn set_aside_and_begin(&mut self) -> io::Result<String> {
        let (aside, new) = self.exchange()?;
        // Where that fails, the next commit writes it anew.
        let _ = self.trust(new);
        Ok(aside)
    }

    /// Gives the file that is there another name, and its own to a new one.
    fn exchange(&mut self) -> io::Result<(String, Appended<D::File>)> {
        let aside = self.set_aside()?;
        match self.put_new() {
            Ok(new) => {
                self.forget_older_damaged();
                Ok((aside, new))
            }
            Err(error) => {
                let _ = self.disk.remove(&aside);
                Err(error)
            }
        }
    }

    fn set_aside(&self) -> io::Result<String> {
        let number = self.damaged()?.last().map_or(1, |(number, _)| number + 1);
        let aside = format!("{DAMAGED}{number}");
        self.disk.link(LOG, &aside)?;
        Ok(aside)
    }

    /// The damaged files, oldest first.
    fn damaged(&self) -> io::Result<Vec<(u32, String)>> {
        let numbered = |name: String| {
            let number = name.strip_prefix(DAMAGED)?.parse().ok()?;
            Some((number, name))
        };
        let mut damaged: Vec<_> = self.disk.names()?.into_iter().filter_map(numbered).collect();
        damaged.sort_unstable();
        Ok(damaged)
    }

    fn forget_older_damaged(&self) {
        let damaged = self.damaged().unwrap_or_default();
        let older = damaged.len().saturating_sub(DAMAGED_KEPT);
        for (_, name) in damaged.iter().take(older) {
            // It is in nobody's way but that of other files.
            let _ = self.disk.remove(name);
        }
    }

    /// Keeps all of these. They are durable when this returns.
    ///
    /// # Errors
    /// When some may not be.
    pub(super) fn commit(&mut self, writes: Vec<Write>) -> io::Result<()> {
        if writes.is_empty() {
            return Ok(());
        }
        self.compare()?;
        let mut bytes = Vec::new();
        let sizes: Vec<_> = writes.iter().map(|write| put_write(write, &mut bytes)).collect();
        let appended = self.file.as_mut().map(|file| file.append(&self.disk, bytes));
        let is_durable = match appended {
            Some(Ok(())) => true,
            Some(Err(AppendError::Undone(error))) => return Err(error),
            Some(Err(AppendError::Unknown(error))) => {
                tracing::warn!(
                    "{LOG} could not be synced ({error}): it is written anew, all that is kept and this"
                );
                false
            }
            None => false,
        };
        for (write, size) in writes.into_iter().zip(sizes) {
            self.kept.apply(write, size);
        }
        if is_durable {
            return Ok(());
        }
        self.file = None;
        self.rewrite()
    }

    /// Sees to it that all that is kept is where the next start looks for it.
    ///
    /// # Errors
    /// When it isn't, and can't be written there.
    pub(super) fn look(&mut self) -> io::Result<()> {
        self.compare()?;
        match self.file {
            Some(_) => Ok(()),
            None => self.rewrite(),
        }
    }

    /// The folder, which may have to be taken again.
    pub(super) const fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    /// What is there may be somebody else's: it is set aside, and all that is kept is written anew.
    pub(super) fn distrust(&mut self) {
        self.file = None;
        if self.aside == Aside::Needless {
            self.aside = Aside::Wished;
        }
    }

    /// Whether the file is as it was left. What is appended to one that has been removed would be lost with it.
    fn compare(&mut self) -> io::Result<()> {
        let Some(Appended {
            file,
            end,
            has_excess,
            ..
        }) = &self.file
        else {
            return Ok(());
        };
        let found = self.disk.len_as(LOG, file)?;
        if found.is_none_or(|len| len < *end || (len > *end && !has_excess)) {
            tracing::warn!(
                "{LOG} has been removed, replaced or changed by somebody else while it was in use: it is written anew, \
                 with all that is kept"
            );
            self.distrust();
        }
        Ok(())
    }

    /// Whether so much of the file says nothing any more that it is worth writing it anew.
    pub(super) fn is_worth_compacting(&self) -> bool {
        let Some(file) = &self.file else { return false };
        let idle = file.end.saturating_sub(self.kept.size());
        idle > self.kept.size().max(IDLE_BYTES) && file.end >= self.patience
    }

    /// Writes it anew, with no more in it than what holds.
    ///
    /// # Errors
    /// When that can't be done. Then the file is used as it is, until it has grown by half.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let end = self.file.as_ref().map_or(0, |file| file.end);
        let result = self.rewrite();
        self.patience = if result.is_err() { end + end / 2 } else { 0 };
        result
    }

    /// Puts a new file in the place of the old one, which is left as it is until the new one is durable.
    fn rewrite(&mut self) -> io::Result<()> {
        let new = match self.aside {
            Aside::Needless => self.put_new()?,
            Aside::Wished | Aside::Needed => match self.exchange() {
                Ok((aside, new)) => {
                    tracing::warn!("the file that was there as {LOG} is kept as {aside}");
                    new
                }
                // Unless somebody has taken it away by hand.
                Err(error) if self.aside == Aside::Needed && error.kind() != io::ErrorKind::NotFound => {
                    return Err(error);
                }
                Err(_) => self.put_new()?,
            },
        };
        self.trust(new)
    }

    /// Writes a new file and gives it the name of the old one, which keeps it if that fails.
    fn put_new(&mut self) -> io::Result<Appended<D::File>> {
        let written = self.write_new().and_then(|new| {
            self.disk.rename(NEW, LOG)?;
            Ok(new)
        });
        match written {
            Ok(new) => {
                self.aside = Aside::Needless;
                Ok(new)
            }
            Err(error) => {
                let _ = self.disk.remove(NEW);
                Err(error)
            }
        }
    }

    fn trust(&mut self, new: Appended<D::File>) -> io::Result<()> {
        // Until the names are durable nobody knows which of both files there is after a crash: what is appended to
        // either could be lost.
        self.file = None;
        self.disk.sync_names()?;
        self.file = Some(new);
        Ok(())
    }

    fn write_new(&self) -> io::Result<Appended<D::File>> {
        let file = self.disk.create(NEW)?;
        let mut bytes = Vec::new();
        let mut end = 0;
        put_head(self.kept.latest(), &mut bytes);
        for write in self.kept.writes() {
            put_write(&write, &mut bytes);
            if bytes.len() >= CHUNK {
                self.disk.write(&file, end, &bytes)?;
                end += bytes.len() as u64;
                bytes.clear();
            }
        }
        self.disk.write(&file, end, &bytes)?;
        end += bytes.len() as u64;
        self.disk.sync(&file)?;
        Ok(Appended {
            file,
            end,
            is_unended: false,
            has_excess: false,
        })
    }
}

impl<F> Appended<F> {
    fn append<D: Disk<File = F>>(&mut self, disk: &D, mut bytes: Vec<u8>) -> Result<(), AppendError> {
        if self.has_excess {
            disk.truncate(&self.file, self.end).map_err(AppendError::Undone)?;
            self.has_excess = false;
        }
        if self.is_unended {
            bytes.insert(0, b'\n');
        }
        if let Err(error) = disk.write(&self.file, self.end, &bytes) {
            self.has_excess = disk.truncate(&self.file, self.end).is_err();
            return Err(AppendError::Undone(error));
        }
        disk.sync(&self.file).map_err(AppendError::Unknown)?;
        self.end += bytes.len() as u64;
        self.is_unended = false;
        Ok(())
    }
}

/// What no incarnation that was lost can have reached, by what is left: some 35 years of registering a thousand times in
/// each second. The clock alone says too little if it is slow, or if this was done before.
const LOST: u64 = 1 << 40;

fn after_lost(latest: Option<Incarnation>) -> Option<Incarnation> {
    let latest = latest.map_or(0, Incarnation::get);
    Incarnation::new(latest.saturating_add(LOST))
}

/// Whether it is for somebody to change something, so that trying again is no use.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(
        error.kind(),
        NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem | Unsupported
    )
}

#[cfg(test)]
mod tests;
