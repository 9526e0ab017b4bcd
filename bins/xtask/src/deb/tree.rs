//! The files of a package, as they are unpacked.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

/// Files below a folder, each with the mode and the time that it gets everywhere.
pub(super) struct Tree {
    root: PathBuf,
    time: SystemTime,
}

impl Tree {
    pub(super) fn new(root: &Path, secs_since_1970: u64) -> Self {
        Self {
            root: root.to_owned(),
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(secs_since_1970),
        }
    }

    pub(super) fn file(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        self.write(path, content, 0o644)
    }

    pub(super) fn program(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        self.write(path, content, 0o755)
    }

    /// The file with `.gz` after its name.
    pub(super) fn compressed(&self, path: &str, content: &[u8]) -> anyhow::Result<()> {
        self.write(&format!("{path}.gz"), &gzip(content)?, 0o644)
    }

    fn write(&self, path: &str, content: &[u8], mode: u32) -> anyhow::Result<()> {
        let path = self.root.join(path);
        let written = || -> std::io::Result<()> {
            for folder in path.ancestors().skip(1).take_while(|folder| *folder != self.root) {
                fs::create_dir_all(folder)?;
                fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
            }
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            fs::File::open(&path)?.set_modified(self.time)
        };
        written().with_context(|| format!("{} can't be written", path.display()))
    }

    /// What it takes on a disk, in KiB.
    pub(super) fn size_kib(&self) -> anyhow::Result<u64> {
        let mut size = 0;
        for path in self.installed()? {
            size += fs::metadata(self.root.join(path))?.len().div_ceil(1024);
        }
        Ok(size)
    }

    /// Writes the sums that `dpkg --verify` goes by.
    pub(super) fn sums(&self) -> anyhow::Result<()> {
        let mut sum = Command::new("md5sum");
        sum.current_dir(&self.root).args(self.installed()?);
        let output = sum.output().context("md5sum could not be started")?;
        if !output.status.success() {
            bail!("md5sum failed ({})", output.status);
        }
        self.file("DEBIAN/md5sums", &output.stdout)
    }

    /// Everything but what describes the package, in order.
    fn installed(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(inside) = path.strip_prefix(&self.root)
                    && !inside.starts_with("DEBIAN")
                {
                    found.push(inside.display().to_string());
                }
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Without a name and a time, so that the same content gives the same bytes.
fn gzip(content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .arg("-9nc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("gzip could not be started")?;
    let mut stdin = gzip.stdin.take().context("gzip has no standard input")?;
    let content = content.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(&content));
    let output = gzip.wait_with_output()?;
    match writer.join() {
        Ok(written) => written.context("gzip took no input")?,
        Err(_) => bail!("writing to gzip panicked"),
    }
    if !output.status.success() {
        bail!("gzip failed ({})", output.status);
    }
    Ok(output.stdout)
}
