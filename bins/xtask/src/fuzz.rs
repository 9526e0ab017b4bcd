//! What strangers can send, made up: libFuzzer's targets, and the codec beside hyper.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, bail, ensure};

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// The package of the targets; it is no member of the workspace.
pub(crate) const PACKAGE: &str = "edgeproxy-proxy-fuzz";
pub(crate) const MANIFEST: &str = "crates/proxy/fuzz/Cargo.toml";
const FOLDER: &str = "crates/proxy/fuzz";

/// How many targets run at once. They take a core each.
const AT_ONCE: usize = 2;
/// For each target, when a change is checked: enough to reach what a change has broken, since the seeds lead there. Luck is
/// the nightly tier's.
const CI_SECS: u32 = 6;
/// For each target, when a person runs them.
const SECS: u32 = 60;
/// The same in each run: one commit has one verdict, and who wants luck takes `cargo xtask fuzz`.
const CI_SEED: u32 = 1;
/// Above the limits that the targets set for a head.
const MAX_LEN: u32 = 4096;

/// Which targets, and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// For each target, in seconds.
    #[arg(long, default_value_t = SECS, value_name = "N")]
    secs: u32,
    /// What the inputs are made up from; by chance if it is 0.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u32,
    /// Targets of crates/proxy/fuzz; without one, all of them.
    targets: Vec<String>,
}

/// How many messages are held against hyper.
#[derive(clap::Args)]
pub(crate) struct Differential {
    /// For each of requests and responses.
    #[arg(long, default_value_t = DIFFERENTIAL_CASES, value_name = "N")]
    cases: u64,
    /// The number of the first; a finding names its own.
    #[arg(long, default_value_t = 0, value_name = "N")]
    first: u64,
}

/// Messages that are held against hyper, of each kind.
const DIFFERENTIAL_CASES: u64 = 1_000_000;

/// How the targets are built.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Build {
    /// With little optimisation: where they run for seconds, building them takes longer.
    Quick,
    Optimised,
}

/// Runs them as [`Args`] say.
///
/// # Errors
/// cargo-fuzz is not installed, there is no such target, it does not compile, or it found something.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> anyhow::Result<()> {
    if !Tool::FUZZ.is_installed(workspace) {
        bail!(
            "`cargo fuzz` is not installed; install it with: {}",
            Tool::FUZZ.install
        );
    }
    let all = targets(&workspace.root.join(FOLDER))?;
    for target in &args.targets {
        ensure!(
            all.contains(target),
            "there is no target {target}, only {}",
            all.join(", ")
        );
    }
    let chosen = if args.targets.is_empty() {
        &all
    } else {
        &args.targets
    };
    play(workspace, Build::Optimised, chosen, args.secs, args.seed)
}

/// A step of `cargo xtask ci`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::FUZZ.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::FUZZ));
    }
    let targets = targets(&workspace.root.join(FOLDER))?;
    play(workspace, Build::Quick, &targets, CI_SECS, CI_SEED)?;
    Ok(Verdict::Passed)
}

/// A step of `cargo xtask nightly`: for as many minutes altogether as it is given, and by chance.
pub(crate) fn long(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::FUZZ.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::FUZZ));
    }
    let targets = targets(&workspace.root.join(FOLDER))?;
    let rounds = u32::try_from(targets.chunks(AT_ONCE).count()).unwrap_or(1).max(1);
    let secs = (context.effort.minutes.saturating_mul(60) / rounds).max(1);
    play(workspace, Build::Optimised, &targets, secs, 0)?;
    Ok(Verdict::Passed)
}

/// A step of `cargo xtask nightly`: the codec beside hyper, with as many messages as a person takes, other ones each day.
pub(crate) fn differ(context: &Context) -> anyhow::Result<Verdict> {
    let args = Differential {
        cases: DIFFERENTIAL_CASES,
        first: DIFFERENTIAL_CASES * u64::from(crate::nightly::today()),
    };
    differential(&context.workspace, &args)?;
    Ok(Verdict::Passed)
}

/// Holds the codec against hyper, with optimisation.
///
/// # Errors
/// It does not compile, there is a difference that is not explained, or nothing is compared.
pub(crate) fn differential(workspace: &Workspace, args: &Differential) -> anyhow::Result<()> {
    let test = [
        "test",
        "--release",
        "--package",
        "edgeproxy-proxy",
        "--lib",
        "differential",
        "--",
    ];
    let list = cargo::command(workspace, test.iter().chain(&["--list", "--format", "terse"]));
    let found = count_tests(&cargo::output(list)?);
    ensure!(
        found >= MESSAGES,
        "found {found} tests of `differential`, expected {MESSAGES}: requests and responses"
    );
    let mut command = cargo::command(workspace, test.iter().chain(&["--nocapture"]));
    command.env("EDGEPROXY_DIFFERENTIAL_CASES", args.cases.to_string());
    command.env("EDGEPROXY_DIFFERENTIAL_FIRST", args.first.to_string());
    cargo::run(command)
}

/// The kinds of messages that are compared, each by a test: requests and responses.
const MESSAGES: usize = 2;

/// How many tests libtest lists.
fn count_tests(list: &str) -> usize {
    list.lines().filter(|line| line.ends_with(": test")).count()
}

