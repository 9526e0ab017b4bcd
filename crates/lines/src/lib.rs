//! Line-based logs, such as an audit log or an access log, written by a thread of their own behind a bounded queue that never
//! makes a caller wait.
//!
//! # The key decision: lose lines rather than time
//!
//! A full disk, or a pipe that nobody reads, must not hold up whoever serves requests. Lines that don't fit into the queue or
//! can't be written are dropped and counted, and the log itself says how many are missing. A file may be moved away at any time,
//! as log rotation does: the next lines go into a new file of the same name, without a signal.
//!
//! ```no_run
//! use edgeproxy_lines::{Log, Target, open};
//!
//! # fn main() -> std::io::Result<()> {
//! const LOG: Log = Log {
//!     name: "visitors' log",
//!     waiting: 1_024,
//!     lost: |lines| format!("{lines} lines are missing here"),
//! };
//! let (queue, writer) = open(Target::File("/var/log/visitors".into()), &LOG)?;
//! queue.push(b"somebody was here\n".to_vec(), 1);
//! // Waits until everything is written.
//! writer.finish();
//! # Ok(())
//! # }
//! ```
//!
//! # What it leaves to the caller
//!
//! What a line looks like, and what must not be in it.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Where a log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// To standard output.
    Stdout,
    /// To standard error.
    Stderr,
    /// To the end of a file, which is made with mode 0600 if it isn't there. One that has been moved away is made anew.
    File(PathBuf),
}

/// What kind of a log it is.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// What it is called, such as `audit log`.
    pub name: &'static str,
    /// How many parts may wait to be written.
    pub waiting: usize,
    /// The line, without its end, that tells how many are missing.
    pub lost: fn(u64) -> String,
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    sender: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Ends it once everything that was told so far is written. Blocks until then; a disk that takes nothing makes it wait.
    pub fn finish(self) {
        if self.sender.send(Message::End).is_ok() && self.thread.join().is_err() {
            tracing::error!("a log's thread panicked");
        }
    }
}

#[derive(Debug)]
enum Message {
    /// So many whole lines.
    Lines(Vec<u8>, u64),
    End,
}

/// Parts that are written at once.
const MAX_BATCH: usize = 256;

/// Lines that were not written.
#[derive(Debug, Default)]
struct Lost {
    /// Those that the log doesn't tell of yet.
    untold: AtomicU64,
    ever: AtomicU64,
}

impl Lost {
    fn add(&self, lines: u64) {
        self.untold.fetch_add(lines, Ordering::Relaxed);
        self.ever.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Where lines wait. Cheap to clone; a clone is the same.
#[derive(Clone, Debug)]
pub struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<Lost>,
}

impl Queue {
    /// Adds `count` lines, each with its end, or counts them as lost. Never waits.
    pub fn push(&self, lines: Vec<u8>, count: u64) {
        if self.sender.try_send(Message::Lines(lines, count)).is_err() {
            self.lose(count);
        }
    }

    /// Counts lines that are not written.
    pub fn lose(&self, count: u64) {
        self.lost.add(count);
    }

    /// How many were not written so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.ever.load(Ordering::Relaxed)
    }
}

/// Begins a log.
///
/// # Errors
/// When the file can't be opened, or a thread can't be started.
pub fn open(target: Target, log: &'static Log) -> io::Result<(Queue, Writer)> {
    let output = Output::open(target)?;
    let (sender, receiver) = sync_channel(log.waiting);
    let lost = Arc::<Lost>::default();
    let writing = Writing {
        output,
        lost: Arc::clone(&lost),
        works: true,
        log,
    };
    let thread = std::thread::Builder::new()
        .name(format!(
            "edgeproxy-{}",
            log.name.split(' ').next().unwrap_or("log")
        ))
        .spawn(move || writing.run(&receiver))?;
    let queue = Queue {
        sender: sender.clone(),
        lost,
    };
    Ok((queue, Writer { sender, thread }))
}

struct Writing {
    output: Output,
    lost: Arc<Lost>,
    /// Whether the last lines could be written.
    works: bool,
    log: &'static Log,
}

