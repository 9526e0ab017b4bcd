use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{EXACT_MAX, Fork, Plan, TURN};

/// Slots in a round when the period is too long to store. More than members, so that a typical piece lies
/// within one or two of them.
const ROUND_MIN: u64 = 1_024;
const SLOTS_PER_MEMBER: u64 = 2;

impl Plan {
    /// The plan for members of these weights, none of them 0. `lags` says how far each is behind its ideal
    /// share (negative: ahead), in [`TURN`]s; who is behind comes earlier.
    pub(crate) fn new(weights: &[u16], lags: &[i64]) -> Self {
        let gcd = weights
            .iter()
            .fold(0, |gcd, weight| gcd_of(gcd, u64::from(*weight)))
            .max(1);
        let weights: Vec<u64> = weights.iter().map(|weight| u64::from(*weight) / gcd).collect();
        let period = weights.iter().sum();
        let leads = centred(lags);
        if period <= EXACT_MAX {
            Self::stored(&weights, &leads, period)
        } else {
            Self::cut(&weights, &leads, period)
        }
    }

    fn stored(weights: &[u64], leads: &[i64], period: u64) -> Self {
        let tasks = (0..).zip(weights.iter().zip(leads));
        let tasks: Vec<Task> = tasks
            .map(|(id, (&weight, &lead))| Task { id, weight, lead })
            .collect();
        Self {
            members: count(weights.len()),
            period,
            shift: 63,
            mask: u64::MAX >> 1,
            rounds: 1,
            order: schedule(&tasks),
            extra: Box::default(),
            forks: Box::default(),
        }
    }

    fn cut(weights: &[u64], leads: &[i64], period: u64) -> Self {
        let wanted = SLOTS_PER_MEMBER * u64::from(count(weights.len()));
        let slots = wanted.next_power_of_two().clamp(ROUND_MIN, EXACT_MAX);
        let cutting = Cutting::of(weights, period, slots);

        let members = count(weights.len());
        let mut forks = Forks {
            members,
            list: Vec::new(),
        };
        let mut round = Vec::new();
        let mut short_round = Vec::new();
        for ((id, whole), &lead) in (0..).zip(&cutting.whole).zip(leads) {
            round.push(Task {
                id,
                weight: whole.all,
                lead,
            });
            short_round.push(Task {
                id,
                weight: whole.long,
                lead: 0,
            });
        }
        for piece in &cutting.shared {
            let parts: Vec<Part> = piece
                .parts
                .iter()
                .map(|&(member, units)| {
                    // A member has its lag made good in one place: where it has most.
                    let index = member as usize;
                    let here = cutting.whole[index].all == 0 && 2 * units >= weights[index];
                    Part {
                        member,
                        units,
                        lead: if here { leads[index] } else { 0 },
                    }
                })
                .collect();
            let lead = parts.iter().map(|part| part.lead).sum::<i64>().clamp(-TURN, TURN);
            let id = forks.share(&parts);
            round.push(Task { id, weight: 1, lead });
            short_round.push(Task {
                id,
                weight: u64::from(piece.long),
                lead: 0,
            });
        }
        round.retain(|task| task.weight > 0);
        short_round.retain(|task| task.weight > 0);
        Self {
            members,
            period,
            shift: slots.trailing_zeros(),
            mask: slots - 1,
            rounds: period / slots,
            order: schedule(&round),
            extra: schedule(&short_round),
            forks: forks.list.into(),
        }
    }
}

/// Where the pieces of the line of weights came to lie.
struct Cutting {
    /// For each member, how many pieces are all its own.
    whole: Vec<Whole>,
    shared: Vec<Shared>,
}

#[derive(Clone, Copy, Default)]
struct Whole {
    all: u64,
    /// Those that are one unit longer.
    long: u64,
}

/// A piece that a boundary between members runs through.
struct Shared {
    parts: Vec<(u32, u64)>,
    long: bool,
}

