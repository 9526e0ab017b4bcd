//! The tables of the file, each as one value by the keys that it has there.

use edgeproxy_backend::{BackendId, Country};

use crate::app::{App, GrpcProbe, Health, HttpProbe, Picker, Picking, Probe, ProbeTls, TcpProbe};
use crate::backend::StaticBackend;
use crate::listeners::{Certificate, Listener, ListenerProtocol, ListenerTls};
use crate::policy::HeaderName;
use crate::region::Geography;
use crate::route::{BodyLimit, HeaderMatch, HostMatch, Route};
use crate::{RegionTable, Settings, Topology};

use super::{Show, Shown};

impl Topology {
    /// The regions with what the file says of them: by name, each with its country, the countries that were put into
    /// it, and the round-trip times to others.
    #[must_use]
    pub fn regions(&self, settings: &Settings) -> Vec<(String, Shown)> {
        regions(&settings.regions, &self.geography)
    }
}

fn regions(table: &RegionTable, geography: &Geography) -> Vec<(String, Shown)> {
    let region = |(region, country)| {
        let here = Country::all().filter(|country| geography.region_of(*country) == Some(region));
        let countries: Vec<Shown> = here.map(Shown::text).collect();
        let rtts = geography.nearest(region).into_iter().map(|other| {
            let rtt = geography.rtt(region, other).unwrap_or_default();
            let millis = u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
            (other.to_string(), Shown::Number(millis))
        });
        let value = Shown::table([
            ("country", Shown::text(country)),
            ("countries", some_list(countries)),
            ("rtt_ms", some_table(rtts.collect())),
        ]);
        (region.to_string(), value)
    };
    table.iter().map(region).collect()
}

fn some_list(items: Vec<Shown>) -> Shown {
    if items.is_empty() {
        Shown::Nothing
    } else {
        Shown::List(items)
    }
}

fn some_table(entries: Vec<(String, Shown)>) -> Shown {
    if entries.is_empty() {
        Shown::Nothing
    } else {
        Shown::Table(entries)
    }
}

impl App {
    /// Its table as it is in force, what it doesn't say itself included. Values of fields that probes send are secret.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (algorithm, inner) = match &self.picking {
            Picking::Anywhere(picker) => (picker.name(), Shown::Nothing),
            Picking::NearestFirst(picker) => ("region_affinity", Shown::text(picker.name())),
        };
        let fallback: Vec<Shown> = self.fallback.iter().map(Show::show).collect();
        let prefix = self.add_prefix.as_ref();
        let own = [
            ("algorithm", Shown::text(algorithm)),
            ("inner", inner),
            ("fallback", some_list(fallback)),
            ("add_prefix", prefix.map_or(Shown::Nothing, Shown::text)),
            ("health", self.health.as_ref().map_or(Shown::Nothing, health)),
        ];
        Shown::table(own.into_iter().chain(self.settings.shown()))
    }
}

impl Show for BackendId {
    fn show(&self) -> Shown {
        Shown::text(self)
    }
}

impl Picker {
    const fn name(&self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::Weighted => "weighted",
            Self::LeastConnections => "least_connections",
            Self::Ewma => "ewma",
            Self::Hash(_) => "hash",
        }
    }
}

fn health(health: &Health) -> Shown {
    let (name, probe) = match &health.probe {
        Probe::Tcp(probe) => ("tcp", tcp(probe)),
        Probe::Http(probe) => ("http", http(probe)),
        Probe::Grpc(probe) => ("grpc", grpc(probe)),
    };
    Shown::table([
        ("interval_secs", health.interval.show()),
        ("fall", health.fall.show()),
        ("rise", health.rise.show()),
        (name, probe),
    ])
}

fn port(port: Option<std::num::NonZeroU16>) -> Shown {
    port.map_or(Shown::Nothing, |port| Shown::Number(u64::from(port.get())))
}

fn tcp(probe: &TcpProbe) -> Shown {
    Shown::table([
        ("port", port(probe.port)),
        ("connect_timeout_secs", probe.connect_timeout.show()),
    ])
}

fn http(probe: &HttpProbe) -> Shown {
    let sent = |(name, _): &(HeaderName, String)| (name.as_str().to_owned(), Shown::Secret);
    let expected = |(name, value): &(HeaderName, String)| (name.as_str().to_owned(), Shown::text(value));
    let body = match probe.body.as_str() {
        "" => Shown::Nothing,
        body => Shown::text(body).masked(),
    };
    Shown::table([
        ("method", Shown::text(&probe.method)),
        ("path", Shown::text(&probe.path)),
        ("headers", some_table(probe.headers.iter().map(sent).collect())),
        ("body", body),
        ("port", port(probe.port)),
        ("connect_timeout_secs", probe.connect_timeout.show()),
        ("read_timeout_secs", probe.read_timeout.show()),
        (
            "tls",
            Shown::Switch(matches!(probe.tls, ProbeTls::Verified | ProbeTls::Insecure)),
        ),
        ("tls_insecure", Shown::Switch(probe.tls == ProbeTls::Insecure)),
        ("use_backend_tls", Shown::Switch(probe.tls == ProbeTls::AsTraffic)),
        ("success_codes", probe.success_codes.show()),
        (
            "success_headers",
            some_table(probe.success_headers.iter().map(expected).collect()),
        ),
        ("health_check_id_header", Shown::Switch(probe.id_header)),
    ])
}

