use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

const REVOLUTION: u64 = SLOTS as u64;

fn fired(wheel: &mut Wheel<u32>, now: u64) -> Vec<u32> {
    let mut fired = Vec::new();
    wheel.advance(now, |payload| fired.push(*payload));
    fired.sort_unstable();
    fired
}

#[test]
fn an_entry_with_a_waker_and_a_flag_takes_48_bytes() {
    // What the slab adds to tell it from a gap finds room in the flag.
    #[expect(dead_code, reason = "only its size counts")]
    enum InSlab {
        Vacant(usize),
        Occupied(Entry<(Option<std::task::Waker>, bool)>),
    }
    assert!(size_of::<InSlab>() <= 48);
}

#[test]
fn an_entry_fires_at_its_tick_and_once() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert!(wheel.arm(key, 100));
    assert_eq!(fired(&mut wheel, 99), []);
    assert_eq!(fired(&mut wheel, 100), [7]);
    assert_eq!(fired(&mut wheel, 100 + REVOLUTION), []);
    assert_eq!(wheel.next_wake(), None);
}

#[test]
fn what_is_put_off_stays_where_it_is_filed_until_its_slot_comes_up() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert!(wheel.arm(key, 100));
    assert_eq!(wheel.next_wake(), Some(100));
    assert!(!wheel.arm(key, 300));
    assert_eq!(wheel.next_wake(), Some(100));
    assert_eq!(fired(&mut wheel, 100), []);
    assert_eq!(wheel.next_wake(), Some(300));
    assert_eq!(fired(&mut wheel, 300), [7]);
}

#[test]
fn what_is_brought_forward_moves_at_once_and_the_driver_is_told() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert!(wheel.arm(key, 300));
    assert_eq!(wheel.next_wake(), Some(300));
    assert!(wheel.arm(key, 100));
    assert_eq!(wheel.next_wake(), Some(100));
    assert_eq!(fired(&mut wheel, 100), [7]);
}

#[test]
fn a_driver_that_sleeps_for_good_is_told_of_what_is_armed_again_although_it_is_filed() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert!(wheel.arm(key, 100));
    wheel.disarm(key);
    assert_eq!(wheel.next_wake(), None);
    assert!(wheel.arm(key, 200));
    assert_eq!(wheel.next_wake(), Some(100));
}

#[test]
fn a_distant_deadline_is_looked_at_once_in_a_revolution() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert!(wheel.arm(key, 3 * REVOLUTION + 5));
    let mut wakes = Vec::new();
    while let Some(tick) = wheel.next_wake() {
        wakes.push(tick);
        wheel.advance(tick, |_| {});
    }
    assert_eq!(
        wakes,
        [REVOLUTION, 2 * REVOLUTION, 3 * REVOLUTION, 3 * REVOLUTION + 5]
    );
}

#[test]
fn time_does_not_go_back_and_the_past_is_due_at_the_next_tick() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert_eq!(fired(&mut wheel, 1_000), []);
    assert!(wheel.arm(key, 10));
    assert_eq!(wheel.next_wake(), Some(1_001));
    assert_eq!(fired(&mut wheel, 10), []);
    assert_eq!(fired(&mut wheel, 1_001), [7]);
}

#[test]
fn a_key_that_names_nothing_does_nothing() {
    let mut wheel = Wheel::new();
    let key = wheel.insert(7);
    assert_eq!(wheel.remove(key), Some(7));
    assert_eq!(wheel.remove(key), None);
    assert!(!wheel.arm(key, 1));
    wheel.disarm(key);
    assert_eq!(wheel.get(key), None);
    assert_eq!(wheel.next_wake(), None);
}

#[derive(Clone, Debug)]
enum Step {
    Insert,
    /// Which entry, and how far from now; may lie in the past.
    Arm(usize, i64),
    Disarm(usize),
    Remove(usize),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let entry = 0_usize..40;
    let distance = prop_oneof![
        4 => -3_i64..40,
        3 => 0..2_000_i64,
        1 => (0..4_i64).prop_map(|turns| turns * 512),
        1 => Just(i64::MAX),
    ];
    let time = prop_oneof![
        8 => 0_u64..4,
        3 => 0_u64..100,
        2 => near(0..3),
        1 => 0_u64..20_000,
    ];
    prop_oneof![
        2 => Just(Step::Insert),
        8 => (entry.clone(), distance).prop_map(|(entry, distance)| Step::Arm(entry, distance)),
        2 => entry.clone().prop_map(Step::Disarm),
        1 => entry.prop_map(Step::Remove),
        6 => time.prop_map(Step::Pass),
    ]
}

