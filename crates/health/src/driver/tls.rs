use std::fmt;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Encryption;

/// Where the TLS of probes comes from.
pub trait TlsClients: Send + Sync {
    /// What is in force for probes with that encryption; `None` where there is none. Asked for every probe, so that
    /// files that have changed count from the next one on.
    fn client(&self, encryption: Encryption) -> Option<TlsClient>;
}

/// How to connect.
#[derive(Clone)]
pub struct TlsClient {
    /// The configuration. Its ALPN protocols are not looked at: they depend on the probe.
    pub config: Arc<ClientConfig>,
    /// Whom a certificate has to be for, and whom is asked for. `None`: it depends on the probe.
    pub server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
