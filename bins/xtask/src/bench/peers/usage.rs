//! What the kernel has booked for a process.

use anyhow::Context as _;

/// Processor time since a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// On a processor, nanoseconds, by the scheduler: exact.
    pub(crate) nanos: u64,
    /// Ticks in user mode and in the kernel: sampled, so good for a share of a second or more.
    pub(crate) user: u64,
    pub(crate) system: u64,
}

impl Usage {
    /// Of all threads of these processes.
    ///
    /// # Errors
    /// One of them has ended.
    pub(crate) fn of(ids: &[u32]) -> anyhow::Result<Self> {
        let mut sum = Self::default();
        for id in ids {
            let folder = format!("/proc/{id}/task");
            let threads = std::fs::read_dir(&folder).with_context(|| format!("process {id} has ended"))?;
            for thread in threads {
                // A thread may end between being listed and being read.
                let Ok(text) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
                    continue;
                };
                sum.nanos += nanos(&text).with_context(|| format!("{folder}: schedstat is `{text}`"))?;
            }
            let path = format!("/proc/{id}/stat");
            let text = std::fs::read_to_string(&path).with_context(|| format!("process {id} has ended"))?;
            let (user, system) = ticks(&text).with_context(|| format!("{path} is `{text}`"))?;
            sum.user += user;
            sum.system += system;
        }
        Ok(sum)
    }

    /// Nanoseconds on a processor of the threads of a process whose names begin like that.
    ///
    /// # Errors
    /// It has ended.
    pub(crate) fn of_threads(id: u32, name: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for thread in threads(id, name)? {
            let path = format!("/proc/{id}/task/{thread}/schedstat");
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("thread {thread} has ended"))?;
            sum += nanos(&text).with_context(|| format!("{path} is `{text}`"))?;
        }
        Ok(sum)
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(earlier.nanos),
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// The part in user mode; `None` if no tick fell on it.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub(crate) fn user_share(self) -> Option<f64> {
        let all = self.user + self.system;
        (all > 0).then(|| self.user as f64 / all as f64)
    }
}

/// The threads of a process whose names begin like that.
///
/// # Errors
/// It has ended.
pub(crate) fn threads(id: u32, name: &str) -> anyhow::Result<Vec<u32>> {
    let folder = format!("/proc/{id}/task");
    let threads = std::fs::read_dir(&folder).with_context(|| format!("process {id} has ended"))?;
    let named = threads.filter_map(|thread| {
        let thread = thread.ok()?;
        let found = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        found
            .starts_with(name)
            .then(|| thread.file_name().to_str()?.parse().ok())?
    });
    Ok(named.collect())
}

fn nanos(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// utime and stime; the name before them is in brackets and may hold anything.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The process, its children and theirs.
pub(crate) fn tree(id: u32) -> Vec<u32> {
    let mut found = vec![id];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        found.extend(
            children
                .split_ascii_whitespace()
                .filter_map(|id| id.parse::<u32>().ok()),
        );
        next += 1;
    }
    found
}

/// Resident memory of these processes, bytes.
///
/// # Errors
/// One of them has ended.
pub(crate) fn resident(ids: &[u32]) -> anyhow::Result<u64> {
    ids.iter()
        .map(|id| {
            let status = std::fs::read_to_string(format!("/proc/{id}/status"))
                .with_context(|| format!("process {id} has ended"))?;
            resident_of(&status).with_context(|| format!("/proc/{id}/status has no VmRSS"))
        })
        .sum()
}

fn resident_of(status: &str) -> Option<u64> {
    let kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_shifts_nothing() {
        let stat = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 111 222 0 0 20";
        assert_eq!(ticks(stat), Some((111, 222)));
    }

    #[test]
    fn this_process_has_memory_and_time() {
        let id = [std::process::id()];
        assert!(resident(&id).unwrap() > 100 * 1024);
        assert!(Usage::of(&id).unwrap().nanos > 0);
    }
}
