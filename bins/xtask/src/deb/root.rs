//! A Debian system in a folder, as bare as Debian makes it, for one package to come and go in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{remove, succeed};
use crate::workspace::Workspace;

/// Such a folder. What runs in it sees nothing else of this machine's files.
pub(super) struct Root {
    pub(super) path: PathBuf,
}

/// Whom services with `DynamicUser=` run as: the first of systemd's own range of numbers.
pub(super) const SERVICE: u32 = 61_184;

/// What changes with whatever dpkg does: its books, but for what it has of each package, and its log.
const BOOKS: [&str; 2] = ["./var/lib/dpkg", "./var/log"];
const OF_EACH: &str = "./var/lib/dpkg/info";

impl Root {
    /// A fresh one of the release that this machine has, since that is what the binaries were built for. What comes from
    /// the archive is kept in the folder of targets.
    pub(super) fn fresh(workspace: &Workspace) -> anyhow::Result<Self> {
        let release = release()?;
        let kept = workspace.target.join("debian").join(&release);
        if !kept.is_dir() {
            let unfinished = kept.with_extension("unfinished");
            remove(&unfinished)?;
            fs::create_dir_all(&unfinished)?;
            let mut make = Command::new("mmdebstrap");
            make.args(["--quiet", "--variant=essential", &release]);
            succeed(make.arg(&unfinished))?;
            fs::rename(&unfinished, &kept)?;
        }
        let path = workspace.target.join("deb-check/root");
        remove(&path)?;
        let mut copy = Command::new("cp");
        succeed(copy.arg("--archive").arg(&kept).arg(&path))?;
        Ok(Self { path })
    }

    /// A command in it, as root and without this machine's environment.
    pub(super) fn command(&self, program: &str) -> Command {
        self.command_as("root", program)
    }

    /// The same as another user: a name that it knows, or a number.
    pub(super) fn command_as(&self, user: &str, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(format!("--userspec={user}:{user}")).arg(&self.path);
        command.arg(program).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Does something with its packages, and asks nobody anything: a file that both sides have changed stays as it is.
    pub(super) fn dpkg<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> anyhow::Result<()> {
        let mut dpkg = self.command("dpkg");
        dpkg.args(["--force-confold", "--force-unsafe-io"]).args(args);
        succeed(dpkg.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    /// Every file and folder, each with its kind, mode, owner, and where it leads.
    pub(super) fn files(&self) -> anyhow::Result<BTreeSet<String>> {
        let mut find = Command::new("find");
        find.current_dir(&self.path).args([".", "-mindepth", "1"]);
        let output = find.args(["-printf", "%p %y %m %U:%G %l\n"]).output()?;
        if !output.status.success() {
            bail!("find failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let is_counted =
            |line: &&str| line.starts_with(OF_EACH) || !BOOKS.iter().any(|book| line.starts_with(book));
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter(is_counted).map(str::to_owned).collect())
    }

    pub(super) fn read(&self, path: &str) -> anyhow::Result<String> {
        let path = self.path.join(path);
        fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
    }

    /// Makes the folders that systemd would for the service, as it does for a user that is made up at the start.
    pub(super) fn make_state(&self, name: &str) -> anyhow::Result<()> {
        let state = self.path.join("var/lib/private").join(name);
        fs::create_dir_all(&state)?;
        std::os::unix::fs::chown(&state, Some(SERVICE), Some(SERVICE))?;
        let link = self.path.join("var/lib").join(name);
        std::os::unix::fs::symlink(Path::new("private").join(name), link)?;
        Ok(())
    }
}

/// The name of this machine's release of Debian.
fn release() -> anyhow::Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("/etc/os-release can't be read")?;
    let value = |key| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(key));
        values.next().map(|value| value.trim_matches('"').to_owned())
    };
    match (value("ID="), value("VERSION_CODENAME=")) {
        (Some(system), Some(release)) if system == "debian" => Ok(release),
        (system, _) => bail!(
            "this machine is {}, and a package for Debian is tried where it was built",
            system.as_deref().unwrap_or("of an unknown kind")
        ),
    }
}
