//! The TLS of probes.

use std::sync::{Arc, OnceLock};

use edgeproxy_health::{Encryption, TlsClient, TlsClients};
use edgeproxy_proxy::BackendTls;
use edgeproxy_tls::{Client, Trust};
use rustls::ClientConfig;

/// Whom probes trust: the system's authorities, anybody, or whom traffic trusts.
pub(crate) struct ProbeTls {
    traffic: BackendTls,
    // Made when the first probe asks: few do, and the system's authorities are some hundred files.
    verified: OnceLock<Option<Arc<ClientConfig>>>,
    unverified: OnceLock<Option<Arc<ClientConfig>>>,
}

impl ProbeTls {
    pub(crate) const fn new(traffic: BackendTls) -> Self {
        Self {
            traffic,
            verified: OnceLock::new(),
            unverified: OnceLock::new(),
        }
    }
}

impl TlsClients for ProbeTls {
    fn client(&self, encryption: Encryption) -> Option<TlsClient> {
        let config = match encryption {
            Encryption::Clear => return None,
            Encryption::AsTraffic => {
                let (config, server_name) = self.traffic.in_force();
                return Some(TlsClient { config, server_name });
            }
            Encryption::Verified => self.verified.get_or_init(|| client(Some(Trust::system()))),
            Encryption::Unverified => self.unverified.get_or_init(|| client(None)),
        };
        Some(TlsClient {
            config: config.clone()?,
            server_name: None,
        })
    }
}

fn client(trust: Option<Trust>) -> Option<Arc<ClientConfig>> {
    let client = Client {
        trust,
        identity: None,
    };
    match client.build() {
        Ok(config) => Some(config),
        Err(error) => {
            tracing::error!(%error, "probes can't speak TLS");
            None
        }
    }
}
