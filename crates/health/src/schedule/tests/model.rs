//! Random operations against a shadow model that knows the rules and not the jitter.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Ticket;

#[derive(Clone, Debug)]
enum Step {
    Upsert(Choice),
    Remove(u64, Class),
    Replace(Vec<Choice>),
    /// To the next time-out, or for this long if there is none before.
    Pass(Duration),
    /// The n-th running probe ends, with this pace or without a result.
    End(usize, Option<Pace>),
}

#[derive(Clone, Copy, Debug)]
struct Choice {
    number: u64,
    class: Class,
    first: First,
    interval_secs: u32,
}

impl Choice {
    fn target(self) -> Target {
        let monitor = Monitor::tcp().with_interval(self.interval_secs * SECOND).unwrap();
        Target {
            class: self.class,
            first: self.first,
            monitor: Arc::new(monitor),
            ..target(self.number)
        }
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![4 => Just(Class::Monitor), 1 => Just(Class::Suspect)]
}

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![3 => Just(Pace::Settled), 1 => Just(Pace::Changing)]
}

fn choice() -> impl Strategy<Value = Choice> {
    let first = prop_oneof![Just(First::Spread), Just(First::AtOnce)];
    (
        1..12_u64,
        class(),
        first,
        prop_oneof![4 => Just(5_u32), 1 => Just(7_u32)],
    )
        .prop_map(|(number, class, first, interval_secs)| Choice {
            number,
            class,
            first,
            interval_secs,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => choice().prop_map(Step::Upsert),
        1 => (1..12_u64, class()).prop_map(|(number, class)| Step::Remove(number, class)),
        1 => prop::collection::vec(choice(), 0..12).prop_map(Step::Replace),
        10 => (0..3_000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        10 => (0..8_usize, prop::option::weighted(0.9, pace())).prop_map(|(n, pace)| Step::End(n, pace)),
    ]
}

/// The earliest and the latest moment at which a probe is due.
type Window = (MonoTime, MonoTime);

#[derive(Debug)]
struct Known {
    interval: Duration,
    pace: Pace,
    probe: Result<Ticket, Window>,
}

struct Model {
    schedule: Schedule,
    max: usize,
    now: MonoTime,
    known: BTreeMap<(u64, Class), Known>,
    running: Vec<(Ticket, (u64, Class), MonoTime)>,
}

impl Model {
    fn new(max: usize, seed: u64) -> Self {
        let config = Config {
            max_concurrent: NonZeroUsize::new(max).unwrap(),
            seed,
        };
        Self {
            schedule: Schedule::new(config),
            max,
            now: MonoTime::ZERO,
            known: BTreeMap::new(),
            running: Vec::new(),
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Upsert(choice) => {
                self.schedule.upsert(choice.target(), self.now);
                let cancelled: Vec<_> = self.learn(choice).into_iter().collect();
                self.expect_cancels(cancelled);
            }
            Step::Remove(number, class) => {
                let was_known = self
                    .schedule
                    .remove(Incarnation::new(number).unwrap(), class, self.now);
                let known = self.known.remove(&(number, class));
                assert_eq!(was_known, known.is_some());
                self.expect_cancels(known.and_then(|known| known.probe.ok()).into_iter().collect());
            }
            Step::Replace(choices) => {
                let targets = choices.iter().map(|choice| choice.target()).collect();
                self.schedule.replace(targets, self.now);
                let wanted: BTreeMap<_, _> = choices
                    .into_iter()
                    .map(|choice| ((choice.number, choice.class), choice))
                    .collect();
                let gone = self.known.extract_if(.., |key, _| !wanted.contains_key(key));
                let mut cancelled: Vec<_> = gone.filter_map(|(_, known)| known.probe.ok()).collect();
                cancelled.extend(wanted.into_values().filter_map(|choice| self.learn(choice)));
                self.expect_cancels(cancelled);
            }
            Step::Pass(duration) => {
                let until = self.now + duration;
                let next = self.schedule.poll_timeout().unwrap_or(until);
                self.now = self.now.max(until.min(next));
                self.schedule.handle_timeout(self.now);
            }
            Step::End(n, pace) => self.end(n, pace),
        }
        self.take_probes();
        self.check();
    }

    /// What an upsert changes; the ticket that it cancels.
    fn learn(&mut self, choice: Choice) -> Option<Ticket> {
        let key = (choice.number, choice.class);
        let interval = choice.interval_secs * SECOND;
        if self
            .known
            .get(&key)
            .is_some_and(|known| known.interval == interval)
        {
            return None;
        }
        let at_once = choice.class == Class::Suspect || choice.first == First::AtOnce;
        let latest = if at_once { self.now } else { self.now + interval };
        let known = Known {
            interval,
            pace: Pace::Settled,
            probe: Err((self.now, latest)),
        };
        self.known.insert(key, known)?.probe.ok()
    }

    fn expect_cancels(&mut self, mut expected: Vec<Ticket>) {
        let mut found: Vec<_> = std::iter::from_fn(|| self.schedule.poll_cancel()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    fn end(&mut self, n: usize, pace: Option<Pace>) {
        if self.running.is_empty() {
            return;
        }
        let (ticket, key, started) = self.running.remove(n % self.running.len());
        let live = self.known.get_mut(&key).filter(|known| known.probe == Ok(ticket));
        let mut heard = None;
        match pace {
            Some(pace) => {
                let verdict = self.schedule.handle_result(ticket, self.now, |target| {
                    heard = Some((target.incarnation.get(), target.class));
                    pace
                });
                assert_eq!(verdict == Verdict::Counted, live.is_some());
                assert_eq!(
                    heard,
                    live.is_some().then_some(key),
                    "only a live target is reported"
                );
            }
            None => self.schedule.handle_aborted(ticket, self.now),
        }
        if let Some(known) = live {
            known.pace = pace.unwrap_or(known.pace);
            let quick = key.1 == Class::Suspect || known.pace == Pace::Changing;
            let interval = if quick { known.interval / 5 } else { known.interval };
            let window = (started + interval * 9 / 10, started + interval * 11 / 10);
            known.probe = Err((window.0.max(self.now), window.1.max(self.now)));
        }
    }

    fn take_probes(&mut self) {
        while let Some(start) = self.schedule.poll_probe() {
            let key = (start.target.incarnation.get(), start.target.class);
            let Some(&Known {
                probe: Err((earliest, latest)),
                ..
            }) = self.known.get(&key)
            else {
                panic!("{key:?} is gone, or is being probed");
            };
            assert!(self.now >= earliest, "{key:?} is not due before {earliest:?}");
            for (other, known) in &self.known {
                let overtaken = known
                    .probe
                    .is_err_and(|(_, other_latest)| other_latest < earliest);
                assert!(
                    !overtaken,
                    "{other:?} has been overdue for longer than {key:?}, due by {latest:?}"
                );
            }
            self.known.get_mut(&key).unwrap().probe = Ok(start.ticket);
            self.running.push((start.ticket, key, self.now));
        }
    }

    fn check(&self) {
        assert!(self.running.len() <= self.max);
        assert_eq!(self.schedule.running(), self.running.len());
        assert_eq!(self.schedule.len(), self.known.len());
        let saturated = self.running.len() == self.max;
        let wake = self.schedule.poll_timeout();
        let waiting: Vec<Window> = self
            .known
            .values()
            .filter_map(|known| known.probe.err())
            .collect();
        if saturated || waiting.is_empty() {
            assert_eq!(wake, None);
            return;
        }
        // Whoever is due has been started, and nobody's latest moment is slept through.
        let wake = wake.unwrap();
        assert!(wake > self.now);
        assert!(
            waiting.iter().all(|(_, latest)| wake <= *latest),
            "{wake:?} {waiting:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_steps_agree_with_the_model(
        max in 1..6_usize,
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut model = Model::new(max, seed);
        for step in steps {
            model.apply(step);
        }
    }

    #[test]
    fn nobody_starves_under_saturation(
        max in 1..4_usize,
        count in 1..30_u64,
        seed in any::<u64>(),
        paces in prop::collection::vec(pace(), 1..20),
    ) {
        // Every probe takes two seconds and every target wants one a second or so: far too much.
        let config = Config { max_concurrent: NonZeroUsize::new(max).unwrap(), seed };
        let mut schedule = Schedule::new(config);
        for number in 1..=count {
            let monitor = Monitor::tcp().with_interval(SECOND).unwrap();
            schedule.upsert(Target { monitor: Arc::new(monitor), ..target(number) }, MonoTime::ZERO);
        }
        let mut probes = BTreeMap::new();
        let mut now = MonoTime::ZERO;
        let rounds = 200;
        for round in 0..rounds {
            now = now + 2 * SECOND;
            schedule.handle_timeout(now);
            for start in starts(&mut schedule) {
                *probes.entry(start.target.incarnation.get()).or_insert(0_u64) += 1;
                let pace = paces[round % paces.len()];
                schedule.handle_result(start.ticket, now + 2 * SECOND, |_| pace);
            }
        }
        let share = (u64::try_from(rounds * max).unwrap() / count).min(u64::try_from(rounds).unwrap());
        for number in 1..=count {
            let got = probes.get(&number).copied().unwrap_or(0);
            prop_assert!(got + 3 >= share, "target {number} got {got} of {share}");
        }
    }
}
