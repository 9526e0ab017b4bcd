//! What changes with every request, in one cache line that outlives every snapshot.

mod expectation;
mod in_flight;
mod word;

use std::fmt;
use std::time::Duration;

use crate::sync::{AtomicU32, AtomicU64, Ordering, write_then_read};
use crate::{BackendId, Incarnation, Limits, MonoTime};
use expectation::Expectation;
pub use expectation::Expected;
pub use in_flight::InFlight;
use word::Word;

/// Who may begin a request on an endpoint at this instant.
///
/// The registry decides; the data plane may close an [`Open`](Gate::Open) gate on its own authority when a
/// streak of failures is long enough, so that the very next pick, on every worker, goes elsewhere. The
/// registry then confirms or takes it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gate {
    /// Everyone.
    Open,
    /// No one, by reason of consecutive failures; as a last resort someone may still try.
    Excluded,
    /// One request at a time, and nobody is trying right now.
    Trial,
    /// One request at a time, and it is under way.
    TrialBusy,
    /// No one, by reason of failed probes. What is in flight goes on.
    Unhealthy,
    /// No one, by the registry's decision for another reason than health. What is in flight goes on.
    Closed,
    /// No one, and what is in flight shall be ended: the drain deadline has passed.
    Cut,
}

/// Whom [`Endpoint::admit`](crate::Endpoint::admit) lets in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Through an open gate, or as a trial.
    Regular,
    /// Also past [`Gate::Excluded`]: when nobody else is left, a backend that failed often is better than
    /// a certain 503.
    LastResort,
    /// Whatever failed requests and probes say of it: past every gate but [`Gate::Closed`] and [`Gate::Cut`]. For an
    /// app so few of whose backends are well that its health is likelier wrong than right. An outcome moves
    /// the streak or the gate only where the gate would have let it in anyway.
    Panic,
}

/// Why [`Endpoint::admit`](crate::Endpoint::admit) let nobody in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// At its hard limit.
    Full,
    /// The gate: excluded, closed or cut.
    Shut,
    /// On trial, and another request is the trial.
    OnTrial,
}

/// What an outcome means for the registry. Rare: a success that follows a success says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// Consecutive failures reached the maximum; the gate was closed to [`Gate::Excluded`].
    StreakReached,
    /// The trial request got a response; the gate stays on trial until the registry opens it.
    TrialPassed,
    /// The trial request failed; the gate was closed to [`Gate::Excluded`].
    TrialFailed,
}

/// A [`Signal`] with the endpoint that it is about, on its way to the registry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrafficReport {
    /// The backend.
    pub id: BackendId,
    /// Which of its lives; a report about a past one is void.
    pub incarnation: Incarnation,
    /// What happened.
    pub signal: Signal,
    /// [`Meter::epoch`] right after it happened; a report from a past epoch is void.
    pub epoch: u32,
}

/// The live counters of one [`Endpoint`](crate::Endpoint), shared by every worker without a lock.
///
/// One cache line on purpose: a request writes the in-flight count anyway, so the totals beside it are
/// free, while two lines would be fetched from another core's cache twice.
///
/// The **epoch** counts changes of the gate. A request remembers the epoch that it began in, and its
/// outcome moves the streak and the gate only if the epoch is still the same: failures of requests that
/// began before an ejection don't lengthen it, and a success that began before doesn't end it.
#[repr(align(64))]
pub struct Meter {
    ledger: AtomicU64,
    in_flight: AtomicU32,
    /// In [`LATENCY_UNIT_NANOS`], so that an average of small samples doesn't get stuck by rounding.
    latency: AtomicU32,
    requests: AtomicU64,
    failures: AtomicU64,
    expectation: AtomicU64,
    /// In microseconds, up to 71 minutes; 0 is none.
    connect: AtomicU32,
    elsewhere: AtomicU32,
}

/// A u32 of these spans 214 seconds, longer than any response is waited for.
const LATENCY_UNIT_NANOS: u32 = 50;

