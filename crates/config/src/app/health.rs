//! `[apps.NAME.health]`: how an app's backends are probed, and what follows from that.

pub(crate) mod keys;

use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::Settings;
use crate::policy::{HeaderName, StatusCodes};
use crate::table::Table;
use crate::types::HealthMonitor;
use crate::value::described;

pub(crate) use keys::RawHealth;
use keys::{GRPC, HTTP, KEY, KEYS, PROBES, ProbePath, RawGrpc, RawHttp, RawTcp, TCP};

/// How backends are probed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// The time between two probes of a backend, 1 s to 1 h.
    pub interval: Duration,
    /// How many probes in a row have to fail until a backend is out.
    pub fall: u32,
    /// How many have to pass until it is back.
    pub rise: u32,
    /// What a probe does.
    pub probe: Probe,
}

/// What a probe does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Probe {
    /// Connects, and closes again.
    Tcp(TcpProbe),
    /// Sends a request, and judges the head of the response.
    Http(Box<HttpProbe>),
    /// Asks `grpc.health.v1.Health`.
    Grpc(GrpcProbe),
}

/// A connection that is made and closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpProbe {
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Where to, in place of the backend's port.
    pub port: Option<NonZeroU16>,
}

/// A request whose response has to be as it should.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpProbe {
    /// The method, a token in upper case.
    pub method: String,
    /// The path, and the query if there is one.
    pub path: String,
    /// Fields that are sent besides.
    pub headers: Vec<(HeaderName, String)>,
    /// What is sent after the head.
    pub body: String,
    /// Where to, in place of the backend's port.
    pub port: Option<NonZeroU16>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the response's head may take after that.
    pub read_timeout: Duration,
    /// Whether TLS is spoken.
    pub tls: ProbeTls,
    /// Statuses that pass.
    pub success_codes: StatusCodes,
    /// Fields that the response has to have, with these values.
    pub success_headers: Vec<(HeaderName, String)>,
    /// Whether each probe has a field with an id of its own.
    pub id_header: bool,
}

/// TLS of a probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeTls {
    /// None.
    Off,
    /// With a certificate from an authority that the system trusts.
    Verified,
    /// With any certificate.
    Insecure,
    /// As traffic to the backend.
    AsTraffic,
}

/// A call of `grpc.health.v1.Health/Check`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrpcProbe {
    /// The service that is asked for; empty is the server as a whole.
    pub service: String,
    /// Where to, in place of the backend's port.
    pub port: Option<NonZeroU16>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long the answer may take after that.
    pub read_timeout: Duration,
}

impl Probe {
    /// The longest that a probe may take.
    #[must_use]
    pub fn longest(&self) -> Duration {
        match self {
            Self::Tcp(tcp) => tcp.connect_timeout,
            Self::Http(http) => http.connect_timeout + http.read_timeout,
            Self::Grpc(grpc) => grpc.connect_timeout + grpc.read_timeout,
        }
    }
}

const TCP_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
const GRPC_TIMEOUT: Duration = Duration::from_secs(10);
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
