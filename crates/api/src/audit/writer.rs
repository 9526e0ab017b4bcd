use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use serde_json::json;

/// Where the audit log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditTarget {
    /// To standard error.
    Stderr,
    /// To the end of a file, which is made with mode 0600 if it isn't there. One that has been moved away is made anew.
    File(PathBuf),
}

/// The thread that writes.
#[derive(Debug)]
pub struct AuditWriter {
    sender: SyncSender<Message>,
    thread: JoinHandle<()>,
}

impl AuditWriter {
    /// Ends it once everything that was told so far is written. Blocks until then; a disk that takes nothing makes it wait.
    pub fn finish(self) {
        if self.sender.send(Message::End).is_ok() && self.thread.join().is_err() {
            tracing::error!("the audit log's thread panicked");
        }
    }
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    End,
}

/// Lines that may wait. Each has at most a few KiB.
const MAX_LINES: usize = 4_096;
/// Lines that are written at once.
const MAX_BATCH: usize = 256;

/// Where lines wait.
pub(super) struct Queue {
    sender: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Adds a line, or counts it as lost.
    pub(super) fn push(&self, line: Vec<u8>) {
        if self.sender.try_send(Message::Line(line)).is_err() {
            self.lost();
        }
    }

    /// Counts a line that is not written.
    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) fn start(target: AuditTarget) -> io::Result<(Queue, AuditWriter)> {
    let output = Output::open(target)?;
    let (sender, receiver) = sync_channel(MAX_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        output,
        lost: Arc::clone(&lost),
        works: true,
    };
    let thread = std::thread::Builder::new()
        .name("edgeproxy-audit".to_owned())
        .spawn(move || writer.run(&receiver))?;
    let queue = Queue {
        sender: sender.clone(),
        lost,
    };
    Ok((queue, AuditWriter { sender, thread }))
}

struct Writer {
    output: Output,
    lost: Arc<AtomicU64>,
    /// Whether the last lines could be written.
    works: bool,
}

impl Writer {
    fn run(mut self, receiver: &Receiver<Message>) {
        let mut batch = Vec::new();
        while let Ok(first) = receiver.recv() {
            let mut lines = 0;
            let mut ends = false;
            for message in std::iter::once(first).chain(receiver.try_iter().take(MAX_BATCH)) {
                match message {
                    Message::Line(line) => {
                        batch.extend_from_slice(&line);
                        lines += 1;
                    }
                    Message::End => ends = true,
                }
            }
            self.write(&mut batch, lines);
            if ends {
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Vec<u8>, lines: u64) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
            let line = json!({ "time": time, "lost_lines": lost });
            batch.extend_from_slice(format!("{line}\n").as_bytes());
        }
        let written = self.output.write(batch);
        batch.clear();
        if let Err(error) = &written {
            self.lost.fetch_add(lost + lines, Ordering::Relaxed);
            if self.works {
                tracing::error!(%error, "the audit log can't be written; its lines are lost until it can");
            }
        } else if !self.works {
            tracing::info!("the audit log is written again");
        }
        self.works = written.is_ok();
    }
}

enum Output {
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
    fn open(target: AuditTarget) -> io::Result<Self> {
        match target {
            AuditTarget::Stderr => Ok(Self::Stderr),
            AuditTarget::File(path) => {
                let file = append_to(&path)?;
                let is = Is::of(&file.metadata()?);
                let file = Whole::new(file);
                Ok(Self::File { path, file, is })
            }
        }
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
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

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn lines_go_to_the_file_that_has_its_name_and_nobody_else_reads_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, moved) = (folder.path().join("audit"), folder.path().join("audit.1"));
        let mut output = Output::open(AuditTarget::File(path.clone())).unwrap();
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
        let (queue, writer) = start(AuditTarget::File(path.clone())).unwrap();
        queue.lost();
        queue.lost();
        queue.push(b"{\"a\":1}\n".to_vec());
        writer.finish();
        let text = read(&path);
        assert!(
            text.starts_with("{\"a\":1}\n") && text.contains("\"lost_lines\":2"),
            "{text}"
        );
    }

    #[test]
    fn a_full_queue_loses_lines_and_stops_nobody() {
        let (sender, receiver) = sync_channel(1);
        let lost = Arc::new(AtomicU64::new(0));
        let queue = Queue {
            sender,
            lost: Arc::clone(&lost),
        };
        (0..10).for_each(|_| queue.push(Vec::new()));
        assert_eq!(lost.load(Ordering::Relaxed), 9);
        drop(receiver);
        queue.push(Vec::new());
        assert_eq!(lost.load(Ordering::Relaxed), 10);
    }

    #[test]
    fn lines_that_could_not_be_written_are_counted() {
        let folder = tempfile::TempDir::new().unwrap();
        let below = folder.path().join("logs");
        std::fs::create_dir(&below).unwrap();
        let path = below.join("audit");
        let mut writer = Writer {
            output: Output::open(AuditTarget::File(path.clone())).unwrap(),
            lost: Arc::new(AtomicU64::new(0)),
            works: true,
        };
        std::fs::remove_dir_all(&below).unwrap();
        writer.write(&mut b"a\nb\n".to_vec(), 2);
        assert_eq!((writer.lost.load(Ordering::Relaxed), writer.works), (2, false));
        std::fs::create_dir(&below).unwrap();
        writer.write(&mut b"c\n".to_vec(), 1);
        let text = read(&path);
        assert!(
            text.starts_with("c\n") && text.contains("\"lost_lines\":2"),
            "{text}"
        );
    }
}