impl Writing {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut batch = Vec::new();
        while let Ok(first) = receiver.recv() {
            let mut count = 0;
            let mut ends = false;
            for message in std::iter::once(first).chain(receiver.try_iter().take(MAX_BATCH)) {
                match message {
                    Message::Lines(lines, more) => {
                        if batch.is_empty() {
                            batch = lines;
                        } else {
                            batch.extend_from_slice(&lines);
                        }
                        count += more;
                    }
                    Message::End => ends = true,
                }
            }
            self.write(&mut batch, count);
            if ends {
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Vec<u8>, count: u64) {
        let lost = self.lost.untold.swap(0, Ordering::Relaxed);
        if lost > 0 {
            batch.extend_from_slice((self.log.lost)(lost).as_bytes());
            batch.push(b'\n');
        }
        let written = self.output.write(batch);
        batch.clear();
        let name = self.log.name;
        if let Err(error) = &written {
            self.lost.untold.fetch_add(lost, Ordering::Relaxed);
            self.lost.add(count);
            if self.works {
                tracing::error!(%error, "the {name} can't be written; its lines are lost until it can");
            }
        } else if !self.works {
            tracing::info!("the {name} is written again");
        }
        self.works = written.is_ok();
    }
}

enum Output {
    Stdout,
    Stderr,
    File {
        path: PathBuf,
        file: Whole<File>,
        is: Is,
    },
}

/// Begins lines where lines begin.
struct Whole<W> {
    to: W,
    /// Whether what was written last is a part of a line: the disk was full before its end.
    torn: bool,
}

impl<W: Write> Whole<W> {
    fn new(to: W) -> Self {
        Self { to, torn: false }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.torn {
            self.to.write_all(b"\n")?;
            self.torn = false;
        }
        let mut rest = lines;
        while !rest.is_empty() {
            match self.to.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let last = rest.get(..written).and_then(<[u8]>::last);
                    self.torn = last != Some(&b'\n');
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Is(u64, u64);

impl Is {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Output {
    fn open(target: Target) -> io::Result<Self> {
        match target {
            Target::Stdout => Ok(Self::Stdout),
            Target::Stderr => Ok(Self::Stderr),
            Target::File(path) => {
                let file = append_to(&path)?;
                let is = Is::of(&file.metadata()?);
                let file = Whole::new(file);
                Ok(Self::File { path, file, is })
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(lines),
            Self::Stderr => io::stderr().lock().write_all(lines),
            Self::File { path, file, is } => {
                // Whoever rotates logs moves the file away, and perhaps makes another one.
                let there = std::fs::metadata(&*path).ok().as_ref().map(Is::of);
                if there != Some(*is) {
                    let next = append_to(path)?;
                    *is = Is::of(&next.metadata()?);
                    *file = Whole::new(next);
                }
                file.write(lines)
            }
        }
    }
}

fn append_to(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const LOG: Log = Log {
        name: "test",
        waiting: 16,
        lost: |lines| format!("{lines} lost"),
    };

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn lines_go_to_the_file_that_has_its_name_and_nobody_else_reads_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let mut output = Output::open(Target::File(path.clone())).unwrap();
        output.write(b"a\n").unwrap();
        std::fs::rename(&path, &moved).unwrap();
        output.write(b"b\n").unwrap();
        assert_eq!((read(&moved), read(&path)), ("a\n".to_owned(), "b\n".to_owned()));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        output.write(b"c\n").unwrap();
        assert_eq!(read(&path), "c\n");
        assert_eq!(
            std::fs::metadata(&moved).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    /// Room for so many bytes.
    struct Disk {
        free: usize,
        holds: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.free == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fits = bytes.len().min(self.free);
            self.free -= fits;
            self.holds.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_line_that_did_not_fit_the_next_begins_anew() {
        for (free, expected) in [
            (0, "cd\n"),
            (1, "a\ncd\n"),
            (2, "aa\ncd\n"),
            (3, "aa\ncd\n"),
            (4, "aa\nb\ncd\n"),
        ] {
            let holds = Vec::new();
            let mut output = Whole::new(Disk { free, holds });
            assert!(output.write(b"aa\nbb\n").is_err());
            assert!(output.write(b"lost\n").is_err());
            output.to.free = 100;
            output.write(b"cd\n").unwrap();
            assert_eq!(String::from_utf8_lossy(&output.to.holds), expected, "{free}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_and_told_and_what_fits_is_written_before_the_end() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("audit");
        let (queue, writer) = open(Target::File(path.clone()), &LOG).unwrap();
        queue.lose(2);
        queue.push(b"a\nb\n".to_vec(), 2);
        writer.finish();
        let text = read(&path);
        assert!(text == "a\nb\n2 lost\n", "{text}");
    }

    #[test]
    fn a_full_queue_loses_lines_and_stops_nobody() {
        let (sender, receiver) = sync_channel(1);
        let lost = Arc::<Lost>::default();
        let queue = Queue {
            sender,
            lost: Arc::clone(&lost),
        };
        (0..10).for_each(|_| queue.push(Vec::new(), 1));
        assert_eq!(lost.untold.load(Ordering::Relaxed), 9);
        drop(receiver);
        queue.push(Vec::new(), 1);
        assert_eq!(lost.untold.load(Ordering::Relaxed), 10);
        assert_eq!(queue.lost(), 10);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let folder = tempfile::TempDir::new().unwrap();
        let below = folder.path().join("logs");
        std::fs::create_dir(&below).unwrap();
        let path = below.join("audit");
        let mut writer = Writing {
            output: Output::open(Target::File(path.clone())).unwrap(),
            lost: Arc::default(),
            works: true,
            log: &LOG,
        };
        std::fs::remove_dir_all(&below).unwrap();
        writer.write(&mut b"a\nb\n".to_vec(), 2);
        assert_eq!(
            (writer.lost.untold.load(Ordering::Relaxed), writer.works),
            (2, false)
        );
        std::fs::create_dir(&below).unwrap();
        writer.write(&mut b"c\n".to_vec(), 1);
        let text = read(&path);
        assert!(text == "c\n2 lost\n", "{text}");
    }
}
