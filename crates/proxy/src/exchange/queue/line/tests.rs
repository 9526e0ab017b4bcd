use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const MAX: usize = 20;

fn poll(line: &mut Line<u32>, key: Key, id: u32) -> bool {
    line.take_turn(key, |wake| *wake = Some(id))
}

/// A line of so many, all asleep: the turn of the first has found no room.
fn asleep(count: u32) -> (Line<u32>, Vec<Key>) {
    let mut line = Line::new();
    let keys: Vec<_> = (0..count).map(|_| line.join(MAX).unwrap()).collect();
    for (id, key) in (0..).zip(&keys) {
        assert_eq!(poll(&mut line, *key, id), id == 0);
    }
    if let Some(first) = keys.first() {
        assert!(!poll(&mut line, *first, 0));
    }
    (line, keys)
}

#[test]
fn the_first_in_the_line_tries_at_once_and_lets_the_next_one_try_if_it_found_room() {
    let mut line = Line::new();
    let (one, other) = (line.join(MAX).unwrap(), line.join(MAX).unwrap());
    assert!(!poll(&mut line, other, 1));
    assert!(poll(&mut line, one, 0));
    assert_eq!(line.leave(one), Some(1));
    assert!(poll(&mut line, other, 1));
}

#[test]
fn a_place_that_is_given_back_wakes_the_longest_waiter_and_no_other() {
    let (mut line, keys) = asleep(3);
    assert_eq!(line.release_one(), Some(0));
    assert!(poll(&mut line, keys[0], 0));
    assert_eq!(line.leave(keys[0]), None);
    assert_eq!(line.release_one(), Some(1));
    assert_eq!(line.release_one(), Some(2));
    assert_eq!(line.release_one(), None);
}

#[test]
fn a_failed_try_keeps_the_place() {
    let (mut line, keys) = asleep(3);
    for _ in 0..3 {
        assert_eq!(line.release_one(), Some(0));
        assert!(poll(&mut line, keys[0], 0));
        assert!(!poll(&mut line, keys[0], 0));
    }
}

#[test]
fn who_leaves_with_a_turn_hands_it_on() {
    let (mut line, keys) = asleep(3);
    assert_eq!(line.release_one(), Some(0));
    assert_eq!(line.leave(keys[0]), Some(1));
    assert_eq!(line.leave(keys[1]), Some(2));
    assert_eq!(line.leave(keys[2]), None);
    assert_eq!(line.len(), 0);
}

#[test]
fn a_place_that_is_given_back_during_a_try_is_tried_for() {
    let (mut line, keys) = asleep(1);
    assert_eq!(line.release_one(), Some(0));
    assert!(poll(&mut line, keys[0], 0));
    assert_eq!(line.release_one(), None);
    assert!(poll(&mut line, keys[0], 0));
    assert!(!poll(&mut line, keys[0], 0));
}

#[test]
fn room_that_one_cannot_use_is_offered_to_those_behind_it_and_then_to_the_next_to_join() {
    let (mut line, keys) = asleep(2);
    assert_eq!(line.release_one(), Some(0));
    assert!(poll(&mut line, keys[0], 0));
    assert_eq!(line.pass_on(keys[0]), Some(1));
    assert!(!poll(&mut line, keys[0], 0));
    assert!(poll(&mut line, keys[1], 1));
    assert_eq!(line.pass_on(keys[1]), None);
    assert!(!poll(&mut line, keys[1], 1));
    let joined = line.join(MAX).unwrap();
    assert!(poll(&mut line, joined, 2));
    assert_eq!(line.leave(joined), Some(0));
}

#[test]
fn the_line_has_a_limit() {
    let mut line = Line::<u32>::new();
    let one = line.join(2).unwrap();
    line.join(2).unwrap();
    assert_eq!(line.join(2), None);
    assert_eq!(line.leave(one), None);
    assert!(line.join(2).is_some());
    assert_eq!(Line::<u32>::new().join(0), None);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    Release,
    Serve(usize),
    Fail(usize),
    Cancel(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Join),
        3 => Just(Step::Release),
        2 => any::<usize>().prop_map(Step::Serve),
        1 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::Cancel),
    ]
}

