//! `cargo xtask deb`: a Debian package of what the workspace builds, the same bytes from the same commit.

mod documents;
pub(crate) mod life;
mod root;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail};

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;
use tree::Tree;

/// How it is built.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The profile of cargo that the binaries are built in.
    #[arg(long, default_value = "dist")]
    profile: String,
    /// Where the package is written [default: target/deb].
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// The binaries, by package and name.
pub(crate) const BINARIES: [(&str, &str); 2] = [
    ("edgeproxy", "edgeproxy"),
    ("edgeproxy-agent-bin", "edgeproxy-agent"),
];
/// Scripts of the package's life.
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];
/// Tenths of systemd's score of what the service may do to the system, at most; docs/service.md says what they are for.
const EXPOSURE: u32 = 16;
const CONFIGURATION: &str = "etc/edgeproxy/edgeproxy.toml";

/// Builds it, and says where it is and how large.
///
/// # Errors
/// Something does not build, a tool is missing, or a file can't be written.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<ExitCode> {
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| workspace.target.join("deb"));
    let package = build(workspace, &args.profile, "-Zxz", &output)?;
    for (_, binary) in BINARIES {
        let path = binaries(workspace, &args.profile).join(binary);
        println!("{:>12} bytes  {binary}", fs::metadata(path)?.len());
    }
    println!(
        "{:>12} bytes  {}",
        fs::metadata(&package)?.len(),
        package.display()
    );
    if Tool::LINTIAN.is_installed(workspace) {
        let mut lint = Command::new(Tool::LINTIAN.name);
        succeed(lint.args(["--fail-on", "error,warning"]).arg(&package))?;
    } else {
        println!("lintian is not installed, so nobody has asked it.");
    }
    Ok(ExitCode::SUCCESS)
}

/// A package of the binaries that the tests use has what it should, and its units and scripts can be read.
///
/// # Errors
/// It does not build, or something is wrong with it.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    for tool in [Tool::DPKG_DEB, Tool::SYSTEMD_ANALYZE] {
        if !tool.is_installed(&context.workspace) {
            return Ok(Verdict::Missing(tool));
        }
    }
    let workspace = &context.workspace;
    let output = workspace.target.join("deb-check");
    // Not compressed: nobody downloads it.
    let package = build(workspace, "dev", "-Znone", &output)?;
    let unpacked = output.join("unpacked");
    remove(&unpacked)?;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--raw-extract").arg(&package).arg(&unpacked);
    succeed(unpack)?;
    let of_binaries = BINARIES.iter().flat_map(|(_, binary)| {
        let completions = documents::completions(binary).map(|(_, path)| path);
        let own = [
            format!("usr/bin/{binary}"),
            format!("usr/share/man/man1/{binary}.1.gz"),
        ];
        completions.into_iter().chain(own)
    });
    let others = [
        "usr/share/man/man1/edgeproxy-run.1.gz",
        "usr/share/doc/edgeproxy/copyright",
        CONFIGURATION,
    ];
    for file in of_binaries.chain(others.map(ToOwned::to_owned)) {
        if !unpacked.join(&file).is_file() {
            bail!("the package has no {file}");
        }
    }
    for script in SCRIPTS {
        let mut syntax = Command::new("sh");
        syntax.arg("-n").arg(unpacked.join("DEBIAN").join(script));
        succeed(syntax)?;
    }
    // What the unit calls of the system that the package is installed in; whether it could be run is all that is asked.
    Tree::new(&unpacked, 0).program("bin/kill", b"#!/bin/sh\n")?;
    let mut verify = Command::new("systemd-analyze");
    verify
        .arg("verify")
        .arg("--recursive-errors=no")
        .arg("--root")
        .arg(&unpacked);
    succeed(verify.args(["/usr/lib/systemd/system/edgeproxy.service"]))?;
    let mut exposure = Command::new("systemd-analyze");
    exposure.args(["security", "--offline=true", "--no-pager"]);
    exposure.arg(format!("--threshold={EXPOSURE}"));
    exposure.arg("--root").arg(&unpacked);
    let judged = exposure
        .arg("/usr/lib/systemd/system/edgeproxy.service")
        .output()?;
    if !judged.status.success() {
        let text = String::from_utf8_lossy(&judged.stdout);
        bail!(
            "the service may do more than before: {}",
            text.lines().next_back().unwrap_or_default()
        );
    }
    let mut checked = Command::new(unpacked.join("usr/bin/edgeproxy"));
    checked
        .args(["check", "--format", "json"])
        .arg(unpacked.join(CONFIGURATION));
    succeed(checked)?;
    Ok(Verdict::Passed)
}

