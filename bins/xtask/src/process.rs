//! Processes that end when they are dropped.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often a process is looked after. Short against a round, and rare enough to cost nothing.
const LOOK: Duration = Duration::from_millis(5);

/// How long a process may take to end by itself once it was asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// A child whose output goes to a file.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts it, with a standard input that ends when this is dropped.
    ///
    /// # Errors
    /// It can't be started, or its log can't be written.
    pub(crate) fn start(name: &str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("{} can't be written", log.display()))?;
        let both = file.try_clone().context("a file can't be shared")?;
        let child = command
            .stdin(Stdio::piped())
            .stdout(file)
            .stderr(both)
            .spawn()
            .with_context(|| format!("{name} can't be started"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            ended: None,
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// The system can't tell.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Waits until `condition` has something.
    ///
    /// # Errors
    /// It ended, or took more than `limit`.
    pub(crate) fn until<T>(
        &mut self,
        limit: Duration,
        what: &str,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(found) = condition(self) {
                return Ok(found);
            }
            let ended = self.ended()?;
            if let Some(status) = ended {
                bail!(
                    "{} ended ({status}) before {what}: {}",
                    self.name,
                    last_lines(&self.output())
                );
            }
            if begun.elapsed() > limit {
                bail!(
                    "{}: not {what} within {limit:?}: {}",
                    self.name,
                    last_lines(&self.output())
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The value of a line `key value` that it prints.
    ///
    /// # Errors
    /// There is none in time, or it has another form.
    pub(crate) fn value<T: FromStr>(&mut self, key: &str) -> anyhow::Result<T> {
        self.until(PATIENCE, &format!("it said `{key}`"), |process| {
            value(&process.output(), key)
        })
    }

    /// Waits for the line that consists of this word.
    ///
    /// # Errors
    /// It does not come in time.
    pub(crate) fn says(&mut self, word: &str, limit: Duration) -> anyhow::Result<()> {
        self.until(limit, &format!("it said `{word}`"), |process| {
            process.output().lines().any(|line| line == word).then_some(())
        })
    }

    /// Waits until it has printed this anywhere.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) fn prints(&mut self, text: &str, limit: Duration) -> anyhow::Result<()> {
        self.until(limit, &format!("it printed `{text}`"), |process| {
            process.output().contains(text).then_some(())
        })
    }

    /// The address behind these words, in a line that edgeproxy logs when it starts.
    ///
    /// # Errors
    /// It does not come in time.
    pub(crate) fn address(&mut self, words: &str) -> anyhow::Result<SocketAddr> {
        self.until(PATIENCE, &format!("it said `{words}`"), |process| {
            let output = process.output();
            let (_, rest) = output.split_once(words)?;
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
            rest.get(..end)?.parse().ok()
        })
    }

    /// Waits until it accepts connections.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) fn accepts(&mut self, addr: SocketAddr) -> anyhow::Result<()> {
        self.until(PATIENCE, &format!("it accepted at {addr}"), |_| {
            TcpStream::connect(addr).ok().map(drop)
        })
    }

    /// Waits for its end, and returns what it printed.
    ///
    /// # Errors
    /// It failed, or took more than `limit`.
    pub(crate) fn finish(&mut self, limit: Duration) -> anyhow::Result<String> {
        let status = self.ends(limit)?;
        if !status.success() {
            bail!("{} failed ({status}): {}", self.name, last_lines(&self.output()));
        }
        Ok(self.output())
    }

    /// Waits for its end, whatever it is.
    ///
    /// # Errors
    /// It took more than `limit`.
    pub(crate) fn ends(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.ended()? {
                Some(status) => return Ok(status),
                None if begun.elapsed() > limit => {
                    bail!(
                        "{} was not done within {limit:?}: {}",
                        self.name,
                        last_lines(&self.output())
                    );
                }
                None => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // By SIGTERM first: nginx and perf have children of their own, which a SIGKILL would leave behind.
        let begun = Instant::now();
        if matches!(self.ended(), Ok(None)) {
            // Fails only if it has just ended, which is what is wanted.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
        while matches!(self.ended(), Ok(None)) {
            if begun.elapsed() > FAREWELL {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(LOOK);
        }
    }
}

/// The value of a line `key value`; the line has to be whole.
pub(crate) fn value<T: FromStr>(output: &str, key: &str) -> Option<T> {
    let whole = output.rfind('\n').and_then(|end| output.get(..end))?;
    whole
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .and_then(|value| value.trim().parse().ok())
}

/// As much as fits into a table.
fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(3)..];
    if last.is_empty() {
        "it printed nothing".to_owned()
    } else {
        last.join(" / ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_only_when_its_line_is_whole() {
        assert_eq!(value::<u32>("http 12", "http"), None);
        assert_eq!(value::<u32>("http 12\nbytes 3", "http"), Some(12));
        assert_eq!(value::<u32>("https 12\n", "http"), None);
    }

    #[test]
    fn a_dropped_process_has_ended() {
        let folder = std::env::temp_dir().join(format!("edgeproxy-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start("sleep", command, &folder.join("log")).unwrap();
        let id = process.id();
        assert!(Path::new(&format!("/proc/{id}")).exists());
        drop(process);
        assert!(!Path::new(&format!("/proc/{id}")).exists());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
