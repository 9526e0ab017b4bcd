//! Asks the routing table in force how it would pick, and says it in the API's words.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use edgeproxy_api as api;
use edgeproxy_api::{Balancing, ClientQuery, ExplainedCandidate, ExplainedClient, ExplainedTier};
use edgeproxy_backend::{AppName, BackendId};
use edgeproxy_balance::{Client, Considered, Explanation, Tier, Verdict};
use edgeproxy_control::Handle;
use edgeproxy_proxy::{AppRoute, Brought, Locate as _, SharedTable};
use edgeproxy_registry::State;

use crate::geography::Geography;

/// The API's window on the routing table.
pub(crate) struct Explainer {
    table: SharedTable,
    handle: Handle,
    geography: Arc<ArcSwap<Geography>>,
}

impl Explainer {
    pub(crate) fn new(table: SharedTable, handle: Handle, geography: Arc<ArcSwap<Geography>>) -> Self {
        Self {
            table,
            handle,
            geography,
        }
    }

    fn states(&self, app: &AppName) -> HashMap<BackendId, State> {
        let members = self.handle.app(app).unwrap_or_default();
        members
            .into_iter()
            .map(|status| (status.endpoint.id.clone(), status.state))
            .collect()
    }
}

impl api::Explain for Explainer {
    fn explain(&self, app: &AppName, query: &ClientQuery) -> Option<api::Explanation> {
        let table = self.table.load();
        let route = table.app(app)?;
        let geography = self.geography.load();
        let known = match (query.country, query.ip) {
            (Some(country), _) => geography.country(country),
            (None, Some(ip)) => geography.address(ip.to_canonical()),
            (None, None) => Client::default(),
        };
        let mut client = Client {
            region: query.region.or(known.region),
            ..known
        };
        if let Some(keys) = &route.keys {
            let brought = Brought {
                ip: query.ip,
                hash: query.hash.as_deref().map(str::as_bytes),
                sticky: query.sticky.as_deref().map(str::as_bytes),
            };
            keys.explain(&mut client, brought);
        }
        let explanation = route.explain(client, fastrand::u64(..));
        let names = Names {
            route,
            states: self.states(app),
        };
        Some(api::Explanation {
            app: app.clone(),
            algorithm: explanation.algorithm.to_string(),
            client: ExplainedClient {
                ip: query.ip,
                country: explanation.client.country,
                region: explanation.client.region,
            },
            bound: client
                .bound
                .and_then(|identity| route.balancer.bound_to(identity))
                .map(|endpoint| endpoint.id.clone()),
            ignores_health: explanation.ignores_health,
            tiers: explanation.tiers.iter().map(tier).collect(),
            candidates: names.candidates(&explanation),
            picked: explanation.picked.and_then(|place| names.id(place)),
            error: explanation.error.map(|error| names.error(&error.to_string())),
        })
    }

    fn balancing(&self, app: &AppName) -> Option<Balancing> {
        let table = self.table.load();
        let policy = table.app(app)?.balancer.policy();
        Some(Balancing {
            algorithm: policy.algorithm.to_string(),
            spill: policy.spill.to_string(),
        })
    }
}

/// From places in the balancer's list to backends.
struct Names<'a> {
    route: &'a AppRoute,
    states: HashMap<BackendId, State>,
}

impl Names<'_> {
    fn id(&self, place: usize) -> Option<BackendId> {
        self.route
            .balancer
            .candidate(place)
            .map(|endpoint| endpoint.id.clone())
    }

    fn candidates(&self, explanation: &Explanation) -> Vec<ExplainedCandidate> {
        let considered = explanation.tiers.iter().flat_map(|tier| {
            let number = usize::from(tier.number);
            tier.members
                .iter()
                .filter_map(move |member| self.considered(number, member))
        });
        let excluded = explanation.excluded.iter().filter_map(|excluded| {
            let mut candidate = self.candidate(excluded.candidate, &excluded.reason.to_string())?;
            candidate.effective_weight = 0.0;
            Some(candidate)
        });
        considered.chain(excluded).collect()
    }

    fn considered(&self, tier: usize, member: &Considered) -> Option<ExplainedCandidate> {
        let why = match &member.unwell {
            None => member.verdict.to_string(),
            Some(reason) => format!("{}, though {reason}", member.verdict),
        };
        let candidate = self.candidate(member.candidate, &why)?;
        Some(ExplainedCandidate {
            tier: Some(tier),
            effective_weight: member.effective_weight,
            in_flight: member.in_flight,
            elsewhere: member.elsewhere,
            score: member.score,
            picked: member.verdict.is_picked(),
            ..candidate
        })
    }

    fn candidate(&self, place: usize, why: &str) -> Option<ExplainedCandidate> {
        let endpoint = self.route.balancer.candidate(place)?;
        // A backend that left since the table was published has no state any more.
        let state = self
            .states
            .get(&endpoint.id)
            .map_or("removed", |state| state.as_str());
        Some(ExplainedCandidate {
            id: endpoint.id.clone(),
            tier: None,
            state: state.to_owned(),
            weight: endpoint.weight.get(),
            effective_weight: f64::from(endpoint.weight.get()),
            in_flight: endpoint.meter.in_flight(),
            elsewhere: endpoint.meter.elsewhere(),
            soft_limit: endpoint.limits.soft(),
            hard_limit: endpoint.limits.hard(),
            score: None,
            picked: false,
            why: why.to_owned(),
        })
    }

    fn error(&self, what: &str) -> String {
        if self.route.summary.is_empty() {
            what.to_owned()
        } else {
            format!("{what}: {}", self.route.summary)
        }
    }
}

fn tier(tier: &Tier) -> ExplainedTier {
    let is = |verdict| tier.members.iter().all(|member| member.verdict == verdict);
    let why = if tier.members.is_empty() {
        "no backend of its own"
    } else if tier.members.iter().any(|member| member.verdict.is_picked()) {
        "picked from"
    } else if is(Verdict::Farther) {
        "not needed: a nearer tier has room"
    } else if is(Verdict::AtHardLimit) {
        "all at their hard limit"
    } else {
        "passed over: nobody with room"
    };
    ExplainedTier {
        tier: usize::from(tier.number),
        name: tier.scope.to_string(),
        candidates: tier.members.len(),
        why: why.to_owned(),
    }
}
