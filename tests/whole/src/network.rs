//! Who reaches whom, and how long that takes.

use crate::trace::{B, P};

/// What is cut, in which direction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Way {
    /// What a machine sends to a proxy, answers too.
    ToProxy(B, P),
    /// What a proxy sends to a machine, answers too.
    ToMachine(P, B),
    Both(B, P),
    /// Everything that machines send to a proxy.
    AllToProxy(P),
    /// Everything that a proxy sends to machines.
    AllToMachines(P),
    Alone(P),
    /// Each machine's heartbeats to every proxy, while the proxies reach the machines: agents and probes go by
    /// different networks.
    Agents,
}

/// Everything between the machines and the proxies.
#[derive(Debug)]
pub(crate) struct Network {
    proxies: usize,
    /// Until when each direction is cut, by machine and proxy.
    to_proxy: Vec<u64>,
    to_machine: Vec<u64>,
    agents: u64,
    /// So many of a thousand packets have to be sent again, until then.
    loss: (u32, u64),
}

/// After which a lost packet is sent again.
const AGAIN: u64 = 200;

impl Network {
    pub(crate) fn new(machines: usize, proxies: usize) -> Self {
        Self {
            proxies,
            to_proxy: vec![0; machines * proxies],
            to_machine: vec![0; machines * proxies],
            agents: 0,
            loss: (0, 0),
        }
    }

    const fn link(&self, machine: B, proxy: P) -> usize {
        machine.0 * self.proxies + proxy.0
    }

    /// A machine's packets come to that proxy.
    pub(crate) fn reaches_proxy(&self, machine: B, proxy: P, now: u64) -> bool {
        self.to_proxy[self.link(machine, proxy)] <= now
    }

    /// A proxy's packets come to that machine.
    pub(crate) fn reaches_machine(&self, proxy: P, machine: B, now: u64) -> bool {
        self.to_machine[self.link(machine, proxy)] <= now
    }

    /// Heartbeats get through to that proxy.
    pub(crate) fn is_heard(&self, machine: B, proxy: P, now: u64) -> bool {
        self.agents <= now && self.reaches_proxy(machine, proxy, now)
    }

    /// Connections can be made.
    pub(crate) fn connects(&self, proxy: P, machine: B, now: u64) -> bool {
        self.reaches_proxy(machine, proxy, now) && self.reaches_machine(proxy, machine, now)
    }

    pub(crate) fn cut(&mut self, way: Way, until: u64) {
        let machines = self.to_proxy.len() / self.proxies;
        match way {
            Way::ToProxy(machine, proxy) => {
                let link = self.link(machine, proxy);
                self.to_proxy[link] = until;
            }
            Way::ToMachine(proxy, machine) => {
                let link = self.link(machine, proxy);
                self.to_machine[link] = until;
            }
            Way::Both(machine, proxy) => {
                self.cut(Way::ToProxy(machine, proxy), until);
                self.cut(Way::ToMachine(proxy, machine), until);
            }
            Way::AllToProxy(proxy) => {
                (0..machines).for_each(|machine| self.cut(Way::ToProxy(B(machine), proxy), until));
            }
            Way::AllToMachines(proxy) => {
                (0..machines).for_each(|machine| self.cut(Way::ToMachine(proxy, B(machine)), until));
            }
            Way::Alone(proxy) => {
                self.cut(Way::AllToProxy(proxy), until);
                self.cut(Way::AllToMachines(proxy), until);
            }
            Way::Agents => self.agents = until,
        }
    }

    pub(crate) const fn lose(&mut self, permille: u32, until: u64) {
        self.loss = (permille, until);
    }

    pub(crate) const fn loses(&self, now: u64) -> bool {
        self.loss.1 > now
    }

    pub(crate) fn heal(&mut self) {
        self.to_proxy.fill(0);
        self.to_machine.fill(0);
        self.agents = 0;
        self.loss = (0, 0);
    }

    /// One way.
    pub(crate) fn delay(&self, random: &mut fastrand::Rng, now: u64) -> u64 {
        let mut delay = random.u64(1..6);
        while self.loss.1 > now && random.u32(..1_000) < self.loss.0 && delay < 2_000 {
            delay += AGAIN;
        }
        delay
    }
}
