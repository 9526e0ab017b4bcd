use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};

use crate::anybody::Anybody;
use crate::{Identity, Trust, provider};

/// How backends are connected to.
#[derive(Clone, Debug)]
pub struct Client {
    /// Whose word counts for a backend's certificate. `None`: every certificate is taken, so whoever sits between
    /// is not noticed.
    pub trust: Option<Trust>,
    /// Shown to a backend that asks for a certificate.
    pub identity: Option<Identity>,
}

/// Why there is no configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// The provider and the versions don't fit together.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// Names of backends whose sessions are remembered, so that a new connection costs less.
const SESSIONS: usize = 4_096;

impl Client {
    /// Makes the configuration: TLS 1.2 and 1.3, HTTP/1.1 inside unless whoever connects offers something else.
    ///
    /// # Errors
    /// Never, with the provider that this crate is built with.
    pub fn build(&self) -> Result<Arc<ClientConfig>, ClientError> {
        let setup = |error: rustls::Error| ClientError::Setup(error.to_string());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(setup)?;
        let builder = match &self.trust {
            Some(trust) => builder.with_root_certificates(trust.roots()),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(Arc::clone(&identity.certified)),
            )),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(Arc::new(config))
    }
}
