//! From the settings to what each crate calls its own configuration.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use edgeproxy_api::{Access, Admission, Bounds, Granted, Source};
use edgeproxy_backend::Country;
use edgeproxy_config as config;
use edgeproxy_config::Settings;
use edgeproxy_geo::Regions;
use edgeproxy_proxy as proxy;
use edgeproxy_registry as registry;
use edgeproxy_registry::AppPolicy;

use crate::tls::Tls;

/// `tls` is the TLS of each listener, in the order of [`Settings::every_listener`], and that of the backends.
pub(crate) fn proxy(settings: &Settings, tls: &Tls) -> proxy::Config {
    let listeners = settings.every_listener().into_iter().zip(&tls.listeners);
    proxy::Config {
        listeners: listeners
            .map(|(settings, tls)| proxy::Listener {
                tls: tls.clone(),
                ..listener(settings)
            })
            .collect(),
        backend_tls: Some(tls.backends.clone()),
        workers: settings.workers.count(),
        handshake_timeout: settings.handshake_timeout,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
        send_timeout: settings.send_timeout,
        drain_timeout: settings.drain_timeout,
        max_head_bytes: settings.max_head_bytes,
        max_fields: settings.max_fields,
        max_target_bytes: settings.max_target_bytes,
        max_connections: settings.max_connections,
        max_connections_per_client: settings.max_connections_per_client,
        max_streams: settings.http2_max_streams,
        max_reset_streams: settings.http2_max_reset_streams,
        pool_idle_timeout: settings.pool_idle_timeout,
        pool_max_idle: settings.pool_max_idle,
        trusted_proxies: settings.trusted_proxies.clone(),
        country_header: settings
            .country_header
            .as_ref()
            .and_then(|name| name.as_str().parse().ok()),
        ..proxy::Config::default()
    }
}

/// Which region serves which country, the configuration's changes included.
pub(crate) fn regions(geography: &config::Geography) -> Regions {
    let changed = Country::all().filter_map(|country| Some((country, geography.region_of(country)?)));
    Regions::default().with(changed)
}

fn listener(listener: config::Listener) -> proxy::Listener {
    let protocol = match listener.protocol {
        config::ListenerProtocol::Http => proxy::Protocol::Http,
        config::ListenerProtocol::Tcp {
            app,
            send_proxy,
            idle_timeout,
        } => proxy::Protocol::Tcp {
            app,
            send_proxy: send_proxy.map(version),
            idle_timeout,
        },
        config::ListenerProtocol::Sni {
            send_proxy,
            idle_timeout,
        } => proxy::Protocol::Sni {
            send_proxy: send_proxy.map(version),
            idle_timeout,
        },
    };
    proxy::Listener {
        name: listener.name,
        protocol,
        proxy_protocol_from: listener.proxy_protocol_from,
        ..proxy::Listener::http(listener.addr)
    }
}

fn version(version: config::ProxyVersion) -> proxy::ProxyVersion {
    match version {
        config::ProxyVersion::V1 => proxy::ProxyVersion::V1,
        config::ProxyVersion::V2 => proxy::ProxyVersion::V2,
    }
}

/// `app` holds for every app without a policy of its own.
pub(crate) fn registry(settings: &Settings, app: AppPolicy) -> registry::Config {
    registry::Config {
        ttl: settings.heartbeat_ttl,
        max_backends: settings.max_backends,
        mass_expiry_guard: settings.mass_expiry_guard,
        drain_timeout: settings.drain_timeout,
        // Jitter only has to differ between proxies.
        seed: fastrand::u64(..),
        app,
        ..registry::Config::default()
    }
}

/// Whether an address is one of the server's own listeners.
pub(crate) type Own = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// Which backends may register, who may use the API, and how much of it.
pub(crate) fn terms(settings: &Settings, granted: Option<Granted>, own: &Own) -> (Admission, Access, Bounds) {
    let admission = Admission {
        regions: settings.regions.iter().collect(),
        allowed_cidrs: settings.allowed_backend_cidrs.clone(),
        source: match settings.register_source {
            config::RegisterSource::Any => Source::Any,
            config::RegisterSource::SameAddress => Source::SameAddress,
        },
        own_listeners: Arc::clone(own),
    };
    (admission, access(settings, granted), bounds(settings))
}

fn access(settings: &Settings, granted: Option<Granted>) -> Access {
    let allowed_hosts = settings
        .api_allowed_hosts
        .iter()
        .map(|name| name.as_str().to_owned())
        .collect();
    Access {
        insecure: settings.api_insecure,
        allowed_hosts,
        granted,
    }
}

fn bounds(settings: &Settings) -> Bounds {
    // 0 stands for no limit.
    let rate = NonZeroU32::new(settings.api_rate_per_peer).unwrap_or(NonZeroU32::MAX);
    Bounds {
        requests_per_sec: rate,
        burst: rate,
        handshake_timeout: settings.handshake_timeout,
        ..Bounds::default()
    }
}
