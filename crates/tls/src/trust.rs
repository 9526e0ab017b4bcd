use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::sections;

/// Certificate authorities whose word counts. Cheap to clone.
#[derive(Clone)]
pub struct Trust(Arc<RootCertStore>);

/// Why a text names no authorities. The message goes on from the name of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TrustError {
    /// No certificate in it.
    #[error("{found}; expected the certificates of authorities as PEM, -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// What is there instead.
        found: String,
    },
    /// Something that claims to be a certificate and can't be read as one.
    #[error("holds a certificate that can't be read: {0}")]
    BadCertificate(String),
}

impl Trust {
    /// The authorities of a bundle, at least one.
    ///
    /// # Errors
    /// When one of them can't be read, or there is none.
    pub fn from_pem(bundle: &[u8]) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle) {
            let certificate = certificate.map_err(|error| TrustError::BadCertificate(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| TrustError::BadCertificate(error.to_string()))?;
        }
        if roots.is_empty() {
            let found = sections(bundle);
            return Err(TrustError::NoCertificate { found });
        }
        Ok(Self(Arc::new(roots)))
    }

    /// Those that this system trusts: of its own store, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. None on a
    /// system that has none; whatever can't be read is left out.
    #[must_use]
    pub fn system() -> Self {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Self(Arc::new(roots))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.0)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.count())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_read_whole_or_refused() {
        let one = || {
            rcgen::generate_simple_self_signed(["a".to_owned()])
                .unwrap()
                .cert
                .pem()
        };
        let bundle = one() + &one();
        assert_eq!(Trust::from_pem(bundle.as_bytes()).unwrap().count(), 2);
        let damaged = bundle + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, found) in [
            ("", "is empty; expected"),
            ("x", "is not PEM; expected"),
            ("-----BEGIN X-----\nAAAA\n-----END X-----\n", "holds X; expected"),
            (&*damaged, "holds a certificate that can't be read"),
        ] {
            let error = Trust::from_pem(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(found), "{error}");
        }
    }
}