impl Cutting {
    fn of(weights: &[u64], period: u64, slots: u64) -> Self {
        let mut cutting = Self {
            whole: vec![Whole::default(); weights.len()],
            shared: Vec::new(),
        };
        let (short, mut piece, mut start, mut place) = (period / slots, 0, 0, 0);
        let mut end = period / slots;
        let mut parts = Vec::new();
        for (member, &weight) in (0..).zip(weights) {
            let mut left = weight;
            while left > 0 {
                let units = left.min(end - place);
                parts.push((member, units));
                place += units;
                left -= units;
                if place == end {
                    cutting.close(&mut parts, end - start > short);
                    piece += 1;
                    start = end;
                    end = (piece + 1) * period / slots;
                }
            }
        }
        cutting
    }

    fn close(&mut self, parts: &mut Vec<(u32, u64)>, long: bool) {
        if let [(member, _)] = parts[..] {
            let whole = &mut self.whole[member as usize];
            whole.all += 1;
            whole.long += u64::from(long);
            parts.clear();
        } else {
            self.shared.push(Shared {
                parts: std::mem::take(parts),
                long,
            });
        }
    }
}

struct Part {
    member: u32,
    units: u64,
    lead: i64,
}

struct Forks {
    members: u32,
    list: Vec<Fork>,
}

impl Forks {
    /// Makes the forks that share a piece, the halves as equal as can be, and says what stands for it.
    fn share(&mut self, parts: &[Part]) -> u32 {
        if let [part] = parts {
            return part.member;
        }
        let weight: u64 = parts.iter().map(|part| part.units).sum();
        let (middle, left_weight) = balanced(parts, weight);
        let (left, right) = parts.split_at(middle);
        let behind = |parts: &[Part]| parts.iter().map(|part| part.lead).sum::<i64>();
        let (left_behind, both) = (behind(left), behind(parts));

        let index = self.list.len();
        let offset = offset(left_weight, weight, left_behind, both);
        self.list.push(Fork {
            left_weight,
            weight,
            offset,
            left: 0,
            right: 0,
        });
        let left = self.share(left);
        let right = self.share(right);
        self.list[index].left = left;
        self.list[index].right = right;
        self.members + count(index)
    }
}

/// Where to split the parts so that the halves weigh most nearly the same, and what the left one weighs.
fn balanced(parts: &[Part], weight: u64) -> (usize, u64) {
    let mut left = 0;
    let mut best = (1, parts[0].units);
    for (index, part) in parts[..parts.len() - 1].iter().enumerate() {
        left += part.units;
        if (2 * left).abs_diff(weight) < (2 * best.1).abs_diff(weight) {
            best = (index + 1, left);
        }
    }
    best
}

/// Where the line of a fork begins: half-way, so that it errs by half a turn to either side, and shifted by
/// what the left branch is behind, beyond its part of what both are.
fn offset(left_weight: u64, weight: u64, left_behind: i64, both: i64) -> u64 {
    let (left_weight, weight) = (i128::from(left_weight), i128::from(weight));
    let shift = i128::from(left_behind) * weight - i128::from(both) * left_weight;
    let offset = weight / 2 + shift / i128::from(TURN);
    u64::try_from(offset.clamp(0, weight - 1)).unwrap_or(0)
}

/// One that has `weight` of the slots, evenly, beginning `lead` ahead of a start at its ideal share.
#[derive(Clone, Copy)]
struct Task {
    id: u32,
    weight: u64,
    lead: i64,
}

impl Task {
    /// The slot, exactly, at which the ideal share has grown to `done` turns, as a fraction.
    fn boundary(&self, done: u64, slots: i64) -> (i64, i64) {
        // At most 2⁴⁰ · 2¹⁶ over 2⁴⁰.
        let (done, weight) = (done.cast_signed(), self.weight.cast_signed());
        ((done * TURN - self.lead) * slots, weight * TURN)
    }

    /// The slot from which on the turn after `done` may be taken without running ahead.
    fn release(&self, done: u64, slots: i64) -> usize {
        let (position, scale) = self.boundary(done, slots);
        usize::try_from(position.div_euclid(scale).clamp(0, slots - 1)).unwrap_or(0)
    }

