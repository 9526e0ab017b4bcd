//! What goes wrong, and how it ends.

use std::time::Duration;

use crate::Mix;
use crate::machine::Power;
use crate::network::Way;
use crate::timeline::Due;
use crate::trace::{B, P, What};
use crate::world::{LATENCY, Phase, World, name};

/// Kinds of trouble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A direction between a machine and a proxy, or both.
    Link,
    /// Everything between a proxy and the machines.
    Island,
    /// Packets get lost.
    Loss,
    /// All heartbeats.
    Agents,
    /// A proxy doesn't reach the store.
    StoreCut,
    /// Nobody does.
    StoreAway,
    StoreSlow,
    AnswersLost,
    Kill,
    Freeze,
    /// Everybody sleeps, as on a host that is suspended: all clocks jump.
    Sleep,
    Power,
    AgentDies,
    Leave,
    Move,
    Operator,
    /// Everybody registers at once.
    Storm,
    Burst,
}

impl World {
    pub(crate) async fn trouble(&mut self) {
        if self.phase != Phase::Trouble {
            return;
        }
        let next = self.random.u64(500..6_000);
        self.after(next, Due::Trouble);
        let kinds = self.mix.kinds();
        let kind = kinds[self.random.usize(..kinds.len())];
        let proxy = P(self.random.usize(..self.proxies.len()));
        let machine = B(self.random.usize(..self.machines.len()));
        let span = self.random.u64(300..25_000);
        match kind {
            Kind::Link => {
                let way = [
                    Way::ToProxy(machine, proxy),
                    Way::ToMachine(proxy, machine),
                    Way::Both(machine, proxy),
                ][self.random.usize(..3)];
                self.cut(way, span);
            }
            Kind::Island => {
                let way = [
                    Way::AllToProxy(proxy),
                    Way::AllToMachines(proxy),
                    Way::Alone(proxy),
                ][self.random.usize(..3)];
                self.cut(way, span);
            }
            Kind::Loss => {
                let permille = self.random.u32(10..300);
                self.network.lose(permille, self.now + span);
            }
            Kind::Agents => self.silence(),
            Kind::StoreCut => self.cut_store(proxy, span),
            Kind::StoreAway => self.lose_store(span),
            Kind::StoreSlow => {
                let latency = self.random.u64(20..1_500);
                self.slow_store(latency);
                self.after(span, Due::StoreIsQuick);
            }
            Kind::AnswersLost => {
                let count = self.random.u32(1..4);
                if let Some(hub) = self.hub() {
                    hub.lose_answers(&name(proxy), count);
                    self.trace.note(self.now, What::AnswersLost(proxy, count));
                }
            }
            Kind::Kill => self.kill(proxy, span),
            Kind::Freeze => self.freeze(proxy, span),
            Kind::Sleep => self.sleep(span).await,
            Kind::Power => self.break_down(machine, span),
            Kind::AgentDies => {
                self.stop_agent(machine);
                self.after(span, Due::AgentStarts(machine));
            }
            Kind::Leave => {
                let here = &mut self.machines[machine.0];
                here.is_leaving = here.has_agent && here.life.is_some();
            }
            Kind::Move => {
                // It restarts, without a word, at another address.
                let here = &self.machines[machine.0];
                if here.has_agent && here.power.accepts() && !here.is_leaving {
                    self.move_to_another_port(machine);
                    self.start_agent(machine);
                }
            }
            Kind::Operator => {
                let truth = &self.machines[machine.0].truth;
                if truth.disabled.is_none() && !truth.is_switched {
                    self.switch(machine, false);
                    self.after(span, Due::Enable(machine));
                }
            }
            Kind::Storm => {
                for at in 0..self.machines.len() {
                    if self.machines[at].has_agent && !self.machines[at].is_leaving {
                        self.start_agent(B(at));
                    }
                }
            }
            Kind::Burst => self.burst_until = self.now + span.min(4_000),
        }
    }

    fn cut(&mut self, way: Way, span: u64) {
        self.trace.note(self.now, What::Cut(way, span));
        self.network.cut(way, self.now + span);
        self.disturb();
    }