impl Meter {
    /// A meter at zero with an open gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ledger: AtomicU64::new(Word::NEW.bits()),
            in_flight: AtomicU32::new(0),
            latency: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            expectation: AtomicU64::new(Expectation::NONE.bits()),
            connect: AtomicU32::new(0),
            elsewhere: AtomicU32::new(0),
        }
    }

    /// Requests under way.
    #[inline]
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests still under way, for whoever has shut the gate: none that was let in before is missed, so 0 stays 0 for as long
    /// as the gate is shut.
    #[must_use]
    pub fn remaining(&self) -> u32 {
        write_then_read();
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Requests that the backend has under way for others, by what it reports. They count where loads are compared, and
    /// not towards a limit.
    #[inline]
    #[must_use]
    pub fn elsewhere(&self) -> u32 {
        self.elsewhere.load(Ordering::Relaxed)
    }

    /// Notes what the backend has under way for others. For the registry alone.
    pub fn set_elsewhere(&self, requests: u32) {
        self.elsewhere.store(requests, Ordering::Relaxed);
    }

    /// Who may begin a request right now.
    #[inline]
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.word().gate()
    }

    /// Changes of the gate so far.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.word().epoch()
    }

    /// Consecutive failures since the last success, or since the gate last opened.
    #[must_use]
    pub fn streak(&self) -> u32 {
        self.word().streak()
    }

    /// Requests begun, and requests failed.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        (
            self.requests.load(Ordering::Relaxed),
            self.failures.load(Ordering::Relaxed),
        )
    }

    /// The moving average of the time to a response's head; the newest counts an eighth. Zero until the
    /// first response.
    #[must_use]
    pub fn latency(&self) -> Duration {
        let units = self.latency.load(Ordering::Relaxed);
        Duration::from_nanos(u64::from(units) * u64::from(LATENCY_UNIT_NANOS))
    }

    /// How long a response is expected to take by what has been seen up to `now`, and what failures have cost.
    /// Unlike [`latency`](Self::latency), which is for people, it is made to compare endpoints by: it rises
    /// with the first slow response, and what is not confirmed wears off.
    #[inline]
    #[must_use]
    pub fn expected(&self, now: MonoTime) -> Expected {
        Expectation::from_bits(self.expectation.load(Ordering::Relaxed)).at(now)
    }

    /// A connection was made, which took so long: about a round trip on the network.
    pub fn connected(&self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        self.connect.store(micros, Ordering::Relaxed);
    }

    /// How long the latest connection took to be made since this was last asked; `None` if there was none. For whoever
    /// measures distances: one alone, since it is told once.
    #[must_use]
    pub fn take_connect_time(&self) -> Option<Duration> {
        // Most have none, and a swap would take the line from those that use it.
        if self.connect.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match self.connect.swap(0, Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(u64::from(micros))),
        }
    }

    /// Opens the gate to everyone and forgets the streak. For the registry alone.
    pub fn open(&self) {
        self.set_gate(Gate::Open);
    }

    /// Closes the gate by reason of failures. For the registry alone; the data plane does it by
    /// [`InFlight::failed`].
    pub fn exclude(&self) {
        self.set_gate(Gate::Excluded);
    }

    /// Opens the gate to one request at a time and forgets the streak. For the registry alone.
    pub fn start_trial(&self) {
        self.set_gate(Gate::Trial);
    }

    /// Closes the gate by reason of failed probes; what is in flight goes on. For the registry alone.
    pub fn bench(&self) {
        self.set_gate(Gate::Unhealthy);
    }

    /// Closes the gate for another reason than health; what is in flight goes on. For the registry alone.
    pub fn close(&self) {
        self.set_gate(Gate::Closed);
    }

    /// Closes the gate for good and asks the data plane to end what is in flight. For the registry alone.
    pub fn cut(&self) {
        self.set_gate(Gate::Cut);
    }

    fn set_gate(&self, gate: Gate) {
        let mut word = self.word();
        loop {
            let unchanged = word.gate() == gate || (gate == Gate::Trial && word.gate() == Gate::TrialBusy);
            if unchanged || word.gate() == Gate::Cut {
                return;
            }
            let forgets = matches!(gate, Gate::Open | Gate::Trial);
            let streak = if forgets { 0 } else { word.streak() };
            match self.swap(word, word.next_epoch().with_gate(gate).with_streak(streak)) {
                Ok(()) => return,
                Err(found) => word = found,
            }
        }
    }

    /// Counts a request in, if the gate and the hard limit allow it: the epoch that it begins in, and whether
    /// it is the trial.
    ///
    /// The gate is looked at again once the request counts. Whoever shuts a gate and then finds nothing in flight may take the
    /// backend for idle: either it sees this request, or this request sees what it did (Dekker's argument).
    #[inline]
    pub(crate) fn begin(&self, limits: Limits, admission: Admission) -> Result<(u32, bool), Refusal> {
        let mut word = self.word();
        loop {
            pass(word.gate(), admission)?;
            let mut trial = word.gate() == Gate::Trial;
            if trial && self.swap(word, word.with_gate(Gate::TrialBusy)).is_err() {
                if admission != Admission::Panic {
                    return Err(Refusal::OnTrial);
                }
                // Another request is the trial.
                trial = false;
            }
            if !self.enter(limits.hard()) {
                if trial {
                    self.end_trial(word.epoch());
                }
                return Err(Refusal::Full);
            }
            write_then_read();
            let found = Word::from_bits(self.ledger.load(Ordering::SeqCst));
            if found.epoch() == word.epoch() {
                self.requests.fetch_add(1, Ordering::Relaxed);
                return Ok((word.epoch(), trial));
            }
            self.leave();
            word = found;
        }
    }

    pub(crate) fn would_begin(&self, limits: Limits, admission: Admission) -> Result<(), Refusal> {
        pass(self.gate(), admission)?;
        if limits.below_hard(self.in_flight()) {
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Counts one more request in flight unless `hard` are (0: no limit).
    #[inline]
    fn enter(&self, hard: u32) -> bool {
        if hard == 0 {
            self.in_flight.fetch_add(1, Ordering::SeqCst);
            return true;
        }
        // A compare-and-swap loop, not add-then-undo: the undo would refuse others a place that is free.
        let mut count = self.in_flight.load(Ordering::Relaxed);
        while count < hard {
            match self
                .in_flight
                .compare_exchange_weak(count, count + 1, Ordering::SeqCst, Ordering::Relaxed)
            {
                Ok(_) => return true,
                Err(found) => count = found,
            }
        }
        false
    }

    fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Release);
    }

    /// Gives the trial's place back, if the trial of that epoch is still on.
    fn end_trial(&self, epoch: u32) {
        let mut word = self.word();
        while word.epoch() == epoch && word.gate() == Gate::TrialBusy {
            match self.swap(word, word.with_gate(Gate::Trial)) {
                Ok(()) => return,
                Err(found) => word = found,
            }
        }
    }

    #[inline]
    fn word(&self) -> Word {
        Word::from_bits(self.ledger.load(Ordering::Relaxed))
    }

    fn swap(&self, from: Word, to: Word) -> Result<(), Word> {
        self.ledger
            .compare_exchange(from.bits(), to.bits(), Ordering::SeqCst, Ordering::Relaxed)
            .map(drop)
            .map_err(Word::from_bits)
    }

    fn record_latency(&self, latency: Duration, now: MonoTime) {
        let expectation = Expectation::from_bits(self.expectation.load(Ordering::Relaxed));
        if let Some(next) = expectation.after_response(latency, now) {
            self.expectation.store(next.bits(), Ordering::Relaxed);
        }
        let sample = u32::try_from(latency.as_nanos() / u128::from(LATENCY_UNIT_NANOS))
            .unwrap_or(u32::MAX)
            .max(1);
        let average = self.latency.load(Ordering::Relaxed);
        let next = if average == 0 {
            sample
        } else {
            // Seven eighths and one eighth, without overflow. Never 0, which stands for "none yet".
            (average - average / 8 + sample / 8).max(1)
        };
        // One sample lost to a race moves an average by nothing that matters, above as here; a loop would cost
        // every request.
        self.latency.store(next, Ordering::Relaxed);
    }

    #[cold]
    fn record_failure(&self, now: MonoTime) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let charge = |bits| Some(Expectation::from_bits(bits).after_failure(now).bits());
        // A closure that never declines, so it can't fail.
        let _ = self
            .expectation
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge);
    }
}

/// Whether the gate alone lets a request in.
#[inline]
const fn pass(gate: Gate, admission: Admission) -> Result<(), Refusal> {
    match (gate, admission) {
        (Gate::Open | Gate::Trial, _)
        | (Gate::Excluded, Admission::LastResort)
        | (Gate::Excluded | Gate::TrialBusy | Gate::Unhealthy, Admission::Panic) => Ok(()),
        (Gate::TrialBusy, _) => Err(Refusal::OnTrial),
        (Gate::Excluded | Gate::Unhealthy | Gate::Closed | Gate::Cut, _) => Err(Refusal::Shut),
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        f.debug_struct("Meter")
            .field("gate", &word.gate())
            .field("epoch", &word.epoch())
            .field("streak", &word.streak())
            .field("in_flight", &self.in_flight())
            .field("elsewhere", &self.elsewhere())
            .field("latency", &self.latency())
            .field("totals", &self.totals())
            .finish()
    }
}

#[cfg(all(test, edgeproxy_loom))]
mod models;
#[cfg(test)]
mod tests;
