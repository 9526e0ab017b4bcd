use std::num::NonZeroU16;
use std::time::Duration;

use crate::policy::HeaderName;
use crate::status::StatusCodes;

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