proptest! {
    /// Against a plain queue: whoever is woken is the one who has waited longest of those without a turn.
    #[test]
    fn turns_are_given_in_the_order_of_joining(steps in proptest::collection::vec(step(), 1..400)) {
        let mut line = Line::new();
        // Who waits, in order, and whether it has a turn.
        let mut model = VecDeque::<(u32, Key, bool)>::new();
        let mut ids = 0..;
        for step in steps {
            let turned = |model: &VecDeque<(u32, Key, bool)>, n: usize| {
                let turned: Vec<_> = model.iter().filter(|waiter| waiter.2).map(|waiter| (waiter.0, waiter.1)).collect();
                (!turned.is_empty()).then(|| turned[n % turned.len()])
            };
            let woken = match step {
                Step::Join => {
                    let joined = line.join(MAX);
                    prop_assert_eq!(joined.is_some(), model.len() < MAX);
                    if let Some(key) = joined {
                        let id = ids.next().unwrap();
                        // It looks again at once if it was let try.
                        let mut tries = 0;
                        while poll(&mut line, key, id) {
                            tries += 1;
                        }
                        prop_assert!(tries == 0 || model.is_empty());
                        model.push_back((id, key, false));
                    }
                    None
                }
                Step::Release => {
                    let all = model.iter().all(|waiter| waiter.2);
                    let woken = line.release_one();
                    prop_assert_eq!(woken.is_none(), all);
                    woken
                }
                Step::Serve(n) => turned(&model, n).and_then(|(id, key)| {
                    assert!(poll(&mut line, key, id));
                    model.retain(|waiter| waiter.0 != id);
                    line.leave(key)
                }),
                Step::Fail(n) => {
                    if let Some((id, key)) = turned(&model, n) {
                        prop_assert!(poll(&mut line, key, id));
                        prop_assert!(!poll(&mut line, key, id));
                        for waiter in model.iter_mut().filter(|waiter| waiter.0 == id) {
                            waiter.2 = false;
                        }
                    }
                    None
                }
                Step::Cancel(n) => {
                    if model.is_empty() {
                        None
                    } else {
                        let (_, key, _) = model.remove(n % model.len()).unwrap();
                        line.leave(key)
                    }
                }
            };
            if let Some(woken) = woken {
                let longest = model.iter_mut().find(|waiter| !waiter.2).unwrap();
                prop_assert_eq!(woken, longest.0);
                longest.2 = true;
            }
            prop_assert_eq!(line.len(), model.len());
        }
    }
}

/// A request, and what it does next.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Doing {
    Arriving,
    Joining,
    /// To be polled, or asleep.
    Waiting(Key, bool),
    Trying(Key),
    /// Has taken a place, and leaves the line.
    Leaving(Key, usize),
    Holding(usize),
    /// Has given its place back, and tells the line.
    Telling,
    Gone,
}

struct World {
    line: Line<u32>,
    room: [u32; 2],
    /// Each with the backend that it can't use.
    requests: Vec<(Doing, Option<usize>)>,
    /// A gate was opened, and the line is yet to be told.
    opened: bool,
}

impl World {
    fn usable(&self, barred: Option<usize>) -> Option<usize> {
        (0..2).find(|backend| self.room[*backend] > 0 && Some(*backend) != barred)
    }

    fn wake(&mut self, woken: Option<u32>) {
        let Some(woken) = woken else { return };
        if let (Doing::Waiting(_, awake), _) = &mut self.requests[woken as usize] {
            *awake = true;
        }
    }

