//! What must hold of the whole: nobody is lost, all agree, everybody comes back, everything comes to zero.

use std::collections::BTreeMap;

use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::State;
use edgeproxy_store::Store as _;

use crate::Rule;
use crate::request::REQUESTS_MAX;
use crate::rules::{CATCH_UP, TICK};
use crate::timeline::Due;
use crate::trace::{B, P, What};
use crate::world::{Keeps, Phase, World};

/// So many silent ones that it is likelier the network, as the specification of the guard has it.
const fn is_mass(silent: usize, listed: usize) -> bool {
    silent >= 3 && silent * 2 > listed
}

/// How often everything is looked at.
const LOOK: u64 = 100;
/// Things to come; more is a leak of the world's own.
const TIMELINE_MAX: usize = 4_000;
/// Lives that a process is remembered for after they are gone.
const GONE: u64 = 60_000;
/// More lives than that at one process are too many to be remembered.
const VIEWS_MAX: usize = 200;

impl World {
    pub(crate) async fn look(&mut self) {
        self.after(LOOK, Due::Look);
        for machine in 0..self.machines.len() {
            self.look_at_truth(B(machine));
        }
        self.look_at_store().await;
        self.end_what_is_cut();
        let now = self.now;
        for at in 0..self.proxies.len() {
            let here = &mut self.proxies[at];
            here.views
                .retain(|_, view| !view.is_gone || view.since + GONE > now);
            let views = here.views.len();
            let Some(process) = &here.process else { continue };
            if process.has_ended() {
                self.violate(Rule::Panic, format!("the driver of {:?} has ended", P(at)));
                return;
            }
            let (serving, listed) = (process.serving(), process.handle.stats().backends);
            let late = here.late.len();
            if views > VIEWS_MAX || serving > 64 || listed > self.machines.len() * 6 || late > 2_000 {
                self.violate(
                    Rule::Bounded,
                    format!(
                        "{:?} has {views} lives, {serving} calls, {listed} backends, {late} messages",
                        P(at)
                    ),
                );
            }
        }
        let (requests, due) = (self.requests.len(), self.timeline.len());
        if requests > REQUESTS_MAX || due > TIMELINE_MAX {
            self.violate(
                Rule::Bounded,
                format!("{requests} requests are under way, and {due} things to come"),
            );
        }
        if self
            .silence
            .as_ref()
            .is_some_and(|(since, _)| now > since + 2 * self.ttl)
        {
            self.silence = None;
        }
    }

    /// Whether it is well, and whether it is dead.
    pub(crate) fn look_at_truth(&mut self, machine: B) {
        let now = self.now;
        let answers = (0..self.proxies.len()).all(|proxy| self.network.connects(P(proxy), machine, now));
        let here = &mut self.machines[machine.0];
        // At the address that is registered, and not at another one that it has moved to.
        let at = here.truth.stored.and_then(|life| self.lives.get(&life));
        let answers = answers && at.is_some_and(|(_, port)| *port == here.backend.addr.port());
        let accepts = here.power.accepts();
        if !answers || !accepts || !here.has_agent || here.is_leaving {
            here.truth.well_since = None;
        }
        if !accepts && !here.has_agent {
            here.truth.dead_since.get_or_insert(now);
        } else {
            here.truth.dead_since = None;
        }
        if !accepts {
            self.unsilence(machine);
        }
    }

    /// Whatever becomes of it, it is not for the silence of all.
    pub(crate) fn unsilence(&mut self, machine: B) {
        let listed = self
            .running(P(0))
            .map_or(0, |process| process.handle.stats().backends);
        if let Some((_, silent)) = &mut self.silence {
            silent.retain(|silent| *silent != machine);
            if !is_mass(silent.len(), listed) {
                self.silence = None;
            }
        }
    }

    /// A heartbeat, or a registration, has been taken.
    pub(crate) fn heard(&mut self, machine: B, proxy: P) {
        let (now, active) = (self.now, self.active());
        let is_current = self.proxies[proxy.0].current_since.is_some();
        let truth = &mut self.machines[machine.0].truth;
        // Several calls of one that has waited for its proxy are one.
        if truth.heard_by[proxy.0] + 50 + 2 * self.latency < now {
            truth.heard_before[proxy.0] = truth.heard_by[proxy.0];
        }
        truth.heard_by[proxy.0] = now;
        // One that was under way already.
        self.unsilence(machine);
        let truth = &mut self.machines[machine.0].truth;
        if !is_current {
            return;
        }
        if active > truth.heard_at + self.ttl / 2 {
            truth.well_since = None;
            truth.beats = 0;
        }
        truth.beats += 1;
        truth.heard_at = active;
        truth.well_since.get_or_insert(active);
        self.look_at_truth(machine);
    }

