use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::{EndEntityCert, KeyUsage};

use crate::{provider, sections};

/// A certificate with its chain, and the private key that belongs to it.
#[derive(Clone)]
pub struct Identity {
    pub(crate) certified: Arc<CertifiedKey>,
    names: Vec<String>,
}

/// Why two texts are no identity. Each message goes on from the name of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// No certificate in the first text.
    #[error("{found}; expected a certificate and its chain as PEM, -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// What is there instead.
        found: String,
    },
    /// Something that claims to be a certificate and can't be read as one.
    #[error("holds a certificate that can't be read: {0}")]
    BadCertificate(String),
    /// No key in the second text.
    #[error("{found}; expected an unencrypted private key as PEM, -----BEGIN PRIVATE KEY-----")]
    NoKey {
        /// What is there instead.
        found: String,
    },
    /// A key of a kind that isn't used here, or a damaged one.
    #[error(
        "holds a private key that can't be used: {0}; expected RSA of 2048 bits or more, ECDSA or Ed25519"
    )]
    BadKey(String),
    /// Both are fine and don't belong together.
    #[error("holds the key of another certificate; expected the one that belongs to the certificate")]
    Mismatch,
}

impl IdentityError {
    /// Whether the second text, the key, is at fault.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        matches!(self, Self::NoKey { .. } | Self::BadKey(_) | Self::Mismatch)
    }
}

impl Identity {
    /// Reads a chain, the server's own certificate first, and its key. Both may be in one text.
    ///
    /// # Errors
    /// When either can't be read, or they don't belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| IdentityError::BadCertificate(error.to_string()))
            .and_then(|found: Vec<_>| {
                if found.is_empty() {
                    let found = sections(chain);
                    return Err(IdentityError::NoCertificate { found });
                }
                Ok(found)
            })?;
        let key = match PrivateKeyDer::pem_slice_iter(key).next() {
            Some(key) => key.map_err(|error| IdentityError::BadKey(error.to_string()))?,
            None => {
                let found = sections(key);
                return Err(IdentityError::NoKey { found });
            }
        };
        let names = chain.first().map(names).transpose()?.unwrap_or_default();
        let certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => IdentityError::Mismatch,
            Error::InvalidCertificate(error) => IdentityError::BadCertificate(error.to_string()),
            Error::General(error) => IdentityError::BadKey(error),
            error => IdentityError::BadKey(error.to_string()),
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            names,
        })
    }

    /// Answers for these names instead of those in the certificate: `shop.example`, or `*.shop.example` for
    /// every name with one label more.
    #[must_use]
    pub fn with_names(self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let names = names.into_iter().map(|name| name.as_ref().to_ascii_lowercase());
        Self {
            names: names.collect(),
            ..self
        }
    }

    /// When it ends, as the time since 1970: the `notAfter` of the server's own certificate (RFC 5280 §4.1.2.5). `None`
    /// where that can't be told.
    #[must_use]
    pub fn ends(&self) -> Option<Duration> {
        let parsed = EndEntityCert::try_from(self.certified.cert.first()?).ok()?;
        // The reader of certificates tells it of one that has ended, and by then every one has.
        let later = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
        let usage = KeyUsage::server_auth();
        match parsed.verify_for_usage(&[], &[], &[], later, usage, None, None) {
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                Some(Duration::from_secs(not_after.as_secs()))
            }
            _ => None,
        }
    }

    /// The names that it answers for, in lower case: those of the certificate's subject alternative names
    /// (RFC 6125) unless others were given.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, IdentityError> {
    let parsed = EndEntityCert::try_from(certificate)
        .map_err(|error| IdentityError::BadCertificate(error.to_string()))?;
    Ok(parsed.valid_dns_names().map(str::to_ascii_lowercase).collect())
}

/// Whom a certificate is for: the DNS names and URIs of its subject alternative names (RFC 5280 §4.2.1.6), DNS names in lower
/// case. The common name is none of them (RFC 6125 §6.4.4), and neither is a URI without `://`, which could pass for a DNS
/// name. Whether anybody has vouched for it is not asked here.
#[must_use]
pub fn subjects(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return Vec::new();
    };
    let uris = parsed.valid_uri_names().filter(|uri| uri.contains("://"));
    uris.map(str::to_owned)
        .chain(parsed.valid_dns_names().map(str::to_ascii_lowercase))
        .collect()
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn read(chain: &str, key: &str) -> Result<Identity, IdentityError> {
        Identity::from_pem(chain.as_bytes(), key.as_bytes())
    }

    #[test]
    fn its_names_are_the_certificates_unless_others_are_given() {
        let (chain, key) = made(&["Shop.example", "*.shop.example", "192.0.2.1"]);
        let identity = read(&chain, &key).unwrap();
        assert_eq!(identity.names(), ["shop.example", "*.shop.example"]);
        assert_eq!(identity.with_names(["Other"]).names(), ["other"]);
        let both = format!("{key}{chain}");
        assert_eq!(read(&both, &both).unwrap().names().len(), 2);
    }

    #[test]
    fn its_end_is_that_of_the_server_s_own_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(2031, 2, 1);
        let chain = params.self_signed(&key).unwrap().pem();
        let identity = read(&chain, &key.serialize_pem()).unwrap();
        assert_eq!(identity.ends(), Some(Duration::from_secs(1_927_670_400)));
    }

    #[test]
    fn a_certificate_is_for_its_uris_and_dns_names_and_not_for_its_common_name() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["Agent.internal".to_owned()]).unwrap();
        params
            .subject_alt_names
            .push(rcgen::SanType::URI("spiffe://prod/agent".try_into().unwrap()));
        params
            .subject_alt_names
            .push(rcgen::SanType::URI("other.internal".try_into().unwrap()));
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        let made = params.self_signed(&key).unwrap();
        assert_eq!(subjects(made.der()), ["spiffe://prod/agent", "agent.internal"]);
        assert!(subjects(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_with_what_was_found() {
        let (chain, key) = made(&["a"]);
        let (other, _) = made(&["a"]);
        let of = |chain: &str, key: &str| read(chain, key).unwrap_err();
        assert_eq!(of(&other, &key), IdentityError::Mismatch);
        for (error, at, found) in [
            (of("", &key), false, "is empty; expected a certificate"),
            (of("hello", &key), false, "is not PEM; expected a certificate"),
            (of(&key, &key), false, "holds PRIVATE KEY; expected a certificate"),
            (
                of(&chain, &chain),
                true,
                "holds CERTIFICATE; expected an unencrypted private key",
            ),
            (
                of(
                    &chain,
                    "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
                ),
                true,
                "holds ENCRYPTED PRIVATE KEY; expected an unencrypted private key",
            ),
            (
                of(
                    "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                    &key,
                ),
                false,
                "holds a certificate that can't be read",
            ),
            (
                of(
                    &chain,
                    "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
                ),
                true,
                "holds a private key that can't be used",
            ),
        ] {
            assert!(error.to_string().starts_with(found), "{error}");
            assert_eq!(error.is_of_key(), at, "{error}");
        }
    }
}
