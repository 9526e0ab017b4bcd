//! What the API tells, as far as it is shown.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

/// A backend as it is listed.
#[derive(Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(default)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) app: String,
    pub(crate) region: String,
    pub(crate) country: String,
    pub(crate) ip: String,
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) weight: f64,
    /// In flight; 0 is no limit.
    pub(crate) soft_limit: u64,
    pub(crate) hard_limit: u64,
    pub(crate) fallback: bool,
    pub(crate) source: String,
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) in_flight: u64,
    /// `None` for one of the configuration file, which has no lease.
    pub(crate) ttl_secs: Option<u64>,
    pub(crate) registered_secs: u64,
    pub(crate) incarnation: u64,
    pub(crate) requests_total: u64,
    pub(crate) failures_total: u64,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) overrides: Map<String, Value>,
    pub(crate) reported: Map<String, Value>,
}

/// Something that has happened. About nobody, if events were missed.
#[derive(Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Event {
    /// RFC 3339, in UTC.
    pub(crate) time: String,
    pub(crate) r#type: String,
    pub(crate) backend: String,
    /// `None` once it is gone.
    pub(crate) state: Option<String>,
    pub(crate) reason: String,
    pub(crate) incarnation: u64,
}

/// What the server says of itself and of the caller when it is first reached.
#[derive(Deserialize, Debug, Clone, Default, PartialEq, Eq)]
#[serde(default)]
pub(crate) struct Hello {
    pub(crate) version: String,
    pub(crate) role: String,
    pub(crate) apps: String,
    pub(crate) name: Option<String>,
}

/// The figures of a second.
#[derive(Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(default)]
pub(crate) struct Stats {
    pub(crate) server: Server,
    pub(crate) totals: Totals,
    /// Whether there are more backends than are told of.
    pub(crate) partial: bool,
    /// Those that have changed.
    pub(crate) backends: BTreeMap<String, Figures>,
}

/// How the server is.
#[derive(Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(default)]
pub(crate) struct Server {
    pub(crate) uptime_secs: u64,
    pub(crate) phase: String,
    pub(crate) store: String,
    /// Why the store can't be written to; `true` where the caller may not know.
    pub(crate) degraded: Value,
}

/// Those of all backends.
#[derive(Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(default)]
pub(crate) struct Totals {
    pub(crate) requests_per_sec: f64,
    pub(crate) failures_per_sec: f64,
    pub(crate) in_flight: u64,
    pub(crate) latency_ms: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// Requests a second, failed ones a second, the average latency in ms, requests in flight.
#[derive(Deserialize, Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Figures(
    pub(crate) f64,
    pub(crate) f64,
    pub(crate) Option<f64>,
    pub(crate) u64,
);

impl Listed {
    /// Where it listens.
    pub(crate) fn address(&self) -> String {
        if self.ip.contains(':') {
            format!("[{}]:{}", self.ip, self.port)
        } else {
            format!("{}:{}", self.ip, self.port)
        }
    }

    /// Whether it takes requests.
    pub(crate) fn takes_traffic(&self) -> bool {
        matches!(self.state.as_str(), "routable" | "trial" | "suspect")
    }

    /// Whether an operator has switched it off. An event tells of it before the listing does.
    pub(crate) fn is_switched_off(&self) -> bool {
        self.state == "disabled" || self.overrides.get("enabled") == Some(&Value::Bool(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_tells_is_read_as_it_is() {
        let listed: Listed = serde_json::from_str(
            r#"{"id":"eu-1","app":"shop","region":"eu","country":"DE","ip":"::1","port":80,"weight":2,"soft_limit":100,
            "hard_limit":150,"fallback":false,"protocol":"http","ttl_secs":null,"metadata":{"v":"1"},"source":"file",
            "state":"suspect","reason":"r","healthy":true,"in_flight":3,"latency_ms":null,"incarnation":7,
            "overrides":{"enabled":false},"something":"new"}"#,
        )
        .unwrap();
        assert_eq!((listed.address().as_str(), listed.weight), ("[::1]:80", 2.0));
        assert!(listed.takes_traffic() && listed.is_switched_off());
        let stats: Stats = serde_json::from_str(
            r#"{"time":"t","server":{"uptime_secs":3600,"phase":"ready","store":"file","degraded":null},"totals":
            {"backends":3,"requests_per_sec":120.4,"failures_per_sec":0.0,"in_flight":7,"latency_ms":3.2,"p50_ms":2.9},
            "partial":false,"backends":{"eu-1":[60.2,0.0,null,4]}}"#,
        )
        .unwrap();
        assert_eq!(stats.backends["eu-1"], Figures(60.2, 0.0, None, 4));
        assert_eq!((stats.totals.p50_ms, stats.totals.p99_ms), (Some(2.9), None));
        assert!(stats.server.degraded.is_null());
    }
}
