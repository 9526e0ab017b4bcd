mod codes;
mod error;
mod grpc;
mod request;
#[cfg(test)]
mod tests;

use std::num::NonZeroU16;
use std::time::Duration;

pub use codes::StatusCodes;
#[cfg(feature = "driver")]
pub(crate) use error::excerpt;
pub use error::{Problem, SettingError};
pub use grpc::GrpcProbe;
pub use request::{Header, HttpProbe, Version};

/// The shortest time-out.
pub(crate) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
/// The longest: a probe that takes longer than this holds one of few places for nothing.
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// How the backends of an app are probed, and how often.
///
/// ```
/// use std::time::Duration;
/// use edgeproxy_health::{HttpProbe, Monitor};
///
/// let shop = HttpProbe::get("/health")?.with_header("Host", "shop.example")?.with_success_codes("200,204".parse()?);
/// let monitor = Monitor::new(shop).with_interval(Duration::from_secs(2))?;
///
/// let mistake = Monitor::http("health").unwrap_err();
/// assert_eq!(
///     mistake.to_string(),
///     "http.path is \"health\", which does not begin with '/'; write it as in a request line, such as \"/health\"",
/// );
/// # assert_eq!(monitor.interval(), Duration::from_secs(2));
/// # Ok::<(), edgeproxy_health::SettingError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Monitor {
    interval: Duration,
    kind: Kind,
}

/// What a probe does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Connects, and closes again.
    Tcp(TcpProbe),
    /// Sends a request and judges the response's head.
    Http(Box<HttpProbe>),
    /// Asks `grpc.health.v1.Health/Check`.
    Grpc(GrpcProbe),
}

/// Whether a probe speaks TLS, and whom it trusts. How that is done is for whoever runs the probes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Encryption {
    /// In the clear.
    #[default]
    Clear,
    /// TLS, with a certificate from an authority that the system trusts.
    Verified,
    /// TLS, with any certificate.
    Unverified,
    /// TLS as traffic to the backend has it.
    AsTraffic,
}

impl From<TcpProbe> for Kind {
    fn from(probe: TcpProbe) -> Self {
        Self::Tcp(probe)
    }
}

impl From<HttpProbe> for Kind {
    fn from(probe: HttpProbe) -> Self {
        Self::Http(Box::new(probe))
    }
}

impl From<GrpcProbe> for Kind {
    fn from(probe: GrpcProbe) -> Self {
        Self::Grpc(probe)
    }
}

impl Monitor {
    /// The default of the interval.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
    /// The shortest interval.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(100);
    /// The longest interval.
    pub const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

    /// Probes in this way, every 5 s.
    #[must_use]
    pub fn new(kind: impl Into<Kind>) -> Self {
        Self {
            interval: Self::DEFAULT_INTERVAL,
            kind: kind.into(),
        }
    }

    /// Connects every 5 s; the default of every other setting.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(TcpProbe::default())
    }

    /// `GET` of this path every 5 s; the default of every other setting.
    ///
    /// # Errors
    /// As [`HttpProbe::get`].
    pub fn http(path: &str) -> Result<Self, SettingError> {
        Ok(Self::new(HttpProbe::get(path)?))
    }

    /// Begins a probe this long after the last one began, give or take a tenth.
    ///
    /// # Errors
    /// When it is not between 100 ms and 1 h.
    pub fn with_interval(self, interval: Duration) -> Result<Self, SettingError> {
        let interval = error::duration("interval", interval, Self::MIN_INTERVAL, Self::MAX_INTERVAL)?;
        Ok(Self { interval, ..self })
    }

    /// The time between two probes' beginnings, before jitter.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// What a probe does.
    #[must_use]
    pub const fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// A connection that is made and closed. It passes if it is made within 10 s, unless set otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpProbe {
    connect_timeout: Duration,
    port: Option<NonZeroU16>,
}

impl Default for TcpProbe {
    fn default() -> Self {
        Self {
            connect_timeout: Self::DEFAULT_TIMEOUT,
            port: None,
        }
    }
}

impl TcpProbe {
    /// The default of the time-out.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

    /// Fails a probe that has no connection after this long.
    ///
    /// # Errors
    /// When it is not between 1 ms and 5 min.
    pub fn with_connect_timeout(self, timeout: Duration) -> Result<Self, SettingError> {
        let connect_timeout = error::duration("tcp.connect_timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Ok(Self {
            connect_timeout,
            ..self
        })
    }

    /// Connects to this port in place of the backend's.
    ///
    /// # Errors
    /// When it is 0.
    pub fn with_port(self, number: u16) -> Result<Self, SettingError> {
        Ok(Self {
            port: Some(port("tcp.port", number)?),
            ..self
        })
    }

    /// How long a connection may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// The port to connect to; `None` is the backend's.
    #[must_use]
    pub const fn port(&self) -> Option<NonZeroU16> {
        self.port
    }
}

fn port(field: &'static str, number: u16) -> Result<NonZeroU16, SettingError> {
    NonZeroU16::new(number).ok_or(Problem::Port.of(field))
}
