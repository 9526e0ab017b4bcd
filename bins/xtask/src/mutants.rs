//! Faults that cargo-mutants puts into the code, one at a time: do the tests notice? What they don't notice, they don't hold
//! anybody to.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::cargo::{self, Tool};
use crate::step::{Context, Verdict};

/// Where a fault would be a wrong decision.
const PACKAGES: [&str; 2] = ["edgeproxy-registry", "edgeproxy-balance"];

/// Of the faults that compile, so many in a hundred have to be noticed. The rest are those that change nothing that is promised:
/// a capacity, the order of two checks, a bound on effort.
const BAR: usize = 85;

/// How cargo-mutants ends when it has done its work: all caught, some missed, some timed out.
const DONE: [i32; 3] = [0, 2, 3];

/// A step of `cargo xtask nightly`: the part of the mutants that this night has.
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    let workspace = &context.workspace;
    for tool in [Tool::NEXTEST, Tool::MUTANTS] {
        if !tool.is_installed(workspace) {
            return Ok(Verdict::Missing(tool));
        }
    }
    let folder = workspace.target.join("mutants");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} can't be made", folder.display()))?;
    let packages = PACKAGES.iter().flat_map(|package| ["--package", package]);
    let mut command = cargo::command(
        workspace,
        ["mutants", "--colors", "never"].into_iter().chain(packages),
    );
    // By turns, so that each part has some of every file.
    command.args(["--sharding", "round-robin", "--shard"]);
    command.arg(context.effort.shard.to_string());
    command.arg("--output").arg(&folder);
    command.env("NEXTEST_PROFILE", "mutants");
    // A fault in a rule shows in the first seeds, and where it showed is not looked for any closer.
    command.env("EDGEPROXY_TEST_SEEDS", "40");
    command.env("PROPTEST_MAX_SHRINK_ITERS", "0");
    println!("part {} of the mutants", context.effort.shard);
    let status = command.status().context("cargo mutants could not be started")?;
    ensure!(
        status.code().is_some_and(|code| DONE.contains(&code)),
        "cargo mutants did not get through ({status}); its logs are in {}",
        folder.display()
    );
    judge(&read(&folder.join("mutants.out/outcomes.json"))?)?;
    Ok(Verdict::Passed)
}

/// What became of the mutants of a package.
#[derive(Default, PartialEq, Eq, Debug)]
struct Outcomes {
    package: String,
    /// Tests failed, or took for ever.
    noticed: usize,
    /// What was changed where, and no test failed.
    survivors: Vec<String>,
}

impl Outcomes {
    fn viable(&self) -> usize {
        self.noticed + self.survivors.len()
    }

    fn is_enough(&self) -> bool {
        self.noticed * 100 >= self.viable() * BAR
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Outcomes>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} can't be read", path.display()))?;
    parse(&text).with_context(|| format!("{} has another form than it had", path.display()))
}

fn parse(json: &str) -> anyhow::Result<Vec<Outcomes>> {
    let outcomes: Value = serde_json::from_str(json)?;
    let mut all = PACKAGES.map(|package| Outcomes {
        package: package.to_owned(),
        ..Outcomes::default()
    });
    for outcome in outcomes["outcomes"].as_array().context("no `outcomes`")? {
        let mutant = &outcome["scenario"]["Mutant"];
        let (Some(package), Some(name)) = (mutant["package"].as_str(), mutant["name"].as_str()) else {
            continue;
        };
        let Some(of_package) = all.iter_mut().find(|outcomes| outcomes.package == package) else {
            continue;
        };
        match outcome["summary"].as_str() {
            Some("CaughtMutant" | "Timeout") => of_package.noticed += 1,
            Some("MissedMutant") => of_package.survivors.push(name.to_owned()),
            Some("Unviable") => {}
            other => bail!("a mutant with `summary` {other:?}"),
        }
    }
    Ok(all.into())
}

fn judge(all: &[Outcomes]) -> anyhow::Result<()> {
    let mut short = String::new();
    for outcomes in all {
        let (noticed, viable) = (outcomes.noticed, outcomes.viable());
        println!("{}: {noticed} of {viable} mutants are noticed", outcomes.package);
        for survivor in &outcomes.survivors {
            println!("  not noticed: {survivor}");
        }
        if !outcomes.is_enough() {
            let _ = write!(short, "{}: {noticed} of {viable}; ", outcomes.package);
        }
    }
    ensure!(
        short.is_empty(),
        "expected {BAR} % of the mutants to be noticed: {}",
        short.trim_end_matches("; ")
    );
    // None at all is no proof.
    for outcomes in all {
        ensure!(
            outcomes.viable() > 0,
            "no mutant of {} was tried",
            outcomes.package
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(noticed: usize, survivors: usize) -> Outcomes {
        Outcomes {
            package: PACKAGES[0].into(),
            noticed,
            survivors: vec!["a.rs:1:1: replace + with -".into(); survivors],
        }
    }

    #[test]
    fn what_became_of_each_mutant_is_read() {
        let mutant = |package: &str, summary: &str| {
            format!(
                r#"{{"scenario": {{"Mutant": {{"package": "{package}", "name": "a.rs:1:1: replace + with -"}}}}, "summary": "{summary}"}}"#
            )
        };
        let all = [
            r#"{"scenario": "Baseline", "summary": "Success"}"#.to_owned(),
            mutant("edgeproxy-registry", "CaughtMutant"),
            mutant("edgeproxy-registry", "MissedMutant"),
            mutant("edgeproxy-registry", "Timeout"),
            mutant("edgeproxy-registry", "Unviable"),
            mutant("somebody-else", "MissedMutant"),
        ];
        let json = format!(r#"{{"outcomes": [{}]}}"#, all.join(","));
        let parsed = parse(&json).unwrap();
        assert_eq!(parsed[0], outcomes(2, 1));
        assert_eq!(parsed[1].viable(), 0);
        assert!(parse(r#"{"outcomes": 1}"#).is_err());
        assert!(
            parse(&format!(
                r#"{{"outcomes": [{}]}}"#,
                mutant("edgeproxy-registry", "Lost")
            ))
            .is_err()
        );
    }

    #[test]
    fn eighty_five_in_a_hundred_are_enough_and_none_at_all_is_not() {
        assert!(judge(&[outcomes(85, 15)]).is_ok());
        let error = judge(&[outcomes(84, 16)]).unwrap_err().to_string();
        assert!(error.contains("edgeproxy-registry: 84 of 100"), "{error}");
        assert!(judge(&[outcomes(0, 0)]).is_err());
    }
}
