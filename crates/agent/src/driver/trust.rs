use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Whom to believe that it is the API, and how to show who this is.
#[derive(Debug)]
pub struct Trust {
    roots: RootCertStore,
    identity: Option<Arc<SingleCertAndKey>>,
}

/// Why certificates can't be used. The message goes on from the name of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Neither certificates nor a key where they were expected.
    #[error("holds no {expected} that can be read ({problem}); expected PEM")]
    Pem {
        /// What should be there.
        expected: &'static str,
        /// What the reader says.
        problem: String,
    },
    /// A certificate of an authority that can't be used, or a certificate and a key that don't fit together.
    #[error("can't be used: {0}")]
    Unusable(String),
}

impl Trust {
    /// The authorities that this system trusts: of its own store, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub fn system() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self {
            roots,
            identity: None,
        }
    }

    /// The authorities of a bundle, and no other.
    ///
    /// # Errors
    /// When one of them can't be read, or there is none.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(bundle)? {
            roots
                .add(certificate)
                .map_err(|error| TrustError::Unusable(error.to_string()))?;
        }
        Ok(Self {
            roots,
            identity: None,
        })
    }

    /// The same, with a certificate and its key to be shown to an API that asks for one.
    ///
    /// # Errors
    /// When either can't be read, or they don't fit together.
    pub fn with_identity(mut self, chain: &[u8], key: &[u8]) -> Result<Self, TrustError> {
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| TrustError::Pem {
            expected: "private key",
            problem: error.to_string(),
        })?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let identity = CertifiedKey::from_der(certificates(chain)?, key, &provider)
            .map_err(|error| TrustError::Unusable(error.to_string()))?;
        self.identity = Some(Arc::new(SingleCertAndKey::from(identity)));
        Ok(self)
    }

    /// What makes connections by it.
    pub(super) fn connector(self) -> Result<TlsConnector, TrustError> {
        let unusable = |error: rustls::Error| TrustError::Unusable(error.to_string());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(unusable)?
            .with_root_certificates(self.roots);
        let mut config = match self.identity {
            Some(identity) => builder.with_client_cert_resolver(identity),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn certificates(bundle: &[u8]) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let pem = |problem: String| TrustError::Pem {
        expected: "certificate",
        problem,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    let found = found.map_err(|error| pem(error.to_string()))?;
    if found.is_empty() {
        return Err(pem(format!("{} bytes without one", bundle.len())));
    }
    Ok(found)
}

/// The handshake.
pub(super) async fn encrypt(
    connector: &TlsConnector,
    host: &str,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    connector.connect(name, stream).await
}