    /// Something has gone wrong between the proxies, or between them and the machines: who was heard may not have been
    /// told of.
    pub(crate) fn disturb(&mut self) {
        self.disturbed_at = self.now;
        self.silence = None;
        for machine in &mut self.machines {
            machine.truth.well_since = None;
            machine.truth.beats = 0;
        }
    }

    /// All agents fall silent. Who is well, and of how many, so that it must be the network's fault.
    pub(crate) fn expect_no_mass_expiry(&mut self) {
        let since = self.now;
        let active = self.active();
        let silent: Vec<_> = (0..self.machines.len())
            .map(B)
            .filter(|machine| {
                let truth = &self.machines[machine.0].truth;
                // Its last heartbeat is not of this instant, so that it is missing when the first lease runs out.
                truth.beats >= 6 && truth.well_since.is_some() && truth.heard_at + 300 < active
            })
            .collect();
        let listed = self
            .running(P(0))
            .map_or(0, |process| process.handle.stats().backends);
        let is_sure = self.proxies.len() == 1
            && self.proxies[0].current_since.is_some()
            && !self.network.loses(since)
            && self.silence.is_none();
        self.disturb();
        if is_sure && is_mass(silent.len(), listed) {
            self.silence = Some((since, silent));
        }
    }

    pub(crate) fn check_acknowledged(&mut self, machine: B, (life, port): (Incarnation, u16), is_kept: bool) {
        match self.lives.get(&life) {
            Some(known) if *known != (machine, port) => {
                let what = format!(
                    "{life:?} is {:?} at {}, and {machine:?} at {port}",
                    known.0, known.1
                );
                self.violate(Rule::Life, what);
            }
            Some(_) => {}
            None => {
                self.lives.insert(life, (machine, port));
            }
        }
        let truth = &mut self.machines[machine.0].truth;
        if truth
            .acknowledged
            .replace((life, is_kept))
            .is_none_or(|(before, _)| before != life)
        {
            truth.beats = 0;
        }
        let may_be_gone = truth.leaving.contains(&life);
        let stored = self
            .hub()
            .map(|hub| hub.owner(self.id(machine)).map(|(life, _)| life));
        let is_sure = self.proxies.iter().all(|proxy| {
            proxy
                .current_since
                .is_some_and(|since| since + CATCH_UP < self.now)
        });
        if let Some(stored) = stored
            && is_kept
            && is_sure
            && !may_be_gone
            && stored.is_none_or(|stored| stored < life)
        {
            self.violate(
                Rule::Lost,
                format!("{machine:?} {life:?} is acknowledged, and the store has {stored:?}"),
            );
        }
    }

    async fn stored(&self) -> BTreeMap<BackendId, Incarnation> {
        match &self.keeps {
            Keeps::Memory(memory) => {
                let loaded = memory.load().await.expect("a store that can be read");
                let records = loaded.records.into_iter();
                records
                    .map(|record| (record.backend.id, record.incarnation))
                    .collect()
            }
            Keeps::Hub(hub) => {
                let ids = self.machines.iter().map(|machine| &machine.backend.id);
                ids.filter_map(|id| Some((id.clone(), hub.owner(id)?.0)))
                    .collect()
            }
        }
    }

    async fn look_at_store(&mut self) {
        let stored = self.stored().await;
        for at in 0..self.machines.len() {
            let machine = B(at);
            let now_stored = stored.get(self.id(machine)).copied();
            let before = self.machines[at].truth.stored;
            if before == now_stored {
                continue;
            }
            self.trace.note(self.now, What::Stored(machine, now_stored));
            self.machines[at].truth.stored = now_stored;
            match (before, now_stored) {
                (Some(before), Some(after)) if after < before => {
                    let what = format!("{machine:?} {before:?} was replaced by the earlier {after:?}");
                    self.violate(Rule::Life, what);
                }
                (Some(life), None) => self.check_removed(machine, life),
                _ => {}
            }
        }
    }

