//! Each rule is broken in a copy of the source, which is built and has to be found out within so many seeds. Before that the
//! same seeds find nothing in the copy as it is: what they find then is the mutant.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use super::planted::{Change, MUTANTS, Mutant};
use crate::cargo;
use crate::step::{Context, Verdict};
use crate::workspace::Workspace;

/// As a step of the nightly tier.
///
/// # Errors
/// As [`run`].
pub(crate) fn check(context: &Context) -> anyhow::Result<Verdict> {
    run(&context.workspace, None)?;
    Ok(Verdict::Passed)
}

/// Plants them one after the other, or those alone whose rule has these words.
///
/// # Errors
/// The source as it is doesn't hold; a mutant can't be planted, doesn't compile, isn't found, or is found by another rule than
/// the one that guards it; or none has these words.
pub(crate) fn run(workspace: &Workspace, words: Option<&str>) -> anyhow::Result<()> {
    let is_wanted = |mutant: &&Mutant| words.is_none_or(|words| mutant.rule.contains(words));
    ensure!(
        MUTANTS.iter().any(|mutant| is_wanted(&mutant)),
        "no mutant's rule has the words {words:?}"
    );
    let copy = Copy {
        from: workspace.root.clone(),
        to: workspace.target.join("mutants/tree"),
        target: workspace.target.join("mutants/target"),
    };
    copy.make()?;
    copy.build().context("the source without a mutant")?;
    let began = Instant::now();
    let wanted = || MUTANTS.iter().filter(is_wanted);
    let seeds = wanted().map(|mutant| mutant.within).max().unwrap_or_default();
    if let Some(found) = copy.hunt(seeds).context("the source without a mutant")? {
        bail!(
            "there is nothing to be planted in: the source as it is breaks {} ({})",
            found.rule,
            found.place
        );
    }
    println!(
        "without a mutant: nothing in {seeds} seeds, {} s",
        began.elapsed().as_secs()
    );
    let mut faults = Vec::new();
    for mutant in wanted() {
        let began = Instant::now();
        let found = copy.with(mutant, |copy| {
            copy.build()?;
            copy.hunt(mutant.within)
        });
        let found = found.with_context(|| format!("the mutant of: {}", mutant.rule))?;
        let secs = began.elapsed().as_secs();
        match found {
            Some(found) if mutant.noticed_by.contains(&found.rule.as_str()) => {
                println!(
                    "found in {secs:>3} s: {} ({}, {})",
                    mutant.rule, found.rule, found.place
                );
            }
            Some(found) => faults.push(format!(
                "{}: found by {} ({}) and not by {:?}",
                mutant.rule, found.rule, found.place, mutant.noticed_by
            )),
            None => faults.push(format!("{}: not found in {} seeds", mutant.rule, mutant.within)),
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// What a run has found.
struct Found {
    rule: String,
    place: String,
}

/// The crates that are simulated, where they may be broken.
struct Copy {
    from: PathBuf,
    to: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Only what has changed is written, so that only that is built again.
    fn make(&self) -> anyhow::Result<()> {
        for folder in ["crates", "tests/whole"] {
            self.copy_folder(Path::new(folder))?;
        }
        for file in ["Cargo.lock", "rust-toolchain.toml"] {
            self.copy_file(Path::new(file))?;
        }
        let manifest = fs::read(self.from.join("Cargo.toml")).context("the workspace's Cargo.toml")?;
        let manifest = String::from_utf8(manifest)?;
        let lines = manifest.lines().filter_map(|line| match line {
            _ if line.starts_with("members = ") => Some("members = [\"crates/*\", \"tests/whole\"]"),
            _ if line.starts_with("default-members = ") || line.starts_with("exclude = ") => None,
            // It isn't there.
            _ if line.starts_with("edgeproxy-tests = ") => None,
            line => Some(line),
        });
        let manifest: Vec<_> = lines.collect();
        write_if_new(&self.to.join("Cargo.toml"), manifest.join("\n").as_bytes())
    }

    fn copy_folder(&self, folder: &Path) -> anyhow::Result<()> {
        let from = self.from.join(folder);
        for entry in fs::read_dir(&from).with_context(|| format!("{} can't be read", from.display()))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let name = entry.file_name();
            if entry.file_type()?.is_dir() {
                if name != "target" && name != "fuzz" && name != "benches" {
                    self.copy_folder(&path)?;
                }
            } else {
                self.copy_file(&path)?;
            }
        }
        Ok(())
    }

    fn copy_file(&self, file: &Path) -> anyhow::Result<()> {
        let from = self.from.join(file);
        let bytes = fs::read(&from).with_context(|| format!("{} can't be read", from.display()))?;
        let bytes = if file.file_name() == Some(OsStr::new("Cargo.toml")) {
            without_tests(&String::from_utf8(bytes)?).into_bytes()
        } else {
            bytes
        };
        write_if_new(&self.to.join(file), &bytes)
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = cargo::bare();
        command
            .current_dir(&self.to)
            .args(args)
            .env("CARGO_TARGET_DIR", &self.target);
        command
    }

    fn build(&self) -> anyhow::Result<()> {
        let args = [
            "build",
            "--quiet",
            "--offline",
            "--profile",
            "simulate",
            "--package",
            "edgeproxy-whole",
        ];
        let output = self
            .cargo(&args)
            .stderr(Stdio::piped())
            .output()
            .context("cargo could not be started")?;
        if !output.status.success() {
            bail!("it does not build: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    fn hunt(&self, seeds: u64) -> anyhow::Result<Option<Found>> {
        let program = self.target.join("simulate/simulate-whole");
        let output = Command::new(&program)
            .args(["--seeds", &seeds.to_string()])
            .stderr(Stdio::null())
            .output()
            .with_context(|| format!("{} could not be started", program.display()))?;
        if output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let told = text.lines().find_map(|line| line.strip_prefix("violation of "));
        let told = told.context("it failed without a violation")?;
        let (rule, place) = told.split_once(", ").context("a violation of another form")?;
        let place = place.split_once(", at ").map_or(place, |(place, _)| place);
        Ok(Some(Found {
            rule: rule.to_owned(),
            place: place.to_owned(),
        }))
    }

    /// Breaks it, and mends it again.
    fn with<T>(&self, mutant: &Mutant, run: impl FnOnce(&Self) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut whole = Vec::new();
        for change in mutant.changes {
            let path = self.to.join(change.file);
            let text = fs::read_to_string(&path).with_context(|| change.file.to_owned())?;
            write_if_new(&path, planted(change, &text)?.as_bytes())?;
            whole.push((path, text));
        }
        let result = run(self);
        for (path, text) in whole.into_iter().rev() {
            write_if_new(&path, text.as_bytes())?;
        }
        result
    }
}

/// The file with that change.
fn planted(change: &Change, text: &str) -> anyhow::Result<String> {
    let count = text.matches(change.from).count();
    ensure!(
        count == 1,
        "{}: {:?} is there {count} times, and has to be there once; the rule has moved, and its mutant has to follow",
        change.file,
        change.from
    );
    Ok(text.replace(change.from, change.to))
}

/// A manifest without what is only for a crate's own tests, which aren't copied.
fn without_tests(manifest: &str) -> String {
    let mut kept = Vec::new();
    let mut is_left_out = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_left_out = matches!(
                line,
                "[dev-dependencies]" | "[[test]]" | "[[bench]]" | "[[example]]"
            );
        }
        if !is_left_out {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

fn write_if_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_can_be_planted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for change in MUTANTS.iter().flat_map(|mutant| mutant.changes) {
            let text = fs::read_to_string(root.join(change.file)).unwrap();
            assert_ne!(planted(change, &text).unwrap(), text);
        }
    }

    #[test]
    fn what_is_for_tests_only_is_left_out_of_a_manifest() {
        let manifest = "[package]\nname = \"a\"\n\n[dev-dependencies]\nb = \"1\"\n\n[[test]]\nname = \"t\"\n\n[lints]\nworkspace = true\n";
        assert_eq!(
            without_tests(manifest),
            "[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n"
        );
    }
}
