//! Programs of others, and what is asked of them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::bench::peers::case::{Case, Kind};
use crate::bench::peers::proxy::Proxy;

/// A program that has to be installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tool {
    program: &'static str,
    /// Debian's package.
    package: &'static str,
    /// The flag that makes it tell its version.
    version: &'static str,
}

impl Tool {
    pub(crate) const CURL: Self = Self::new("curl", "curl", "--version");
    pub(crate) const NGINX: Self = Self::new("nginx", "nginx-light", "-v");
    pub(crate) const HAPROXY: Self = Self::new("haproxy", "haproxy", "-v");
    pub(crate) const WRK: Self = Self::new("wrk", "wrk", "-v");
    pub(crate) const H2LOAD: Self = Self::new("h2load", "nghttp2-client", "--version");
    pub(crate) const PERF: Self = Self::new("perf", "linux-perf", "--version");
    pub(crate) const ETCD: Self = Self::new("etcd", "etcd-server", "--version");
    pub(crate) const TASKSET: Self = Self::new("taskset", "util-linux", "--version");
    pub(crate) const STRACE: Self = Self::new("strace", "strace", "--version");

    const fn new(program: &'static str, package: &'static str, version: &'static str) -> Self {
        Self {
            program,
            package,
            version,
        }
    }

    /// Where it is. A person's `PATH` may lack the folder of servers.
    pub(crate) fn path(self) -> Option<PathBuf> {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders)
            .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
            .map(|folder| folder.join(self.program))
            .find(|path| path.is_file())
    }

    /// The same, for a command that fails with the program's name if there is none.
    pub(crate) fn command(self) -> PathBuf {
        self.path().unwrap_or_else(|| self.program.into())
    }

    /// What it says of its version; wrk does so with exit code 1, and nginx on standard error.
    pub(crate) fn first_line(self) -> Option<String> {
        first_line(self.path()?, self.version)
    }
}

/// The first line that `program` prints when it is given `flag`.
pub(crate) fn first_line(program: impl AsRef<Path>, flag: &str) -> Option<String> {
    let output = Command::new(program.as_ref()).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// What these cases need.
pub(crate) fn needed(proxies: &[Proxy], cases: &[Case]) -> Vec<Tool> {
    let loads = cases.iter().filter_map(|case| match case.kind {
        Kind::Cost(load) | Kind::Workers(load) | Kind::Watched(load) => load.tool(),
        Kind::Memory(_) => None,
    });
    let followers = cases
        .iter()
        .filter(|case| matches!(case.kind, Kind::Watched(_)))
        .map(|_| Tool::CURL);
    let mut tools: Vec<Tool> = proxies
        .iter()
        .filter_map(|proxy| proxy.tool())
        .chain(loads)
        .chain(followers)
        .collect();
    tools.sort_by_key(|tool| tool.program);
    tools.dedup();
    tools
}

/// # Errors
/// One of them is missing; the message says how to get all that are.
pub(crate) fn require(tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| tool.path().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut names = String::new();
    let mut packages = String::new();
    for tool in missing {
        let _ = write!(names, " {}", tool.program);
        let _ = write!(packages, " {}", tool.package);
    }
    bail!("not found:{names}; install them with: apt-get install{packages}")
}

/// The machine's load, of which there should be none but the benchmark's own.
///
/// # Errors
/// The system does not tell.
pub(crate) fn load_average() -> anyhow::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("/proc/loadavg can't be read")?;
    let last_minute = text.split(' ').next().unwrap_or_default();
    Ok(format!("load of the last minute: {last_minute}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let tool = Tool::new("edgeproxy-no-such-program", "some-package", "-v");
        let error = require(&[tool]).unwrap_err().to_string();
        assert_eq!(
            error,
            "not found: edgeproxy-no-such-program; install them with: apt-get install some-package"
        );
    }
}
