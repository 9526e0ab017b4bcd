use std::fmt;

use crate::{AppName, BackendAddr, BackendId, Country, Limits, Metadata, Region, Weight};

/// What a backend speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Protocol {
    /// HTTP/1.1 without TLS.
    #[default]
    Http1,
    /// HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).
    H2c,
    /// HTTP over TLS.
    Https,
    /// Any bytes over TCP.
    Tcp,
}

impl Protocol {
    /// Every protocol, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Http1, Self::H2c, Self::Https, Self::Tcp];

    /// The name in the API and the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2c => "h2c",
            Self::Https => "https",
            Self::Tcp => "tcp",
        }
    }

    /// The protocol of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str() == name)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A backend as it registered itself. Every field is valid by its type, so the fields are open.
// Limits and protocol first: see `Endpoint`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Backend {
    /// How many requests it takes at a time.
    pub limits: Limits,
    /// What it speaks.
    pub protocol: Protocol,
    /// Used only when every other backend of the app is out.
    pub fallback: bool,
    /// Its share of traffic.
    pub weight: Weight,
    /// Where it listens.
    pub addr: BackendAddr,
    /// Who it is, unique in the registry.
    pub id: BackendId,
    /// The app that it serves.
    pub app: AppName,
    /// The region that it runs in.
    pub region: Region,
    /// The country that it runs in.
    pub country: Country,
    /// What else it says about itself.
    pub metadata: Metadata,
}

impl Backend {
    /// A backend with the default weight, limits and protocol, and no metadata.
    #[must_use]
    pub fn new(id: BackendId, app: AppName, region: Region, country: Country, addr: BackendAddr) -> Self {
        Self {
            id,
            app,
            region,
            country,
            addr,
            weight: Weight::DEFAULT,
            limits: Limits::DEFAULT,
            fallback: false,
            protocol: Protocol::default(),
            metadata: Metadata::default(),
        }
    }
}
