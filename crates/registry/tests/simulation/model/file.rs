//! What a configuration says, put in force.

use std::sync::Arc;

use edgeproxy_backend::{AppName, BackendId, Endpoint};
use edgeproxy_registry::{AppPolicy, EventKind, Reconciled};

use super::{Asking, Kind, Model};
use crate::shadow::{Phase, Restored, micros};

#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Refused {
    Twice,
    TooManyBackends,
    TooManyApps,
}

impl Model {
    pub fn foresee_file(&self, file: &[Asking]) -> Result<(), Refused> {
        let twice = |(at, one): (usize, &Asking)| file[..at].iter().any(|other| other.id == one.id);
        if file.iter().enumerate().any(twice) {
            return Err(Refused::Twice);
        }
        let new = file.iter().filter(|asking| self.listed(&asking.id).is_none());
        if self.all.len() + new.count() > self.config.max_backends {
            return Err(Refused::TooManyBackends);
        }
        let mut apps = self.apps();
        apps.extend(file.iter().map(|asking| asking.app.clone()));
        apps.sort();
        apps.dedup();
        if apps.len() > self.config.max_apps && apps.len() > self.apps().len() {
            return Err(Refused::TooManyApps);
        }
        Ok(())
    }

    /// `endpoint` says what the registry has by that id now.
    pub fn configure(
        &mut self,
        others: AppPolicy,
        policies: &[(AppName, AppPolicy)],
        file: Vec<Asking>,
        endpoint: impl Fn(&BackendId) -> Arc<Endpoint>,
    ) -> Reconciled {
        self.config.app = others;
        self.policies = policies.to_vec();
        for app in self.apps() {
            self.policy_changed(&app);
        }
        let before = std::mem::replace(&mut self.file, file.clone());
        let differs: Vec<Asking> = file
            .into_iter()
            .filter(|asking| !before.contains(asking))
            .collect();
        let mut done = Reconciled::default();
        let (known, new): (Vec<_>, Vec<_>) = differs
            .into_iter()
            .partition(|asking| self.listed(&asking.id).is_some());
        for asking in new {
            let overrides = self.recall(&asking);
            let endpoint = endpoint(&asking.id);
            self.insert(asking, overrides, &endpoint, Kind::Fixed);
            done.added += 1;
        }
        for asking in known {
            let i = self.listed(&asking.id).unwrap();
            let b = &self.all[i];
            if b.phase == Phase::Live && b.app == asking.app && b.addr == asking.addr {
                self.restate(i, &asking);
                done.changed += 1;
            } else {
                let overrides = b.overridden().of(&asking.app);
                let full = self.all.len() >= self.config.max_backends;
                let endpoint = endpoint(&asking.id);
                self.insert(asking, overrides, &endpoint, Kind::Fixed);
                self.supersede(i, full);
                done.added += 1;
            }
        }
        let mut gone: Vec<BackendId> = before.into_iter().map(|asking| asking.id).collect();
        gone.retain(|id| !self.file.iter().any(|asking| asking.id == *id));
        gone.sort();
        for id in gone {
            let i = self.listed(&id).unwrap();
            let drain = micros(self.config.drain_timeout);
            self.leave_within(i, drain);
            done.removed += 1;
        }
        done
    }

    fn restate(&mut self, i: usize, asking: &Asking) {
        let b = &mut self.all[i];
        b.fixed = true;
        b.renewals = 0;
        b.suspect = false;
        b.restored = Restored::Heard;
        b.self_draining = false;
        (b.weight, b.soft, b.hard, b.fallback) = (asking.weight, asking.soft, asking.hard, asking.fallback);
        let incarnation = b.incarnation;
        self.emit(EventKind::Changed, incarnation);
        self.settle_all(i);
    }
}
