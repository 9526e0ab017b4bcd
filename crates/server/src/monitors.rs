//! How an app's backends are probed, from the configuration to the monitors that do it.

use std::sync::Arc;

use edgeproxy_backend::Protocol;
use edgeproxy_config as config;
use edgeproxy_config::{HealthMonitor, ProbeTls, Settings};
use edgeproxy_health::{
    Encryption, GrpcProbe, HttpProbe, Kind, Monitor, SettingError, StatusCodes, TcpProbe, Version,
};

/// The monitors of one app, one for each way in which its backends may speak. A probe speaks as a backend does, unless
/// it has a port of its own: who listens there is for the configuration to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Monitors {
    http1: Arc<Monitor>,
    h2c: Arc<Monitor>,
    https: Arc<Monitor>,
    tcp: Arc<Monitor>,
}

/// Why backends can't be probed as the configuration says.
#[derive(Debug, thiserror::Error)]
#[error("{of}: {error}")]
pub struct MonitorError {
    /// The setting, or the table of the app.
    pub of: String,
    /// What is wrong.
    pub error: SettingError,
}

impl Monitors {
    /// Those of an app that the file doesn't name; `None`: it isn't probed.
    pub(crate) fn of_settings(settings: &Settings) -> Result<Option<Self>, MonitorError> {
        let kinds = match &settings.health_monitor {
            HealthMonitor::Off => return Ok(None),
            HealthMonitor::Tcp => Ok(Kinds::same(TcpProbe::default())),
            HealthMonitor::Http { path } => {
                HttpProbe::get(path).and_then(|probe| Kinds::http(&probe, ProbeTls::Off))
            }
        };
        let made = kinds.and_then(|kinds| kinds.every(settings.health_interval));
        made.map(Some).map_err(|error| MonitorError {
            of: "health_monitor".to_owned(),
            error,
        })
    }

    /// Those of an app that the file names.
    pub(crate) fn of_app(app: &config::App) -> Result<Option<Self>, MonitorError> {
        let Some(health) = &app.health else {
            return Ok(None);
        };
        let kinds = match &health.probe {
            config::Probe::Tcp(probe) => tcp(probe).map(Kinds::same),
            config::Probe::Http(probe) => http(probe).and_then(|made| Kinds::http(&made, probe.tls)),
            config::Probe::Grpc(probe) => grpc(probe).map(Kinds::grpc),
        };
        let made = kinds.and_then(|kinds| kinds.every(health.interval));
        made.map(Some).map_err(|error| MonitorError {
            of: format!("apps.{}.health", app.name),
            error,
        })
    }

    /// That of a backend that speaks so.
    pub(crate) const fn of(&self, protocol: Protocol) -> &Arc<Monitor> {
        match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::H2c => &self.h2c,
            Protocol::Https => &self.https,
            Protocol::Tcp => &self.tcp,
        }
    }
}

/// What a probe does, by what a backend speaks.
struct Kinds {
    http1: Kind,
    h2c: Kind,
    https: Kind,
    tcp: Kind,
}

impl Kinds {
    fn same(kind: impl Into<Kind>) -> Self {
        let kind = kind.into();
        Self {
            http1: kind.clone(),
            h2c: kind.clone(),
            https: kind.clone(),
            tcp: kind,
        }
    }

    fn http(probe: &HttpProbe, tls: ProbeTls) -> Result<Self, SettingError> {
        let with = |encryption| probe.clone().with_encryption(encryption);
        let plain = with(Encryption::Clear);
        let elsewhere = probe.port().is_some();
        Ok(match tls {
            ProbeTls::Verified => Self::same(with(Encryption::Verified)),
            ProbeTls::Insecure => Self::same(with(Encryption::Unverified)),
            ProbeTls::Off if elsewhere => Self::same(plain),
            ProbeTls::Off => Self {
                h2c: plain.clone().with_version(Version::Http2).into(),
                // A request in the clear would be garbage to it; that somebody listens is all that can be asked.
                https: TcpProbe::default()
                    .with_connect_timeout(probe.connect_timeout())?
                    .into(),
                ..Self::same(plain)
            },
            ProbeTls::AsTraffic => Self {
                h2c: plain.clone().with_version(Version::Http2).into(),
                https: with(Encryption::AsTraffic).into(),
                ..Self::same(plain)
            },
        })
    }

    /// gRPC is HTTP/2, whatever else a backend speaks.
    fn grpc(probe: GrpcProbe) -> Self {
        let elsewhere = probe.port().is_some();
        let https = if elsewhere {
            probe.clone()
        } else {
            probe.clone().with_encryption(Encryption::AsTraffic)
        };
        Self {
            https: https.into(),
            ..Self::same(probe)
        }
    }

    fn every(self, interval: std::time::Duration) -> Result<Monitors, SettingError> {
        let made = |kind: Kind| Monitor::new(kind).with_interval(interval).map(Arc::new);
        Ok(Monitors {
            http1: made(self.http1)?,
            h2c: made(self.h2c)?,
            https: made(self.https)?,
            tcp: made(self.tcp)?,
        })
    }
}

fn tcp(probe: &config::TcpProbe) -> Result<TcpProbe, SettingError> {
    let made = TcpProbe::default().with_connect_timeout(probe.connect_timeout)?;
    match probe.port {
        Some(port) => made.with_port(port.get()),
        None => Ok(made),
    }
}

fn http(probe: &config::HttpProbe) -> Result<HttpProbe, SettingError> {
    let codes = StatusCodes::new(probe.success_codes.ranges().iter().cloned())?;
    let mut made = HttpProbe::get(&probe.path)?
        .with_method(&probe.method)?
        .with_body(probe.body.clone())?
        .with_connect_timeout(probe.connect_timeout)?
        .with_read_timeout(probe.read_timeout)?
        .with_success_codes(codes);
    for (name, value) in &probe.headers {
        made = made.with_header(name.as_str(), value)?;
    }
    for (name, value) in &probe.success_headers {
        made = made.with_success_header(name.as_str(), value)?;
    }
    if let Some(port) = probe.port {
        made = made.with_port(port.get())?;
    }
    Ok(if probe.id_header {
        made.with_id_header()
    } else {
        made
    })
}

fn grpc(probe: &config::GrpcProbe) -> Result<GrpcProbe, SettingError> {
    let made = GrpcProbe::server()
        .with_service(&probe.service)?
        .with_connect_timeout(probe.connect_timeout)?
        .with_read_timeout(probe.read_timeout)?;
    match probe.port {
        Some(port) => made.with_port(port.get()),
        None => Ok(made),
    }
}

#[cfg(test)]
mod tests;