/// About so many revolutions.
fn near(turns: Range<u64>) -> impl Strategy<Value = u64> {
    (turns, -2_i64..3).prop_map(|(turns, off)| (turns * REVOLUTION).saturating_add_signed(off))
}

/// What the wheel should hold: the deadlines of its entries, by payload.
#[derive(Default)]
struct Model {
    /// Each with the tick that it was armed in.
    dues: BTreeMap<u32, (u64, u64)>,
    keys: Vec<(u32, Key)>,
    inserted: u32,
}

impl Model {
    fn nth(&self, n: usize) -> Option<(u32, Key)> {
        (!self.keys.is_empty()).then(|| self.keys[n % self.keys.len()])
    }

    /// All but the passing of time. Whether the driver must be woken.
    fn apply(&mut self, wheel: &mut Wheel<u32>, step: &Step, now: u64) -> bool {
        match *step {
            Step::Insert => {
                self.inserted += 1;
                self.keys.push((self.inserted, wheel.insert(self.inserted)));
            }
            Step::Arm(n, distance) => {
                if let Some((payload, key)) = self.nth(n) {
                    let due = now.saturating_add_signed(distance);
                    self.dues.insert(payload, (due, now));
                    return wheel.arm(key, due);
                }
            }
            Step::Disarm(n) => {
                if let Some((payload, key)) = self.nth(n) {
                    self.dues.remove(&payload);
                    wheel.disarm(key);
                }
            }
            Step::Remove(n) => {
                if let Some((payload, key)) = self.nth(n) {
                    self.dues.remove(&payload);
                    self.keys.retain(|(other, _)| *other != payload);
                    assert_eq!(wheel.remove(key), Some(payload));
                }
            }
            Step::Pass(_) => {}
        }
        false
    }

    fn take(&mut self, due: impl Fn(u64, u64) -> bool) -> Vec<u32> {
        let taken: Vec<_> = self
            .dues
            .iter()
            .filter(|(_, (at, armed))| due(*at, *armed))
            .map(|(payload, _)| *payload)
            .collect();
        self.dues.retain(|_, (at, armed)| !due(*at, *armed));
        taken
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whenever time passes, exactly what is due fires; and there is always a wake-up early enough.
    #[test]
    fn what_fires_is_what_is_due(steps in proptest::collection::vec(step(), 1..1_000)) {
        let (mut wheel, mut model, mut now) = (Wheel::new(), Model::default(), 0);
        for step in steps {
            model.apply(&mut wheel, &step, now);
            if let Step::Pass(time) = step {
                now += time;
                let due = model.take(|at, armed| at.max(armed + 1) <= now);
                prop_assert_eq!(fired(&mut wheel, now), due);
            }
            let next = wheel.next_wake();
            match model.dues.values().map(|(at, armed)| (*at).max(armed + 1)).min() {
                None => prop_assert_eq!(next, None),
                Some(first) => prop_assert!(next.is_some_and(|next| now < next && next <= first)),
            }
            prop_assert_eq!(wheel.payloads().count(), model.keys.len());
        }
    }

    /// A driver that sleeps for as long as the wheel allows lets nothing fire early, nor more than a tick
    /// late, and looks at nothing while nothing is armed.
    #[test]
    fn a_driver_that_sleeps_as_long_as_it_may_is_in_time(steps in proptest::collection::vec(step(), 1..1_000)) {
        let (mut wheel, mut model, mut now) = (Wheel::new(), Model::default(), 0_u64);
        let mut alarm = wheel.next_wake();
        for step in steps {
            let until = now + if let Step::Pass(time) = step { time } else { 0 };
            let mut look = model.apply(&mut wheel, &step, now);
            while look || alarm.is_some_and(|tick| tick <= until) {
                if !look {
                    prop_assert!(!model.dues.is_empty() || alarm.is_some_and(|tick| tick <= now + REVOLUTION));
                    now = now.max(alarm.unwrap());
                }
                let fired = fired(&mut wheel, now);
                for payload in fired {
                    let (at, armed) = model.dues.remove(&payload).unwrap();
                    prop_assert!(at <= now && now <= at.max(armed) + 1, "{at} {armed} {now}");
                }
                alarm = wheel.next_wake();
                look = false;
            }
            now = until;
            prop_assert!(model.dues.values().all(|(at, armed)| at.max(armed) + 1 > now));
        }
    }
}
