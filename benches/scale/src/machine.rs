//! What the machine says: time, memory, and rows for whoever reads them.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// A line of the table.
pub(crate) fn row(what: &str, figure: impl std::fmt::Display) {
    println!("row {what}\t{figure}");
}

/// Resident memory of this process, bytes.
pub(crate) fn resident() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("/proc/self/statm can't be read")?;
    let pages = text
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.context("/proc/self/statm has another form")? * 4_096)
}

/// How long calls took: all together, and the longest.
#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) count: u64,
    pub(crate) sum: Duration,
    pub(crate) longest: Duration,
}

impl Calls {
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let value = call();
        self.add(began.elapsed());
        value
    }

    /// The same by processor time, for what is long against asking for it.
    pub(crate) fn time_used<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let (value, took) = timed(call);
        self.add(took);
        value
    }

    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.sum += took;
        self.longest = self.longest.max(took);
    }

    pub(crate) fn each_nanos(&self) -> f64 {
        self.sum.as_secs_f64() * 1e9 / self.count.max(1) as f64
    }
}

/// How much processor time one call took: on a machine that others use as well it says more than a clock. Asking for it is a
/// system call, so what is short is timed by [`Calls`].
pub(crate) fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let began = used();
    let value = call();
    (value, used() - began)
}

/// Processor time of this thread.
pub(crate) fn used() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(secs, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// For people.
pub(crate) fn shown(time: Duration) -> String {
    let secs = time.as_secs_f64();
    if secs >= 1.0 {
        format!("{secs:.2} s")
    } else if secs >= 1e-3 {
        format!("{:.1} ms", secs * 1e3)
    } else {
        format!("{:.1} µs", secs * 1e6)
    }
}
