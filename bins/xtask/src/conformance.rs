//! What another project's tool thinks of edgeproxy: httpwg-cli plays a client that keeps or breaks the rules of
//! RFC 9113, a case each, and looks at the answer.
//!
//! The binary of this tree stands before a plain HTTP/1.1 backend, both on ports of the system's choice. A case
//! that fails has to be in [`exceptions`], with the reason; one that is there and passes is no exception any more.

mod exceptions;
mod report;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use self::exceptions::{EXCEPTIONS, Exception, Fails};
use self::report::Report;
use crate::cargo::{self, Tool};
use crate::process::{PATIENCE, Process};
use crate::register;
use crate::step::{Context, Verdict};

/// The least that is good enough. HAProxy passes as many, hyper 88, nginx 72.
const BAR: usize = 93;

/// How long the tool waits for each frame. Its own 250 ms are little on a machine that does something else, too.
const FRAME_TIMEOUT_MS: u32 = 1_000;

/// All cases together.
const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    if !Tool::HTTPWG.is_installed(&context.workspace) {
        return Ok(Verdict::Missing(Tool::HTTPWG));
    }
    let workspace = &context.workspace;
    cargo::build_as_tested(workspace)?;
    let folder = workspace.target.join("conformance");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let binaries = workspace.target.join("debug");
    let backend = Backend::start(&binaries, &folder)?;
    let edgeproxy = Edgeproxy::start(&binaries, &folder, backend.addr)?;
    let report = Report::read(&ask(&folder, edgeproxy.addr)?)?;
    println!(
        "{} of {} cases pass, at least {BAR} have to",
        report.passed.len(),
        report.count()
    );
    for case in report.failed.keys() {
        let known = EXCEPTIONS.iter().find(|exception| exception.case == case);
        println!(
            "  fails: {case}\n         {}",
            known.map_or("not expected", |known| known.reason)
        );
    }
    judge(&report, EXCEPTIONS)?;
    Ok(Verdict::Passed)
}

/// The list has to hold in both directions, and the number in one.
fn judge(report: &Report, exceptions: &[Exception]) -> anyhow::Result<()> {
    let mut wrong = String::new();
    for (case, said) in &report.failed {
        if !exceptions.iter().any(|exception| exception.case == case) {
            let _ = write!(wrong, "\nfails: {case}: {said}");
        }
    }
    for exception in exceptions {
        let fails = report.failed.contains_key(exception.case);
        if !fails && exception.fails == Fails::Always {
            let _ = write!(
                wrong,
                "\nfails no longer, and has to leave the list of exceptions: {}",
                exception.case
            );
        }
    }
    ensure!(
        report.passed.len() >= BAR,
        "{} of {} cases pass, expected {BAR} or more{wrong}",
        report.passed.len(),
        report.count()
    );
    ensure!(
        wrong.is_empty(),
        "the cases that fail are not those expected{wrong}"
    );
    Ok(())
}

/// Runs the tool, and returns what it printed.
fn ask(folder: &Path, addr: SocketAddr) -> anyhow::Result<String> {
    let mut command = Command::new(Tool::HTTPWG.name);
    command
        .args(["--address", &addr.to_string()])
        .args(["--frame-timeout", &FRAME_TIMEOUT_MS.to_string(), "--verbose"])
        .env("RUST_LOG", "error")
        // One case after the other, so that none waits for another.
        .env("SEQUENTIAL", "1")
        .current_dir(folder);
    let mut tool = Process::start("httpwg", command, &folder.join("httpwg.log"))?;
    tool.ends(LIMIT)?;
    Ok(tool.output())
}

/// What the tests use for one, too: it reads the request and answers 200.
struct Backend {
    addr: SocketAddr,
    _process: Process,
}

impl Backend {
    fn start(binaries: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.join("sample_backend"));
        command.args(["origin", "0"]);
        let mut process = Process::start("sample_backend", command, &folder.join("backend.log"))?;
        let addr = process.until(PATIENCE, "it said where it listens", |process| {
            let output = process.output();
            output.strip_suffix('\n')?.parse().ok()
        })?;
        Ok(Self {
            addr,
            _process: process,
        })
    }
}

/// The product with its own defaults but for addresses.
struct Edgeproxy {
    addr: SocketAddr,
    _process: Process,
}

impl Edgeproxy {
    fn start(binaries: &Path, folder: &Path, backend: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries.join("edgeproxy"));
        command.arg("run").current_dir(folder).env_clear();
        for (name, value) in [
            ("LISTEN_ADDR", "127.0.0.1:0"),
            ("API_ENABLED", "true"),
            ("API_LISTEN_ADDR", "127.0.0.1:0"),
            ("HEARTBEAT_TTL_SECS", "3600"),
        ] {
            command.env(format!("EDGEPROXY_{name}"), value);
        }
        let mut process = Process::start("edgeproxy", command, &folder.join("edgeproxy.log"))?;
        let api = process.address("backends register at http://")?;
        let addr = process.address("serves HTTP/1.1 and HTTP/2 on ")?;
        register::backend(api, "origin", backend)?;
        Ok(Self {
            addr,
            _process: process,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Exception] = &[Exception {
        case: "known",
        fails: Fails::Always,
        reason: "why",
    }];

    fn report(passed: usize, failed: &[&str]) -> Report {
        Report {
            passed: (0..passed).map(|n| n.to_string()).collect(),
            failed: failed
                .iter()
                .map(|&case| (case.to_owned(), "said".to_owned()))
                .collect(),
        }
    }

    #[test]
    fn the_exceptions_may_fail_and_nothing_else() {
        judge(&report(BAR, &["known"]), KNOWN).unwrap();
        let error = judge(&report(BAR, &["known", "other"]), KNOWN)
            .unwrap_err()
            .to_string();
        assert!(error.contains("fails: other: said"), "{error}");
    }

    #[test]
    fn an_exception_that_passes_is_none() {
        let error = judge(&report(BAR, &[]), KNOWN).unwrap_err().to_string();
        assert!(
            error.contains("fails no longer") && error.contains("known"),
            "{error}"
        );
    }

    #[test]
    fn below_the_bar_all_that_fails_is_named() {
        let error = judge(&report(BAR - 1, &["known", "other"]), KNOWN)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("expected {BAR} or more")) && error.contains("fails: other"),
            "{error}"
        );
    }
}