/// The names of the programs in `targets/`.
fn targets(folder: &Path) -> anyhow::Result<Vec<String>> {
    let folder = folder.join("targets");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("{} could not be read", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// `cargo fuzz SUBCOMMAND`, without a sanitizer: those need another toolchain, and the code is free of `unsafe`.
fn command(workspace: &Workspace, subcommand: &str, build: Build) -> Command {
    let folder = [
        "fuzz",
        subcommand,
        "--sanitizer",
        "none",
        "--fuzz-dir",
        FOLDER,
        "--target-dir",
    ];
    let mut command = cargo::command(workspace, folder);
    command.arg(workspace.target.join("fuzz"));
    if build == Build::Quick {
        command.arg("--dev");
    }
    command
}

fn play(workspace: &Workspace, build: Build, targets: &[String], secs: u32, seed: u32) -> anyhow::Result<()> {
    cargo::run(command(workspace, "build", build))?;
    let mut findings = Vec::new();
    for some in targets.chunks(AT_ONCE) {
        println!("{secs} s of {}", some.join(" and "));
        let played = thread::scope(|scope| {
            let started: Vec<_> = some
                .iter()
                .map(|target| scope.spawn(move || play_one(workspace, build, target, secs, seed)))
                .collect();
            let ended = started.into_iter().map(thread::ScopedJoinHandle::join);
            ended.collect::<Vec<_>>()
        });
        for played in played {
            match played {
                Ok(Ok(last)) => println!("{last}"),
                Ok(Err(finding)) => findings.push(format!("{finding:#}")),
                Err(_) => bail!("a thread that waits for a target ended by itself"),
            }
        }
    }
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    Ok(())
}

/// Runs one target; the last that it said of its progress.
fn play_one(
    workspace: &Workspace,
    build: Build,
    target: &str,
    secs: u32,
    seed: u32,
) -> anyhow::Result<String> {
    let found = workspace.root.join(FOLDER).join("corpus").join(target);
    let artifacts = workspace.root.join(FOLDER).join("artifacts").join(target);
    for folder in [&found, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("{} could not be made", folder.display()))?;
    }
    let mut command = command(workspace, "run", build);
    command
        .arg(target)
        .arg(&found)
        .arg(format!("{FOLDER}/seeds/{target}"));
    command.args([
        "--",
        &format!("-max_total_time={secs}"),
        &format!("-max_len={MAX_LEN}"),
        &format!("-seed={seed}"),
    ]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{target} could not be started"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{}", finding(workspace, target, &said));
    }
    let last = said.lines().rev().find(|line| line.contains("DONE"));
    Ok(format!("{target}: {}", last.unwrap_or("it said nothing")))
}

/// What was found: the panic, the input, and how to see it again.
fn finding(workspace: &Workspace, target: &str, said: &str) -> String {
    let panic = said
        .lines()
        .skip_while(|line| !line.contains("panicked at"))
        .take(3);
    let panic = panic.collect::<Vec<_>>().join("\n");
    let written = said
        .lines()
        .find_map(|line| line.split_once("Test unit written to "));
    let Some((_, path)) = written else {
        let end: Vec<&str> = said.lines().rev().take(20).collect();
        let end: Vec<&str> = end.into_iter().rev().collect();
        return format!("{target} failed without a finding:\n{}", end.join("\n"));
    };
    let bytes = std::fs::read(path.trim()).unwrap_or_default();
    let path = Path::new(path.trim());
    let path = path.strip_prefix(&workspace.root).unwrap_or(path);
    format!(
        "{target} found something\n{panic}\ninput: {}\nreplay it with: cargo fuzz run --sanitizer none --fuzz-dir \
         {FOLDER} {target} {}\nand keep it as a file in {FOLDER}/seeds/{target}, which the unit tests play",
        bytes.escape_ascii(),
        path.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_and_not_benchmarks_or_the_line_at_the_end() {
        let list = "a::differential::one: test\na::differential::two: test\na::fast: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(count_tests(list), 2);
        assert_eq!(count_tests("0 tests, 0 benchmarks\n"), 0);
    }

    fn workspace(root: &Path) -> Workspace {
        Workspace {
            root: root.to_owned(),
            target: root.join("target"),
            packages: Vec::new(),
        }
    }

    #[test]
    fn a_finding_is_told_by_its_bytes_and_how_to_replay_it() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let said = "INFO\nthread panicked at a.rs:1:2:\nleft: 1\nright: 2\nmore\n\
                    artifact_prefix='x'; Test unit written to /nowhere/crash-1\n";
        let text = finding(&workspace(root), "values", said);
        assert!(text.contains("a.rs:1:2:\nleft: 1\nright: 2\ninput: "), "{text}");
        assert!(text.contains(
            "cargo fuzz run --sanitizer none --fuzz-dir crates/proxy/fuzz values /nowhere/crash-1"
        ));
        let text = finding(&workspace(root), "values", "error: no linker\n");
        assert!(text.ends_with("without a finding:\nerror: no linker"), "{text}");
    }

    #[test]
    fn every_target_of_the_tree_is_found() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/proxy/fuzz");
        let targets = targets(&folder).unwrap();
        assert!(targets.contains(&"request_head".to_owned()), "{targets:?}");
        for target in targets {
            assert!(
                folder.join("seeds").join(&target).is_dir(),
                "{target} has no seeds"
            );
        }
    }
}
