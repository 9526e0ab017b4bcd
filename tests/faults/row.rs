//! What a row of the table is.

use std::pin::Pin;
use std::time::Duration;

use edgeproxy_tests::Vitals;
use rustix::process::{Resource, getrlimit};

use crate::ledger::Account;

/// One fault, and what is expected of it.
pub(crate) struct Row {
    /// As `--only` knows it.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) fault: &'static str,
    /// What is expected, besides what holds for all rows.
    pub(crate) expects: &'static str,
    /// Where the documentation promises it, as a link's target from `docs/`.
    pub(crate) rule: &'static str,
    /// How long all of it may take.
    pub(crate) limit: Duration,
    pub(crate) runs: Runs,
    pub(crate) needs: &'static [Need],
    pub(crate) commit: fn() -> Pin<Box<dyn Future<Output = Told>>>,
}

/// When it is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runs {
    /// Also with `--quick`.
    Always,
    /// Beside others, unless it is to be quick.
    Thorough,
    /// By itself, since it takes all that the machine has.
    Alone,
}

/// A program or a right without which it can't be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    Etcd,
    Strace,
    /// A mount namespace of one's own.
    Mounts,
    Faketime,
    /// As many open files as a crowd takes.
    Descriptors,
}

/// Fewer show nothing of a crowd; see `clients-after-outage`.
const DESCRIPTORS_MIN: u64 = 8_000;

/// Where Debian's package has it, whatever the architecture.
const FAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

impl Need {
    /// Why it can't be had here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        match self {
            Self::Etcd => edgeproxy_tests::Etcd::missing(),
            Self::Strace => (!edgeproxy_tests::is_installed("strace"))
                .then_some("there is no strace: apt-get install strace"),
            Self::Mounts => {
                let script = "mount -t tmpfs tmpfs /tmp";
                let status = std::process::Command::new("unshare")
                    .args(["--mount", "sh", "-c", script])
                    .status();
                let can = status.is_ok_and(|status| status.success());
                (!can).then_some("nothing can be mounted here: it takes root, and unshare")
            }
            Self::Faketime => faketime()
                .is_none()
                .then_some("there is no libfaketime: apt-get install libfaketime"),
            Self::Descriptors => {
                let may = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
                (may < DESCRIPTORS_MIN)
                    .then_some("fewer than 8000 files may be open: raise the hard limit (ulimit -Hn 20000)")
            }
        }
    }
}

/// The library that answers for the clock.
pub(crate) fn faketime() -> Option<&'static str> {
    FAKETIME
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
}

/// What came of a row.
pub(crate) struct Told {
    pub(crate) account: Account,
    /// The longest time from a fault's end until all was as before.
    pub(crate) recovered: Option<Duration>,
    /// Before anybody had asked anything, at rest after a warm-up, and at the end.
    pub(crate) fresh: Vitals,
    pub(crate) before: Vitals,
    pub(crate) after: Vitals,
    /// How much more may be resident at the end than when it was fresh, in MiB.
    pub(crate) keeps_mib: u64,
    /// What else was measured.
    pub(crate) notes: Vec<String>,
}

/// How much more memory there may be at the end, in percent.
const GROWTH: u64 = 10;

impl Told {
    /// Whether memory is back.
    pub(crate) fn is_back(before: Vitals, after: Vitals) -> bool {
        after.resident * 100 <= before.resident * (100 + GROWTH)
    }

    /// What is not as it has to be.
    pub(crate) fn wrongs(&self) -> Vec<String> {
        let mut wrongs = self.account.wrongs.clone();
        if !Self::is_back(self.before, self.after) {
            wrongs.push(format!(
                "memory grew from {} to {} KiB",
                self.before.resident / 1024,
                self.after.resident / 1024
            ));
        }
        if self.after.resident > self.fresh.resident + (self.keeps_mib << 20) {
            wrongs.push(format!(
                "{} KiB are resident, {} when it was fresh, and it may keep {} MiB",
                self.after.resident / 1024,
                self.fresh.resident / 1024,
                self.keeps_mib
            ));
        }
        if self.after.descriptors > self.fresh.descriptors {
            wrongs.push(format!(
                "{} descriptors are open, {} when it was fresh",
                self.after.descriptors, self.fresh.descriptors
            ));
        }
        if self.account.asked == 0 {
            wrongs.push("nothing was asked".to_owned());
        }
        wrongs
    }
}

/// What became of a row.
pub(crate) enum Verdict {
    /// It ran to its end; what it found decides.
    Ran(Told),
    /// An expectation did not hold.
    Broke(String),
    /// Something that it needs isn't there.
    Skipped(&'static str),
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        match self {
            Self::Ran(told) => told.wrongs().is_empty(),
            Self::Broke(_) => false,
            // In CI all that is needed was installed.
            Self::Skipped(_) => !matches!(std::env::var("CI").as_deref(), Ok("true" | "1")),
        }
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Skipped(_) if self.is_good() => "skipped",
            _ if self.is_good() => "as expected",
            _ => "FAILED",
        }
    }
}
