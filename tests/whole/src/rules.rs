//! What must hold of each pick, each outcome and each event. Nothing here asks the product what it thinks, where the
//! world knows better.

use edgeproxy_backend::{Gate, InFlight, Incarnation};
use edgeproxy_registry::{EventKind, State};

use crate::request::Outcome;
use crate::trace::{B, By, P};
use crate::world::{Keeps, Phase, World};
use crate::{Rule, Violation};

/// One life of a backend at one process, as the world has seen it fare there.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) since: u64,
    /// Since when a request has found it excluded by its registry.
    unfit_since: Option<u64>,
    pub(crate) is_gone: bool,
    /// Failures in a row of requests that began since it was last admitted.
    streak: u32,
    well_since: u64,
    /// When it last had another gate, which, and its failures then.
    before: Option<(u64, u8, u32, u64)>,
    /// Since when it must get nothing, by its failures.
    out: Option<Out>,
    /// How often an ejection had been refused when it last failed.
    refused: u64,
    /// It has failed often enough.
    may_be_ejected: bool,
    has_failed_trial: bool,
    /// So has the trial of an ejection that is yet to be told: everybody was asleep in between.
    has_failed_untold: bool,
    /// It has been ejected, and has not been on trial since.
    is_ejected: bool,
    trial_since: Option<u64>,
    pub(crate) in_flight: u32,
    in_trial: u32,
    probe_failed: Option<u64>,
    probe_passed: Option<u64>,
    /// Requests since everything is still.
    pub(crate) picked: u32,
}

#[derive(Clone, Copy, Debug)]
struct Out {
    since: u64,
    /// How often an ejection had been refused by then.
    refused: u64,
}

impl View {
    /// Another gate: the failures before count no more. Where the one before follows in the same instant it was never
    /// another.
    fn begin_anew(&mut self, gate_now: u8, now: u64) {
        let before = (now, gate(self.state), self.streak, self.well_since);
        match self.before.replace(before) {
            Some((at, gate_before, streak, well_since)) if at == now && gate_before == gate_now => {
                (self.streak, self.well_since) = (streak, well_since);
            }
            _ => (self.streak, self.well_since) = (0, now),
        }
        self.out = None;
    }

    const fn new(state: State, now: u64) -> Self {
        Self {
            before: None,
            state,
            since: now,
            unfit_since: None,
            is_gone: false,
            streak: 0,
            well_since: now,
            out: None,
            refused: 0,
            may_be_ejected: false,
            has_failed_trial: false,
            has_failed_untold: false,
            is_ejected: false,
            trial_since: None,
            in_flight: 0,
            in_trial: 0,
            probe_failed: None,
            probe_passed: None,
            picked: 0,
        }
    }
}

/// The gate that a state has: with another one the failures before count no more.
const fn gate(state: State) -> u8 {
    match state {
        State::Routable | State::Suspect => 0,
        State::Trial => 1,
        State::Ejected => 2,
        State::Unhealthy => 3,
        State::Draining | State::Disabled => 4,
    }
}

/// For a table to follow what was decided: it does in the same instant, give or take the clock's granularity.
const AT_ONCE: u64 = 5;
/// For a change to be everywhere, as the specification has it.
pub(crate) const SPREAD: u64 = 1_000;
/// How much longer that takes where the store has been out of reach: until it is tried again.
pub(crate) const CATCH_UP: u64 = 6_000;
/// And until what has changed there meanwhile has been read.
const READ: u64 = 500;
/// A TCP probe of one in doubt: its time-out, and the pause between two.
const DOUBT: u64 = 12_000;
/// A lease is looked at that often.
pub(crate) const TICK: u64 = 1_500;
/// The first ejection, with its jitter.
const EJECTION_MIN: u64 = 3_600;

