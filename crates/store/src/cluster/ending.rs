//! What becomes of a lease that has run out.

use std::time::Duration;

use edgeproxy_backend::{BackendId, Incarnation, MonoTime};

use super::entry::Phase;
use super::{Action, Cluster, plus, spread};

impl Cluster {
    /// It is not to [expire](Action::Expire) as long as it answers, for so much longer at the most.
    pub fn keep(&mut self, id: &BackendId, incarnation: Incarnation, longest: Duration, now: MonoTime) {
        let entry = self.backends.get_mut(id);
        let Some(entry) =
            entry.filter(|entry| entry.incarnation == incarnation && entry.phase == Phase::Ending)
        else {
            return;
        };
        entry.distrusted_until = Some(plus(now, longest));
        self.ask(id, incarnation, now, now);
        self.check();
    }

    /// Something of this backend may be due.
    pub(super) fn due(&mut self, id: &BackendId, now: MonoTime) {
        let grace = self.grace(now);
        let Some(entry) = self.backends.get(id) else {
            return;
        };
        let incarnation = entry.incarnation;
        let (phase, ends) = (entry.phase, plus(self.runs_until(id, entry), grace));
        // Heard since: whatever was thought of it, its lease lives.
        if now < ends {
            self.set_phase(id, Phase::Held);
            self.arm_at(id, ends);
            return;
        }
        if !self.is_to_ask(id) {
            // Should it be this proxy's to end one day, that begins anew.
            let look = spread::look(id, entry.ttl);
            self.set_phase(id, Phase::Held);
            self.arm_at(id, plus(now, look));
            return;
        }
        match phase {
            Phase::Held if !self.is_lost() && self.members.is_alone(now, self.policy.forget) => {
                self.expire(id, now);
            }
            Phase::Held | Phase::Asked { .. } => {
                let since = if let Phase::Asked { since } = phase {
                    since
                } else {
                    now
                };
                self.ask(id, incarnation, since, now);
            }
            Phase::Ending => self.ask(id, incarnation, now, now),
            Phase::Answering { since } => self.decide(id, incarnation, since, now),
        }
    }

    /// It answers, though its lease has run out.
    fn decide(&mut self, id: &BackendId, incarnation: Incarnation, since: MonoTime, now: MonoTime) {
        let missed_by = plus(since, self.policy.member_ttl + self.policy.grace * 2);
        let has_yet_to_tell = self.members.somebody_has_yet_to_tell(now, &self.policy);
        let distrusted_until = self.backends.get(id).and_then(|entry| entry.distrusted_until);
        let is_early = now < distrusted_until.unwrap_or(missed_by);
        if self.is_lost() || is_early || has_yet_to_tell {
            self.ask(id, incarnation, since, now);
        } else if let Some(entry) = self.backends.get(id).filter(|entry| entry.owner != self.me) {
            self.actions.push_back(entry.adoption(id));
            self.arm_at(id, plus(now, self.recheck(id)));
        } else {
            self.expire(id, now);
        }
    }

    /// Nobody has heard it. Whether that is to be distrusted is asked once.
    fn expire(&mut self, id: &BackendId, now: MonoTime) {
        let Some(entry) = self.backends.get(id) else {
            return;
        };
        if entry.distrusted_until.is_some() {
            self.end(id, now);
            return;
        }
        self.actions.push_back(entry.expiry(id));
        self.set_phase(id, Phase::Ending);
        self.arm_at(id, plus(now, self.recheck(id)));
    }

    pub(super) fn ask(&mut self, id: &BackendId, incarnation: Incarnation, since: MonoTime, now: MonoTime) {
        self.set_phase(id, Phase::Asked { since });
        self.actions.push_back(Action::Probe {
            id: id.clone(),
            incarnation,
        });
        // A result that is lost is asked for again.
        self.arm_at(id, plus(now, self.recheck(id)));
    }

    pub(super) fn hold(&mut self, id: &BackendId, since: MonoTime, now: MonoTime) {
        self.set_phase(id, Phase::Answering { since });
        self.arm_at(id, plus(now, self.recheck(id)));
    }

    pub(super) fn end(&mut self, id: &BackendId, now: MonoTime) {
        let Some(entry) = self.backends.get(id) else {
            return;
        };
        self.actions.push_back(entry.deletion(id));
        if let Some(entry) = self.backends.get_mut(id) {
            // Whatever there was to distrust, it is over.
            entry.distrusted_until = entry.distrusted_until.map(|until| until.min(now));
            entry.phase = Phase::Ending;
        }
        self.arm_at(id, plus(now, self.recheck(id)));
    }

    /// Between two looks at one whose lease has run out: a quarter of its TTL, 1 to 5 s. While the store is lost it may be
    /// everybody's that has, its own included, and then not more often than the turns of all allow.
    pub(super) fn recheck(&self, id: &BackendId) -> Duration {
        let ttl = self.backends.get(id).map_or(Duration::ZERO, |entry| entry.ttl);
        let alone = (ttl / 4).clamp(Duration::from_secs(1), Duration::from_secs(5));
        if self.is_lost() {
            alone.max(spread::all(self.backends.len()))
        } else {
            alone
        }
    }
}
