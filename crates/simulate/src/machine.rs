mod laid_over;

use std::collections::VecDeque;

use crate::fleet::{Action, Machine, micros};
use crate::random::Random;
use crate::timeline::{Attempt, Outcome};
use laid_over::LaidOver;

/// Whether a backend answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    Up,
    /// Its port is closed.
    Off,
    Hung,
    Unreachable,
}

/// A backend at work.
pub(crate) struct Worker {
    pub(crate) spec: Machine,
    pub(crate) power: Power,
    /// Counts its ends: whatever it was at work at is lost with each.
    pub(crate) life: u32,
    /// When it started; `None`: long before the simulation began.
    pub(crate) started: Option<u64>,
    slowness: f64,
    errors_per_100k: u32,
    resets_per_100k: u32,
    pub(crate) laid_over: LaidOver,
    /// Whether it wants to be a member.
    pub(crate) is_member: bool,
    pub(crate) is_silent: bool,
    /// Which series of heartbeats goes on.
    pub(crate) series: u32,
    busy: u32,
    waiting: VecDeque<Attempt>,
    random: Random,
}

impl Worker {
    pub(crate) fn new(spec: Machine, random: Random) -> Self {
        Self {
            power: if spec.is_there { Power::Up } else { Power::Off },
            life: 0,
            started: None,
            slowness: 1.0,
            errors_per_100k: spec.errors_per_100k,
            resets_per_100k: spec.resets_per_100k,
            laid_over: LaidOver::default(),
            is_member: spec.is_there,
            is_silent: false,
            series: 0,
            busy: 0,
            waiting: VecDeque::new(),
            random,
            spec,
        }
    }

    /// It behaves as what is laid over it has it, of that kind.
    pub(crate) fn behave(&mut self, kind: Action) {
        let latest = self.laid_over.latest(kind);
        match (kind, latest) {
            (_, Some(Action::Slow(factor))) => self.slowness = factor,
            (_, Some(Action::Errors(share))) => self.errors_per_100k = share,
            (_, Some(Action::Resets(share))) => self.resets_per_100k = share,
            (Action::Slow(_), _) => self.slowness = 1.0,
            (Action::Errors(_), _) => self.errors_per_100k = self.spec.errors_per_100k,
            (Action::Resets(_), _) => self.resets_per_100k = self.spec.resets_per_100k,
            (Action::Silent, latest) => self.is_silent = latest.is_some(),
            _ => {}
        }
    }

    /// What it is at work at is lost.
    pub(crate) fn lose(&mut self, power: Power) {
        self.power = power;
        self.life += 1;
        self.busy = 0;
        self.waiting.clear();
    }

    /// How long it works at a request, in microseconds, and what comes of it.
    pub(crate) fn work(&mut self, now: u64) -> (u64, Outcome) {
        let micros = self.spec.latency.draw(self.factor(now), &mut self.random);
        let outcome = if self.random.per_100k(self.resets_per_100k) {
            Outcome::Reset
        } else if self.random.per_100k(self.errors_per_100k) {
            Outcome::Error
        } else {
            Outcome::Answered
        };
        (micros, outcome)
    }

    fn factor(&self, now: u64) -> f64 {
        let warm_up = self.spec.warm_up.filter(|(long, _)| !long.is_zero());
        let (Some((long, slower)), Some(started)) = (warm_up, self.started) else {
            return self.slowness;
        };
        let part = (now.saturating_sub(started) as f64 / micros(long) as f64).min(1.0);
        self.slowness * (slower + (1.0 - slower) * part)
    }

    /// A request has come. Whether it is worked at at once.
    pub(crate) fn take(&mut self, attempt: Attempt) -> bool {
        if self.busy < self.spec.parallel {
            self.busy += 1;
            return true;
        }
        self.waiting.push_back(attempt);
        false
    }

    /// One has been worked at. The next.
    pub(crate) fn next(&mut self) -> Option<Attempt> {
        let next = self.waiting.pop_front();
        if next.is_none() {
            self.busy = self.busy.saturating_sub(1);
        }
        next
    }
}
