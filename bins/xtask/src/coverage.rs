//! How many lines the tests reach, where decisions are made and where strangers' bytes are read. By cargo-tarpaulin, which reads the
//! compiler's own counts without tools that few have.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};

/// Lines in a hundred that tests have to reach.
const BAR: u64 = 90;

/// Where: a folder, and the file beside it.
const PARTS: [&str; 4] = [
    "crates/registry/src",
    "crates/balance/src",
    "crates/health/src",
    "crates/proxy/src/http1",
];

/// Whose tests.
const PACKAGES: [&str; 4] = [
    "edgeproxy-registry",
    "edgeproxy-balance",
    "edgeproxy-health",
    "edgeproxy-proxy",
];

/// A step of `cargo xtask nightly`.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    if !Tool::TARPAULIN.is_installed(workspace) {
        return Ok(Verdict::Missing(Tool::TARPAULIN));
    }
    let folder = workspace.target.join("coverage");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let packages = PACKAGES.iter().flat_map(|package| ["--packages", package]);
    let args = [
        "tarpaulin",
        "--engine",
        "llvm",
        "--all-features",
        "--lib",
        "--tests",
        "--skip-clean",
    ];
    let mut command = cargo::command(workspace, args.into_iter().chain(packages));
    for part in PARTS {
        command.arg("--include-files").arg(format!("{part}/*"));
    }
    command
        .args(["--timeout", "600", "--out", "json", "--output-dir"])
        .arg(&folder);
    command.arg("--target-dir").arg(folder.join("target"));
    // As many seeds as reach every rule.
    command.env("EDGEPROXY_TEST_SEEDS", "40");
    cargo::run(command)?;
    let path = folder.join("tarpaulin-report.json");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))?;
    let lines = parse(&text, &workspace.root)
        .with_context(|| format!("{} has another form than it had", path.display()))?;
    judge(&lines)?;
    Ok(Verdict::Passed)
}

/// The lines of a file that could be reached, by number.
#[derive(PartialEq, Eq, Debug)]
struct File {
    path: String,
    reached: Vec<u64>,
    missed: Vec<u64>,
}

fn parse(json: &str, root: &Path) -> anyhow::Result<Vec<File>> {
    let report: Value = serde_json::from_str(json)?;
    let files = report["files"].as_array().context("no `files`")?;
    files.iter().map(|file| read(file, root)).collect()
}

fn read(file: &Value, root: &Path) -> anyhow::Result<File> {
    let parts = file["path"].as_array().context("a file without `path`")?;
    let path: std::path::PathBuf = parts.iter().filter_map(Value::as_str).collect();
    let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
    let (mut reached, mut missed) = (Vec::new(), Vec::new());
    for trace in file["traces"].as_array().context("a file without `traces`")? {
        let line = trace["line"].as_u64().context("a trace without `line`")?;
        match trace["stats"]["Line"]
            .as_u64()
            .context("a trace without `stats`")?
        {
            0 => missed.push(line),
            _ => reached.push(line),
        }
    }
    Ok(File {
        path,
        reached,
        missed,
    })
}

/// The tests themselves don't count.
fn is_product(path: &str) -> bool {
    let mut components = path.split('/');
    !components.any(|component| ["tests", "tests.rs", "models.rs", "differential"].contains(&component))
}

fn belongs_to(path: &str, part: &str) -> bool {
    is_product(path)
        && path
            .strip_prefix(part)
            .is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
}

fn judge(files: &[File]) -> anyhow::Result<()> {
    let mut short = Vec::new();
    for part in PARTS {
        let of_part: Vec<_> = files.iter().filter(|file| belongs_to(&file.path, part)).collect();
        let reached: usize = of_part.iter().map(|file| file.reached.len()).sum();
        let missed: usize = of_part.iter().map(|file| file.missed.len()).sum();
        let (reached, all) = (reached as u64, (reached + missed) as u64);
        // In tenths of a percent.
        let share = reached * 1_000 / all.max(1);
        println!(
            "{part}: {reached} of {all} lines, {}.{} %",
            share / 10,
            share % 10
        );
        for file in of_part.iter().filter(|file| !file.missed.is_empty()) {
            let missed: Vec<_> = file.missed.iter().map(u64::to_string).collect();
            println!("  not reached: {}: {}", file.path, missed.join(", "));
        }
        // A part without a line is one that has moved.
        if share < BAR * 10 {
            short.push(format!("{part}: {}.{} %", share / 10, share % 10));
        }
    }
    ensure!(
        short.is_empty(),
        "expected tests to reach {BAR} % of the lines: {}",
        short.join("; ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_part_and_tests_are_no_part() {
        let json = r#"{"files": [{"path": ["/", "w", "crates", "registry", "src", "a.rs"],
            "traces": [{"line": 3, "stats": {"Line": 2}}, {"line": 4, "stats": {"Line": 0}}]}]}"#;
        let files = parse(json, Path::new("/w")).unwrap();
        let expected = File {
            path: "crates/registry/src/a.rs".into(),
            reached: vec![3],
            missed: vec![4],
        };
        assert_eq!(files, [expected]);
        for (path, part, belongs) in [
            ("crates/proxy/src/http1/a.rs", "crates/proxy/src/http1", true),
            ("crates/proxy/src/http1.rs", "crates/proxy/src/http1", true),
            ("crates/proxy/src/http12.rs", "crates/proxy/src/http1", false),
            ("crates/proxy/src/http1/tests.rs", "crates/proxy/src/http1", false),
            (
                "crates/proxy/src/http1/a/tests/b.rs",
                "crates/proxy/src/http1",
                false,
            ),
        ] {
            assert_eq!(belongs_to(path, part), belongs, "{path}");
        }
    }

    #[test]
    fn ninety_in_a_hundred_are_enough_in_each_part_and_a_part_that_has_moved_is_not() {
        let file = |part: &str, reached, missed| File {
            path: format!("{part}/a.rs"),
            reached: (0..reached).collect(),
            missed: (0..missed).collect(),
        };
        let enough: Vec<_> = PARTS.iter().map(|part| file(part, 90, 10)).collect();
        assert!(judge(&enough).is_ok());
        let mut short = enough;
        short[3] = file(PARTS[3], 89, 11);
        let error = judge(&short).unwrap_err().to_string();
        assert!(error.ends_with("crates/proxy/src/http1: 89.0 %"), "{error}");
        short.remove(3);
        assert!(judge(&short).is_err());
    }
}
