//! How many system calls a proxy makes for what it serves.

use std::time::Duration;

use crate::bench::peers::load::{Amount, Load};
use crate::bench::peers::proxy::Started;
use crate::bench::peers::stage::Stage;
use crate::bench::peers::tools::Tool;
use crate::process::Process;

/// Long enough to count; no time is taken of this run, since being counted slows it down.
const AMOUNT: Amount = Amount {
    secs: 1,
    megabytes: 100,
};

const LIMIT: Duration = Duration::from_secs(30);

/// The calls for each unit, in a run of their own: by perf, or else by strace, under which a proxy is so much
/// slower that it finds more ready at each turn and calls less. `None` if neither can be used here.
///
/// # Errors
/// The load was not served.
pub(crate) fn for_each_unit(
    stage: &Stage,
    load: Load,
    cores: &str,
    started: &Started,
) -> anyhow::Result<Option<f64>> {
    if Tool::PERF.path().is_some()
        && let Some(found) = by_perf(stage, load, cores, started)?
    {
        return Ok(Some(found));
    }
    if Tool::STRACE.path().is_some() {
        return by_strace(stage, load, cores, started);
    }
    Ok(None)
}

fn by_perf(stage: &Stage, load: Load, cores: &str, started: &Started) -> anyhow::Result<Option<f64>> {
    let counts = stage.folder.join("perf-stat.csv");
    let ids: Vec<String> = started.ids().iter().map(u32::to_string).collect();
    let mut command = stage.command(cores, Tool::PERF.command());
    command.args([
        "stat",
        "-x,",
        "-e",
        "raw_syscalls:sys_enter",
        "-p",
        &ids.join(","),
    ]);
    command.arg("-o").arg(&counts).arg("--");
    command.args(Stage::program(&load.command(stage, cores, started.addr, AMOUNT)));
    let mut perf = Process::start("perf", command, &stage.folder.join("perf-stat.log"))?;
    // It fails where a process may not look at others, which is no fault of the proxy's.
    let Ok(output) = perf.finish(LIMIT) else {
        return Ok(None);
    };
    let calls = perf_count(&std::fs::read_to_string(&counts).unwrap_or_default());
    let served = load.served(&output)?;
    Ok(calls.map(|calls| calls / served.units))
}

fn by_strace(stage: &Stage, load: Load, cores: &str, started: &Started) -> anyhow::Result<Option<f64>> {
    let counts = stage.folder.join("strace.txt");
    let mut command = stage.command(&stage.cores.all, Tool::STRACE.command());
    command.args(["-c", "-f", "-o"]).arg(&counts);
    for id in started.ids() {
        command.args(["-p", &id.to_string()]);
    }
    let mut strace = Process::start("strace", command, &stage.folder.join("strace.log"))?;
    if strace.prints("attached", LIMIT).is_err() {
        return Ok(None);
    }
    let served = load.run(stage, cores, started.addr, AMOUNT)?;
    // Asked to end, it lets go of the proxy and writes what it has counted.
    drop(strace);
    let calls = strace_count(&std::fs::read_to_string(&counts).unwrap_or_default());
    Ok(calls.map(|calls| calls / served.units))
}

/// The count in perf's comma-separated form.
fn perf_count(counts: &str) -> Option<f64> {
    counts
        .lines()
        .find(|line| line.contains("raw_syscalls:sys_enter"))?
        .split(',')
        .next()?
        .parse()
        .ok()
}

/// The calls in strace's last line: share, seconds, each, calls, perhaps errors, `total`.
fn strace_count(counts: &str) -> Option<f64> {
    let total = counts.lines().rfind(|line| line.ends_with("total"))?;
    total.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfs_count_is_read() {
        let counts = "# started on Tue Nov 24\n\n412345,,raw_syscalls:sys_enter,1000,100.00,,\n";
        assert_eq!(perf_count(counts), Some(412_345.0));
        assert_eq!(
            perf_count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n"),
            None
        );
    }

    #[test]
    fn straces_count_is_read() {
        let counts = "% time     seconds  usecs/call     calls    errors syscall\n 60.00    0.6    3    200000    12 read\n------\n100.00    1.000000           2    400000    12 total\n";
        assert_eq!(strace_count(counts), Some(400_000.0));
    }
}
