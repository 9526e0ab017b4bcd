//! Backends that only count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use edgeproxy_backend::{Country, Limits, MonoTime, Region};

use crate::{Algorithm, Balancer, Candidate, Claim, Client, Inner, PickError, Policy, Spill, Target};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: u64,
    pub(super) weight: u16,
    pub(super) limits: Limits,
    pub(super) region: Region,
    pub(super) country: Country,
    in_flight: AtomicU32,
    looks: AtomicU32,
}

impl Server {
    pub(super) fn new(key: u64, weight: u16) -> Self {
        Self {
            key,
            weight,
            limits: Limits::NONE,
            region: region("eu"),
            country: country("DE"),
            in_flight: AtomicU32::new(0),
            looks: AtomicU32::new(0),
        }
    }

    pub(super) fn at(mut self, region_name: &str, country_code: &str) -> Self {
        self.region = region(region_name);
        self.country = country(country_code);
        self
    }

    pub(super) fn limits(mut self, soft: u32, hard: u32) -> Self {
        self.limits = Limits::new(soft, hard).unwrap();
        self
    }

    pub(super) fn loaded(self, in_flight: u32) -> Self {
        self.set(in_flight);
        self
    }

    pub(super) fn set(&self, in_flight: u32) {
        self.in_flight.store(in_flight, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn load(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How often a picker looked at its load.
    pub(super) fn looks(&self) -> u32 {
        self.looks.load(Ordering::Relaxed)
    }
}

impl Target for Server {
    fn key(&self) -> u64 {
        self.key
    }

    fn weight(&self) -> u16 {
        self.weight
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn in_flight(&self) -> u32 {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.load()
    }

    fn region(&self) -> Region {
        self.region
    }

    fn country(&self) -> Country {
        self.country
    }
}

pub(super) const NOW: MonoTime = MonoTime::from_secs(1_000);

pub(super) const ANYONE: Client = Client {
    country: None,
    region: None,
    key: None,
    bound: None,
};

pub(super) const ALGORITHMS: [Algorithm; 10] = [
    Algorithm::RoundRobin,
    Algorithm::Weighted,
    Algorithm::LeastConnections,
    Algorithm::Ewma,
    Algorithm::Hash,
    Algorithm::RegionAffinity(Inner::RoundRobin),
    Algorithm::RegionAffinity(Inner::Weighted),
    Algorithm::RegionAffinity(Inner::LeastConnections),
    Algorithm::RegionAffinity(Inner::Ewma),
    Algorithm::RegionAffinity(Inner::Hash),
];

pub(super) fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

pub(super) fn country(code: &str) -> Country {
    Country::parse(code).unwrap()
}

pub(super) fn client(country_code: &str, region_name: &str) -> Client {
    Client {
        country: Some(country(country_code)),
        region: Some(region(region_name)),
        ..ANYONE
    }
}

pub(super) fn policy(algorithm: Algorithm, spill: Spill) -> Policy {
    Policy {
        algorithm,
        spill,
        own_region: Some(region("eu")),
        region_order: vec![region("us"), region("sa")],
        ..Policy::default()
    }
}

pub(super) fn plain(algorithm: Algorithm) -> Policy {
    policy(algorithm, Spill::Hard)
}

pub(super) fn prepare(policy: &Policy, servers: &[Arc<Server>]) -> Balancer<Arc<Server>> {
    successor(policy, servers, None)
}

pub(super) fn successor(
    policy: &Policy,
    servers: &[Arc<Server>],
    previous: Option<&Balancer<Arc<Server>>>,
) -> Balancer<Arc<Server>> {
    Balancer::prepare(
        policy,
        servers.iter().cloned().map(Candidate::new).collect(),
        NOW,
        previous,
    )
}

/// Servers of these weights with keys from 0.
pub(super) fn weighing(weights: &[u16]) -> Vec<Arc<Server>> {
    (0..)
        .zip(weights)
        .map(|(key, weight)| Arc::new(Server::new(key, *weight)))
        .collect()
}

/// The key of whoever a pick proposes first, or why nobody.
pub(super) fn first(
    balancer: &Balancer<Arc<Server>>,
    client: Client,
    entropy: u64,
) -> Result<u64, PickError> {
    balancer.pick(&client, NOW, entropy, |server| Claim::Granted(server.key))
}
