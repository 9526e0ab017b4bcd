//! What happens.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};
use edgeproxy_store::ProxyName;
use edgeproxy_store::cluster::{Action, Answer, Cluster, ClusterPolicy, Heard, Owned};

use crate::store::{Event, Store, after};

pub(crate) const STEP: Duration = Duration::from_millis(50);
const PROXIES: usize = 3;
const BACKENDS: usize = 10;
const TROUBLE: Duration = Duration::from_secs(240);
const QUIET: Duration = Duration::from_secs(400);
/// By then everybody has changed hands who was to: the longest TTL, ten times, and what it takes to be heard.
const SETTLED: Duration = Duration::from_secs(260);
/// Nobody is away for as long as a missing proxy is remembered: what happens then is a test of its own.
pub(crate) const POLICY: ClusterPolicy = ClusterPolicy::DEFAULT;
/// Silent for so long, the store counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// A call that was sent again by somebody who had no answer arrives within that.
const LATE: u64 = 7_000;

/// What becomes of a call to the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Done,
    Fails,
    /// Done, and answered by an error.
    AnswerIsLost,
    /// Done, and once more later.
    DoneAgain,
}

/// What may go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mix {
    Everything,
    Partitions,
    Crashes,
    Wandering,
}

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) name: ProxyName,
    pub(crate) cluster: Cluster,
    /// `None` while it runs.
    pub(crate) down_until: Option<MonoTime>,
    pub(crate) cut_until: MonoTime,
    pub(crate) is_lost: bool,
    /// When it last reached the store.
    reached: MonoTime,
    /// How much of the log it has heard, and whether it must read everything.
    position: usize,
    must_resync: bool,
    /// Its own registrations and removals that are still to be written.
    pending: BTreeMap<BackendId, (Incarnation, Option<Duration>)>,
    probes: VecDeque<(MonoTime, BackendId, Incarnation)>,
    /// Since when it has heard all that there is.
    pub(crate) current_since: Option<MonoTime>,
}

#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) id: BackendId,
    pub(crate) ttl: Duration,
    pub(crate) answers: bool,
    pub(crate) beats: bool,
    home: usize,
    wanders: bool,
    next_beat: MonoTime,
    pub(crate) incarnation: Option<Incarnation>,
    /// Since when it has been heard without a gap.
    pub(crate) well_since: Option<MonoTime>,
    /// Since when it has answered nobody and been silent.
    pub(crate) dead_since: Option<MonoTime>,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) now: MonoTime,
    pub(crate) mix: Mix,
    random: fastrand::Rng,
    pub(crate) store: Store,
    /// Calls that are still on their way, when they arrive, and whose they are.
    late: Vec<(MonoTime, usize, Action)>,
    store_down_until: MonoTime,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) backends: Vec<Backend>,
    lives: u64,
    pub(crate) is_quiet: bool,
}

