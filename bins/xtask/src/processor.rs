//! How much of the processors a step took: seconds of the clock depend on what else the machine does, these hardly do.

use std::time::Duration;

/// The number of cutime, the user time of ended children, in proc(5)'s list of the fields of `/proc/PID/stat`, less the
/// two (pid, comm) that end before the fields are counted here. cstime comes after it.
const CUTIME: usize = 15 - 2;

/// What all ended descendants of this process have taken so far, in user mode and in the kernel. Nothing where the system
/// doesn't tell.
pub(crate) fn taken() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = ticks(&stat).unwrap_or(0);
    Duration::from_millis(ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1))
}

fn ticks(stat: &str) -> Option<u64> {
    // The name is in parentheses and may have spaces and parentheses of its own.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(CUTIME);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_children_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 200 0 0 11 12 130 14 20 0 1 0 99 0 0";
        assert_eq!(ticks(stat), Some(144));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn a_child_that_worked_counts_once_it_has_ended() {
        let before = taken();
        let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let status = std::process::Command::new("sh").args(["-c", script]).status();
        assert!(status.unwrap().success());
        assert!(taken() > before);
    }
}
