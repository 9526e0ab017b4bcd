//! Where everything takes place: cores, folder, binaries, and the origin.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, bail};

use crate::process::Process;

/// Which processors are whose, as `launch` takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores {
    pub(crate) proxy: String,
    pub(crate) ends: String,
    /// All that are used where proxies may have two.
    pub(crate) all: String,
}

impl Cores {
    /// The last core for the proxy, the first for client and origin.
    ///
    /// # Errors
    /// There is but one.
    pub(crate) fn apart() -> anyhow::Result<Self> {
        let allowed = allowed()?;
        let [first, .., last] = allowed.as_slice() else {
            bail!("found one processor, expected two: measure with --shared-core");
        };
        Ok(Self {
            proxy: last.to_string(),
            ends: first.to_string(),
            all: format!("{first},{last}"),
        })
    }

    /// The last core for everything.
    ///
    /// # Errors
    /// The system does not tell what this process may use.
    pub(crate) fn shared() -> anyhow::Result<Self> {
        let allowed = allowed()?;
        let last = allowed.last().context("no processor is allowed")?;
        let first = allowed.first().unwrap_or(last);
        Ok(Self {
            proxy: last.to_string(),
            ends: last.to_string(),
            all: format!("{first},{last}"),
        })
    }
}

/// The processors that this process may use.
fn allowed() -> anyhow::Result<Vec<u32>> {
    let status = std::fs::read_to_string("/proc/self/status").context("/proc/self/status can't be read")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| ranges(list.trim()))
        .context("/proc/self/status has no readable Cpus_allowed_list")
}

/// `0-3,8` as numbers.
fn ranges(list: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        numbers.extend(first.parse().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(numbers)
}

/// The folder, the binaries, and a running origin.
pub(crate) struct Stage {
    /// Configurations and logs; emptied when the next run begins.
    pub(crate) folder: PathBuf,
    pub(crate) edgeproxy: PathBuf,
    ends: PathBuf,
    pub(crate) cores: Cores,
    /// Where the origin speaks HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// Where the origin sends as many bytes as it is asked for.
    pub(crate) bytes: SocketAddr,
    _origin: Process,
}

impl Stage {
    /// Empties the folder and starts the origin.
    ///
    /// # Errors
    /// Either can't be done.
    pub(crate) fn set(bench: &Path, ends: PathBuf, edgeproxy: PathBuf, cores: Cores) -> anyhow::Result<Self> {
        let folder = bench.join("peers");
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} can't be emptied", folder.display()));
            }
            _ => {}
        }
        std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
        let mut command = launch(&ends, &cores.ends, &ends);
        command.arg("origin");
        let mut origin = Process::start("origin", command, &folder.join("origin.log"))?;
        let http = origin.value("http")?;
        let bytes = origin.value("bytes")?;
        Ok(Self {
            folder,
            edgeproxy,
            ends,
            cores,
            http,
            bytes,
            _origin: origin,
        })
    }

    /// `program`, pinned to `cores`, ended with this process. Arguments are to be added.
    pub(crate) fn command(&self, cores: &str, program: impl AsRef<Path>) -> Command {
        launch(&self.ends, cores, program.as_ref())
    }

    /// What a command of [`command`](Self::command) or [`part`](Self::part) becomes, for one that starts it
    /// itself and hands its own cores on.
    pub(crate) fn program(command: &Command) -> impl Iterator<Item = &OsStr> {
        command.get_args().skip(LAUNCH.len() + 2)
    }

    /// A part of `edgeproxy-peers`, likewise.
    pub(crate) fn part(&self, cores: &str) -> Command {
        launch(&self.ends, cores, &self.ends)
    }
}

const LAUNCH: [&str; 1] = ["launch"];

fn launch(ends: &Path, cores: &str, program: &Path) -> Command {
    let mut command = Command::new(ends);
    command
        .args(LAUNCH)
        .args([&std::process::id().to_string(), cores]);
    command.arg(program);
    // Settings of the shell that this runs in are none of what is measured.
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// An address on loopback that nobody listens on.
///
/// # Errors
/// Nearly every port is taken.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    /// Below those that the system gives to clients, of which there are many here.
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    for _ in PORTS {
        let port = PORTS.start + NEXT.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start);
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    bail!("no port of {PORTS:?} is free");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_processors_are_read() {
        assert_eq!(ranges("0-1"), Some(vec![0, 1]));
        assert_eq!(ranges("1,4-6"), Some(vec![1, 4, 5, 6]));
        assert_eq!(ranges("x"), None);
    }
}