impl World {
    pub(crate) fn violate(&mut self, rule: Rule, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                seed: self.seed,
                mix: self.mix,
                at: self.now,
                rule,
                what,
                trace: self.trace.to_string(),
            });
        }
    }

    pub(crate) fn check_pick(
        &mut self,
        proxy: P,
        place: &InFlight,
        (machine, life): (B, Incarnation),
        by: By,
        tried: &[Incarnation],
    ) {
        let now = self.now;
        let Some(process) = self.running(proxy) else {
            return;
        };
        let (began, refused) = (process.began, process.handle.stats().ejections_refused);
        let status = process.handle.get(self.id(machine));
        let here = status.filter(|status| status.endpoint.incarnation == life);
        let state = here.as_ref().map(|status| status.state);
        let is_last_resort = by == By::LastResort;
        let others = self.others(proxy, life, tried);
        let hard = self.machines[machine.0].backend.limits.hard();
        let meter = std::sync::Arc::clone(&place.endpoint().meter);
        let known = &mut self.proxies[proxy.0];
        known.meters.entry(life).or_insert(meter);
        let view = known
            .views
            .entry(life)
            .or_insert_with(|| View::new(state.unwrap_or(State::Routable), now));
        let mut broken = Vec::new();
        view.in_flight += 1;
        view.picked += u32::from(self.phase == Phase::Still);
        if view.in_flight > hard {
            broken.push((
                Rule::HardLimit,
                format!(
                    "it has {} requests of {proxy:?} in flight, and takes {hard}",
                    view.in_flight
                ),
            ));
        }
        let may =
            state.is_some_and(State::takes_traffic) || (is_last_resort && state == Some(State::Ejected));
        let unfit_since = (!may).then(|| view.unfit_since.unwrap_or(now));
        view.unfit_since = unfit_since;
        if unfit_since.is_some_and(|since| since + AT_ONCE < now) {
            broken.push((Rule::Excluded, format!("{proxy:?} itself has it as {state:?}")));
        }
        if is_last_resort && others > 0 {
            broken.push((
                Rule::Ejected,
                format!("it is a last resort, and {others} others are there"),
            ));
        }
        if let Some(out) = view.out
            && !is_last_resort
        {
            let may_be_tried = place.is_trial()
                && (now >= out.since + EJECTION_MIN || view.probe_passed.is_some_and(|at| at >= out.since));
            if out.refused != refused || may_be_tried {
                view.out = None;
            } else {
                broken.push((
                    Rule::Ejected,
                    format!("{} requests in a row had failed at {} ms", view.streak, out.since),
                ));
            }
        }
        if view.trial_since.is_some() && !is_last_resort {
            view.in_trial += 1;
            if view.in_trial > 1 {
                broken.push((
                    Rule::Trial,
                    format!("{} requests are under way in its trial", view.in_trial),
                ));
            }
        }
        broken.extend(self.check_truth(proxy, began, (machine, life)));
        broken.extend(self.check_shares(life, hard));
        for (rule, what) in broken {
            self.violate(
                rule,
                format!("{proxy:?} sends a request to {machine:?} {life:?}: {what}"),
            );
        }
    }

    /// Proxies that go by their shares of a limit keep it together, once they have known of each other for a while.
    fn check_shares(&self, life: Incarnation, hard: u32) -> Option<(Rule, String)> {
        let known_for = CATCH_UP + SPREAD + 2 * self.latency;
        let know_each_other = self.proxies.iter().all(|proxy| {
            proxy
                .current_since
                .is_some_and(|since| since + known_for < self.now)
        });
        if !self.plan.shares_limits || !know_each_other {
            return None;
        }
        let views = self.proxies.iter().filter_map(|proxy| proxy.views.get(&life));
        let sum: u32 = views.map(|view| view.in_flight).sum();
        // Each has one at the least.
        let most = hard.max(u32::try_from(self.proxies.len()).unwrap_or(u32::MAX));
        (sum > most).then(|| {
            let what = format!("all proxies have {sum} in flight, and together may have {most}");
            (Rule::HardLimit, what)
        })
    }

    /// What is so, whatever the proxy knows of it.
    fn check_truth(&self, proxy: P, began: u64, (machine, life): (B, Incarnation)) -> Option<(Rule, String)> {
        let now = self.now;
        let truth = &self.machines[machine.0].truth;
        let current = self.proxies[proxy.0].current_since;
        let is_late = |at: u64, by: P, is_kept: bool| {
            if by == proxy && began <= at {
                return now > at + AT_ONCE;
            }
            let catches_up = |since: u64| if since > at { since + READ } else { at };
            let known = current.map(|since| catches_up(since) + SPREAD + 2 * self.latency);
            is_kept && known.is_some_and(|known| now > known)
        };
        if let Some(ended) = truth.end_of(life)
            && is_late(ended.at, ended.by, ended.is_kept)
        {
            let what = format!("it was deregistered at {} ms by {:?}", ended.at, ended.by);
            return Some((Rule::Draining, what));
        }
        if let Some((at, by, is_kept)) = truth.disabled
            && !truth.is_switched
            && is_late(at, by, is_kept)
        {
            let what = format!("an operator switched it off at {at} ms by {by:?}");
            return Some((Rule::Draining, what));
        }
        let until = self.must_be_gone(proxy, machine)?;
        (now > until).then(|| {
            let what = format!("it is dead and silent, and had to be gone at {until} ms");
            (Rule::Expired, what)
        })
    }

    /// When the last proxy has to have forgotten one that is dead; `None` as long as that can't be said.
    pub(crate) fn must_be_gone(&self, proxy: P, machine: B) -> Option<u64> {
        let truth = &self.machines[machine.0].truth;
        let dead = truth.dead_since?;
        let here = &self.proxies[proxy.0];
        let since = dead
            .max(truth.heard_by[proxy.0])
            .max(here.awake_since)
            .max(self.woke_at);
        if self.proxies.len() == 1 {
            if matches!(self.keeps, Keeps::Hub(_)) {
                here.current_since?;
            }
            let since = since.max(here.current_since.unwrap_or(0));
            let is_undisturbed = self.disturbed_at + 2 * self.ttl < dead;
            let doubt = if is_undisturbed { 0 } else { DOUBT };
            return Some(since + self.ttl + TICK + doubt + 2 * self.latency);
        }
        // As for `Cluster`: three times its lease, twice a proxy's membership, and what is in between.
        let mut since = since;
        for (at, other) in self.proxies.iter().enumerate() {
            since = since
                .max(other.current_since?)
                .max(other.awake_since)
                .max(truth.heard_by[at]);
        }
        Some(since + 3 * self.ttl + 30_000 + 2 * self.latency)
    }

    /// Others that a request could go to: in the table, and with an open gate.
    fn others(&self, proxy: P, life: Incarnation, tried: &[Incarnation]) -> usize {
        let Some(process) = self.running(proxy) else {
            return 0;
        };
        let desk = process.desk.borrow();
        let members = desk.latest.iter().flat_map(|app| &app.members);
        members
            .filter(|member| {
                let endpoint = &member.endpoint;
                endpoint.incarnation != life
                    && !tried.contains(&endpoint.incarnation)
                    && member.state.takes_traffic()
                    && endpoint.meter.gate() == Gate::Open
            })
            .count()
    }

    /// A place was given back.
    pub(crate) fn gave_back(&mut self, proxy: P, life: Incarnation, began: u64) {
        if let Some(view) = self.proxies[proxy.0].views.get_mut(&life) {
            view.in_flight = view.in_flight.saturating_sub(1);
            if view.trial_since.is_some_and(|since| began >= since) {
                view.in_trial = view.in_trial.saturating_sub(1);
            }
        }
    }

    pub(crate) fn check_outcome(
        &mut self,
        proxy: P,
        (machine, life): (B, Incarnation),
        (began, is_trial): (u64, bool),
        outcome: Outcome,
    ) {
        self.gave_back(proxy, life, began);
        let others = self.others(proxy, life, &[]);
        let refused = self
            .running(proxy)
            .map_or(0, |process| process.handle.stats().ejections_refused);
        let max_failures = self.plan.registry.app.max_failures;
        let now = self.now;
        let phase = self.phase;
        let decided = self.decided(proxy, (machine, life));
        let Some(view) = self.proxies[proxy.0].views.get_mut(&life) else {
            return;
        };
        if outcome == Outcome::Answered {
            if began >= view.well_since && view.out.is_none() {
                view.streak = 0;
            }
            return;
        }
        if phase == Phase::Still {
            self.violate(
                Rule::Returns,
                format!("a request of {proxy:?} to {life:?} ended as {outcome:?}, though all is well"),
            );
            return;
        }
        // Only what had failed often enough can be on trial already.
        view.has_failed_untold |= is_trial && view.may_be_ejected;
        // Its registry has decided something in this instant that is yet to be told.
        let is_decided = decided.is_none_or(|state| gate(state) != gate(view.state));
        if began < view.well_since || view.out.is_some() || is_decided {
            return;
        }
        // Somebody has been kept for being the last, perhaps this one, whose failures begin anew then.
        if std::mem::replace(&mut view.refused, refused) != refused {
            (view.streak, view.well_since) = (0, now);
            // Or it was another.
            view.may_be_ejected = true;
            return;
        }
        view.streak += 1;
        if view.trial_since.is_some_and(|since| began >= since) {
            // By the next event, or before, it is over.
            view.trial_since = None;
            view.has_failed_trial = true;
        } else if view.streak >= max_failures && gate(view.state) == gate(State::Routable) {
            // Whoever is nearly the last may be kept, and begins anew.
            view.out = (others >= 2).then_some(Out { since: now, refused });
            view.may_be_ejected = true;
            if others < 2 {
                (view.streak, view.well_since) = (0, now);
            }
        }
    }

    /// What the registry of a process has made of a life.
    fn decided(&self, proxy: P, (machine, life): (B, Incarnation)) -> Option<State> {
        let status = self.running(proxy)?.handle.get(self.id(machine))?;
        (status.endpoint.incarnation == life).then_some(status.state)
    }

    /// The registry of a process says that something has happened.
    pub(crate) fn check_event(
        &mut self,
        proxy: P,
        (machine, life): (B, Incarnation),
        kind: EventKind,
        state: State,
    ) {
        let now = self.now;
        let is_still = self.phase >= Phase::Still;
        let view = self.proxies[proxy.0]
            .views
            .entry(life)
            .or_insert_with(|| View::new(state, now));
        let mut broken = None;
        match kind {
            EventKind::Ejected => {
                let has_failed = view.may_be_ejected || view.has_failed_trial;
                (view.may_be_ejected, view.has_failed_trial) = (false, false);
                if !has_failed && !view.is_ejected {
                    let what = format!("ejected after {} failures in a row", view.streak);
                    broken = Some((Rule::Ejected, what));
                }
            }
            EventKind::TrialStarted => {
                let is_early = view.out.is_some_and(|out| {
                    now < out.since + EJECTION_MIN && view.probe_passed.is_none_or(|at| at < out.since)
                });
                if is_early {
                    broken = Some((Rule::Ejected, "on trial before its time".to_owned()));
                }
            }
            EventKind::Unhealthy if view.probe_failed.is_none() => {
                broken = Some((Rule::Flapping, "unhealthy, and no probe has failed".to_owned()));
            }
            _ => {}
        }
        if gate(view.state) != gate(state) && kind != EventKind::Ejected {
            view.begin_anew(gate(state), now);
        }
        view.is_ejected = match state {
            State::Ejected => true,
            State::Routable | State::Suspect | State::Trial => false,
            State::Unhealthy | State::Draining | State::Disabled => {
                view.is_ejected && kind != EventKind::TrialStarted
            }
        };
        if state != State::Trial {
            view.trial_since = None;
        } else if view.state != State::Trial || kind == EventKind::TrialStarted {
            view.trial_since = Some(now);
            view.in_trial = 0;
            view.has_failed_trial = std::mem::take(&mut view.has_failed_untold);
        }
        view.is_gone |= kind.is_last();
        if view.state != state || kind.is_last() {
            view.since = now;
        }
        view.state = state;
        if is_still && kind != EventKind::Renewed {
            broken = Some((
                Rule::Flapping,
                format!("{kind:?}, though all has been well for long"),
            ));
        }
        if kind == EventKind::Expired && self.proxies.len() == 1 {
            broken = broken.or_else(|| self.check_expiry(proxy, machine));
        }
        if let Some((rule, what)) = broken {
            self.violate(rule, format!("{machine:?} {life:?} at {proxy:?}: {what}"));
        }
    }

    /// Alone, a proxy knows when it has heard whom.
    fn check_expiry(&self, proxy: P, machine: B) -> Option<(Rule, String)> {
        let truth = &self.machines[machine.0].truth;
        let (heard, before) = (truth.heard_by[proxy.0], truth.heard_before[proxy.0]);
        let silent = self.now.saturating_sub(heard);
        // Its end may have been in the store when it was heard again, too late.
        let was_late = heard >= before + self.ttl && silent <= AT_ONCE + 2 * self.latency;
        // A lease begins before its registration is acknowledged.
        let is_early = silent + AT_ONCE + 2 * self.latency < self.ttl;
        (is_early && heard > 0 && !was_late).then(|| {
            let what = format!(
                "expired {silent} ms after it was heard, with a lease of {} ms",
                self.ttl
            );
            (Rule::Expired, what)
        })
    }

    pub(crate) fn note_probe(&mut self, proxy: P, (_, life): (B, Incarnation), passed: bool) {
        let now = self.now;
        let view = self.proxies[proxy.0]
            .views
            .entry(life)
            .or_insert_with(|| View::new(State::Routable, now));
        let at = if passed {
            &mut view.probe_passed
        } else {
            &mut view.probe_failed
        };
        *at = Some(now);
    }

    /// Everybody is said to be full.
    pub(crate) fn check_full(&mut self, proxy: P) {
        if self.phase == Phase::Still && self.burst_until < self.now {
            self.violate(
                Rule::Returns,
                format!("{proxy:?} has no room, though all is well"),
            );
        }
    }

    /// Nobody is there.
    pub(crate) fn check_nobody(&mut self, proxy: P, tried: &[Incarnation]) {
        self.summary.nobody += 1;
        if self.phase == Phase::Still {
            self.violate(Rule::Returns, format!("{proxy:?} has nobody, though all is well"));
        } else if tried.is_empty() {
            let others = self.proxies[proxy.0]
                .process
                .as_ref()
                .and_then(|process| process.desk.borrow().latest.clone());
            let open = others.iter().flat_map(|app| &app.members).filter(|member| {
                member.state == State::Routable && member.endpoint.meter.gate() == Gate::Open
            });
            let open = open.count();
            if open > 0 {
                self.violate(
                    Rule::Returns,
                    format!("{proxy:?} has nobody, and {open} are routable"),
                );
            }
        }
    }
}