    /// The slot before which the turn after `done` must be taken so as not to fall behind.
    fn deadline(&self, done: u64, slots: i64) -> u64 {
        let (position, scale) = self.boundary(done + 1, slots);
        (position + scale - 1)
            .div_euclid(scale)
            .clamp(0, slots)
            .cast_unsigned()
    }
}

/// Gives each task exactly its weight of slots, the most urgent of those due first.
///
/// A task's turns divide the period into windows as equal as whole slots allow. Taking the earliest
/// deadline among the windows that have opened keeps every task within one turn of its ideal share at
/// every moment, for any weights: R. Tijdeman, "The chairman assignment problem", Discrete Mathematics 32
/// (1980); as a scheduler, S. Baruah et al., "Proportionate progress", Algorithmica 15 (1996). Smooth
/// weighted round robin (nginx) has no such bound and costs O(members) a turn.
fn schedule(tasks: &[Task]) -> Box<[u32]> {
    let slots: u64 = tasks.iter().map(|task| task.weight).sum();
    let length = usize::try_from(slots).unwrap_or(usize::MAX);
    let slots = slots.cast_signed();
    let mut waiting = Calendar::new(length, tasks.len());
    let mut ready = BinaryHeap::with_capacity(tasks.len());
    let mut done = vec![0; tasks.len()];
    for (index, task) in (0..).zip(tasks) {
        waiting.push(task.release(0, slots), index);
    }
    let mut order = Vec::with_capacity(length);
    let mut opened = 0;
    for slot in 0..length {
        // A slot is never left empty: carried leads may leave a gap before the next window opens.
        while opened < length && (opened <= slot || ready.is_empty()) {
            for index in waiting.take(opened) {
                ready.push(urgency(tasks, index, &done, slots));
            }
            opened += 1;
        }
        let Some(Reverse((_, index))) = ready.pop() else {
            break;
        };
        let at = index as usize;
        order.push(tasks[at].id);
        done[at] += 1;
        if done[at] < tasks[at].weight {
            let release = tasks[at].release(done[at], slots);
            if release < opened {
                ready.push(urgency(tasks, index, &done, slots));
            } else {
                waiting.push(release, index);
            }
        }
    }
    order.into()
}

fn urgency(tasks: &[Task], index: u32, done: &[u64], slots: i64) -> Reverse<(u64, u32)> {
    let at = index as usize;
    Reverse((tasks[at].deadline(done[at], slots), index))
}

/// What opens in which slot: a list through an array for each, since a task waits in one place at a time.
struct Calendar {
    first: Vec<u32>,
    next: Vec<u32>,
}

const NONE: u32 = u32::MAX;

impl Calendar {
    fn new(slots: usize, tasks: usize) -> Self {
        Self {
            first: vec![NONE; slots],
            next: vec![NONE; tasks],
        }
    }

    fn push(&mut self, slot: usize, task: u32) {
        self.next[task as usize] = self.first[slot];
        self.first[slot] = task;
    }

    fn take(&mut self, slot: usize) -> impl Iterator<Item = u32> {
        let mut head = std::mem::replace(&mut self.first[slot], NONE);
        std::iter::from_fn(move || {
            let task = head;
            (task != NONE).then(|| {
                head = self.next[task as usize];
                task
            })
        })
    }
}

/// Lags less their mean, which no order can make good, and within a turn.
fn centred(lags: &[i64]) -> Vec<i64> {
    let members = i64::from(count(lags.len())).max(1);
    let mean = lags.iter().sum::<i64>() / members;
    lags.iter().map(|lag| (lag - mean).clamp(-TURN, TURN)).collect()
}

fn gcd_of(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// A number of members as the index type of plans; a list of four thousand million does not fit a machine.
fn count(members: usize) -> u32 {
    u32::try_from(members).unwrap_or(u32::MAX)
}
