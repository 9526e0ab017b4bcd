//! The process, by the names that every exporter has.

use std::time::{Duration, SystemTime};

use edgeproxy_metrics::{Exposition, Family, Unit};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

static BUILD: Family = Family::info("edgeproxy_build", &["version"], "Which version this is.");
static CPU: Family = Family::counter(
    "process_cpu_seconds",
    &[],
    "Processor time that the process has used, its own and the system's for it.",
)
.in_unit(Unit::Seconds);
static RESIDENT: Family = Family::gauge(
    "process_resident_memory_bytes",
    &[],
    "Memory that the process holds.",
)
.in_unit(Unit::Bytes);
static VIRTUAL: Family = Family::gauge(
    "process_virtual_memory_bytes",
    &[],
    "Address space that the process has.",
)
.in_unit(Unit::Bytes);
static OPEN_FDS: Family = Family::gauge("process_open_fds", &[], "File descriptors that are open.");
static MAX_FDS: Family = Family::gauge("process_max_fds", &[], "File descriptors that may be open.");
static THREADS: Family = Family::gauge("process_threads", &[], "Threads of the process.");
static STARTED: Family = Family::gauge(
    "process_start_time_seconds",
    &[],
    "When the process began to serve, in seconds since 1970.",
)
.in_unit(Unit::Seconds);

#[cfg(test)]
pub(super) const FAMILIES: &[&Family] = &[
    &BUILD, &CPU, &RESIDENT, &VIRTUAL, &OPEN_FDS, &MAX_FDS, &THREADS, &STARTED,
];

/// What is known of the process from its beginning.
pub(crate) struct Process {
    started: Duration,
}

impl Process {
    /// One that begins now.
    pub(crate) fn begin() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            started: since.unwrap_or_default(),
        }
    }
}

pub(super) fn write(out: &mut Exposition<'_>, process: &Process) {
    out.family(&BUILD).value(&[env!("CARGO_PKG_VERSION")], 1_u64);
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = Duration::new(
        u64::try_from(cpu.tv_sec).unwrap_or(0),
        u32::try_from(cpu.tv_nsec).unwrap_or(0),
    );
    out.family(&CPU).value(&[], cpu.as_secs_f64());
    // What a system doesn't tell is left out.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (family, field, factor) in [
        (&RESIDENT, "VmRSS:", 1_024),
        (&VIRTUAL, "VmSize:", 1_024),
        (&THREADS, "Threads:", 1),
    ] {
        let mut samples = out.family(family);
        if let Some(number) = number(&status, field) {
            samples.value(&[], number * factor);
        }
    }
    let mut samples = out.family(&OPEN_FDS);
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder itself.
        samples.value(&[], open.count().saturating_sub(1));
    }
    let mut samples = out.family(&MAX_FDS);
    if let Some(most) = getrlimit(Resource::Nofile).current {
        samples.value(&[], most);
    }
    out.family(&STARTED).value(&[], process.started.as_secs_f64());
}

/// The number of a line such as `VmRSS:  12345 kB`.
fn number(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Name:\tedgeproxy\nVmSize:\t  20480 kB\nVmRSS:\t  1024 kB\nThreads:\t7\n";
        assert_eq!(number(status, "VmRSS:"), Some(1_024));
        assert_eq!(number(status, "Threads:"), Some(7));
        assert_eq!(number(status, "VmPeak:"), None);
    }
}
