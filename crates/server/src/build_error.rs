use std::net::SocketAddr;

use edgeproxy_config as config;
use edgeproxy_control::ControlError;
use edgeproxy_proxy as proxy;
use edgeproxy_registry::StaticError;

use crate::geography::GeographyError;
use crate::grants::TokensError;
use crate::plan::PlanError;
use crate::tls::TlsError;

/// Why the server could not be built or started.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A listener could not be bound.
    #[error("cannot listen on {addr} ({setting}): {source}{}", hint(source))]
    Listen {
        /// The setting, or the listener's name, that says where.
        setting: String,
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A socket that a service manager brought is for nobody.
    #[error(
        "the socket {name:?}{} that the service manager passed is for no listener: there are {known}; call it so by \
         FileDescriptorName=, or let it go",
        at(addr)
    )]
    Unplaced {
        /// What the manager calls it.
        name: String,
        /// Where it listens, unless it is of another kind.
        addr: Option<SocketAddr>,
        /// The names that there are, and the addresses.
        known: String,
    },
    /// What the process before has handed over can't be read.
    #[error("the registrations of the process before can't be taken over: {0}")]
    State(String),
    /// The data plane refuses its settings.
    #[error(transparent)]
    Proxy(proxy::BindError),
    /// The workers could not be started.
    #[error(transparent)]
    Workers(#[from] proxy::SpawnError),
    /// What apps, routes or monitors are to be can't be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The backends of the file can't all be.
    #[error("[[backends]]: {0}")]
    Backends(#[from] ControlError<StaticError>),
    /// A certificate, or a key, can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database of countries can't be used.
    #[error("geoip_path: {0}")]
    Geography(#[from] GeographyError),
    /// The store of registrations can't be used.
    #[error("data_dir: {0}")]
    Store(String),
    /// The store that proxies share can't be used as the settings say.
    #[error("store: {0}")]
    Shared(String),
    /// The file of tokens can't be used.
    #[error("api_tokens_file: {0}")]
    Tokens(#[from] TokensError),
    /// The audit log can't be written.
    #[error("audit_log: {log} can't be written: {source}")]
    Audit {
        /// Where it was to be.
        log: config::AuditLog,
        /// What the system said.
        source: std::io::Error,
    },
    /// The access log can't be written.
    #[error("access_log: {log} can't be written: {source}")]
    Access {
        /// Where it was to be.
        log: config::AccessLog,
        /// What the system said.
        source: std::io::Error,
    },
    /// Spans can't be sent as the settings say.
    #[error("traces_url: {0}")]
    Traces(String),
    /// A thread or a runtime could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl From<proxy::BindError> for BuildError {
    fn from(error: proxy::BindError) -> Self {
        match error {
            proxy::BindError::Listen {
                listener,
                addr,
                source,
            } => Self::Listen {
                setting: listener,
                addr,
                source,
            },
            error => Self::Proxy(error),
        }
    }
}

fn at(addr: &Option<SocketAddr>) -> String {
    addr.map(|addr| format!(" on {addr}")).unwrap_or_default()
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another process listens there: stop it, or choose another address"
        }
        std::io::ErrorKind::PermissionDenied => "; ports below 1024 need CAP_NET_BIND_SERVICE",
        std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}
