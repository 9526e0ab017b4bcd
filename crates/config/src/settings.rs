//! The one list. A setting is added here and nowhere else: its key, variable, flag, default, help text,
//! parser and field all follow from its entry.

use std::net::SocketAddr;
use std::time::Duration;

use edgeproxy_backend::Region;
use ipnet::IpNet;

use crate::setting::{Kind, Setting};
use crate::types::{
    Algorithm, HealthMonitor, HostName, LastBackend, LogFilter, LogFormat, RegionTable, Spill, Workers,
};
use crate::value::FromValue;

macro_rules! settings {
    ($( $(#[doc = $doc:literal])+ $field:ident: $type:ty, $key:literal $(/ $env:literal)?, $kind:expr, $default:literal; )+) => {
        /// Everything that can be configured, valid by its types and checked against each other.
        ///
        /// The fields are open so that an embedder can write
        /// `Settings { api_enabled: true, ..Settings::default() }`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Settings {
            /// Every setting, in the order of the reference documentation.
            pub const ALL: &'static [Setting] = &[ $( Setting {
                key: $key,
                default: $default,
                kind: $kind,
                env_name: settings!(@env $($env)?),
                doc_text: concat!($($doc),+),
                apply: |settings, value| {
                    settings.$field = FromValue::from_value(value)?;
                    Ok(())
                },
            }, )+ ];
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $( $field: built_in(&$kind, $default), )+ }
            }
        }
    };
    (@env $env:literal) => { Some($env) };
    (@env) => { None };
}

const SOCKET: Kind = Kind::Text {
    name: "IP:PORT",
    expected: "an IP address and a port, such as \"0.0.0.0:8080\" or \"[::]:8080\"",
};
const NETWORKS: Kind = Kind::List {
    name: "CIDR,…",
    expected: "a network, such as \"10.0.0.0/8\" or \"fd00::/8\"",
};

const fn number(min: u64, max: u64) -> Kind {
    Kind::Number {
        min,
        max,
        unit: "",
        word: None,
    }
}

const fn seconds(min: u64, max: u64) -> Kind {
    Kind::Number {
        min,
        max,
        unit: "seconds",
        word: None,
    }
}

settings! {
    /// Where clients connect. Port 0 lets the system choose one.
    listen_addr: SocketAddr, "listen_addr", SOCKET, "0.0.0.0:8080";

    /// The region that this proxy stands in. Traffic stays in it while it has room.
    region: Region, "region",
        Kind::Text { name: "REGION", expected: "the name of a region, such as \"eu\"" }, "sa";

    /// Regions besides the built-in sa (BR), us (US), eu (DE) and ap (JP), each with the country that a
    /// backend there has unless it says otherwise.
    regions: RegionTable, "regions",
        Kind::Table { name: "NAME:CC,…", expected: "a table of names and country codes, such as mx = \"MX\"" }, "";

    /// Serve the discovery API, by which backends register.
    api_enabled: bool, "api_enabled", Kind::Switch, "false";

    /// Where the discovery API listens. Port 0 lets the system choose one.
    api_listen_addr: SocketAddr, "api_listen_addr", SOCKET, "0.0.0.0:8081";

    /// Serve the API to any peer. Without it only loopback and private networks are served.
    api_insecure: bool, "api_insecure", Kind::Switch, "false";

    /// Host names by which backends reach the API, besides localhost and the machine's own. A change that
    /// is addressed to any other name is refused, since a web page could have made a browser send it.
    api_allowed_hosts: Vec<HostName>, "api_allowed_hosts",
        Kind::List { name: "NAME,…", expected: "a host name without a port, such as \"edgeproxy.internal\"" }, "";

    /// How many API requests a peer may make per second, with a burst of as many; 0 is no limit.
    api_rate_per_peer: u32, "api_rate_per_peer", number(0, 1_000_000), "10000";

    /// The networks that a backend's address must be in; none means any.
    allowed_backend_cidrs: Vec<IpNet>, "allowed_backend_cidrs", NETWORKS, "";

    /// How long a backend stays registered without a heartbeat, unless it asks for another lease.
    heartbeat_ttl: Duration, "heartbeat_ttl_secs", seconds(5, 3_600), "60";

    /// How many backends there may be, over all apps.
    max_backends: usize, "max_backends", number(1, 10_000_000), "100000";

    /// Keep the backends of an app while most of them seem to expire at once, since then the network is
    /// the likelier culprit.
    mass_expiry_guard: bool, "mass_expiry_guard", Kind::Switch, "true";

    /// How a backend is picked.
    algorithm: Algorithm, "algorithm", Kind::OneOf(Algorithm::NAMES), "region_affinity";

    /// When traffic leaves the nearest region: once its backends are at their hard limit, or already
    /// above their soft one.
    spill: Spill, "spill", Kind::OneOf(Spill::NAMES), "hard";

    /// How many requests in a row may fail before a backend is ejected; 0 never ejects.
    max_failures: u32, "max_failures", number(0, 1_000_000), "0";

    /// Whether failures may eject the last routable backend of an app.
    last_backend: LastBackend, "last_backend", Kind::OneOf(LastBackend::NAMES), "keep";

    /// How backends are probed: off, tcp, or http: and the path to get.
    health_monitor: HealthMonitor, "health_monitor",
        Kind::Text { name: "off|tcp|http:/PATH", expected: "\"off\", \"tcp\", or \"http:\" and a path, such as \"http:/healthz\"" }, "off";

    /// The time between two probes of a backend.
    health_interval: Duration, "health_interval_secs", seconds(1, 3_600), "5";

    /// Threads that forward traffic; auto is one for each core.
    workers: Workers, "workers",
        Kind::Number { min: 1, max: 1_024, unit: "threads", word: Some("auto") }, "auto";

    /// How long requests in flight may go on when the proxy stops.
    drain_timeout: Duration, "drain_timeout_secs", seconds(0, 3_600), "30";

    /// The networks whose X-Forwarded-* and Forwarded headers are believed.
    trusted_proxies: Vec<IpNet>, "trusted_proxies", NETWORKS, "";

    /// What a log line looks like.
    log_format: LogFormat, "log_format", Kind::OneOf(LogFormat::NAMES), "text";

    /// Which log lines are written: a level, or levels by module.
    log_level: LogFilter, "log_level" / "EDGEPROXY_LOG",
        Kind::Text { name: "LEVEL", expected: "off, error, warn, info, debug or trace, or levels by module such as \"info,edgeproxy_proxy=debug\"" }, "info";
}

#[expect(
    clippy::expect_used,
    reason = "the defaults are literals of this file, and a test reads every one"
)]
fn built_in<T: FromValue>(kind: &Kind, default: &str) -> T {
    let value = kind.read_text(default).expect("a default has its setting's kind");
    T::from_value(&value).expect("a default is valid")
}
