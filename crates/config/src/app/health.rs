//! `[apps.NAME.health]`: how an app's backends are probed, and what follows from that.

pub(crate) mod keys;

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Settings;
use crate::paths::Headers;
use crate::policy::HeaderName;
use crate::status::StatusCodes;
use crate::table::Table;
use crate::types::HealthMonitor;
use crate::value::described;

use super::probe::{GrpcProbe, Health, HttpProbe, Probe, ProbeTls, TcpProbe};
pub(crate) use keys::RawHealth;
use keys::{GRPC, HTTP, KEY, KEYS, PROBES, ProbePath, RawGrpc, RawHttp, RawTcp, TCP};

const TCP_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
const GRPC_TIMEOUT: Duration = Duration::from_secs(10);
/// Fields that decide where a message or a connection ends, and the one with the probe's id.
pub(crate) const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    ID_HEADER,
];
const ID_HEADER: &str = "x-edgeproxy-health-check-id";
const FALL: u32 = 3;
const RISE: u32 = 1;

impl Table<'_, '_> {
    /// Reads the table. What is wrong has been told then.
    pub(super) fn health(&mut self, at: Range<usize>, value: &Spanned<DeValue<'_>>) -> Option<RawHealth> {
        let DeValue::Table(keys) = value.get_ref() else {
            self.inside(KEY, at)
                .no_table(value, "[apps.NAME.health] and `tcp = {}` under it");
            return None;
        };
        self.note_timing(keys);
        let mut table = self.inside(KEY, at);
        let mut raw = RawHealth::default();
        table.read(keys, KEYS, PROBES, &mut raw);
        let mut probes = Vec::new();
        for name in PROBES {
            if let Some((key, value)) = keys.get_key_value(*name) {
                probes.push((*name, key.span()));
                raw.probe = table.probe(name, key.span(), value);
            }
        }
        if let [(first, _), .., (last, span)] = probes.as_slice() {
            let message = format!("{} has {first} and {last}; expected one way to probe", table.name);
            table.problem(span, message, Some(format!("remove {first} or {last}")));
        }
        Some(raw)
    }

    /// Notes where it is said how often, and how long. The defaults don't fit each other, which is nobody's fault.
    fn note_timing(&mut self, keys: &DeTable<'_>) {
        if let Some((key, _)) = keys.get_key_value("interval_secs") {
            self.note("health.interval_secs", key.span());
        }
        let probes = PROBES
            .iter()
            .filter_map(|name| keys.get(*name)?.get_ref().as_table());
        for table in probes {
            for name in ["connect_timeout_secs", "read_timeout_secs"] {
                if let Some((key, _)) = table.get_key_value(name) {
                    self.note("health.timeout_secs", key.span());
                }
            }
        }
    }

    fn probe(&mut self, name: &str, at: Range<usize>, value: &Spanned<DeValue<'_>>) -> Option<Probe> {
        let mut table = self.inside(name, at);
        let DeValue::Table(keys) = value.get_ref() else {
            table.no_table(value, &format!("`{name} = {{}}`"));
            return None;
        };
        Some(match name {
            "tcp" => {
                let mut raw = RawTcp::default();
                table.read(keys, TCP, &[], &mut raw);
                Probe::Tcp(TcpProbe {
                    connect_timeout: raw.connect_timeout.unwrap_or(TCP_TIMEOUT),
                    port: raw.port.map(|port| port.0),
                })
            }
            "http" => {
                let mut raw = RawHttp::default();
                table.read(keys, HTTP, &[], &mut raw);
                table.own_headers(raw.headers.as_ref());
                if raw
                    .success_codes
                    .as_ref()
                    .is_some_and(|codes| codes.ranges().is_empty())
                {
                    let message = format!(
                        "{} is empty, so no probe would ever pass",
                        table.subject("success_codes")
                    );
                    let help = "write [200], or leave it out".to_owned();
                    table.problem_at("success_codes", message, Some(help));
                }
                let tls = table.probe_tls(&raw);
                Probe::Http(Box::new(raw.with(tls)))
            }
            _ => {
                let mut raw = RawGrpc::default();
                table.read(keys, GRPC, &[], &mut raw);
                Probe::Grpc(GrpcProbe {
                    service: raw.service.map(|service| service.0).unwrap_or_default(),
                    port: raw.port.map(|port| port.0),
                    connect_timeout: raw.connect_timeout.unwrap_or(GRPC_TIMEOUT),
                    read_timeout: raw.read_timeout.unwrap_or(GRPC_TIMEOUT),
                })
            }
        })
    }

