//! What has to be set up in a process before it becomes the program that is wanted.

use std::convert::Infallible;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use rustix::process::{
    Resource, Rlimit, Signal, getppid, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_setaffinity};

/// Becomes `program`, pinned to `cpus` (`0` or `0,1`), with as many open files as are allowed, and sent
/// SIGTERM when `parent` ends, in whatever way that ends.
pub(crate) fn run(parent: i32, cpus: &str, program: &str, args: &[&str]) -> anyhow::Result<()> {
    let error = match become_program(parent, cpus, program, args) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    Err(error)
}

fn become_program(parent: i32, cpus: &str, program: &str, args: &[&str]) -> anyhow::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("no signal at the parent's end")?;
    // It may have ended before that was asked for.
    let found = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    ensure!(found == parent, "the parent {parent} has ended");

    let mut set = CpuSet::new();
    for cpu in cpus.split(',') {
        let cpu: usize = cpu
            .parse()
            .with_context(|| format!("found `{cpu}`, expected the number of a processor"))?;
        if cpu >= CpuSet::MAX_CPU {
            bail!("processor {cpu} is beyond {}", CpuSet::MAX_CPU);
        }
        set.set(cpu);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot be pinned to processors {cpus}"))?;

    let hard = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: hard,
        maximum: hard,
    };
    setrlimit(Resource::Nofile, raised).context("the limit on open files cannot be raised")?;

    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("{program} cannot be started"))
}
