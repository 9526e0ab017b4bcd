//! What was claimed, what was seen, and whether they agree.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use crate::demo::backends::{REGIONS, VICTIM, members};
use crate::demo::traffic::{Phase, Tally};

/// Everything that was seen of the show.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    pub(crate) tally: Tally,
    /// How often the victim was killed.
    pub(crate) kills: u32,
    /// What followed the last time.
    pub(crate) kill: Option<Kill>,
    /// Numbers of the requests that killed backends took with them.
    pub(crate) cut: HashSet<u64>,
}

/// What the API said of the victim after it was killed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kill {
    /// From the kill until it was out of rotation.
    pub(crate) out_after: Option<Duration>,
    /// The state in which it was out.
    pub(crate) out_as: Option<String>,
    /// From the kill until its lease had run out and it was no longer listed.
    pub(crate) gone_after: Option<Duration>,
    /// Requests that it had been given when it was first seen out.
    pub(crate) requests_when_out: u64,
    /// Requests that it has been given since.
    pub(crate) requests_since: u64,
}

impl Kill {
    /// Takes what the listing says at a time after the kill: its state and the requests it was ever given,
    /// or nothing where it is not listed.
    pub(crate) fn observe(&mut self, since: Duration, listed: Option<(&str, u64)>) {
        match listed {
            None => {
                self.gone_after.get_or_insert(since);
                self.out_after.get_or_insert(since);
            }
            Some(("routable" | "trial" | "suspect", _)) if self.out_after.is_none() => {}
            Some((state, requests)) => {
                if self.out_after.is_none() {
                    self.out_after = Some(since);
                    self.out_as = Some(state.to_owned());
                    self.requests_when_out = requests;
                }
                self.requests_since = requests.saturating_sub(self.requests_when_out);
            }
        }
    }
}

/// Whether the demonstration held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    proof: String,
    faults: Vec<String>,
}

impl Verdict {
    pub(crate) const fn holds(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Evidence {
    /// Judges the show of ten seconds.
    pub(crate) fn verdict(&self) -> Verdict {
        let mut faults = Vec::new();
        for (region, ids) in REGIONS {
            if ids.iter().all(|id| self.tally.served_by(id) == 0) {
                faults.push(format!("region {region} served no request"));
            }
        }
        self.judge_kill(&mut faults);
        let unexcused: Vec<_> = self
            .tally
            .failures
            .iter()
            .filter(|failure| !self.cut.contains(&failure.number))
            .collect();
        if let Some(first) = unexcused.first() {
            faults.push(format!(
                "{} requests failed that were not in flight on the killed backend, the first with: {}",
                unexcused.len(),
                first.what
            ));
        }
        let kept = u64::try_from(self.tally.failures.len()).unwrap_or(u64::MAX);
        if self.tally.failed > kept {
            faults.push(format!("{} requests failed", self.tally.failed));
        }
        Verdict {
            proof: self.proof(),
            faults,
        }
    }

    fn judge_kill(&self, faults: &mut Vec<String>) {
        let Some(kill) = &self.kill else {
            faults.push("no backend was killed".to_owned());
            return;
        };
        if kill.out_after.is_none() {
            faults.push(format!("{VICTIM} stayed in rotation"));
        }
        if kill.requests_since > 0 {
            faults.push(format!(
                "{VICTIM} was given {} requests after it was out",
                kill.requests_since
            ));
        }
        if kill.gone_after.is_none() {
            faults.push(format!("the lease of {VICTIM} did not run out"));
        }
        let moved = |id: &str| {
            self.tally
                .served
                .get(id)
                .is_some_and(|phases| phases[Phase::AfterKill as usize] > 0)
        };
        if !members().map(|(_, id)| id).filter(|id| *id != VICTIM).all(moved) {
            faults.push(format!(
                "the traffic of {VICTIM} did not move to all of the others"
            ));
        }
    }

    fn proof(&self) -> String {
        let kill = self.kill.clone().unwrap_or_default();
        let millis = |time: Option<Duration>| {
            time.map_or("never".to_owned(), |time| format!("{} ms", time.as_millis()))
        };
        format!(
            "{answered} requests answered by eu, us and sa; {VICTIM} killed with {cut} in flight, out of rotation within {out} as {state}, \
             no longer listed within {gone}; {failed} of all requests failed",
            answered = self.tally.answered(),
            cut = self.cut.len(),
            out = millis(kill.out_after),
            state = kill.out_as.as_deref().unwrap_or("gone"),
            gone = millis(kill.gone_after),
            failed = self.tally.failed,
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.holds() {
            return write!(f, "It held: {}.", self.proof);
        }
        write!(
            f,
            "It did not hold: {}. Seen: {}.",
            self.faults.join("; "),
            self.proof
        )
    }
}

#[cfg(test)]
mod tests;
