//! Settings that are each valid and contradict each other.

use std::net::SocketAddr;
use std::ops::Range;

use crate::draft::Draft;
use crate::shared::{LimitsScope, StoreKind};
use crate::suggest::closest;
use crate::topology;

pub(crate) fn check(draft: &mut Draft<'_>) {
    region_exists(draft);
    ordered_regions_exist(draft);
    tcp_is_whole(draft);
    tls_is_whole(draft);
    backend_tls_is_whole(draft);
    api_tls_is_whole(draft);
    api_is_open_or_closed(draft);
    store_is_whole(draft);
    somebody_listens(draft);
    listeners_differ(draft);
    topology::resolve(draft);
}

fn region_exists(draft: &mut Draft<'_>) {
    let region = draft.settings.region;
    if !draft.all_valid(&["region", "regions"]) || draft.settings.regions.country(region).is_some() {
        return;
    }
    let known: Vec<String> = draft
        .settings
        .regions
        .iter()
        .map(|(region, _)| region.to_string())
        .collect();
    let add = format!("add it with its country, in the file as `[regions]` with `{region} = \"CC\"`");
    let help = match closest(region.as_str(), known.iter().map(String::as_str)) {
        Some(meant) => format!("did you mean {meant:?}? Else {add}"),
        None => add,
    };
    let message = format!(
        "region is \"{region}\"; expected one of those known: {}",
        known.join(", ")
    );
    draft.conflict("region", message, Some(help));
}

fn ordered_regions_exist(draft: &mut Draft<'_>) {
    let (order, regions) = (&draft.settings.region_order, &draft.settings.regions);
    let unknown = order.iter().find(|region| regions.country(**region).is_none());
    if let Some(region) = unknown.copied()
        && draft.all_valid(&["region_order", "regions"])
    {
        let message = format!(
            "an item of region_order is \"{region}\"; expected one of those known: {}",
            regions.names()
        );
        let help = format!("add it with its country, in the file as `[regions]` with `{region} = \"CC\"`");
        draft.conflict("region_order", message, Some(help));
    }
}

/// A TCP listener needs both, and a half of one is a mistake.
fn tcp_is_whole(draft: &mut Draft<'_>) {
    if !draft.all_valid(&["tcp_listen_addr", "tcp_app"]) {
        return;
    }
    match (draft.settings.tcp_listen_addr, draft.settings.tcp_app.clone()) {
        (Some(addr), None) => draft.conflict(
            "tcp_listen_addr",
            format!("tcp_listen_addr is {addr} and there is no tcp_app; expected both or neither"),
            Some(
                "name the app whose backends take the connections by tcp_app (EDGEPROXY_TCP_APP)".to_owned(),
            ),
        ),
        (None, Some(app)) => draft.conflict(
            "tcp_app",
            format!("tcp_app is \"{app}\" and there is no tcp_listen_addr; expected both or neither"),
            Some("say where its clients connect by tcp_listen_addr (EDGEPROXY_TCP_LISTEN_ADDR)".to_owned()),
        ),
        _ => {}
    }
}

/// A certificate without its key is a mistake, and TLS without either.
fn tls_is_whole(draft: &mut Draft<'_>) {
    if !draft.all_valid(&["tls_enabled", "tls_cert", "tls_key"]) {
        return;
    }
    let settings = &draft.settings;
    let (cert, key) = (settings.tls_cert.is_some(), settings.tls_key.is_some());
    pair_is_whole(draft, ("tls_cert", cert), ("tls_key", key));
    let settings = &draft.settings;
    if settings.tls_enabled && settings.tls_cert.is_none() && settings.tls_key.is_none() {
        draft.conflict(
            "tls_enabled",
            "tls_enabled is true and there is no tls_cert; expected a certificate and its key".to_owned(),
            Some(
                "name the PEM files by tls_cert (EDGEPROXY_TLS_CERT) and tls_key (EDGEPROXY_TLS_KEY)"
                    .to_owned(),
            ),
        );
    }
}

