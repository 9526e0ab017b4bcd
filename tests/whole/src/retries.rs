//! What must hold of a request that has failed: it is tried again, elsewhere, as long as somebody else is there.

use std::sync::Arc;

use edgeproxy_backend::{Endpoint, Gate, Incarnation, MonoTime};
use edgeproxy_balance::retry::Next;

use crate::Rule;
use crate::request::Outcome;
use crate::trace::P;
use crate::world::World;

/// What a process may still spend on retries, by the world's own count, in millionths of a retry.
#[derive(Debug)]
pub(crate) struct Budget {
    held: u64,
    filled_to: MonoTime,
}

const RETRY: u64 = 1_000_000;
/// A fifth of the requests, 10 each second, and what ten seconds bring, as `docs/behaviour` has it.
const A_REQUEST: u64 = RETRY / 5;
const PER_SEC: u64 = 10;
const MOST: u64 = 10 * PER_SEC * RETRY;
/// The product counts in thousandths.
const ROUNDED: u64 = RETRY / 100;

impl Default for Budget {
    fn default() -> Self {
        Self {
            held: MOST,
            filled_to: MonoTime::ZERO,
        }
    }
}

impl Budget {
    pub(crate) fn count(&mut self) {
        self.held = (self.held + A_REQUEST).min(MOST);
    }

    /// A retry was granted or refused: what is wrong with that.
    fn spend(&mut self, is_granted: bool, now: MonoTime) -> Option<&'static str> {
        let micros = now.as_micros().saturating_sub(self.filled_to.as_micros());
        self.held = (self.held + micros * PER_SEC).min(MOST);
        self.filled_to = now;
        let held = self.held;
        if is_granted {
            self.held = held.saturating_sub(RETRY);
            (held + ROUNDED < RETRY).then_some("granted, and nothing is left to pay for it")
        } else {
            (held > RETRY + ROUNDED).then_some("refused, and there is enough to pay for it")
        }
    }
}

impl World {
    /// Those that have an open gate in the table of a proxy.
    fn open(&self, proxy: P) -> Vec<Arc<Endpoint>> {
        let Some(process) = self.running(proxy) else {
            return Vec::new();
        };
        let desk = process.desk.borrow();
        let members = desk.latest.iter().flat_map(|app| &app.members);
        let open = members
            .filter(|member| member.state.takes_traffic() && member.endpoint.meter.gate() == Gate::Open);
        open.map(|member| Arc::clone(&member.endpoint)).collect()
    }

    /// Whether the world has fewer requests in flight there than it takes. Lives may have a meter in common.
    fn has_room(&self, proxy: P, endpoint: &Endpoint) -> bool {
        let here = &self.proxies[proxy.0];
        let is_its = |life: &Incarnation| {
            let meter = here.meters.get(life);
            *life == endpoint.incarnation || meter.is_some_and(|meter| Arc::ptr_eq(meter, &endpoint.meter))
        };
        let views = here.views.iter().filter(|(life, _)| is_its(life));
        let in_flight: u32 = views.map(|(_, view)| view.in_flight).sum();
        let hard = endpoint.limits.hard();
        hard == 0 || in_flight < hard
    }

    /// Whom a request could still go to: who hasn't had it; where all have, any but the latest.
    fn left(&self, proxy: P, tried: &[Incarnation]) -> Vec<Arc<Endpoint>> {
        let mut open = self.open(proxy);
        let is_untried = |endpoint: &Arc<Endpoint>| !tried.contains(&endpoint.incarnation);
        if open.iter().any(is_untried) {
            open.retain(is_untried);
        } else {
            open.retain(|endpoint| tried.last() != Some(&endpoint.incarnation));
        }
        open
    }

    /// A request that has failed before goes there.
    pub(crate) fn check_repeated(&mut self, proxy: P, life: Incarnation, tried: &[Incarnation]) {
        if !tried.contains(&life) {
            return;
        }
        let open = self.open(proxy);
        let untried = open
            .iter()
            .find(|endpoint| !tried.contains(&endpoint.incarnation));
        let what = match untried {
            Some(untried) => format!("{} has not had it, and is open", untried.id.as_str()),
            None if tried.last() == Some(&life) => "it has just failed there".to_owned(),
            None => return,
        };
        self.violate(
            Rule::Repeated,
            format!("{proxy:?} sends a request to {life:?} once more: {what}"),
        );
    }

    /// An attempt has failed that was not the last one: what was decided is right, and paid for.
    pub(crate) fn check_retry(
        &mut self,
        proxy: P,
        tried: &[Incarnation],
        outcome: Outcome,
        (next, is_granted): (Next, bool),
        now: MonoTime,
    ) {
        if next != Next::OtherBackend {
            let left = self.left(proxy, tried).len();
            if left > 0 {
                let what = format!("{proxy:?} does {next:?} after {outcome:?}, and {left} others are open");
                self.violate(Rule::GivenUp, what);
            }
            return;
        }
        if let Some(wrong) = self.proxies[proxy.0].budget.spend(is_granted, now) {
            let rule = if is_granted { Rule::Bounded } else { Rule::GivenUp };
            self.violate(rule, format!("a retry of {proxy:?} was {wrong}"));
        }
    }

    /// Everybody is said to be full who hasn't had it.
    pub(crate) fn check_room(&mut self, proxy: P, tried: &[Incarnation]) {
        let open = self.open(proxy);
        let untried = open
            .iter()
            .filter(|endpoint| !tried.contains(&endpoint.incarnation));
        let roomy = untried.filter(|endpoint| self.has_room(proxy, endpoint));
        let roomy: Vec<_> = roomy.map(|endpoint| endpoint.id.as_str()).collect();
        if !roomy.is_empty() {
            let what = format!("{proxy:?} has all full, and {roomy:?} have room");
            self.violate(Rule::GivenUp, what);
        }
    }

    /// Nobody is said to be left for a request that has failed before.
    pub(crate) fn check_left(&mut self, proxy: P, tried: &[Incarnation]) {
        let left = self.left(proxy, tried);
        if !tried.is_empty() && !left.is_empty() {
            let left: Vec<_> = left.iter().map(|endpoint| endpoint.id.as_str()).collect();
            let what = format!("{proxy:?} gives up after {tried:?}, and {left:?} are open");
            self.violate(Rule::GivenUp, what);
        }
    }
}
