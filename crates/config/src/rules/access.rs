//! Who gets in, and what is said in the clear.

use super::Found;
use crate::layers::Loaded;
use crate::shared::StoreKind;

pub(super) fn api_off(loaded: &Loaded) -> Vec<Found> {
    let nobody = !loaded.settings.api_enabled && loaded.topology.backends.is_empty();
    nobody
        .then(|| {
            Found::at(
                loaded.place("api_enabled"),
                "the API is off, so no backend can register, and every request will be answered 404"
                    .to_owned(),
                "write api_enabled = true, or set EDGEPROXY_API_ENABLED=true",
            )
        })
        .into_iter()
        .collect()
}

pub(super) fn api_insecure(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    (settings.api_enabled && settings.api_insecure)
        .then(|| {
            Found::at(
                loaded.place("api_insecure"),
                format!(
                    "api_insecure is true: whoever reaches {} can register a backend and receive the traffic",
                    settings.api_listen_addr
                ),
                "remove it; loopback and private networks are served without it",
            )
        })
        .into_iter()
        .collect()
}

pub(super) fn api_open_address(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    let address = settings.api_listen_addr;
    let closed = settings.api_insecure || settings.api_tokens_file.is_some();
    let open = settings.api_enabled && !closed && !address.ip().to_canonical().is_loopback();
    open.then(|| {
        Found::at(
            loaded.place("api_listen_addr"),
            format!(
                "the API listens on {address} without tokens: loopback and private networks are served, any other peer gets 401"
            ),
            format!(
                "write api_listen_addr = \"127.0.0.1:{}\" where all backends are on this machine, or give everybody a token by api_tokens_file",
                address.port()
            ),
        )
    })
    .into_iter()
    .collect()
}

pub(super) fn tokens_in_the_clear(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    let address = settings.api_listen_addr;
    let sent = settings.api_enabled && settings.api_tokens_file.is_some();
    let seen = settings.api_tls_cert.is_none() && !address.ip().to_canonical().is_loopback();
    (sent && seen)
        .then(|| {
            Found::at(
                loaded.place("api_tokens_file"),
                format!(
                    "the API listens on {address} without TLS: whoever sits between reads the tokens, and can use them"
                ),
                "name a certificate by api_tls_cert and api_tls_key, or listen on loopback",
            )
        })
        .into_iter()
        .collect()
}

pub(super) fn etcd_in_the_clear(loaded: &Loaded) -> Vec<Found> {
    let StoreKind::Etcd(address) = &loaded.settings.store else {
        return Vec::new();
    };
    let beyond = address.members().find(|member| !is_loopback(member));
    beyond
        .filter(|_| !address.is_encrypted())
        .map(|member| {
            Found::at(
                loaded.place("store"),
                format!(
                    "etcd at {member} is spoken to without TLS: whoever sits between can have requests sent wherever he \
                     likes, and reads the password of etcd_user"
                ),
                "write etcds:// in store, and name the authority of etcd's certificates by etcd_ca; or keep etcd on a \
                 network that nobody else is on",
            )
        })
        .into_iter()
        .collect()
}

fn is_loopback(member: &str) -> bool {
    let host = match member.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => member.split(':').next().unwrap_or_default(),
    };
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

pub(super) fn tls_off(loaded: &Loaded) -> Vec<Found> {
    let settings = &loaded.settings;
    (!settings.tls_enabled && settings.tls_cert.is_some())
        .then(|| {
            Found::at(
                loaded.place("tls_cert"),
                "there is a tls_cert and tls_enabled is false, so nobody is served by TLS with it".to_owned(),
                "write tls_enabled = true, or set EDGEPROXY_TLS_ENABLED=true; or remove the certificate",
            )
        })
        .into_iter()
        .collect()
}

pub(super) fn backend_tls_insecure(loaded: &Loaded) -> Vec<Found> {
    loaded
        .settings
        .backend_tls_insecure
        .then(|| {
            Found::at(
                loaded.place("backend_tls_insecure"),
                "backend_tls_insecure is true: whoever sits between the proxy and an https backend reads and changes everything unnoticed".to_owned(),
                "remove it, and name the authority that issues the backends' certificates by backend_tls_ca",
            )
        })
        .into_iter()
        .collect()
}