    /// Its registration is gone from the store.
    fn check_removed(&mut self, machine: B, life: Incarnation) {
        let active = self.active();
        let truth = &self.machines[machine.0].truth;
        // One that has moved has another life by now, which is written if it isn't.
        let is_superseded = truth.acknowledged.is_some_and(|(latest, _)| latest > life);
        if truth.leaving.contains(&life) || is_superseded {
            return;
        }
        let is_heard = truth.heard_at + self.ttl / 2 > active;
        if is_heard
            && truth
                .well_since
                .is_some_and(|since| since + self.ttl + TICK < active)
        {
            self.violate(
                Rule::Lost,
                format!("{machine:?} {life:?} was removed, though it answers and is heard"),
            );
            return;
        }
        let is_silenced = |(_, silent): &(u64, Vec<B>)| silent.contains(&machine);
        if self.silence.as_ref().is_some_and(is_silenced) {
            self.violate(
                Rule::MassExpiry,
                format!("{machine:?} {life:?} was removed, though it answers, when all fell silent at once"),
            );
        }
    }

    /// By now all is well, and everybody knows it.
    pub(crate) async fn check_settled(&mut self) {
        let stored = self.stored().await;
        for at in 0..self.machines.len() {
            let machine = B(at);
            let here = &self.machines[at];
            let (id, port) = (here.backend.id.clone(), here.backend.addr.port());
            let kept = stored.get(&id).copied();
            let is_there = !here.truth.is_retired;
            if kept.is_some() != is_there {
                let rule = if is_there { Rule::Lost } else { Rule::Expired };
                self.violate(
                    rule,
                    format!("at the end {machine:?} is in the store as {kept:?}"),
                );
                return;
            }
            for proxy in 0..self.proxies.len() {
                let proxy = P(proxy);
                let Some(process) = self.running(proxy) else {
                    self.violate(Rule::Panic, format!("{proxy:?} does not run"));
                    return;
                };
                let status = process.handle.get(&id);
                let known = status.as_ref().map(|status| {
                    let endpoint = &status.endpoint;
                    (endpoint.incarnation, endpoint.addr.port(), status.state)
                });
                let expected = kept.map(|life| (life, port, State::Routable));
                if known != expected {
                    let rule = match known {
                        Some((life, at, _)) if kept == Some(life) && at == port => Rule::Returns,
                        _ => Rule::Agreement,
                    };
                    self.violate(
                        rule,
                        format!("at the end {proxy:?} has {machine:?} as {known:?}, and it is {expected:?}"),
                    );
                    return;
                }
            }
        }
    }

    /// Nothing has happened but requests.
    pub(crate) fn check_still(&mut self) {
        for proxy in 0..self.proxies.len() {
            for machine in 0..self.machines.len() {
                let truth = &self.machines[machine].truth;
                let Some(life) = truth.stored else { continue };
                let picked = self.proxies[proxy].views.get(&life).map_or(0, |view| view.picked);
                if picked == 0 {
                    let what = format!(
                        "{:?} is well, and {:?} sends nothing there by {}",
                        B(machine),
                        P(proxy),
                        self.plan.policy.algorithm
                    );
                    self.violate(Rule::Returns, what);
                    return;
                }
            }
        }
    }

    /// Everything has come to zero.
    pub(crate) fn check_end(&mut self) {
        debug_assert_eq!(self.phase, Phase::Last);
        if !self.requests.is_empty() {
            let left = self.requests.len();
            self.violate(Rule::Zero, format!("{left} requests have not ended"));
        }
        let told = &self.summary;
        let ended = told.answered + told.failed + told.full + told.nobody + told.lost;
        if ended != told.requests {
            let what = format!("{} requests came, and {ended} have ended", told.requests);
            self.violate(Rule::Zero, what);
        }
        let mut left = Vec::new();
        for (at, proxy) in self.proxies.iter().enumerate() {
            for (life, meter) in &proxy.meters {
                if meter.in_flight() != 0 {
                    left.push(format!("{:?} {life:?}: {}", P(at), meter.in_flight()));
                }
            }
        }
        if !left.is_empty() {
            self.violate(
                Rule::Zero,
                format!("requests are counted that have ended: {}", left.join(", ")),
            );
        }
    }
}