    fn no_table(&mut self, value: &Spanned<DeValue<'_>>, write: &str) {
        let message = format!(
            "{} is {}; expected a table",
            self.name,
            described(value.get_ref())
        );
        self.problem(&value.span(), message, Some(format!("write {write}")));
    }

    /// A probe's message and connection end where the probe says.
    fn own_headers(&mut self, headers: Option<&Headers>) {
        let headers = headers.map_or(&[][..], |headers| &headers.0);
        let own = |(name, _): &&(HeaderName, String)| OWN_HEADERS.contains(&name.as_str());
        if let Some((name, _)) = headers.iter().find(own) {
            let message = format!(
                "{} names {}, which is the probe's own",
                self.subject("headers"),
                name.as_str()
            );
            let help = match name.as_str() {
                ID_HEADER => "write `health_check_id_header = true`".to_owned(),
                _ => "remove it".to_owned(),
            };
            self.problem_at("headers", message, Some(help));
        }
    }

    fn probe_tls(&mut self, raw: &RawHttp) -> ProbeTls {
        let is = |switch: Option<bool>| switch == Some(true);
        match (is(raw.tls), is(raw.tls_insecure), is(raw.use_backend_tls)) {
            (_, true, true) => {
                let message = format!(
                    "{} and use_backend_tls are both true; expected one of them",
                    self.subject("tls_insecure")
                );
                let help =
                    "remove tls_insecure: with use_backend_tls the backends' own settings decide".to_owned();
                self.problem_at("tls_insecure", message, Some(help));
                ProbeTls::AsTraffic
            }
            (_, false, true) => ProbeTls::AsTraffic,
            (false, true, false) => {
                let message = format!("{} is true and tls is not", self.subject("tls_insecure"));
                let help = "write `tls = true` beside it, or remove it".to_owned();
                self.problem_at("tls_insecure", message, Some(help));
                ProbeTls::Off
            }
            (true, true, false) => ProbeTls::Insecure,
            (true, false, false) => ProbeTls::Verified,
            (false, false, false) => ProbeTls::Off,
        }
    }
}

impl RawHttp {
    fn with(self, tls: ProbeTls) -> HttpProbe {
        HttpProbe {
            method: self.method.map_or_else(|| "GET".to_owned(), |method| method.0),
            path: self.path.map_or_else(|| "/".to_owned(), |path| path.0),
            headers: self.headers.unwrap_or_default().0,
            body: self.body.map(|body| body.0).unwrap_or_default(),
            port: self.port.map(|port| port.0),
            connect_timeout: self.connect_timeout.unwrap_or(HTTP_TIMEOUT),
            read_timeout: self.read_timeout.unwrap_or(HTTP_TIMEOUT),
            tls,
            success_codes: self.success_codes.unwrap_or_else(StatusCodes::ok),
            success_headers: self.success_headers.unwrap_or_default().0,
            id_header: self.id_header == Some(true),
        }
    }
}

/// Joins what the app says with what the settings do.
pub(super) fn resolve(settings: &Settings, max_failures: u32, raw: Option<RawHealth>) -> Option<Health> {
    let of_proxy = match &settings.health_monitor {
        HealthMonitor::Off => None,
        HealthMonitor::Tcp => Some(Probe::Tcp(TcpProbe {
            connect_timeout: TCP_TIMEOUT,
            port: None,
        })),
        HealthMonitor::Http { path } => {
            let path = Some(ProbePath(path.clone()));
            let raw = RawHttp {
                path,
                ..RawHttp::default()
            };
            Some(Probe::Http(Box::new(raw.with(ProbeTls::Off))))
        }
    };
    // Whoever writes the table wants to be probed, and connecting is what every backend can do.
    let fallback = raw.is_some().then_some(Probe::Tcp(TcpProbe {
        connect_timeout: TCP_TIMEOUT,
        port: None,
    }));
    let raw = raw.unwrap_or_default();
    let probe = raw.probe.or(of_proxy).or(fallback)?;
    (raw.enabled != Some(false)).then(|| Health {
        interval: raw.interval.unwrap_or(settings.health_interval),
        fall: raw
            .fall
            .unwrap_or(if max_failures == 0 { FALL } else { max_failures }),
        rise: raw.rise.unwrap_or(RISE),
        probe,
    })
}
