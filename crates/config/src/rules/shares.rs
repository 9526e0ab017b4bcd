//! Shares that are too small to be meant.

use std::collections::HashMap;

use super::Found;
use crate::layers::Loaded;

/// Below one of so many.
const LEAST: u64 = 1_000;

fn starves(share: u32, sum: u64) -> bool {
    u64::from(share) * LEAST < sum
}

pub(super) fn of_apps(loaded: &Loaded) -> Vec<Found> {
    let mut found = Vec::new();
    for route in &loaded.topology.routes {
        let sum: u64 = route.apps.iter().map(|(_, share)| u64::from(*share)).sum();
        for (app, share) in route.apps.iter().filter(|(_, share)| starves(*share, sum)) {
            let message = if *share == 0 {
                format!("app {app} has a share of 0: this route never leads to it")
            } else {
                format!("app {app} has a share of {share} of {sum}, less than one request of {LEAST}")
            };
            let advice = "shares are parts of their sum, and need not be percent; remove an app that is to get nothing";
            found.push(Found::at(Some(&route.place), message, advice));
        }
    }
    found
}

pub(super) fn of_backends(loaded: &Loaded) -> Vec<Found> {
    let mut found = Vec::new();
    let mut sums: HashMap<_, u64> = HashMap::new();
    for backend in &loaded.topology.backends {
        *sums.entry(&backend.backend.app).or_default() += u64::from(backend.backend.weight.get());
    }
    for backend in &loaded.topology.backends {
        let weight = u32::from(backend.backend.weight.get());
        let sum = sums.get(&backend.backend.app).copied().unwrap_or_default();
        // Weight 0 is a way to say that it gets nothing.
        if weight > 0 && starves(weight, sum) {
            let message = format!(
                "backend {} has a weight of {weight} of {sum} in app {}, less than one request of {LEAST}: nobody would notice that it fails",
                backend.backend.id, backend.backend.app
            );
            let advice = "give it more, or 0 if it is to get nothing";
            found.push(Found::at(Some(&backend.place), message, advice));
        }
    }
    found
}