    /// One step of a request, as small as threads can interleave them. Whether there was one to take.
    fn step(&mut self, id: u32) -> bool {
        let (doing, barred) = self.requests[id as usize];
        let next = match doing {
            Doing::Arriving => match self.usable(barred) {
                Some(backend) if self.line.len() == 0 => {
                    self.room[backend] -= 1;
                    Doing::Holding(backend)
                }
                _ => Doing::Joining,
            },
            Doing::Joining => self
                .line
                .join(MAX)
                .map_or(Doing::Gone, |key| Doing::Waiting(key, true)),
            Doing::Waiting(key, true) => {
                if poll(&mut self.line, key, id) {
                    Doing::Trying(key)
                } else {
                    Doing::Waiting(key, false)
                }
            }
            Doing::Trying(key) => match self.usable(barred) {
                Some(backend) => {
                    self.room[backend] -= 1;
                    Doing::Leaving(key, backend)
                }
                None => {
                    if barred.is_some() {
                        let woken = self.line.pass_on(key);
                        self.wake(woken);
                    }
                    Doing::Waiting(key, true)
                }
            },
            Doing::Leaving(key, backend) => {
                let woken = self.line.leave(key);
                self.wake(woken);
                Doing::Holding(backend)
            }
            Doing::Telling => {
                if self.line.len() > 0 {
                    let woken = self.line.release_one();
                    self.wake(woken);
                }
                Doing::Gone
            }
            Doing::Waiting(_, false) | Doing::Holding(_) | Doing::Gone => return false,
        };
        self.requests[id as usize].0 = next;
        true
    }

    fn tell_opened(&mut self) {
        if std::mem::take(&mut self.opened) && self.line.len() > 0 {
            let woken = self.line.release_any();
            self.wake(woken);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive(Option<usize>),
    Step(usize),
    GiveBack(usize),
    Cancel(usize),
    Open(usize),
    TellOpened,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => proptest::option::weighted(0.3, 0_usize..2).prop_map(Event::Arrive),
        16 => any::<usize>().prop_map(Event::Step),
        4 => any::<usize>().prop_map(Event::GiveBack),
        1 => any::<usize>().prop_map(Event::Cancel),
        1 => (0_usize..2).prop_map(Event::Open),
        1 => Just(Event::TellOpened),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// However the steps of requests are interleaved: once all have done what they can, nobody sleeps beside
    /// room that it could use.
    #[test]
    fn no_wake_up_is_lost(events in proptest::collection::vec(event(), 1..200), order in any::<u64>()) {
        let mut world = World { line: Line::new(), room: [1, 1], requests: Vec::new(), opened: false };
        for event in events {
            let nth = |n: usize, which: fn(&Doing) -> bool| {
                let all: Vec<_> = world.requests.iter().enumerate()
                    .filter(|(_, (doing, _))| which(doing)).map(|(id, _)| id).collect();
                (!all.is_empty()).then(|| all[n % all.len()])
            };
            match event {
                Event::Arrive(barred) => world.requests.push((Doing::Arriving, barred)),
                Event::Step(n) => {
                    if let Some(id) = nth(n, |doing| {
                        !matches!(doing, Doing::Gone | Doing::Holding(_) | Doing::Waiting(_, false))
                    }) {
                        world.step(u32::try_from(id).unwrap());
                    }
                }
                Event::GiveBack(n) => {
                    if let Some(id) = nth(n, |doing| matches!(doing, Doing::Holding(_)))
                        && let Doing::Holding(backend) = world.requests[id].0
                    {
                        world.room[backend] += 1;
                        world.requests[id].0 = Doing::Telling;
                    }
                }
                Event::Cancel(n) => {
                    if let Some(id) = nth(n, |doing| matches!(doing, Doing::Waiting(..)))
                        && let Doing::Waiting(key, _) = world.requests[id].0
                    {
                        let woken = world.line.leave(key);
                        world.wake(woken);
                        world.requests[id].0 = Doing::Gone;
                    }
                }
                Event::Open(backend) => {
                    world.room[backend] += 1;
                    world.opened = true;
                }
                Event::TellOpened => world.tell_opened(),
            }
        }
        world.tell_opened();
        let mut order = order | 1;
        let count = world.requests.len() as u64;
        let mut budget = 100_000;
        while (0..u32::try_from(count).unwrap()).any(|id| {
            !matches!(world.requests[id as usize].0, Doing::Gone | Doing::Holding(_) | Doing::Waiting(_, false))
        }) {
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            world.step(u32::try_from((order >> 33) % count).unwrap());
            budget -= 1;
            prop_assert!(budget > 0, "they wake each other for ever");
        }
        for (doing, barred) in &world.requests {
            let asleep = matches!(doing, Doing::Waiting(..));
            prop_assert!(!asleep || world.usable(*barred).is_none(), "{:?} {:?}", world.room, world.requests);
        }
    }
}