fn grpc(probe: &GrpcProbe) -> Shown {
    Shown::table([
        ("service", Shown::text(&probe.service)),
        ("port", port(probe.port)),
        ("connect_timeout_secs", probe.connect_timeout.show()),
        ("read_timeout_secs", probe.read_timeout.show()),
    ])
}

impl Route {
    /// Its table.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let host = match &self.host {
            HostMatch::Any => Shown::Nothing,
            host => Shown::text(host),
        };
        let headers = self.headers.iter().map(|header| {
            let value = header
                .value
                .as_ref()
                .map_or_else(|| Shown::text("*"), Shown::text);
            (header.name.as_str().to_owned(), value)
        });
        let share = |(app, share): &(edgeproxy_backend::AppName, u32)| (app.to_string(), share.show());
        let max_body = match self.max_body {
            BodyLimit::OfApp => Shown::Nothing,
            BodyLimit::Unlimited => Shown::text("unlimited"),
            BodyLimit::Bytes(bytes) => Shown::Number(bytes),
        };
        let replaced = self.replace_prefix.as_ref();
        Shown::table([
            ("host", host),
            ("path_prefix", Shown::text(&self.path)),
            ("headers", some_table(headers.collect())),
            ("apps", Shown::Table(self.apps.iter().map(share).collect())),
            ("replace_prefix", replaced.map_or(Shown::Nothing, Shown::text)),
            ("max_body_bytes", max_body),
        ])
    }

    /// What requests it is for, which tells it from the others.
    pub(crate) fn title(&self) -> String {
        let header = |header: &HeaderMatch| match &header.value {
            Some(value) => format!("{} {value:?}", header.name.as_str()),
            None => header.name.as_str().to_owned(),
        };
        let headers: Vec<String> = self.headers.iter().map(header).collect();
        let with = if headers.is_empty() {
            String::new()
        } else {
            format!(" with {}", headers.join(", "))
        };
        format!("{}{}{with}", self.host, self.path)
    }
}

impl StaticBackend {
    /// Its table.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let backend = &self.backend;
        let metadata = backend.metadata.iter();
        let metadata = metadata.map(|(key, value)| (key.to_owned(), Shown::text(value)));
        Shown::table([
            ("id", Shown::text(&backend.id)),
            ("app", Shown::text(&backend.app)),
            ("region", Shown::text(backend.region)),
            ("country", Shown::text(backend.country)),
            ("ip", Shown::text(backend.addr.ip())),
            ("port", Shown::Number(u64::from(backend.addr.port()))),
            ("weight", Shown::Number(u64::from(backend.weight.get()))),
            ("soft_limit", backend.limits.soft().show()),
            ("hard_limit", backend.limits.hard().show()),
            ("fallback", Shown::Switch(backend.fallback)),
            ("protocol", Shown::text(backend.protocol)),
            ("metadata", some_table(metadata.collect())),
        ])
    }
}

impl Listener {
    /// Its table.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let (protocol, app, send_proxy, idle) = match &self.protocol {
            ListenerProtocol::Http => ("http", Shown::Nothing, None, None),
            ListenerProtocol::Tcp {
                app,
                send_proxy,
                idle_timeout,
            } => ("tcp", Shown::text(app), *send_proxy, *idle_timeout),
            ListenerProtocol::Sni {
                send_proxy,
                idle_timeout,
            } => ("sni", Shown::Nothing, *send_proxy, *idle_timeout),
        };
        let trusted: Vec<Shown> = self.proxy_protocol_from.iter().map(Show::show).collect();
        Shown::table([
            ("name", Shown::text(&self.name)),
            ("addr", self.addr.show()),
            ("protocol", Shown::text(protocol)),
            ("app", app),
            ("send_proxy", send_proxy.map_or(Shown::Nothing, Shown::text)),
            (
                "idle_timeout_secs",
                idle.map_or(Shown::Nothing, |idle| idle.show()),
            ),
            ("proxy_protocol_from", some_list(trusted)),
            ("tls", self.tls.as_ref().map_or(Shown::Nothing, tls)),
        ])
    }
}

fn tls(tls: &ListenerTls) -> Shown {
    let certificate = |one: &Certificate| {
        let names: Vec<Shown> = one.names.iter().map(Shown::text).collect();
        Shown::table([
            ("cert", one.cert.show()),
            ("key", one.key.show()),
            ("names", some_list(names)),
        ])
    };
    Shown::table([
        (
            "certificates",
            Shown::List(tls.certificates.iter().map(certificate).collect()),
        ),
        ("min_version", Shown::text(tls.min_version)),
        ("client_auth", Shown::text(tls.client_auth)),
        ("client_ca", tls.client_ca.show()),
    ])
}
