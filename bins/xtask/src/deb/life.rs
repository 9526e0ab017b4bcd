//! The package's life in a bare system: installed, used, upgraded, removed, purged.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::root::{Root, SERVICE};
use super::{CONFIGURATION, build, remove, succeed};
use crate::cargo::{self, Tool};
use crate::process::{PATIENCE, Process};
use crate::register;
use crate::step::{Context, OnMissing, Verdict};

/// What an operator has written into the configuration.
const CHANGE: &str = "\n# An operator was here.\nheartbeat_ttl_secs = 45\n";

/// Lives through all of it.
///
/// # Errors
/// Something of it is not as it should be.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    if !geteuid().is_root() {
        return without_root(context.on_missing);
    }
    for tool in [Tool::DPKG_DEB, Tool::MMDEBSTRAP] {
        if !tool.is_installed(&context.workspace) {
            return Ok(Verdict::Missing(tool));
        }
    }
    let workspace = &context.workspace;
    let output = workspace.target.join("deb-check");
    let latest = build(workspace, "dev", "-Znone", &output)?;
    let older = older(&output)?;
    let root = Root::fresh(workspace)?;
    // It is the system's, and stays.
    fs::create_dir_all(root.path.join("var/lib/private"))?;
    let before = root.files()?;
    let packages = [("older.deb", &older), ("latest.deb", &latest)];
    for (name, package) in packages {
        fs::copy(package, root.path.join(name))?;
    }
    root.dpkg(["--install", "/latest.deb"])?;
    look(&root)?;
    run(&root, &output)?;
    root.dpkg(["--purge", "edgeproxy"])?;
    compare("purge", &before, &left(&root)?)?;

    root.dpkg(["--install", "/older.deb"])?;
    root.dpkg(["--install", "/latest.deb"])?;
    let shipped = fs::read_to_string(workspace.root.join("packaging/debian/edgeproxy.toml"))?;
    ensure!(
        root.read(CONFIGURATION)? == shipped,
        "an upgrade did not renew a configuration that nobody had changed"
    );
    root.dpkg(["--purge", "edgeproxy"])?;
    root.dpkg(["--install", "/older.deb"])?;
    let changed = root.read(CONFIGURATION)? + CHANGE;
    fs::write(root.path.join(CONFIGURATION), &changed)?;
    root.dpkg(["--install", "/latest.deb"])?;
    ensure!(
        root.read(CONFIGURATION)? == changed,
        "an upgrade changed a configuration that somebody had changed"
    );
    root.make_state("edgeproxy")?;
    root.dpkg(["--remove", "edgeproxy"])?;
    ensure!(
        root.read(CONFIGURATION)? == changed && root.path.join("var/lib/private/edgeproxy").is_dir(),
        "a removal took what only a purge may take"
    );
    ensure!(
        !root.path.join("usr/bin/edgeproxy").exists(),
        "a removal left the binary"
    );
    root.dpkg(["--purge", "edgeproxy"])?;
    compare("purge after a removal", &before, &left(&root)?)?;
    remove(&root.path)?;
    Ok(Verdict::Passed)
}

/// CI has to be root: there, nobody would notice that nothing was checked.
fn without_root(on_missing: OnMissing) -> anyhow::Result<Verdict> {
    const WHY: &str = "only root can install a package";
    match on_missing {
        OnMissing::Skip => Ok(Verdict::NothingToCheck(WHY)),
        OnMissing::Fail => bail!("{WHY}; run it as root"),
    }
}

/// The package as a version before this one, with another configuration.
fn older(output: &Path) -> anyhow::Result<PathBuf> {
    let tree = output.join("older");
    remove(&tree)?;
    let mut copy = Command::new("cp");
    // Without their bytes: the files that differ are made anew.
    succeed(
        copy.args(["--archive", "--link"])
            .arg(output.join("tree"))
            .arg(&tree),
    )?;
    for (path, from, to) in [
        ("DEBIAN/control", "\nVersion: ", "\nVersion: 0.0.1~"),
        (
            CONFIGURATION,
            "# Where clients connect.",
            "# Where clients connect to.",
        ),
    ] {
        let path = tree.join(path);
        let text = fs::read_to_string(&path)?;
        ensure!(text.contains(from), "{} has no {from:?}", path.display());
        fs::remove_file(&path)?;
        fs::write(&path, text.replace(from, to))?;
    }
    let package = output.join("older.deb");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "-Znone", "--build"]);
    succeed(pack.arg(&tree).arg(&package))?;
    Ok(package)
}

