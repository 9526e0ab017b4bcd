//! The keys of `[apps.NAME.health]`, and which values they take.

use std::num::NonZeroU16;
use std::time::Duration;

use crate::app::Probe;
use crate::kinds::{number, seconds};
use crate::paths::Headers;
use crate::policy::is_token;
use crate::setting::Kind;
use crate::status::StatusCodes;
use crate::table::{Key, keys};
use crate::types::HealthMonitor;
use crate::value::{FromValue, Mismatch, Value};

/// The key of the table.
pub(crate) const KEY: &str = "health";

/// The table, before the settings are known.
#[derive(Debug, Default)]
pub(crate) struct RawHealth {
    pub(super) enabled: Option<bool>,
    pub(super) interval: Option<Duration>,
    pub(super) fall: Option<u32>,
    pub(super) rise: Option<u32>,
    pub(super) probe: Option<Probe>,
}

#[derive(Default)]
pub(crate) struct RawTcp {
    pub(super) connect_timeout: Option<Duration>,
    pub(super) port: Option<Port>,
}

#[derive(Default)]
pub(crate) struct RawHttp {
    pub(super) method: Option<Method>,
    pub(super) path: Option<ProbePath>,
    pub(super) headers: Option<Headers>,
    pub(super) body: Option<Body>,
    pub(super) port: Option<Port>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
    pub(super) tls: Option<bool>,
    pub(super) tls_insecure: Option<bool>,
    pub(super) use_backend_tls: Option<bool>,
    pub(super) success_codes: Option<StatusCodes>,
    pub(super) success_headers: Option<Headers>,
    pub(super) id_header: Option<bool>,
}

#[derive(Default)]
pub(crate) struct RawGrpc {
    pub(super) service: Option<Service>,
    pub(super) port: Option<Port>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
}

const PORT: Kind = number(1, 65_535);
const TIMEOUT: Kind = seconds(1, 300);
const HEADERS: Kind = Kind::Table {
    name: "NAME:VALUE,…",
    expected: "a table of names and values, such as { Host = \"shop.example\" }",
};

pub(crate) const KEYS: &[Key<RawHealth>] = keys!(RawHealth {
    /// Whether backends are probed. It switches probes off without losing the rest of the table.
    enabled, "enabled", Kind::Switch, "`true`";
    /// The time between two probes of a backend.
    interval, "interval_secs", seconds(1, 3_600), "the proxy's `health_interval_secs`";
    /// How many probes in a row have to fail until a backend is out.
    fall, "fall", number(1, 1_000), "`max_failures`, or 3 where that is 0";
    /// How many have to pass until it is back.
    rise, "rise", number(1, 1_000), "`1`";
});

/// What `[apps.NAME.health]` has besides: one of them is how to probe.
pub(crate) const PROBES: &[&str] = &["tcp", "http", "grpc"];

pub(crate) const TCP: &[Key<RawTcp>] = keys!(RawTcp {
    /// How long connecting may take.
    connect_timeout, "connect_timeout_secs", TIMEOUT, "`10`";
    /// Where to, in place of the backend's port.
    port, "port", PORT, "the backend's";
});

pub(crate) const HTTP: &[Key<RawHttp>] = keys!(RawHttp {
    /// The method.
    method, "method", Kind::Text { name: "METHOD", expected: "a method, such as \"GET\"" }, "`GET`";
    /// The path, and the query if there is one.
    path, "path", Kind::Text { name: "PATH", expected: "a path, such as \"/healthz\"" }, "`/`";
    /// Fields that are sent besides.
    headers, "headers", HEADERS, "none";
    /// What is sent after the head.
    body, "body", Kind::Text { name: "TEXT", expected: "a text of at most 65536 bytes" }, "nothing";
    /// Where to, in place of the backend's port.
    port, "port", PORT, "the backend's";
    /// How long connecting may take.
    connect_timeout, "connect_timeout_secs", TIMEOUT, "`30`";
    /// How long the head of the response may take after that.
    read_timeout, "read_timeout_secs", TIMEOUT, "`30`";
    /// Speak TLS, HTTP/2 or HTTP/1.1 inside it as the backend chooses. Its certificate has to come from an authority that
    /// the system trusts, for the Host that is sent, or else for its IP address.
    tls, "tls", Kind::Switch, "`false`";
    /// Take any certificate. With `tls`.
    tls_insecure, "tls_insecure", Kind::Switch, "`false`";
    /// Speak TLS as traffic to the backend does: to one of protocol `https`, by the settings `backend_tls_*`; to any other,
    /// none.
    use_backend_tls, "use_backend_tls", Kind::Switch, "`false`";
    /// Statuses that pass.
    success_codes, "success_codes", Kind::Codes, "`[200]`";
    /// Fields that the response has to have, with these values.
    success_headers, "success_headers", HEADERS, "none";
    /// Send an id with each probe, in X-Edgeproxy-Health-Check-Id.
    id_header, "health_check_id_header", Kind::Switch, "`false`";
});

pub(crate) const GRPC: &[Key<RawGrpc>] = keys!(RawGrpc {
    /// The service that is asked for; none is the server as a whole.
    service, "service", Kind::Text { name: "NAME", expected: "the name of a service, such as \"shop.v1.Cart\"" }, "none";
    /// Where to, in place of the backend's port.
    port, "port", PORT, "the backend's";
    /// How long connecting may take.
    connect_timeout, "connect_timeout_secs", TIMEOUT, "`10`";
    /// How long the answer may take after that.
    read_timeout, "read_timeout_secs", TIMEOUT, "`10`";
});

/// A port that is probed in place of the backend's.
#[derive(Clone, Copy)]
pub(crate) struct Port(pub(super) NonZeroU16);

impl FromValue for Port {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        u16::try_from(u64::from_value(value)?)
            .ok()
            .and_then(NonZeroU16::new)
            .map(Self)
            .ok_or_else(|| value.unfit())
    }
}

/// A method (RFC 9110 §9.1).
pub(crate) struct Method(pub(super) String);

impl FromValue for Method {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        if !is_token(text) || text.len() > 32 {
            return Err(Mismatch::text(text));
        }
        if text.eq_ignore_ascii_case("CONNECT") {
            return Err(Mismatch::text(text).help("it would open a tunnel and leave it open"));
        }
        if text.bytes().any(|b| b.is_ascii_lowercase()) {
            let help = format!(
                "the case of a method matters: write {:?}",
                text.to_ascii_uppercase()
            );
            return Err(Mismatch::text(text).help(help));
        }
        Ok(Self(text.to_owned()))
    }
}

/// What is asked for: a path, and the query if there is one.
pub(crate) struct ProbePath(pub(super) String);

impl FromValue for ProbePath {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        HealthMonitor::path(value.as_text()?).map(Self)
    }
}

pub(crate) struct Body(pub(super) String);

impl FromValue for Body {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text()? {
            text if text.len() > 65_536 => Err(Mismatch::new(format!("{} bytes", text.len()))),
            text => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a service in gRPC, with its package.
pub(crate) struct Service(pub(super) String);

impl FromValue for Service {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text()?;
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_');
        if text.len() > 256 || !text.bytes().all(permitted) {
            return Err(Mismatch::text(text).help("at most 256 of A-Z a-z 0-9 . _"));
        }
        Ok(Self(text.to_owned()))
    }
}
