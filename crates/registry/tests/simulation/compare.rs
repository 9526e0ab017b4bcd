//! What must hold after every step.

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::Gate;
use edgeproxy_registry::{Cause, EventKind, Lease, Reason, Source, State, Status};

use crate::shadow::{Phase, Probed, Restored, Shadow, Traffic, micros};
use crate::world::World;

impl World {
    pub fn fail(&self, problem: &str) -> ! {
        panic!(
            "seed {}, step {}, at {:?}, {}: {problem}",
            self.seed,
            self.step,
            self.model.time(),
            self.doing
        );
    }

    pub fn check(&self, condition: bool, problem: impl FnOnce() -> String) {
        if !condition {
            self.fail(&problem());
        }
    }

    pub fn compare(&self) {
        if let Err(problem) = self.registry.audit() {
            self.fail(&problem);
        }
        let now = self.model.time();
        let page = self.registry.list(0, usize::MAX, |_, _| true, now);
        let listed: Vec<&Shadow> = self.model.all.iter().filter(|b| b.listed()).collect();
        self.check(
            page.total == listed.len() && page.items.len() == listed.len(),
            || format!("{} are listed, expected {}", page.total, listed.len()),
        );
        for shadow in listed {
            let status = page.items.iter().find(|status| status.endpoint.id == shadow.id);
            let Some(status) = status else {
                self.fail(&format!("{} is not listed", shadow.id))
            };
            self.compare_one(shadow, status);
        }
        for shadow in self.model.all.iter().filter(|b| b.phase == Phase::Superseded) {
            let gate = shadow.endpoint.meter.gate();
            self.check(gate == Gate::Closed, || {
                format!("{:?} drains, but its gate is {gate:?}", shadow.endpoint)
            });
        }
        for (endpoint, expected) in &self.model.gone {
            let gate = endpoint.meter.gate();
            self.check(gate == *expected, || {
                format!("{endpoint:?} is gone, but its gate is {gate:?}")
            });
        }
        self.compare_timeout();
        self.compare_stats();
        self.compare_disk();
    }

    fn compare_one(&self, shadow: &Shadow, status: &Status) {
        let (found, now) = (&status.endpoint, self.model.now);
        let say = |what: &str| format!("{} {what}: {status:?}, expected {shadow:?}", shadow.id);
        self.check(found.incarnation == shadow.incarnation, || {
            say("has another incarnation")
        });
        self.check(Arc::ptr_eq(&found.meter, &shadow.endpoint.meter), || {
            say("has another meter")
        });
        self.check(found.addr == shadow.addr && found.app == shadow.app, || {
            say("is elsewhere")
        });
        self.check(found.weight.get() == shadow.effective_weight(), || {
            say("has another weight")
        });
        let limits = (found.limits.soft(), found.limits.hard());
        self.check(limits == shadow.effective_limits(), || say("has other limits"));
        self.check(found.fallback == shadow.fallback, || say("fallback"));
        self.check(status.overrides == shadow.overrides, || {
            say("has other overrides")
        });
        self.check(status.state == shadow.state, || say("has another state"));
        let lease = (!shadow.fixed).then(|| {
            let since = (now + shadow.ttl).saturating_sub(shadow.deadline);
            (shadow.ttl, since, shadow.deadline.saturating_sub(now))
        });
        let found_lease = status.lease.map(|lease| {
            let Lease {
                ttl,
                last_heartbeat,
                expires_in,
            } = lease;
            (micros(ttl), micros(last_heartbeat), micros(expires_in))
        });
        self.check(found_lease == lease, || say("has another lease"));
        self.check((status.source == Source::File) == shadow.fixed, || {
            say("has another source")
        });
        self.check(self.reason_agrees(shadow, status.reason), || {
            say("has another reason")
        });
        let gate = match found.meter.gate() {
            Gate::TrialBusy => Gate::Trial,
            gate => gate,
        };
        self.check(gate == shadow.expected_gate(), || {
            format!("its gate is {gate:?}, {}", say("gate"))
        });
    }

    fn reason_agrees(&self, shadow: &Shadow, reason: Reason) -> bool {
        let in_time = |at: u64, left: Duration| micros(left) == at.saturating_sub(self.model.now);
        match (shadow.state, reason) {
            (State::Routable, Reason::Well) => shadow.restored == Restored::Heard,
            (State::Routable, Reason::Restored) => shadow.restored == Restored::Unheard,
            (State::Trial, Reason::Trial) => true,
            (State::Suspect, Reason::MassExpiry { since, removed_in }) => {
                micros(since) == self.model.now - shadow.deadline && in_time(shadow.lease_end(), removed_in)
            }
            (State::Suspect, Reason::Overdue { since }) => {
                shadow.restored == Restored::Overdue
                    && micros(since) == self.model.now.saturating_sub(shadow.deadline)
            }
            (State::Unhealthy, Reason::Unreached) => {
                shadow.restored == Restored::Unreached && shadow.probed == Probed::Fine
            }
            (State::Ejected, Reason::Failures { trial_in, .. }) => match shadow.traffic {
                Traffic::Out(until) => in_time(until, trial_in),
                Traffic::Well | Traffic::Trial => false,
            },
            (State::Unhealthy, Reason::Absent) => {
                shadow.restored == Restored::Absent && shadow.probed == Probed::Fine
            }
            (State::Unhealthy, Reason::Probes { streak }) => streak == shadow.fails,
            (State::Unhealthy, Reason::FirstProbe) => shadow.probed == Probed::First,
            (State::Draining, Reason::Deregistered { cut_in }) => in_time(shadow.drain_until, cut_in),
            (State::Draining, Reason::SelfDraining) => shadow.phase == Phase::Live && shadow.self_draining,
            (State::Disabled, Reason::Operator) => shadow.overrides.enabled == Some(false),
            (State::Disabled, Reason::WeightZero) => shadow.effective_weight() == 0,
            _ => false,
        }
    }