/// Modes, owners, and what the units and the system make of them.
fn look(root: &Root) -> anyhow::Result<()> {
    let mut listing = root.command("dpkg-query");
    listing.args(["--listfiles", "edgeproxy"]);
    for path in cargo::output(listing)?.lines() {
        let file = root.path.join(path.trim_start_matches('/'));
        let data = fs::symlink_metadata(&file).with_context(|| format!("{path} is missing"))?;
        let is_run = data.is_dir() || path.starts_with("/usr/bin/");
        let expected = if is_run { 0o755 } else { 0o644 };
        // A folder that others have as well is as they made it.
        let is_own = path.contains("edgeproxy");
        ensure!(
            (data.uid(), data.gid()) == (0, 0) && (!is_own || data.mode() & 0o7777 == expected),
            "{path} is {:o} of {}:{}, expected {expected:o} of root",
            data.mode() & 0o7777,
            data.uid(),
            data.gid()
        );
    }
    let mut conffiles = root.command("dpkg-query");
    conffiles.args(["--show", "--showformat=${Conffiles}", "edgeproxy"]);
    let conffiles = cargo::output(conffiles)?;
    ensure!(
        conffiles.contains(CONFIGURATION),
        "{CONFIGURATION} is none of the conffiles: {conffiles}"
    );
    succeed(root.command("dpkg").args(["--verify", "edgeproxy"]))?;
    let wanted = "etc/systemd/system/multi-user.target.wants/edgeproxy.service";
    ensure!(
        fs::symlink_metadata(root.path.join(wanted)).is_ok(),
        "the service does not start with the system: there is no {wanted}"
    );
    for binary in ["edgeproxy", "edgeproxy-agent"] {
        let path = format!("/usr/bin/{binary}");
        let mut libraries = root.command("ldd");
        libraries.arg(&path);
        let libraries = cargo::output(libraries)?;
        ensure!(
            !libraries.contains("not found"),
            "{binary} lacks a library: {libraries}"
        );
        succeed(root.command(&path).arg("--version"))?;
    }
    Ok(())
}

/// Runs it as systemd would, and has it serve.
fn run(root: &Root, output: &Path) -> anyhow::Result<()> {
    let user = SERVICE.to_string();
    let config = format!("/{CONFIGURATION}");
    let mut checked = root.command_as(&user, "/usr/bin/edgeproxy");
    succeed(checked.arg("check").arg(&config))?;
    root.make_state("edgeproxy")?;
    let mut command = root.command_as(&user, "/usr/bin/edgeproxy");
    command.args(["run", "--config", &config]);
    command.env("STATE_DIRECTORY", "/var/lib/edgeproxy");
    // The usual ones may be somebody else's on this machine.
    for name in ["EDGEPROXY_LISTEN_ADDR", "EDGEPROXY_API_LISTEN_ADDR"] {
        command.env(name, "127.0.0.1:0");
    }
    let mut process = Process::start("edgeproxy", command, &output.join("edgeproxy.log"))?;
    let api = process.address("backends register at http://")?;
    let clients = process.address("serves HTTP/1.1 and HTTP/2 on ")?;
    register::backend(api, "app", backend()?)?;
    let answer = asked(clients)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(HELLO),
        "a request was not answered by the backend: {answer}"
    );
    let kept = root.path.join("var/lib/private/edgeproxy");
    ensure!(
        fs::read_dir(&kept)?.next().is_some(),
        "nothing was kept in the folder of the service's state"
    );
    let Some(id) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) else {
        bail!("edgeproxy has no process id");
    };
    kill_process(id, Signal::TERM)?;
    process.finish(PATIENCE)?;
    Ok(())
}

const HELLO: &str = "hello";

/// A backend that says hello to whoever comes, for as long as this program runs.
fn backend() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addr = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            // Whoever leaves early is missed by nobody.
            let _ = stream.read(&mut request);
            let length = HELLO.len();
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{HELLO}"
            );
        }
    });
    Ok(addr)
}

fn asked(addr: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// What there is, but for the packages that were put there.
fn left(root: &Root) -> anyhow::Result<BTreeSet<String>> {
    let mut files = root.files()?;
    files.retain(|line| !line.starts_with("./older.deb ") && !line.starts_with("./latest.deb "));
    Ok(files)
}

fn compare(what: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) -> anyhow::Result<()> {
    let list = |more: &BTreeSet<String>, less: &BTreeSet<String>| -> Vec<String> {
        more.difference(less).cloned().collect()
    };
    let (left, gone) = (list(after, before), list(before, after));
    ensure!(
        left.is_empty() && gone.is_empty(),
        "a {what} left {left:#?} and took {gone:#?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_root_a_person_checks_nothing_and_ci_fails() {
        let skipped = without_root(OnMissing::Skip).unwrap();
        assert!(matches!(skipped, Verdict::NothingToCheck(_)), "{skipped:?}");
        let failed = without_root(OnMissing::Fail).unwrap_err().to_string();
        assert!(failed.contains("run it as root"), "{failed}");
    }
}
