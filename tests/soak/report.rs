//! What is printed at the end.

use std::fmt;
use std::time::Duration;

use edgeproxy_tests::Vitals;

use crate::ledger::{Account, Caused};

/// How much more memory than after the warm-up may be resident at the end. An allocator keeps pages of which a part
/// is still in use, and where those are is chance; a leak of 64 bytes for each request would be more than this after
/// ten minutes.
const LEEWAY: u64 = 8 << 20;

/// How many failures that nothing explains are printed.
const SHOWN: usize = 20;

pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) account: Account,
    /// Every one, in order.
    pub(crate) faults: Vec<String>,
    pub(crate) before: Vitals,
    pub(crate) warm: Vitals,
    pub(crate) after: Vitals,
}

impl Report {
    fn grew(&self) -> bool {
        self.after.resident > self.warm.resident + LEEWAY
    }

    /// Nothing failed that no fault explains, something was asked, something was done to a backend, and memory is back.
    /// Descriptors and requests in flight were waited for.
    pub(crate) fn is_good(&self) -> bool {
        let was_trouble = self.account.faults.values().any(|caused| caused.committed > 0);
        self.account.unexplained.is_empty() && !self.grew() && self.account.total() > 0 && was_trouble
    }

    fn failed_of(&self, traffic: &str) -> u64 {
        let of = |caused: &Caused| caused.failures.get(traffic).copied().unwrap_or_default();
        self.account.faults.values().map(of).sum()
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (account, secs) = (&self.account, self.took.as_secs_f64());
        writeln!(
            f,
            "soak: {secs:.0} s, seed {}, {} exchanges, {:.0} MiB of content",
            self.seed,
            account.total(),
            mib(account.bytes)
        )?;
        writeln!(f, "\n{:<26} {:>9} {:>7}", "traffic", "exchanges", "failed")?;
        for (traffic, asked) in &account.asked {
            writeln!(f, "{traffic:<26} {asked:>9} {:>7}", self.failed_of(traffic))?;
        }
        writeln!(
            f,
            "\n{:<26} {:>9} {:>7}",
            "what was done to a backend", "times", "failed"
        )?;
        for (kind, caused) in &account.faults {
            let failed: u64 = caused.failures.values().sum();
            let forms: Vec<_> = caused
                .forms
                .iter()
                .map(|(form, count)| format!("{count} {form}"))
                .collect();
            let line = format!(
                "{:<26} {:>9} {failed:>7}  {}",
                kind.words(),
                caused.committed,
                forms.join(", ")
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(
            f,
            "\n{:<26} {:>9} {:>9} {:>9}",
            "edgeproxy", "before", "warm", "after"
        )?;
        writeln!(
            f,
            "{:<26} {:>9} {:>9} {:>9}",
            "descriptors", self.before.descriptors, self.warm.descriptors, self.after.descriptors
        )?;
        writeln!(
            f,
            "{:<26} {:>9.1} {:>9.1} {:>9.1}",
            "resident, MiB",
            mib(self.before.resident),
            mib(self.warm.resident),
            mib(self.after.resident)
        )?;
        writeln!(f, "{:<26} {:>9} {:>9} {:>9}", "in flight", 0, "", 0)?;
        if self.grew() {
            writeln!(f, "\nFAILED: memory grew by more than {:.0} MiB", mib(LEEWAY))?;
        }
        if account.unexplained.is_empty() {
            return write!(f, "\nevery failure is a fault's");
        }
        writeln!(
            f,
            "\nFAILED: {} failures are no fault's:",
            account.unexplained.len()
        )?;
        for failure in account.unexplained.iter().take(SHOWN) {
            writeln!(f, "  {failure}")?;
        }
        writeln!(f, "the faults:")?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        Ok(())
    }
}
