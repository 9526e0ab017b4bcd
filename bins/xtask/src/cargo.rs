//! Calls of cargo.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::workspace::Workspace;

/// Something that may have to be installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tool {
    /// The subcommand, as in `cargo NAME`, or the program.
    pub(crate) name: &'static str,
    /// How it is called.
    kind: Kind,
    /// The command that installs it.
    pub(crate) install: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Subcommand,
    /// A subcommand of the nightly toolchain's cargo.
    OfNightly,
    Program,
}

impl Tool {
    pub(crate) const NEXTEST: Self = Self {
        name: "nextest",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-nextest",
    };
    pub(crate) const DENY: Self = Self {
        name: "deny",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-deny",
    };
    pub(crate) const MACHETE: Self = Self {
        name: "machete",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-machete",
    };
    pub(crate) const FUZZ: Self = Self {
        name: "fuzz",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-fuzz",
    };
    pub(crate) const MIRI: Self = Self {
        name: "miri",
        kind: Kind::OfNightly,
        install: "rustup toolchain install nightly --profile minimal --component miri,rust-src",
    };
    pub(crate) const MUTANTS: Self = Self {
        name: "mutants",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-mutants",
    };
    pub(crate) const TARPAULIN: Self = Self {
        name: "tarpaulin",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-tarpaulin",
    };
    pub(crate) const CLIPPY: Self = Self {
        name: "clippy",
        kind: Kind::Subcommand,
        install: "rustup component add clippy",
    };
    pub(crate) const FMT: Self = Self {
        name: "fmt",
        kind: Kind::Subcommand,
        install: "rustup component add rustfmt",
    };
    pub(crate) const HTTPWG: Self = Self {
        name: "httpwg",
        kind: Kind::Program,
        install: "cargo install --locked httpwg-cli",
    };

    pub(crate) const SEMVER_CHECKS: Self = Self {
        name: "semver-checks",
        kind: Kind::Subcommand,
        install: "cargo install --locked cargo-semver-checks",
    };

    pub(crate) const MDBOOK: Self = Self {
        name: "mdbook",
        kind: Kind::Program,
        install: "cargo install --locked mdbook --no-default-features --features search",
    };
    pub(crate) const DPKG_DEB: Self = Self {
        name: "dpkg-deb",
        kind: Kind::Program,
        install: "apt-get install dpkg",
    };
    pub(crate) const SYSTEMD_ANALYZE: Self = Self {
        name: "systemd-analyze",
        kind: Kind::Program,
        install: "apt-get install systemd",
    };

    pub(crate) const MMDEBSTRAP: Self = Self {
        name: "mmdebstrap",
        kind: Kind::Program,
        install: "apt-get install mmdebstrap",
    };

    pub(crate) const LINTIAN: Self = Self {
        name: "lintian",
        kind: Kind::Program,
        install: "apt-get install lintian",
    };

    pub(crate) fn is_installed(self, workspace: &Workspace) -> bool {
        let mut ask = match self.kind {
            Kind::Program => return is_in_path(self.name),
            Kind::Subcommand => command(workspace, [self.name, "--version"]),
            Kind::OfNightly => nightly(workspace, [self.name, "--version"]),
        };
        ask.stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Subcommand => write!(f, "`cargo {}`", self.name),
            Kind::OfNightly => write!(f, "`cargo +nightly {}`", self.name),
            Kind::Program => write!(f, "`{}`", self.name),
        }
    }
}

/// Whether there is such a program; not whether it works, since not every one can be asked for its version.
fn is_in_path(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// `cargo ARGS` in the root of the workspace.
pub(crate) fn command<S: AsRef<OsStr>>(workspace: &Workspace, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = bare();
    command.current_dir(&workspace.root).args(args);
    command
}

/// `cargo ARGS` of the nightly toolchain, in the root of the workspace.
pub(crate) fn nightly<S: AsRef<OsStr>>(workspace: &Workspace, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(args);
    command.current_dir(&workspace.root);
    // What says which toolchain runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}

/// `cargo` without arguments, before it is known where the workspace is.
pub(crate) fn bare() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What `cargo run` told this program about its own package. Build scripts that watch one of these would
    // run again each time that somebody changes between `cargo xtask` and plain cargo.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs it with its output shown.
///
/// # Errors
/// It could not be started, or did not succeed.
pub(crate) fn run(mut command: Command) -> anyhow::Result<()> {
    let line = line_of(&command);
    println!("$ {line}");
    let status = command
        .status()
        .with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// `cargo ARGS` in the root of the workspace, with its output shown.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_args<S: AsRef<OsStr>>(
    workspace: &Workspace,
    args: impl IntoIterator<Item = S>,
) -> anyhow::Result<()> {
    run(command(workspace, args))
}

/// Builds the binaries as the tests start them. With the tests themselves, whose dependencies' features count too: so where the
/// tests have run, there is nothing to build.
///
/// # Errors
/// As [`run`].
pub(crate) fn build_as_tested(workspace: &Workspace) -> anyhow::Result<()> {
    run_args(
        workspace,
        ["build", "--workspace", "--all-features", "--bins", "--tests"],
    )
}

/// What it printed.
///
/// # Errors
/// It could not be started, did not succeed, or printed something other than UTF-8.
pub(crate) fn output(mut command: Command) -> anyhow::Result<String> {
    let line = line_of(&command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        bail!("`{line}` failed ({})", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed something other than UTF-8"))
}

/// The command as one would type it.
fn line_of(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}='{}' ", name.display(), value.display());
        }
    }
    line.push_str(match command.get_program().to_str() {
        Some("rustup") => "rustup",
        _ => "cargo",
    });
    for arg in command.get_args() {
        let _ = write!(line, " {}", arg.display());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/somewhere/bin/cargo");
        command
            .args(["doc", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings")
            .env_remove("CARGO_PKG_NAME");
        assert_eq!(
            line_of(&command),
            "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }
}
