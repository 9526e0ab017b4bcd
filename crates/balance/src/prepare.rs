//! All that is decided before a pick.

use std::collections::HashMap;

use edgeproxy_backend::MonoTime;

use crate::balancer::{Balancer, Candidate, Entry};
use crate::group::Grouping;
use crate::ramp::{STEPS, limits_on};
use crate::roll;
use crate::sticky::kept_of;
use crate::tiers::{Place, Tiers};
use crate::{Bound, Policy, SlowStart, Target};

impl<T: Target> Balancer<T> {
    /// Decides all that can be decided before a pick: who may be picked, who is in which tier, and, for
    /// the algorithms that take turns, in which order.
    ///
    /// Excluded candidates and those of weight 0 are never proposed, fallbacks only while nobody else is
    /// well. But those that are excluded for their health alone are proposed like all others where
    /// [`Policy::panic_permille`] says so. Pass the balancer before as `previous`, and nobody's turn is lost: what hasn't changed is
    /// shared with it, what has goes on from there.
    ///
    /// `now` is the time on the clock of the candidates' [`since`](Candidate::since), and need not be the picks'.
    /// Ramps are cut into ten steps, and a step is a weight like any other until
    /// [`next_change`](Self::next_change), so that no pick has to work one out.
    ///
    /// Costs a few microseconds for a handful of candidates and some milliseconds for 10,000, or for the first
    /// two of `hash`.
    pub fn prepare(
        policy: &Policy,
        candidates: Vec<Candidate<T>>,
        now: MonoTime,
        previous: Option<&Self>,
    ) -> Self {
        let roll = roll::call(&candidates, policy.panic_permille);
        let mut entries = Vec::with_capacity(candidates.len());
        let mut excluded = Vec::with_capacity(candidates.len());
        let mut since = Vec::with_capacity(candidates.len());
        for (candidate, routable) in candidates.into_iter().zip(roll.routable) {
            since.push(candidate.since.filter(|_| routable));
            excluded.push(candidate.excluded);
            entries.push(Entry::new(candidate.target, routable));
        }
        let mut ramps = Ramps::NONE;
        if let Some(slow_start) = &policy.slow_start {
            ramps = Ramps::begin(slow_start, &mut entries, &since, now, previous);
        }
        let places: Vec<Place> = (0..)
            .zip(&entries)
            .filter(|(_, entry)| entry.routable)
            .map(|(member, Entry { target, .. })| Place {
                member,
                country: target.country(),
                region: target.region(),
            })
            .collect();
        let before = previous.map_or(&[][..], |previous| previous.tiers.groups());
        let grouping = Grouping::new(policy, &entries, before);
        let tiers = Tiers::new(policy, &places, |scope, members| grouping.group(scope, members));
        let mut identities: Vec<(u64, u32)> = match policy.bound {
            Bound::Ignored => Vec::new(),
            Bound::Followed => places
                .iter()
                .map(|place| {
                    (
                        kept_of(entries[place.member as usize].target.identity()),
                        place.member,
                    )
                })
                .collect(),
        };
        identities.sort_unstable();
        Self {
            policy: policy.clone(),
            entries: entries.into(),
            tiers,
            identities: identities.into(),
            routable: places.len(),
            panic: roll.panic,
            unit: ramps.unit,
            next_change: ramps.next_change,
            excluded: excluded.into(),
        }
    }
}

impl<T: Target> Entry<T> {
    fn new(target: T, routable: bool) -> Self {
        let (limits, weight, meter) = (target.limits(), target.weight(), target.meter().cloned());
        Self {
            target,
            meter,
            limits,
            weight,
            share: weight,
            step: full(),
            routable,
        }
    }
}

/// What ramps make of the entries as a whole.
struct Ramps {
    unit: u16,
    next_change: Option<MonoTime>,
}

/// A step as an entry keeps it.
#[allow(clippy::cast_possible_truncation)] // ten
const fn full() -> u8 {
    STEPS as u8
}

impl Ramps {
    const NONE: Self = Self {
        unit: 1,
        next_change: None,
    };

    /// Puts those that are new on their steps, unless everyone is.
    fn begin<T: Target>(
        slow_start: &SlowStart,
        entries: &mut [Entry<T>],
        since: &[Option<MonoTime>],
        now: MonoTime,
        previous: Option<&Balancer<T>>,
    ) -> Self {
        // Nobody steps down: who got all since everyone was new keeps it when the first of them is not any more.
        let before: HashMap<u64, u8> = previous
            .iter()
            .flat_map(|previous| &previous.entries)
            .filter(|entry| entry.routable)
            .map(|entry| (entry.target.key(), entry.step))
            .collect();
        let mut next_change = None;
        for (entry, since) in entries.iter_mut().zip(since) {
            let Some(since) = *since else { continue };
            let step = u8::try_from(slow_start.step(since, now)).unwrap_or(full());
            entry.step = before
                .get(&entry.target.key())
                .map_or(step, |before| step.max(*before));
            if entry.ramps() {
                next_change = earliest(next_change, slow_start.next_change(since, now));
            }
        }
        let mut routable = entries.iter().filter(|entry| entry.routable);
        if routable.all(Entry::ramps) {
            entries.iter_mut().for_each(|entry| entry.step = full());
        }
        if !entries.iter().any(Entry::ramps) {
            return Self::NONE;
        }
        // In tenths, or else a tenth of a weight of 2 would be nothing.
        let heaviest = entries.iter().map(|entry| entry.weight).max().unwrap_or(0);
        let unit = if heaviest <= u16::MAX / STEPS { STEPS } else { 1 };
        for entry in entries {
            let step = u16::from(entry.step);
            let share = u32::from(entry.weight) * u32::from(unit) * u32::from(step) / u32::from(STEPS);
            let least = u32::from(entry.weight.min(1));
            entry.share = u16::try_from(share.max(least)).unwrap_or(u16::MAX);
            entry.limits = limits_on(step, entry.limits);
        }
        Self { unit, next_change }
    }
}

fn earliest(one: Option<MonoTime>, other: Option<MonoTime>) -> Option<MonoTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
