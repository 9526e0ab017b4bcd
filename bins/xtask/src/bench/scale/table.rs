//! What was found, as Markdown.

use std::process::Command;

use anyhow::bail;

use crate::bench::peers::tools;

/// The rows of every part, in their order.
pub(super) struct Table {
    rows: Vec<[String; 3]>,
    part: String,
    failed: Vec<String>,
}

impl Table {
    /// An empty one, with the machine's line printed.
    pub(super) fn begin() -> anyhow::Result<Self> {
        println!("{}", machine()?);
        Ok(Self {
            rows: Vec::new(),
            part: String::new(),
            failed: Vec::new(),
        })
    }

    /// Measures a part. What it has found until it fails stays.
    pub(super) fn part(&mut self, name: &str, measure: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        name.clone_into(&mut self.part);
        let began = std::time::Instant::now();
        if let Err(error) = measure(self) {
            self.row("failed", &format!("{error:#}"));
            self.failed.push(name.to_owned());
        }
        eprintln!("{name}: {:.0} s", began.elapsed().as_secs_f64());
    }

    pub(super) fn row(&mut self, what: &str, figure: &str) {
        eprintln!("{}: {what}: {figure}", self.part);
        self.rows
            .push([self.part.clone(), what.to_owned(), figure.to_owned()]);
    }

    /// Prints all of it.
    ///
    /// # Errors
    /// A part failed.
    pub(super) fn end(self) -> anyhow::Result<()> {
        println!("\n| part | what | found |\n|---|---|---|");
        for [part, what, figure] in &self.rows {
            println!("| {part} | {what} | {figure} |");
        }
        println!("\n{}", tools::load_average()?);
        if !self.failed.is_empty() {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

fn machine() -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split(':').nth(1))
        .unwrap_or("unknown");
    let commit = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    Ok(format!(
        "machine: {cores} × {}; Linux {}; tree {commit}; {}",
        processor.trim(),
        read("/proc/sys/kernel/osrelease").trim(),
        tools::load_average()?
    ))
}
