//! What must hold.

use std::time::Duration;

use edgeproxy_backend::BackendId;

use crate::store::after;
use crate::world::{Mix, POLICY, World};

/// For an event to reach everybody.
const SPREAD: Duration = Duration::from_secs(1);

impl World {
    fn fail(&self, what: &str) -> ! {
        for (time, event) in self.store.log.iter().rev().take(60).rev() {
            println!("{:8.2} {event:?}", time.as_micros() as f64 / 1e6);
        }
        panic!(
            "seed {}, {:?}, at {:.2} s: {what}",
            self.seed,
            self.mix,
            self.now.as_micros() as f64 / 1e6
        );
    }

    /// A registration is being removed because its lease is thought to have run out.
    pub(crate) fn may_remove(&self, id: &BackendId, how: &str) {
        let backend = self.backends.iter().find(|backend| backend.id == *id).unwrap();
        if backend.answers
            && backend
                .well_since
                .is_some_and(|since| after(since, backend.ttl) < self.now)
        {
            self.fail(&format!(
                "{id} was {how}, though it answers and is heard: {backend:?}"
            ));
        }
    }

    /// At every step.
    pub(crate) fn check(&self) {
        for (at, proxy) in self.proxies.iter().enumerate() {
            // Who has heard everything for a while knows what there is, and no more.
            let is_current = proxy
                .current_since
                .is_some_and(|since| after(since, SPREAD) < self.now);
            if !self.reaches(at) || !is_current {
                continue;
            }
            for (id, (ended, since)) in &self.store.ended {
                if after(*since, SPREAD) < self.now
                    && proxy.cluster.knows(id).is_some_and(|known| known <= *ended)
                {
                    self.fail(&format!("{} still routes to {id}, which has left", proxy.name));
                }
            }
        }
        for backend in &self.backends {
            // The longest that a machine that is gone may stay, where everybody is in reach.
            let limit = backend.ttl * 3 + POLICY.member_ttl * 2 + Duration::from_secs(10);
            if self.is_quiet
                && backend
                    .dead_since
                    .is_some_and(|since| after(since, limit) < self.now)
                && self.proxies.iter().all(|proxy| {
                    proxy
                        .current_since
                        .is_some_and(|since| after(since, limit) < self.now)
                })
                && self.store.backends.contains_key(&backend.id)
            {
                self.fail(&format!("{} is gone and still registered", backend.id));
            }
        }
    }

    /// After a long time without trouble.
    pub(crate) fn check_settled(&self, writes: usize, span: Duration) {
        for backend in &self.backends {
            let stored = self.store.backends.get(&backend.id);
            if backend.beats != stored.is_some() {
                self.fail(&format!("{backend:?} is in the store as {stored:?}"));
            }
            for proxy in &self.proxies {
                if proxy.cluster.knows(&backend.id) != stored.map(|owned| owned.incarnation) {
                    let known = proxy.cluster.knows(&backend.id);
                    self.fail(&format!(
                        "{} knows {} as {known:?}, the store has {stored:?}",
                        proxy.name, backend.id
                    ));
                }
            }
        }
        // Only backends that wander change hands, and seldom.
        let shortest = self.backends.iter().map(|backend| backend.ttl).min().unwrap();
        let changes = span.as_millis() / (shortest * POLICY.settle).as_millis() + 1;
        let allowed = match self.mix {
            Mix::Everything | Mix::Wandering => self.backends.len() * usize::try_from(changes).unwrap(),
            Mix::Partitions | Mix::Crashes => 0,
        };
        if writes > allowed {
            self.fail(&format!(
                "{writes} writes of registrations in {span:?} without a change; at most {allowed}"
            ));
        }
    }
}