fn backend_tls_is_whole(draft: &mut Draft<'_>) {
    if draft.all_valid(&["backend_tls_cert", "backend_tls_key"]) {
        let settings = &draft.settings;
        let cert = ("backend_tls_cert", settings.backend_tls_cert.is_some());
        let key = ("backend_tls_key", settings.backend_tls_key.is_some());
        pair_is_whole(draft, cert, key);
    }
    let settings = &draft.settings;
    let both = settings.backend_tls_insecure && settings.backend_tls_ca.is_some();
    if both && draft.all_valid(&["backend_tls_insecure", "backend_tls_ca"]) {
        draft.conflict(
            "backend_tls_insecure",
            "backend_tls_insecure is true and there is a backend_tls_ca; expected one of them".to_owned(),
            Some("remove backend_tls_insecure: with it the authorities are never asked".to_owned()),
        );
    }
}

/// A client's authority says who it is; what it may do stands elsewhere.
fn api_tls_is_whole(draft: &mut Draft<'_>) {
    let keys = [
        "api_tls_cert",
        "api_tls_key",
        "api_tls_client_ca",
        "api_tokens_file",
    ];
    if !draft.all_valid(&keys) {
        return;
    }
    let settings = &draft.settings;
    let cert = ("api_tls_cert", settings.api_tls_cert.is_some());
    let key = ("api_tls_key", settings.api_tls_key.is_some());
    let asks = settings.api_tls_client_ca.is_some();
    let grants = settings.api_tokens_file.is_some();
    pair_is_whole(draft, cert, key);
    if asks && !cert.1 && !key.1 {
        draft.conflict(
            "api_tls_client_ca",
            "there is an api_tls_client_ca and no api_tls_cert; expected both, since certificates are shown within TLS"
                .to_owned(),
            Some(
                "name the PEM files by api_tls_cert (EDGEPROXY_API_TLS_CERT) and api_tls_key (EDGEPROXY_API_TLS_KEY)"
                    .to_owned(),
            ),
        );
    }
    if asks && !grants {
        draft.conflict(
            "api_tls_client_ca",
            "there is an api_tls_client_ca and no api_tokens_file; expected both, since an authority says who clients are \
             and not what they may do"
                .to_owned(),
            Some(
                "name a file by api_tokens_file (EDGEPROXY_API_TOKENS_FILE), with [[certificates]] for the clients"
                    .to_owned(),
            ),
        );
    }
}

/// What is for an etcd needs one, and halves of pairs are mistakes.
fn store_is_whole(draft: &mut Draft<'_>) {
    let keys = [
        "store",
        "etcd_user",
        "etcd_password_file",
        "etcd_ca",
        "etcd_cert",
        "etcd_key",
        "limits",
    ];
    if !draft.all_valid(&keys) {
        return;
    }
    let settings = &draft.settings;
    let user = ("etcd_user", settings.etcd_user.is_some());
    let password = ("etcd_password_file", settings.etcd_password_file.is_some());
    let cert = ("etcd_cert", settings.etcd_cert.is_some());
    let key = ("etcd_key", settings.etcd_key.is_some());
    let ca = ("etcd_ca", settings.etcd_ca.is_some());
    let is_shared = settings.limits == LimitsScope::Shared;
    let address = match &settings.store {
        StoreKind::Etcd(address) => Some(address.clone()),
        StoreKind::File | StoreKind::Memory => None,
    };
    pair_is_whole(draft, user, password);
    pair_is_whole(draft, cert, key);
    let Some(address) = address else {
        if is_shared {
            let message =
                "limits is \"shared\" and store is not; expected the address of an etcd, which proxies share";
            let help =
                "name it by store (EDGEPROXY_STORE), such as \"etcd://10.0.0.1:2379\"; or remove limits";
            draft.conflict("limits", message.to_owned(), Some(help.to_owned()));
        }
        return;
    };
    for (name, is_there) in [ca, cert, key] {
        if is_there && !address.is_encrypted() {
            let message = format!(
                "there is an {name} and store is in the clear; expected etcds://, which is inside TLS"
            );
            let help = format!("write {:?}", address.as_str().replacen("etcd://", "etcds://", 1));
            draft.conflict(name, message, Some(help));
            return;
        }
    }
}

fn api_is_open_or_closed(draft: &mut Draft<'_>) {
    let settings = &draft.settings;
    let both = settings.api_insecure && settings.api_tokens_file.is_some();
    if both && draft.all_valid(&["api_insecure", "api_tokens_file"]) {
        draft.conflict(
            "api_insecure",
            "api_insecure is true and there is an api_tokens_file; expected one of them".to_owned(),
            Some("remove api_insecure: with tokens any peer is served that has one".to_owned()),
        );
    }
}

