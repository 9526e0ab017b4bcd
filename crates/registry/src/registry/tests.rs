//! One test for each row of the specification, by its public face only.

mod configured;
mod drains;
mod flapping;
mod held;
mod leases;
mod ledgers;
mod limits;
mod loads;
mod ordered;
mod overdue;
mod publishing;
mod restored;
mod returning;

use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::{
    Admission, AppName, Backend, BackendAddr, BackendId, Country, Endpoint, Gate, InFlight, Incarnation,
    Limits, MonoTime, Region, TrafficReport, Weight,
};

use crate::*;

const SEC: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(60);

fn id(text: &str) -> BackendId {
    BackendId::parse(text).unwrap()
}

fn app(text: &str) -> AppName {
    AppName::parse(text).unwrap()
}

fn backend(name: &str) -> Backend {
    let (region, country) = (Region::parse("eu").unwrap(), Country::parse("DE").unwrap());
    Backend::new(
        id(name),
        app("shop"),
        region,
        country,
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    )
}

fn at(port: u16, backend: Backend) -> Backend {
    Backend {
        addr: BackendAddr::parse("10.0.0.1", port).unwrap(),
        ..backend
    }
}

/// A registry and the time it is.
struct World {
    registry: Registry,
    now: MonoTime,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let now = MonoTime::from_secs(1_000);
        Self {
            registry: Registry::new(config, now),
            now,
        }
    }

    fn with_policy(policy: AppPolicy) -> Self {
        Self::with(Config {
            app: policy,
            ..Config::default()
        })
    }

    fn try_register(&mut self, backend: Backend) -> Result<Registered, RegisterError> {
        self.registry
            .handle_register(Registration { backend, ttl: None }, self.now)
    }

    fn register(&mut self, backend: Backend) -> Arc<Endpoint> {
        self.try_register(backend).unwrap().endpoint
    }

    fn add(&mut self, name: &str) -> Arc<Endpoint> {
        self.register(backend(name))
    }

    fn beat(&mut self, name: &str) {
        self.registry
            .handle_heartbeat(&id(name), None, &LoadReport::default(), self.now)
            .unwrap();
    }

    fn report(&mut self, name: &str, report: LoadReport) {
        self.registry
            .handle_heartbeat(&id(name), None, &report, self.now)
            .unwrap();
    }

    fn leave(&mut self, name: &str, drain: Option<Duration>) -> Deregistered {
        self.registry
            .handle_deregister(&id(name), None, drain, self.now)
            .unwrap()
    }

    fn patch(&mut self, name: &str, patch: Patch) -> Result<Status, PatchError> {
        self.registry.handle_patch(&id(name), None, &patch, self.now)
    }

    fn probe(&mut self, endpoint: &Endpoint, passed: bool) -> Pace {
        self.registry.handle_probe(
            &endpoint.id,
            endpoint.incarnation,
            Probe::Monitor,
            passed,
            self.now,
        )
    }

    /// Lets time pass as a driver does: it calls whenever it is asked to.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.registry.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.registry.handle_timeout(self.now);
        }
        self.now = end;
        self.registry.handle_timeout(end);
        self.registry.audit().unwrap();
    }

    fn get(&self, name: &str) -> Option<Status> {
        self.registry.get(&id(name), self.now)
    }

    fn expires_in(&self, name: &str) -> Duration {
        self.get(name).unwrap().lease.unwrap().expires_in
    }

    fn state(&self, name: &str) -> Option<State> {
        self.get(name).map(|status| status.state)
    }

    fn events(&mut self) -> Vec<EventKind> {
        std::iter::from_fn(|| self.registry.poll_event())
            .map(|event| event.kind)
            .collect()
    }

    /// Requests that fail until the data plane has something to say, which it then says.
    fn fail(&mut self, endpoint: &Arc<Endpoint>) {
        if let Some(report) = self.fail_unreported(endpoint) {
            self.registry.handle_traffic(&report, self.now);
        }
    }

    fn fail_unreported(&self, endpoint: &Arc<Endpoint>) -> Option<TrafficReport> {
        let max_failures = self.registry.app_policy(&endpoint.app).max_failures;
        for _ in 0..max_failures.max(1) {
            let request = begin(endpoint);
            if let Some(signal) = request.failed(max_failures, self.now) {
                return Some(request.report(signal));
            }
        }
        None
    }

    fn succeed(&mut self, endpoint: &Arc<Endpoint>) {
        let request = begin(endpoint);
        if let Some(signal) = request.succeeded(MS, self.now) {
            self.registry.handle_traffic(&request.report(signal), self.now);
        }
    }
}

fn begin(endpoint: &Arc<Endpoint>) -> InFlight {
    endpoint.admit(Admission::Regular).unwrap()
}
