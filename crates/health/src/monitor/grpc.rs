use std::num::NonZeroU16;
use std::time::Duration;

use super::error::{Problem, SettingError, duration, excerpt};
use super::{Encryption, TIMEOUT_MAX, TIMEOUT_MIN, port};

/// A call of `grpc.health.v1.Health/Check`. It passes if the answer is `SERVING` within 10 s of being connected,
/// unless set otherwise.
///
/// ```
/// use edgeproxy_health::{GrpcProbe, Monitor};
///
/// let cart = GrpcProbe::server().with_service("shop.v1.Cart")?;
/// let monitor = Monitor::new(cart);
/// # Ok::<(), edgeproxy_health::SettingError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrpcProbe {
    service: String,
    connect_timeout: Duration,
    read_timeout: Duration,
    port: Option<NonZeroU16>,
    encryption: Encryption,
}

impl GrpcProbe {
    /// The default of both time-outs.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
    /// The longest name of a service, in bytes.
    pub const MAX_SERVICE: usize = 256;

    /// Asks for the server as a whole.
    #[must_use]
    pub const fn server() -> Self {
        Self {
            service: String::new(),
            connect_timeout: Self::DEFAULT_TIMEOUT,
            read_timeout: Self::DEFAULT_TIMEOUT,
            port: None,
            encryption: Encryption::Clear,
        }
    }

    /// Asks for this service, such as `shop.v1.Cart`; an empty name is the server as a whole.
    ///
    /// # Errors
    /// When `service` is longer than [`Self::MAX_SERVICE`] or no name.
    pub fn with_service(self, service: &str) -> Result<Self, SettingError> {
        let permitted = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_');
        if service.len() > Self::MAX_SERVICE || !service.bytes().all(permitted) {
            let (found, max) = (excerpt(service), Self::MAX_SERVICE);
            return Err(Problem::Service { found, max }.of("grpc.service"));
        }
        let service = service.to_owned();
        Ok(Self { service, ..self })
    }

    /// Fails a probe that has no connection after this long.
    ///
    /// # Errors
    /// When it is not between 1 ms and 5 min.
    pub fn with_connect_timeout(self, timeout: Duration) -> Result<Self, SettingError> {
        let connect_timeout = duration("grpc.connect_timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Ok(Self {
            connect_timeout,
            ..self
        })
    }

    /// Fails a probe that has a connection, but after this long no whole answer. The backend is told of it as
    /// the call's deadline.
    ///
    /// # Errors
    /// When it is not between 1 ms and 5 min.
    pub fn with_read_timeout(self, timeout: Duration) -> Result<Self, SettingError> {
        let read_timeout = duration("grpc.read_timeout", timeout, TIMEOUT_MIN, TIMEOUT_MAX)?;
        Ok(Self { read_timeout, ..self })
    }

    /// Connects to this port in place of the backend's.
    ///
    /// # Errors
    /// When it is 0.
    pub fn with_port(self, number: u16) -> Result<Self, SettingError> {
        Ok(Self {
            port: Some(port("grpc.port", number)?),
            ..self
        })
    }

    /// Speaks TLS, or doesn't. A certificate has to be for the backend's address, unless traffic's settings
    /// name somebody else.
    #[must_use]
    pub fn with_encryption(self, encryption: Encryption) -> Self {
        Self { encryption, ..self }
    }

    /// The service that is asked for; empty is the server as a whole.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// How long a connection may take.
    #[must_use]
    pub const fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// How long the answer may take, once connected.
    #[must_use]
    pub const fn read_timeout(&self) -> Duration {
        self.read_timeout
    }

    /// The port to connect to; `None` is the backend's.
    #[must_use]
    pub const fn port(&self) -> Option<NonZeroU16> {
        self.port
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub const fn encryption(&self) -> Encryption {
        self.encryption
    }
}