impl World {
    pub(crate) fn new(seed: u64, mix: Mix) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let proxy = |at: usize| {
            let name = ProxyName::parse(&format!("p{at}")).unwrap();
            Proxy {
                cluster: Cluster::new(name.clone(), POLICY),
                name,
                down_until: None,
                cut_until: MonoTime::ZERO,
                is_lost: false,
                reached: MonoTime::ZERO,
                position: 0,
                must_resync: true,
                pending: BTreeMap::new(),
                probes: VecDeque::new(),
                current_since: None,
            }
        };
        let mut backend = |at: usize| Backend {
            id: BackendId::parse(&format!("b{at}")).unwrap(),
            ttl: Duration::from_secs([3, 6, 20][random.usize(..3)]),
            answers: true,
            beats: true,
            home: random.usize(..PROXIES),
            wanders: mix == Mix::Wandering || (mix == Mix::Everything && random.u8(..4) == 0),
            next_beat: MonoTime::from_micros(random.u64(..1_000_000)),
            incarnation: None,
            well_since: None,
            dead_since: None,
        };
        Self {
            seed,
            now: MonoTime::ZERO,
            mix,
            store: Store::default(),
            late: Vec::new(),
            store_down_until: MonoTime::ZERO,
            proxies: (0..PROXIES).map(proxy).collect(),
            backends: (0..BACKENDS).map(&mut backend).collect(),
            random,
            lives: 0,
            is_quiet: false,
        }
    }

    pub(crate) fn trouble(&mut self) {
        let end = after(self.now, TROUBLE);
        while self.now < end {
            if self.random.u16(..60) == 0 {
                self.something();
            }
            self.step();
        }
    }

    /// Everybody is in reach again, and nothing more goes wrong.
    pub(crate) fn quiet(&mut self) {
        self.is_quiet = true;
        self.store_down_until = self.now;
        for proxy in &mut self.proxies {
            proxy.cut_until = self.now;
            proxy.down_until = proxy.down_until.map(|_| self.now);
        }
        let settled = after(self.now, SETTLED);
        let end = after(self.now, QUIET);
        let mut writes = self.store.writes;
        while self.now < end {
            self.step();
            if self.now <= settled {
                writes = self.store.writes;
            }
        }
        self.check_settled(self.store.writes - writes, QUIET - SETTLED);
    }

    fn something(&mut self) {
        let span = Duration::from_millis(self.random.u64(500..40_000));
        let (proxy, backend) = (self.random.usize(..PROXIES), self.random.usize(..BACKENDS));
        let kind = match self.mix {
            Mix::Everything => self.random.u8(..8),
            Mix::Partitions => [0, 0, 3, 4, 5, 6][self.random.usize(..6)],
            Mix::Crashes => [1, 1, 3, 4, 5, 6][self.random.usize(..6)],
            Mix::Wandering => [3, 4, 6][self.random.usize(..3)],
        };
        let until = after(self.now, span);
        match kind {
            0 => self.proxies[proxy].cut_until = until,
            1 => self.crash(proxy, until),
            2 => self.store_down_until = until,
            3 => {
                // Its machine is gone.
                let backend = &mut self.backends[backend];
                (backend.answers, backend.beats) = (false, false);
                backend.well_since = None;
                backend.dead_since.get_or_insert(self.now);
            }
            4 => {
                let backend = &mut self.backends[backend];
                (backend.answers, backend.beats) = (true, true);
                backend.dead_since = None;
                backend.next_beat = self.now;
            }
            5 => {
                // Its agent is gone; it serves on.
                let backend = &mut self.backends[backend];
                backend.beats = false;
                backend.well_since = None;
            }
            6 => self.deregister(proxy, backend),
            _ => self.backends[backend].home = proxy,
        }
    }

    fn crash(&mut self, proxy: usize, until: MonoTime) {
        let proxy = &mut self.proxies[proxy];
        if proxy.down_until.is_some() {
            return;
        }
        proxy.down_until = Some(until);
        proxy.current_since = None;
        // What it alone knew is gone with it.
        for id in std::mem::take(&mut proxy.pending).into_keys() {
            let lost = self.backends.iter_mut().find(|backend| backend.id == id).unwrap();
            lost.well_since = None;
        }
        proxy.probes.clear();
    }

    /// A DELETE, at a proxy that can write it.
    fn deregister(&mut self, proxy: usize, backend: usize) {
        if !self.reaches(proxy) || self.proxies[proxy].is_lost {
            return;
        }
        let backend = &mut self.backends[backend];
        let proxy = &mut self.proxies[proxy];
        let Some(incarnation) = proxy.cluster.knows(&backend.id) else {
            return;
        };
        proxy.cluster.left(&backend.id);
        self.store.deregister(&backend.id, incarnation, self.now);
        (backend.answers, backend.beats) = (false, false);
        backend.well_since = None;
        backend.dead_since.get_or_insert(self.now);
    }

    pub(crate) fn reaches(&self, proxy: usize) -> bool {
        let proxy = &self.proxies[proxy];
        proxy.down_until.is_none() && proxy.cut_until <= self.now && self.store_down_until <= self.now
    }

    fn step(&mut self) {
        self.now = after(self.now, STEP);
        if self.store_down_until <= self.now {
            // Time that the store was down counts for nobody's lease, as etcd does at a change of leader.
            self.store.expire(self.now);
        } else {
            for ends in self.store.members.values_mut() {
                *ends = after(*ends, STEP);
            }
        }
        self.arrive_late();
        for proxy in 0..PROXIES {
            self.come_up(proxy);
            if self.proxies[proxy].down_until.is_none() {
                self.talk(proxy);
                self.answer_probes(proxy);
                self.proxies[proxy].cluster.tick(self.now);
                self.act(proxy);
            }
        }
        for backend in 0..BACKENDS {
            self.beat(backend);
        }
        for proxy in 0..PROXIES {
            self.act(proxy);
        }
        self.check();
    }

    fn come_up(&mut self, proxy: usize) {
        let now = self.now;
        let can_load = self.proxies[proxy].cut_until <= now && self.store_down_until <= now;
        let proxy = &mut self.proxies[proxy];
        if proxy.down_until.is_some_and(|until| until <= now) {
            proxy.down_until = None;
            proxy.cluster = Cluster::new(proxy.name.clone(), POLICY);
            proxy.is_lost = !can_load;
            if !can_load {
                // It begins alone.
                proxy.cluster.lost(now);
            }
            proxy.must_resync = true;
            proxy.reached = now;
        }
    }

    /// The watch, the lease, and writes that are due.
    fn talk(&mut self, at: usize) {
        let now = self.now;
        let reaches = self.reaches(at);
        let is_compacted = self.random.u8(..3) == 0;
        let delay = Duration::from_millis(self.random.u64(..100));
        let proxy = &mut self.proxies[at];
        if !reaches {
            proxy.current_since = None;
            if !proxy.is_lost && now.since(proxy.reached) > PATIENCE {
                proxy.is_lost = true;
                proxy.must_resync |= is_compacted;
                proxy.cluster.lost(now);
            }
            return;
        }
        proxy.reached = now;
        self.store.keep_alive(&proxy.name, POLICY.member_ttl, now);
        if proxy.must_resync {
            let owned = self.store.backends.values().cloned().collect();
            let members = self.store.members.keys().cloned().collect();
            proxy.cluster.resync(owned, members, now);
            proxy.position = self.store.log.len();
            (proxy.must_resync, proxy.is_lost) = (false, false);
        } else if std::mem::take(&mut proxy.is_lost) {
            proxy.cluster.restored(now);
        }
        for (id, (incarnation, ttl)) in std::mem::take(&mut proxy.pending) {
            match ttl {
                Some(ttl) => self
                    .store
                    .register(owned(&id, incarnation, ttl, &proxy.name), now),
                None => self.store.deregister(&id, incarnation, now),
            }
        }
        // In their order, each some time after it happened.
        while let Some((_, event)) = self
            .store
            .log
            .get(proxy.position)
            .filter(|(happened, _)| after(*happened, delay) <= now)
        {
            proxy.position += 1;
            match event.clone() {
                Event::Put(owned) => proxy.cluster.put(owned, now),
                Event::Deleted(id, incarnation) => proxy.cluster.deleted(&id, incarnation),
                Event::Joined(name) => proxy.cluster.joined(name, now),
                Event::Parted(name) => proxy.cluster.parted(&name, now),
                Event::Heard(ids) => proxy.cluster.heard(&ids, now),
            }
        }
        proxy.current_since.get_or_insert(now);
    }

    fn answer_probes(&mut self, at: usize) {
        let now = self.now;
        let proxy = &mut self.proxies[at];
        while let Some((_, id, incarnation)) = proxy.probes.pop_front_if(|(due, ..)| *due <= now) {
            let backend = self.backends.iter().find(|backend| backend.id == id).unwrap();
            let answer = if backend.answers {
                Answer::Answers
            } else {
                Answer::Refuses
            };
            proxy.cluster.probed(&id, incarnation, answer, now);
        }
    }

    fn act(&mut self, at: usize) {
        let now = self.now;
        while let Some(action) = self.proxies[at].cluster.poll_action() {
            if let Action::Probe { id, incarnation } = action {
                let due = after(now, Duration::from_millis(100));
                self.proxies[at].probes.push_back((due, id, incarnation));
                continue;
            }
            if let Action::Expire { id, incarnation, .. } = &action
                && self.random.u8(..4) == 0
            {
                // As the mass-expiry guard may have it.
                let backend = self.backends.iter().find(|backend| backend.id == *id);
                let longest = backend.unwrap().ttl * 3;
                self.proxies[at].cluster.keep(id, *incarnation, longest, now);
                continue;
            }
            self.call(at, action);
        }
    }

    fn call(&mut self, at: usize, action: Action) {
        let now = self.now;
        let fate = match self.random.u8(..16) {
            _ if self.is_quiet => Fate::Done,
            0 => Fate::Fails,
            1 => Fate::AnswerIsLost,
            2 => Fate::DoneAgain,
            _ => Fate::Done,
        };
        let is_done = self.reaches(at) && fate != Fate::Fails;
        if is_done {
            self.carry_out(at, action.clone());
        }
        let is_known_to_be = is_done && fate != Fate::AnswerIsLost;
        match action {
            Action::Tell { ids } if !is_known_to_be => self.proxies[at].cluster.not_told(ids, now),
            action if is_done && fate == Fate::DoneAgain => {
                let arrives = after(now, Duration::from_millis(self.random.u64(..LATE)));
                self.late.push((arrives, at, action));
            }
            _ => {}
        }
    }

    fn arrive_late(&mut self) {
        let now = self.now;
        if self.store_down_until > now {
            return;
        }
        let (due, later) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(arrives, ..)| *arrives <= now);
        self.late = later;
        let due: Vec<_> = due;
        for (_, at, action) in due {
            self.carry_out(at, action);
        }
    }

    fn carry_out(&mut self, at: usize, action: Action) {
        let now = self.now;
        let me = self.proxies[at].name.clone();
        match action {
            Action::Tell { ids } => self.store.tell(ids, now),
            Action::Adopt {
                id,
                incarnation,
                owner,
            } => self.store.adopt(&id, incarnation, &owner, &me, now),
            Action::Expire {
                id,
                incarnation,
                owner,
            }
            | Action::Delete {
                id,
                incarnation,
                owner,
            } => {
                if self.store.delete(&id, incarnation, &owner, now) {
                    self.may_remove(&id, "deleted");
                }
            }
            Action::Probe { .. } | Action::Believe { .. } => {}
        }
    }

    fn beat(&mut self, at: usize) {
        let now = self.now;
        let backend = &mut self.backends[at];
        if !backend.beats || now < backend.next_beat {
            return;
        }
        backend.next_beat = after(now, backend.ttl / 3);
        if backend.wanders {
            backend.home = (backend.home + 1) % PROXIES;
        }
        // Whoever runs, beginning with its own.
        let ups = (0..PROXIES).map(|n| (backend.home + n) % PROXIES);
        let Some(home) = ups.into_iter().find(|n| self.proxies[*n].down_until.is_none()) else {
            backend.well_since = None;
            return;
        };
        backend.home = home;
        let proxy = &mut self.proxies[home];
        if proxy.cluster.heartbeat(&backend.id, now) == Heard::Unknown {
            self.lives += 1;
            // As the stores give them: later than all that are known, and different by proxy.
            let incarnation = Incarnation::new(self.lives * 8 + home as u64).unwrap();
            backend.incarnation = Some(incarnation);
            proxy
                .cluster
                .registered(&backend.id, incarnation, backend.ttl, now);
            proxy
                .pending
                .insert(backend.id.clone(), (incarnation, Some(backend.ttl)));
            backend.well_since = None;
        }
        backend.well_since.get_or_insert(now);
    }
}

fn owned(id: &BackendId, incarnation: Incarnation, ttl: Duration, owner: &ProxyName) -> Owned {
    Owned {
        id: id.clone(),
        incarnation,
        ttl,
        owner: owner.clone(),
    }
}