/// Two keys, and whether each has a value.
fn pair_is_whole(draft: &mut Draft<'_>, one: (&'static str, bool), other: (&'static str, bool)) {
    let half = match (one, other) {
        ((given, true), (missing, false)) | ((missing, false), (given, true)) => Some((given, missing)),
        _ => None,
    };
    if let Some((given, missing)) = half {
        let what = match missing {
            "etcd_user" => "give the user's name",
            "etcd_password_file" => "name the file that holds the password",
            _ => "name the PEM file",
        };
        draft.conflict(
            given,
            format!("there is a {given} and no {missing}; expected both or neither"),
            Some(format!(
                "{what} by {missing} (EDGEPROXY_{})",
                missing.to_ascii_uppercase()
            )),
        );
    }
}

fn somebody_listens(draft: &mut Draft<'_>) {
    let keys = [
        "listen_addr",
        "tcp_listen_addr",
        "tcp_app",
        "tls_enabled",
        "tls_cert",
        "tls_key",
    ];
    let checked = draft.all_valid(&keys) && draft.listeners_valid();
    let settings = &draft.settings;
    // Half a listener has been told already.
    let half = settings.tcp_listen_addr.is_some() || settings.tls_enabled;
    if checked && settings.every_listener().is_empty() && !half {
        draft.conflict(
            "listen_addr",
            "listen_addr is off and there is no other listener; expected at least one".to_owned(),
            Some("write an address, or add [[listeners]] to the file".to_owned()),
        );
    }
}

/// A socket that will be bound.
struct Bound {
    what: String,
    addr: SocketAddr,
    at: At,
}

enum At {
    Setting(&'static str),
    File(Range<usize>),
}

fn listeners_differ(draft: &mut Draft<'_>) {
    let bound = sockets(draft);
    for (index, later) in bound.iter().enumerate() {
        let Some(earlier) = bound
            .iter()
            .take(index)
            .find(|earlier| overlap(earlier.addr, later.addr))
        else {
            continue;
        };
        let message = format!("{} and {} can't both be listened on", earlier.what, later.what);
        let help = Some("give one of them another port".to_owned());
        // What is a default is not at fault.
        let at_fault = match later.at {
            At::Setting(key) if !draft.is_given(key) => earlier,
            _ => later,
        };
        match &at_fault.at {
            At::Setting(key) => draft.conflict(key, message, help),
            At::File(span) => draft.conflict_at(span, message, help),
        }
    }
}

fn sockets(draft: &Draft<'_>) -> Vec<Bound> {
    let settings = &draft.settings;
    let of_setting = |key: &'static str, addr: Option<SocketAddr>| {
        addr.filter(|_| draft.all_valid(&[key])).map(|addr| Bound {
            what: format!("{key} {addr}"),
            addr,
            at: At::Setting(key),
        })
    };
    let of_file = settings
        .listeners
        .iter()
        .zip(&draft.listener_spans)
        .map(|(listener, span)| Bound {
            what: format!("listener {:?} {}", listener.name, listener.addr),
            addr: listener.addr,
            at: At::File(span.clone()),
        });
    let tls_on = settings.tls_enabled && draft.all_valid(&["tls_enabled"]);
    let tls = tls_on.then_some(settings.tls_listen_addr);
    // An API that is off binds nothing.
    let api = (settings.api_enabled && draft.all_valid(&["api_enabled"])).then_some(settings.api_listen_addr);
    of_setting("listen_addr", settings.listen_addr)
        .into_iter()
        .chain(of_file)
        .chain(of_setting("tcp_listen_addr", settings.tcp_listen_addr))
        .chain(of_setting("tls_listen_addr", tls))
        .chain(of_setting("api_listen_addr", api))
        .collect()
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    if a.port() == 0 || a.port() != b.port() {
        return false;
    }
    // A dual-stack `[::]` takes the IPv4 addresses too.
    let covers = |wide: SocketAddr, other: SocketAddr| {
        wide.ip().is_unspecified() && (wide.is_ipv6() || other.is_ipv4())
    };
    a.ip() == b.ip() || covers(a, b) || covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_overlap_where_one_socket_would_take_the_other_ones_place() {
        for (a, b, expected) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("10.0.0.1:80", "10.0.0.2:80", false),
            ("10.0.0.1:80", "10.0.0.1:81", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            let (a, b): (SocketAddr, SocketAddr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(a, b), overlap(b, a)), (expected, expected), "{a} {b}");
        }
    }
}