    /// All agents are heard by nobody, for so long that many leases run out, and not so long that a mass expiry is believed.
    fn silence(&mut self) {
        let span = self.random.u64(self.ttl..2 * self.ttl);
        let (cut, until) = (Way::Agents, self.now + span);
        self.trace.note(self.now, What::Cut(cut, span));
        self.network.cut(cut, until);
        self.expect_no_mass_expiry();
    }

    fn cut_store(&mut self, proxy: P, span: u64) {
        let Some(hub) = self.hub() else { return };
        hub.cut(&name(proxy));
        self.trace.note(self.now, What::StoreCut(proxy, span));
        self.proxies[proxy.0].is_cut = true;
        self.look_who_is_current();
        self.disturb();
        self.after(span, Due::StoreIsBack(Some(proxy)));
    }

    fn lose_store(&mut self, span: u64) {
        let Some(hub) = self.hub() else { return };
        hub.cut_all();
        self.trace.note(self.now, What::StoreAway(span));
        self.is_store_away = true;
        self.look_who_is_current();
        self.disturb();
        self.after(span, Due::StoreIsBack(None));
    }

    pub(crate) fn store_is_back(&mut self, proxy: Option<P>) {
        let compacts = self.random.u8(..3) == 0;
        let Some(hub) = self.hub() else { return };
        if compacts {
            hub.compact();
        }
        match proxy {
            Some(proxy) if !self.proxies[proxy.0].is_frozen => hub.heal(&name(proxy)),
            Some(_) => {}
            None => hub.heal_all(),
        }
        if compacts {
            self.trace.note(self.now, What::Compacted);
        }
        self.trace.note(self.now, What::StoreIsBack(proxy));
        match proxy {
            Some(proxy) => self.proxies[proxy.0].is_cut = false,
            None => self.is_store_away = false,
        }
        self.look_who_is_current();
    }

    pub(crate) fn slow_store(&mut self, latency: u64) {
        if let Some(hub) = self.hub() {
            hub.slow(Duration::from_millis(latency));
            self.trace.note(self.now, What::StoreSlow(latency));
            self.latency = latency;
            self.disturb();
        }
    }

    fn kill(&mut self, proxy: P, span: u64) {
        let here = &mut self.proxies[proxy.0];
        if here.process.take().is_none() {
            return;
        }
        let was_frozen = std::mem::take(&mut here.is_frozen);
        here.late.clear();
        let is_cut = here.is_cut;
        if let Some(hub) = self.hub().filter(|_| was_frozen && !is_cut) {
            hub.heal(&name(proxy));
        }
        for machine in &mut self.machines {
            let truth = &mut machine.truth;
            // What was asked of it then, nobody knows the end of.
            truth.is_switched &= truth.switched_by != Some(proxy);
        }
        self.forget_requests(proxy);
        self.trace.note(self.now, What::Killed(proxy, span));
        self.look_who_is_current();
        self.disturb();
        self.after(span, Due::Start(proxy));
    }

    fn freeze(&mut self, proxy: P, span: u64) {
        let here = &mut self.proxies[proxy.0];
        let Some(process) = here.process.as_ref().filter(|_| !here.is_frozen) else {
            return;
        };
        process.gate.shut();
        here.is_frozen = true;
        if let Some(hub) = self.hub() {
            // Nothing is heard of it meanwhile.
            hub.cut(&name(proxy));
        }
        self.trace.note(self.now, What::Frozen(proxy, span));
        self.look_who_is_current();
        self.disturb();
        self.after(span, Due::Resume(proxy));
    }

    pub(crate) fn resume(&mut self, proxy: P) {
        let here = &mut self.proxies[proxy.0];
        if !here.is_frozen {
            return;
        }
        here.is_frozen = false;
        here.awake_since = self.now;
        if let Some(process) = &here.process {
            process.gate.open();
        }
        let late = std::mem::take(&mut here.late);
        let is_cut = here.is_cut;
        if let Some(hub) = self.hub().filter(|_| !is_cut) {
            hub.heal(&name(proxy));
        }
        self.trace.note(self.now, What::Resumed(proxy));
        // What has come is read in its order, once its tasks have had a turn.
        for due in late {
            self.after(1, due);
        }
        self.look_who_is_current();
    }

