//! Routes that lead nowhere, or not where they seem to.

use edgeproxy_backend::AppName;

use super::Found;
use crate::layers::Loaded;
use crate::listeners::ListenerProtocol;
use crate::problem::Place;
use crate::route::overlaps;
use crate::suggest::closest;

/// Every app that something leads to, with the place that says so.
fn routed(loaded: &Loaded) -> Vec<(AppName, Option<&Place>)> {
    let routes = loaded.topology.routes.iter().flat_map(|route| {
        let apps = route.apps.iter().filter(|(_, share)| *share > 0);
        apps.map(|(app, _)| (app.clone(), Some(&route.place)))
    });
    let tcp = loaded
        .settings
        .every_listener()
        .into_iter()
        .filter_map(|listener| match listener.protocol {
            ListenerProtocol::Tcp { app, .. } => Some((app, loaded.place("tcp_app"))),
            ListenerProtocol::Http | ListenerProtocol::Sni { .. } => None,
        });
    let mut apps: Vec<_> = routes.chain(tcp).collect();
    apps.sort_by(|(a, at), (b, bt)| (a, at).cmp(&(b, bt)));
    apps.dedup_by(|(a, _), (b, _)| a == b);
    apps
}

pub(super) fn app_without_backends(loaded: &Loaded) -> Vec<Found> {
    if loaded.settings.api_enabled {
        return Vec::new();
    }
    let empty = routed(loaded)
        .into_iter()
        .filter(|(app, _)| loaded.topology.backends_of(app).next().is_none());
    let found = empty.map(|(app, place)| {
        Found::at(
            place,
            format!("app {app} has no backend in the file, and none can register while the API is off: every request gets 503"),
            format!("write api_enabled = true, or add [[backends]] with `app = \"{app}\"`"),
        )
    });
    found.collect()
}

pub(super) fn app_misspelt(loaded: &Loaded) -> Vec<Found> {
    let topology = &loaded.topology;
    let known: Vec<&AppName> = topology
        .apps
        .iter()
        .map(|app| &app.name)
        .chain(topology.backends.iter().map(|backend| &backend.backend.app))
        .collect();
    let found = routed(loaded).into_iter().filter_map(|(app, place)| {
        if known.contains(&&app) {
            return None;
        }
        let meant = closest(app.as_str(), known.iter().map(|name| name.as_str()))?;
        Some(Found::at(
            place,
            format!("app {app} is in no other place of the file, and app {meant} is"),
            format!(
                "did you mean \"{meant}\"? If backends register for \"{app}\", add [apps.{app}] to say so"
            ),
        ))
    });
    found.collect()
}

pub(super) fn unreachable(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    let listeners = settings.every_listener();
    let http = listeners
        .iter()
        .any(|listener| matches!(listener.protocol, ListenerProtocol::Http));
    let mut found = Vec::new();
    for route in &loaded.topology.routes {
        if !http {
            found.push(Found::at(
                Some(&route.place),
                "no listener speaks HTTP, so this route never gets a request".to_owned(),
                "write listen_addr = \"0.0.0.0:8080\", or add [[listeners]] with `protocol = \"http\"`",
            ));
        } else if route.path.as_str().len() > settings.max_target_bytes {
            found.push(Found::at(
                Some(&route.place),
                format!(
                    "the path of this route has {} bytes and max_target_bytes is {}: its requests get 414 before they are routed",
                    route.path.as_str().len(),
                    settings.max_target_bytes
                ),
                "raise max_target_bytes, or shorten the path",
            ));
        }
    }
    found
}

pub(super) fn overlapping(loaded: &Loaded) -> Vec<Found> {
    let found = overlaps(&loaded.topology.routes).into_iter().map(|overlap| {
        let (winner, loser) = (overlap.winner, overlap.loser);
        let narrower = match overlap.decided_by {
            "host" => "its host is narrower, and a host counts before a path",
            "path" => "its path is longer, and a path counts before fields",
            _ => "it asks for more fields",
        };
        Found::at(
            Some(&loser.place),
            format!(
                "requests for {loser} that are also for {winner} (line {}) go there: {narrower}",
                line(&winner.place)
            ),
            "if that is not meant, add a route for what they have in common",
        )
    });
    found.collect()
}

fn line(place: &Place) -> String {
    match place {
        Place::Line { line, .. } => line.to_string(),
        other => other.to_string(),
    }
}
