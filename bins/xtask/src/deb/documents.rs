//! What the package has for people to read.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::tree::Tree;
use super::{BINARIES, commit_time, remove, succeed};
use crate::cargo;
use crate::workspace::Workspace;

/// Manual pages and completions, as the binaries themselves tell them.
pub(super) fn describe(tree: &Tree, binaries: &Path, output: &Path) -> anyhow::Result<()> {
    let pages = output.join("man");
    remove(&pages)?;
    for (_, name) in BINARIES {
        let binary = binaries.join(name);
        let mut man = Command::new(&binary);
        man.arg("man").arg("--output").arg(&pages);
        succeed(man)?;
        for (shell, path) in completions(name) {
            let mut completions = Command::new(&binary);
            completions.args(["completions", shell]);
            tree.file(&path, cargo::output(completions)?.as_bytes())?;
        }
    }
    for page in fs::read_dir(&pages)? {
        let page = page?;
        let name = page.file_name();
        tree.compressed(
            &format!("usr/share/man/man1/{}", name.display()),
            &fs::read(page.path())?,
        )?;
    }
    Ok(())
}

/// Where each shell looks for those of a binary.
pub(super) fn completions(binary: &str) -> [(&'static str, String); 3] {
    [
        ("bash", format!("usr/share/bash-completion/completions/{binary}")),
        ("zsh", format!("usr/share/zsh/vendor-completions/_{binary}")),
        (
            "fish",
            format!("usr/share/fish/vendor_completions.d/{binary}.fish"),
        ),
    ]
}

/// The licence, what has changed, and the pages that an operator needs beside the machine.
pub(super) fn document(workspace: &Workspace, tree: &Tree, version: &str) -> anyhow::Result<()> {
    const FOLDER: &str = "usr/share/doc/edgeproxy";
    let mut copyright = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: edgeproxy\n\n\
         Files: *\nCopyright: 2026 The edgeproxy authors\nLicense: MIT or Apache-2.0\n\nLicense: MIT\n",
    );
    for line in fs::read_to_string(workspace.root.join("LICENSE-MIT"))?.lines() {
        let line = if line.is_empty() { "." } else { line };
        copyright.push_str(&format!(" {line}\n"));
    }
    copyright.push_str(
        "\nLicense: Apache-2.0\n On Debian systems its text is in /usr/share/common-licenses/Apache-2.0.\n",
    );
    tree.file(&format!("{FOLDER}/copyright"), copyright.as_bytes())?;
    tree.compressed(
        &format!("{FOLDER}/CHANGELOG.md"),
        &fs::read(workspace.root.join("CHANGELOG.md"))?,
    )?;
    tree.compressed(
        &format!("{FOLDER}/changelog"),
        changelog(version, commit_time(workspace)).as_bytes(),
    )?;
    for page in [
        "access.md",
        "agent.md",
        "cli.md",
        "configuration.md",
        "health.md",
        "listeners.md",
        "service.md",
    ] {
        tree.compressed(
            &format!("{FOLDER}/{page}"),
            &fs::read(workspace.root.join("docs").join(page))?,
        )?;
    }
    Ok(())
}

/// In Debian's form, which its tools read; `time` in seconds since 1970.
fn changelog(version: &str, time: u64) -> String {
    let mut date = Command::new("date");
    date.args(["--utc", "--rfc-email", "--date"])
        .arg(format!("@{time}"));
    let date = cargo::output(date).unwrap_or_default();
    format!(
        "edgeproxy ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz beside this file.\n\n \
         -- The edgeproxy authors <edgeproxy@localhost>  {}\n",
        date.trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changelog_has_the_form_that_debian_reads() {
        let text = changelog("1.2.3", 1_795_749_242);
        assert!(
            text.starts_with("edgeproxy (1.2.3) unstable; urgency=medium\n\n  * "),
            "{text}"
        );
        let signed = "\n -- The edgeproxy authors <edgeproxy@localhost>  Fri, 27 Nov 2026 03:14:02 +0000\n";
        assert!(text.ends_with(signed), "{text}");
    }
}
