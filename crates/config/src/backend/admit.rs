//! What a backend's table can't know by itself: the regions, the networks, the listeners, and the other backends.

use std::collections::HashMap;
use std::net::SocketAddr;

use edgeproxy_backend::{Backend, BackendAddr, BackendId};
use ipnet::IpNet;

use super::{RawBackend, StaticBackend};
use crate::Settings;
use crate::draft::Draft;

/// Gives each backend its country, and refuses those that may not be.
pub(crate) fn resolve(draft: &mut Draft<'_>, backends: Vec<RawBackend>) -> Vec<StaticBackend> {
    let listening = own_listeners(draft);
    let mut lines: HashMap<BackendId, usize> = HashMap::new();
    let mut admitted = Vec::with_capacity(backends.len());
    for raw in backends {
        let line = draft.line(&raw.at);
        if let Some(other) = lines.get(&raw.id) {
            let message = format!(
                "a backend's id is \"{}\", which the one on line {other} has already; expected an id of its own",
                raw.id
            );
            draft.conflict_at(&raw.id_at, message, None);
        }
        lines.entry(raw.id.clone()).or_insert(line);
        if let Some(problem) = address_problem(draft, &listening, raw.addr) {
            draft.conflict_at(&raw.ip_at, format!("a backend's ip {problem}"), None);
        }
        admitted.extend(in_region(draft, raw));
    }
    admitted
}

fn in_region(draft: &mut Draft<'_>, raw: RawBackend) -> Option<StaticBackend> {
    let regions = &draft.settings.regions;
    let Some(country) = regions.country(raw.region) else {
        if draft.all_valid(&["regions"]) {
            let message = format!(
                "a backend's region is \"{}\", which is not a configured region; known are {}",
                raw.region,
                regions.names()
            );
            draft.conflict_at(&raw.region_at, message, None);
        }
        return None;
    };
    let place = draft.place(&raw.at);
    let backend = Backend {
        weight: raw.weight,
        limits: raw.limits,
        fallback: raw.fallback,
        protocol: raw.protocol,
        metadata: raw.metadata,
        ..Backend::new(
            raw.id,
            raw.app,
            raw.region,
            raw.country.unwrap_or(country),
            raw.addr,
        )
    };
    Some(StaticBackend { backend, place })
}

/// Where this process listens, as far as that is written down.
fn own_listeners(draft: &Draft<'_>) -> Vec<SocketAddr> {
    let settings: &Settings = &draft.settings;
    let api = settings.api_enabled.then_some(settings.api_listen_addr);
    let keys = [
        "listen_addr",
        "tcp_listen_addr",
        "tls_listen_addr",
        "api_listen_addr",
    ];
    if !draft.all_valid(&keys) {
        return Vec::new();
    }
    settings
        .every_listener()
        .into_iter()
        .map(|listener| listener.addr)
        .chain(api)
        .collect()
}

fn address_problem(draft: &Draft<'_>, listening: &[SocketAddr], addr: BackendAddr) -> Option<String> {
    let networks = &draft.settings.allowed_backend_cidrs;
    let ip = addr.ip();
    if !networks.is_empty() && !networks.iter().any(|network| network.contains(&ip)) {
        let shown: Vec<String> = networks.iter().take(8).map(IpNet::to_string).collect();
        let more = if networks.len() > 8 { ", …" } else { "" };
        return Some(format!(
            "{ip} is outside allowed_backend_cidrs: {}{more}",
            shown.join(", ")
        ));
    }
    // Which addresses the machine has is for whoever binds; these are known without asking it.
    let ours = |listener: &SocketAddr| {
        let here = listener.ip() == ip || (listener.ip().is_unspecified() && ip.is_loopback());
        listener.port() == addr.port() && here
    };
    listening.iter().any(ours).then(|| {
        format!(
            "{addr} is one of this proxy's own listeners: requests would come round in a loop, or reach the API; \
             give the backend's own address"
        )
    })
}
