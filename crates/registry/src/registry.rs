use std::time::Duration;

use edgeproxy_backend::{AppName, BackendId, Incarnation, MonoTime, TrafficReport};

use crate::*;

/// The registry: a state machine without clock, lock, runtime or random source.
pub struct Registry {}

#[allow(unused_variables, clippy::todo, clippy::needless_pass_by_value, missing_docs)]
impl Registry {
    pub fn new(config: Config, now: MonoTime) -> Self {
        todo!()
    }
    pub fn set_app_policy(&mut self, app: &AppName, policy: AppPolicy, now: MonoTime) {
        todo!()
    }
    pub fn handle_register(&mut self, registration: Registration, now: MonoTime) -> Result<Registered, RegisterError> {
        todo!()
    }
    pub fn handle_heartbeat(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        report: &LoadReport,
        now: MonoTime,
    ) -> Result<Renewed, FencedError> {
        todo!()
    }
    /// `drain: None` removes it at once (in-flight work is not cut); `Some(d)` keeps it listed as draining.
    pub fn handle_deregister(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        drain: Option<Duration>,
        now: MonoTime,
    ) -> Result<Deregistered, FencedError> {
        todo!()
    }
    pub fn handle_patch(
        &mut self,
        id: &BackendId,
        fence: Option<Incarnation>,
        patch: &Patch,
        now: MonoTime,
    ) -> Result<Status, PatchError> {
        todo!()
    }
    pub fn handle_traffic(&mut self, report: &TrafficReport, now: MonoTime) {
        todo!()
    }
    /// Reports were lost because the queue was full: compares every meter's gate with its ledger.
    pub fn handle_lost_reports(&mut self, now: MonoTime) {
        todo!()
    }
    pub fn handle_probe(
        &mut self,
        id: &BackendId,
        incarnation: Incarnation,
        probe: Probe,
        passed: bool,
        now: MonoTime,
    ) -> Pace {
        todo!()
    }
    pub fn handle_timeout(&mut self, now: MonoTime) {
        todo!()
    }
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        todo!()
    }
    pub fn poll_event(&mut self) -> Option<Event> {
        todo!()
    }
    /// The snapshot, if anything that routing sees has changed since the last call.
    pub fn poll_snapshot(&mut self, now: MonoTime) -> Option<Snapshot> {
        todo!()
    }
    /// Whether `poll_snapshot` would give one.
    pub fn is_dirty(&self) -> bool {
        todo!()
    }
    pub fn get(&self, id: &BackendId, now: MonoTime) -> Option<Status> {
        todo!()
    }
    /// Backends in the order of their ids, beginning after `after`.
    pub fn list(
        &self,
        after: Option<&BackendId>,
        limit: usize,
        matches: impl FnMut(&Status) -> bool,
        now: MonoTime,
    ) -> Vec<Status> {
        todo!()
    }
    /// The members of one app, in the order of their registration.
    pub fn app(&self, app: &AppName, now: MonoTime) -> Option<Vec<Status>> {
        todo!()
    }
    pub fn apps(&self) -> Vec<AppName> {
        todo!()
    }
    pub fn stats(&self) -> Stats {
        todo!()
    }
}
