//! Where edgeproxy's own time goes.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bench::peers::case;
use crate::bench::peers::load::{Amount, Load};
use crate::bench::peers::proxy::{NotStarted, Proxy};
use crate::bench::peers::stage::Stage;
use crate::bench::peers::tools::{self, Tool};
use crate::process::Process;

/// How many functions are printed.
const FUNCTIONS: usize = 40;

/// Samples a second; prime, so that they fall in with nothing that repeats.
const FREQUENCY: &str = "1999";

/// Records edgeproxy under the load of `http1-1k` and prints the functions in user mode that took most.
///
/// # Errors
/// perf or wrk is missing or perf is not allowed to, or edgeproxy does not start or serve.
pub(crate) fn run(stage: &Stage, quick: bool) -> anyhow::Result<()> {
    tools::require(&[Tool::PERF, Tool::WRK])?;
    let load = Load::Wrk {
        path: "/1k",
        close: false,
    };
    let front = case::CASES[0].front;
    let started = match Proxy::Edgeproxy.start(stage, front, 1, &stage.cores.proxy) {
        Ok(started) => started,
        Err(NotStarted::Failed(error)) => return Err(error),
        Err(NotStarted::Unable(why)) => bail!("{why}"),
    };
    let ends = &stage.cores.ends;
    let amount = |secs| Amount { secs, megabytes: 0 };
    load.run(stage, ends, started.addr, amount(1))?;

    let secs = if quick { 3 } else { 10 };
    let data = stage.folder.join("perf.data");
    let id = started
        .ids()
        .first()
        .copied()
        .context("edgeproxy has no process")?;
    let mut command = stage.command(ends, Tool::PERF.command());
    command.args([
        "record",
        "-e",
        "cpu-clock",
        "-g",
        "-F",
        FREQUENCY,
        "-p",
        &id.to_string(),
    ]);
    command.arg("-o").arg(&data).arg("--");
    command.args(Stage::program(&load.command(
        stage,
        ends,
        started.addr,
        amount(secs),
    )));
    let mut perf = Process::start("perf", command, &stage.folder.join("perf-record.log"))?;
    let served = load.served(&perf.finish(Duration::from_secs(60))?)?;

    let output = Command::new(Tool::PERF.command())
        .args(["report", "--stdio", "--no-children", "--no-inline", "-g", "none"])
        .args(["-F", "overhead,dso,symbol", "-t", "|", "-i"])
        .arg(&data)
        .output()
        .context("perf can't be started")?;
    let lines = String::from_utf8_lossy(&output.stdout);
    let functions = functions(&lines);
    if functions.is_empty() {
        bail!(
            "perf reported no functions: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let user: f64 = functions
        .iter()
        .filter(|function| function.in_user_mode)
        .map(|function| function.percent)
        .sum();
    println!(
        "{:.0} requests/s while being recorded; {user:.1}% of the time in user mode. Of the whole time:\n",
        served.units_per_sec
    );
    for function in functions
        .iter()
        .filter(|function| function.in_user_mode)
        .take(FUNCTIONS)
    {
        println!(
            "{:>6.2}%  {:<16} {}",
            function.percent, function.object, function.name
        );
    }
    println!(
        "\ncallers and the kernel's part: perf report -i {}",
        data.display()
    );
    Ok(())
}

struct Function<'a> {
    percent: f64,
    object: &'a str,
    name: &'a str,
    in_user_mode: bool,
}

/// Lines of `12.34%|object|[.] name`, `[k]` in the kernel.
fn functions(report: &str) -> Vec<Function<'_>> {
    report
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.splitn(3, '|').map(str::trim);
            let percent = fields.next()?.strip_suffix('%')?.parse().ok()?;
            let object = fields.next()?;
            let (mode, name) = fields.next()?.split_once(' ')?;
            Some(Function {
                percent,
                object,
                name: name.trim(),
                in_user_mode: mode == "[.]",
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_from_the_kernels() {
        let report = "# Samples: 2K\n#\n    12.50%|[kernel.kallsyms]|[k] tcp_sendmsg\n     2.25%|edgeproxy|[.] <a::B as c::D>::poll\n\n";
        let found: Vec<_> = functions(report)
            .iter()
            .map(|function| (function.name.to_owned(), function.in_user_mode))
            .collect();
        assert_eq!(
            found,
            [
                ("tcp_sendmsg".to_owned(), false),
                ("<a::B as c::D>::poll".to_owned(), true)
            ]
        );
    }
}