fn build(workspace: &Workspace, profile: &str, compression: &str, output: &Path) -> anyhow::Result<PathBuf> {
    compile(workspace, profile)?;
    let binaries = binaries(workspace, profile);
    let version = env!("CARGO_PKG_VERSION");
    let root = output.join("tree");
    remove(&root)?;
    let tree = Tree::new(&root, commit_time(workspace));
    for (_, binary) in BINARIES {
        tree.program(&format!("usr/bin/{binary}"), &fs::read(binaries.join(binary))?)?;
    }
    let packaging = workspace.root.join("packaging");
    for unit in ["edgeproxy.service", "edgeproxy.socket"] {
        let text = fs::read(packaging.join("systemd").join(unit))?;
        tree.file(&format!("usr/lib/systemd/system/{unit}"), &text)?;
    }
    tree.file(CONFIGURATION, &fs::read(packaging.join("debian/edgeproxy.toml"))?)?;
    documents::describe(&tree, &binaries, output)?;
    documents::document(workspace, &tree, version)?;
    for script in SCRIPTS {
        tree.program(
            &format!("DEBIAN/{script}"),
            &fs::read(packaging.join("debian").join(script))?,
        )?;
    }
    let overrides = fs::read(packaging.join("debian/lintian-overrides"))?;
    tree.file("usr/share/lintian/overrides/edgeproxy", &overrides)?;
    tree.file("DEBIAN/conffiles", format!("/{CONFIGURATION}\n").as_bytes())?;
    let architecture = architecture()?;
    let control = fs::read_to_string(packaging.join("debian/control"))?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@SIZE_KIB@", &tree.size_kib()?.to_string())
        .replace("@GLIBC@", &glibc(&binaries)?);
    tree.file("DEBIAN/control", control.as_bytes())?;
    tree.sums()?;
    let package = output.join(format!("edgeproxy_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", compression, "--build"])
        .arg(&root)
        .arg(&package);
    succeed(pack.env("SOURCE_DATE_EPOCH", commit_time(workspace).to_string()))?;
    Ok(package)
}

/// Paths of this machine are no part of the binaries, but of those that are only tried.
fn compile(workspace: &Workspace, profile: &str) -> anyhow::Result<()> {
    if profile == "dev" {
        return cargo::build_as_tested(workspace);
    }
    let packages = BINARIES.iter().flat_map(|(package, _)| ["--package", package]);
    let args = ["build", "--locked", "--profile", profile];
    let mut command = cargo::command(workspace, args.into_iter().chain(packages));
    if profile == "dist" {
        let home = std::env::var("CARGO_HOME")
            .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")))
            .unwrap_or_default();
        let root = workspace.root.display();
        let flags = format!("--remap-path-prefix={root}=edgeproxy --remap-path-prefix={home}=cargo");
        command.env("RUSTFLAGS", flags);
        let map = format!("-ffile-prefix-map={root}=edgeproxy -ffile-prefix-map={home}=cargo");
        command.env("CFLAGS", map);
    }
    cargo::run(command)
}

fn binaries(workspace: &Workspace, profile: &str) -> PathBuf {
    workspace
        .target
        .join(if profile == "dev" { "debug" } else { profile })
}

/// When the last commit was made, in seconds since 1970; 0 where there is no repository.
fn commit_time(workspace: &Workspace) -> u64 {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root)
        .args(["log", "-1", "--format=%ct"]);
    let time = cargo::output(git).ok().and_then(|text| text.trim().parse().ok());
    time.unwrap_or(0)
}

fn architecture() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        "riscv64" => Ok("riscv64"),
        other => bail!("Debian's name for {other} is not known here; add it"),
    }
}

/// The oldest glibc that has all that the binaries ask for, by the versions of symbols that they name.
fn glibc(binaries: &Path) -> anyhow::Result<String> {
    let mut newest = (2, 17);
    for (_, binary) in BINARIES {
        let bytes = fs::read(binaries.join(binary))?;
        newest = versions(&bytes).fold(newest, Ord::max);
    }
    Ok(format!("{}.{}", newest.0, newest.1))
}

fn versions(bytes: &[u8]) -> impl Iterator<Item = (u32, u32)> {
    const MARK: &[u8] = b"\0GLIBC_";
    bytes
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .filter_map(|(at, _)| {
            let rest = bytes.get(at + MARK.len()..)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            let mut numbers = std::str::from_utf8(rest.get(..end)?).ok()?.split('.');
            Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        })
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

fn succeed(mut command: impl std::borrow::BorrowMut<Command>) -> anyhow::Result<()> {
    let command = command.borrow_mut();
    let program = command.get_program().to_owned();
    let output = command
        .output()
        .with_context(|| format!("{} could not be started", program.display()))?;
    if !output.status.success() {
        let told = [output.stderr, output.stdout].concat();
        bail!(
            "{} failed ({}): {}",
            program.display(),
            output.status,
            String::from_utf8_lossy(&told).trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_that_a_binary_asks_for_are_found() {
        let found: Vec<_> = versions(b"x\0GLIBC_2.34\0\0GLIBC_2.2.5\0GLIBC_PRIVATE\0\0GLIBC_2.9").collect();
        assert_eq!(found, [(2, 34), (2, 2)]);
    }
}