    /// The driver is woken in time for everything, and often enough.
    fn compare_timeout(&self) {
        let found = self
            .registry
            .poll_timeout()
            .map(edgeproxy_backend::MonoTime::as_micros);
        let due = self
            .model
            .all
            .iter()
            .map(Shadow::due)
            .chain(self.model.next_sweep)
            .min();
        let tick = self.model.now + micros(self.model.config.tick);
        let latest = due.map(|due| due.max(self.model.now).min(tick));
        let agrees = match (found, latest) {
            (None, None) => true,
            (Some(found), Some(latest)) => found >= self.model.now && found <= latest,
            _ => false,
        };
        self.check(agrees, || {
            format!("asks to be called at {found:?}, at the latest it must be {latest:?}")
        });
    }

    fn compare_stats(&self) {
        let stats = self.registry.stats();
        let listed = self.model.all.iter().filter(|b| b.listed()).count();
        self.check(
            stats.backends == listed && stats.apps == self.model.apps().len(),
            || format!("{stats:?}"),
        );
        self.check(stats.pauses == self.model.pauses, || {
            format!("{} pauses", stats.pauses)
        });
    }

    pub fn poll_events(&mut self) {
        let (mut found, mut expected): (Vec<(EventKind, _)>, Vec<_>) = (Vec::new(), Vec::new());
        std::mem::swap(&mut expected, &mut self.model.events);
        let mut gap = 0;
        while let Some(event) = self.registry.poll_event() {
            // A gap can only be before the oldest.
            self.check(event.sequence > self.last_sequence, || {
                format!("{event:?} comes late")
            });
            let missing = event.sequence - self.last_sequence - 1;
            self.check(missing == 0 || found.is_empty(), || {
                format!("a gap before {event:?}")
            });
            gap += missing;
            self.last_sequence = event.sequence;
            found.push((event.kind, event.incarnation));
        }
        let total = self.model.total_events;
        if self.model.config.max_events > 0 {
            let last = self.last_sequence;
            self.check(last == total, || {
                format!(
                    "{last} events so far, expected {total}; the last are {found:?}, expected {expected:?}"
                )
            });
        } else {
            gap = total - self.last_sequence;
            self.last_sequence = total;
        }
        self.dropped += gap;
        let dropped = self.registry.stats().events_dropped;
        self.check(dropped == self.dropped, || {
            format!("{dropped} dropped, but {} are missing", self.dropped)
        });
        if gap == 0 {
            let key = |event: &(EventKind, edgeproxy_backend::Incarnation)| (event.1, event.0.as_str());
            found.sort_by_key(key);
            expected.sort_by_key(key);
            self.check(found == expected, || {
                format!("events {found:?}, expected {expected:?}")
            });
        }
    }

    pub fn poll_snapshot(&mut self) {
        let (dirty, now) = (self.registry.is_dirty(), self.model.time());
        let next = self.registry.poll_snapshot(now);
        self.check(dirty == next.is_some(), || {
            format!("dirty: {dirty}, but {next:?}")
        });
        if let Some(next) = next {
            self.check(next.version == self.snapshot.version + 1, || {
                "the version jumps".to_owned()
            });
            for (name, app) in next.apps.iter() {
                let before = self.snapshot.apps.get(name);
                let shared = before.is_some_and(|before| Arc::ptr_eq(before, app));
                self.check(shared == (app.version != next.version), || {
                    format!("{name} is rebuilt needlessly")
                });
            }
            self.snapshot = next;
        }
        let apps = self.model.apps();
        self.check(self.snapshot.apps.len() == apps.len(), || {
            "other apps are published".to_owned()
        });
        for name in apps {
            let Some(app) = self.snapshot.apps.get(&name) else {
                self.fail("an app is not published")
            };
            let found = app.members.iter().map(|m| {
                (
                    m.endpoint.incarnation,
                    m.state,
                    m.endpoint.limits.hard(),
                    m.since,
                    m.excluded_by(),
                    m.in_doubt,
                )
            });
            let expected = self.model.members(&name).into_iter().map(|i| &self.model.all[i]);
            let expected = expected.map(|b| {
                let excluded = excluded_by(b);
                (
                    b.incarnation,
                    b.state,
                    b.effective_limits().1,
                    b.routable_since(),
                    excluded,
                    b.suspect || b.restored != Restored::Heard,
                )
            });
            self.check(found.eq(expected), || format!("{app:?} is published"));
        }
    }
}

/// Health alone is what a backend is out for only if nothing else is against it.
fn excluded_by(shadow: &Shadow) -> Option<Cause> {
    let reached = shadow.probed == Probed::Fine && !shadow.is_unreached();
    let well = reached && !matches!(shadow.traffic, Traffic::Out(_));
    if shadow.overrides.enabled == Some(false) || shadow.effective_weight() == 0 {
        Some(Cause::Operator)
    } else if shadow.phase != Phase::Live || shadow.self_draining {
        Some(Cause::Lease)
    } else {
        (!well).then_some(Cause::Health)
    }
}
