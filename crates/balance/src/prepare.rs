//! All that is decided before a pick.

use std::collections::HashMap;

use edgeproxy_backend::ahead::{self, AHEAD};
use edgeproxy_backend::{LoadFactor, MonoTime};

use crate::balancer::{Balancer, Candidate, Compared, Entry};
use crate::group::Grouping;
use crate::ramp::{STEPS, limits_on};
use crate::roll;
use crate::sticky::kept_of;
use crate::tiers::{Place, Tiers};
use crate::{Bound, Inner, Policy, SlowStart, Target};

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
        let heeds_loads = matches!(
            policy.inner(),
            Inner::Weighted | Inner::LeastConnections | Inner::Ewma
        );
        let (mut candidates, mut routable) = (candidates.into_iter(), roll.routable.into_iter());
        while !candidates.as_slice().is_empty() {
            let next = candidates.as_slice().iter().take(AHEAD);
            ahead::read(next.filter_map(|candidate| candidate.target.meter()));
            for (candidate, routable) in candidates.by_ref().take(AHEAD).zip(routable.by_ref()) {
                since.push(candidate.since.filter(|_| routable));
                excluded.push(candidate.excluded);
                let load = if heeds_loads {
                    candidate.load
                } else {
                    LoadFactor::NONE
                };
                entries.push(Entry::new(candidate.target, routable, load));
            }
        }
        let mut next_change = None;
        if let Some(slow_start) = &policy.slow_start {
            next_change = begin_ramps(slow_start, &mut entries, &since, now, previous);
        }
        let unit = weigh(&mut entries);
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
            compared: Compared::by(policy),
            policy: policy.clone(),
            entries: entries.into(),
            tiers,
            identities: identities.into(),
            routable: places.len(),
            panic: roll.panic,
            unit,
            next_change,
            excluded: excluded.into(),
        }
    }
}

impl<T: Target> Entry<T> {
    fn new(target: T, routable: bool, load: LoadFactor) -> Self {
        let (limits, weight, meter) = (target.limits(), target.weight(), target.meter().cloned());
        Self {
            target,
            meter,
            limits,
            weight,
            share: weight,
            step: full(),
            routable,
            load,
        }
    }

    /// Whether another weight than its own counts.
    fn is_moved(&self) -> bool {
        self.ramps() || self.load != LoadFactor::NONE
    }
}

/// A step as an entry keeps it.
#[allow(clippy::cast_possible_truncation)] // ten
const fn full() -> u8 {
    STEPS as u8
}

/// Puts those that are new on their steps, unless everyone is, and says when the first comes to its next.
fn begin_ramps<T: Target>(
    slow_start: &SlowStart,
    entries: &mut [Entry<T>],
    since: &[Option<MonoTime>],
    now: MonoTime,
    previous: Option<&Balancer<T>>,
) -> Option<MonoTime> {
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
    next_change.filter(|_| entries.iter().any(Entry::ramps))
}

/// The weights that count, and what a weight of 1 is among them.
fn weigh<T: Target>(entries: &mut [Entry<T>]) -> u16 {
    if !entries.iter().any(Entry::is_moved) {
        return 1;
    }
    // In tenths, or else a tenth of a weight of 2 would be nothing.
    let fits = |entry: &Entry<T>| moved(entry, STEPS) <= u64::from(u16::MAX);
    let unit = if entries.iter().all(fits) { STEPS } else { 1 };
    for entry in entries {
        let least = entry.weight.min(1);
        entry.share = u16::try_from(moved(entry, unit)).unwrap_or(u16::MAX).max(least);
        entry.limits = limits_on(u16::from(entry.step), entry.limits);
    }
    unit
}

/// A weight as a slow start and the load have it.
fn moved<T>(entry: &Entry<T>, unit: u16) -> u64 {
    let ramped = u64::from(entry.weight) * u64::from(unit) * u64::from(entry.step) / u64::from(STEPS);
    if entry.load == LoadFactor::NONE {
        return ramped;
    }
    (ramped * u64::from(entry.load.permille()) + 500) / 1_000
}

fn earliest(one: Option<MonoTime>, other: Option<MonoTime>) -> Option<MonoTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