    async fn sleep(&mut self, span: u64) {
        self.trace.note(self.now, What::Asleep(span));
        tokio::time::advance(Duration::from_millis(span)).await;
        self.look_at_clock();
        self.slept += span;
        self.woke_at = self.now;
        for proxy in &mut self.proxies {
            proxy.awake_since = self.now;
            proxy.current_since = proxy.current_since.map(|_| self.now);
        }
        self.disturb();
    }

    fn break_down(&mut self, machine: B, span: u64) {
        let power = [Power::Resets, Power::Hung, Power::Off, Power::Gone][self.random.usize(..4)];
        if self.machines[machine.0].power != Power::Up {
            return;
        }
        self.power(machine, power);
        if power.accepts() {
            let planned = self.machines[machine.0].planned;
            self.after(span, Due::Power(machine, planned, Power::Up));
        } else {
            self.after(span, Due::Boot(machine));
        }
    }

    /// Everything that was broken is mended, but for machines that are retired.
    pub(crate) async fn heal(&mut self) {
        self.trace.note(self.now, What::Quiet);
        self.network.heal();
        self.silence = None;
        self.slow_store(LATENCY);
        for at in 0..self.proxies.len() {
            let proxy = P(at);
            self.resume(proxy);
            if let Some(hub) = self.hub() {
                hub.lose_answers(&name(proxy), 0);
            }
            self.store_is_back(Some(proxy));
        }
        self.store_is_back(None);
        for at in 0..self.proxies.len() {
            if self.proxies[at].process.is_none() {
                self.after(1, Due::Start(P(at)));
            }
        }
        let retired = self.random.usize(..=self.machines.len() / 3);
        for at in 0..self.machines.len() {
            let machine = B(at);
            if at < retired {
                self.machines[at].truth.is_retired = true;
                self.power(machine, Power::Off);
                continue;
            }
            self.power(machine, Power::Up);
            if !self.machines[at].has_agent || self.machines[at].is_leaving {
                self.start_agent(machine);
            }
            // Whatever an operator has said, and wherever it is still to be written.
            self.after(8_000, Due::Enable(machine));
        }
    }
}

impl Mix {
    pub(crate) const fn kinds(self) -> &'static [Kind] {
        use Kind::{
            AgentDies, Agents, AnswersLost, Burst, Freeze, Island, Kill, Leave, Link, Loss, Move, Operator,
            Power, Sleep, StoreAway, StoreCut, StoreSlow, Storm,
        };
        match self {
            Self::Alone => &[
                Link, Island, Loss, Agents, Agents, Kill, Freeze, Sleep, Power, Power, AgentDies, Leave,
                Move, Operator, Storm, Burst,
            ],
            Self::Partitions => &[
                Link,
                Link,
                Island,
                Loss,
                StoreCut,
                StoreCut,
                StoreAway,
                AnswersLost,
                StoreSlow,
                Power,
                Leave,
                Move,
            ],
            Self::Crashes => &[Kill, Kill, Freeze, Power, Power, AgentDies, Leave, Move, Storm],
            Self::Jumps => &[Sleep, Sleep, Freeze, Freeze, Power, StoreSlow, Leave, Burst],
            Self::Churn => &[
                Leave,
                Leave,
                Move,
                Move,
                Power,
                Power,
                AgentDies,
                Operator,
                Storm,
                Burst,
                StoreSlow,
                AnswersLost,
            ],
            Self::Everything => &[
                Link,
                Island,
                Loss,
                Agents,
                StoreCut,
                StoreAway,
                StoreSlow,
                AnswersLost,
                Kill,
                Freeze,
                Sleep,
                Power,
                Power,
                AgentDies,
                Leave,
                Move,
                Operator,
                Storm,
                Burst,
            ],
        }
    }
}
