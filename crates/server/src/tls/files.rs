//! The files of one listener, or of the backends, as a whole: what they are, and what they make.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgeproxy_api as api;
use edgeproxy_config as config;
use edgeproxy_proxy as proxy;
use edgeproxy_tls::{Alpn, Client, ClientAuth, Identity, Resumption, Server, Trust, Version};

use super::TlsFault;
use crate::watch::{Fault, Subject};

/// The longest file that is read: 1 MiB. A chain has a few KiB, a bundle of all public authorities 250.
const MAX_BYTES: u64 = 1 << 20;

/// The files of a listener.
pub(super) struct ListenerFiles {
    tls: config::ListenerTls,
    alpn: Alpn,
    resumption: Resumption,
    ends: Ends,
}

/// When the certificates in force end, since 1970, by their files: those of the listeners and of the API.
#[derive(Clone, Default)]
pub(super) struct Ends(Arc<Mutex<HashMap<PathBuf, Duration>>>);

impl Ends {
    /// The same as of now. What becomes of the one is nothing to the other.
    pub(super) fn copied(&self) -> Self {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Self(Arc::new(Mutex::new(ends.clone())))
    }

    /// Whether this one has ended, and earlier than the one in force there. One that ends later may be good, and this
    /// machine's clock wrong.
    fn ended(&self, cert: &Path, ends: Option<Duration>) -> bool {
        let in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = in_force.get(cert).copied();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        matches!((ends, before), (Some(ends), Some(before)) if ends < now && ends < before)
    }

    fn replace<'p>(&self, those: impl Iterator<Item = (&'p Path, Option<Duration>)>) {
        let mut in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (cert, ends) in those {
            match ends {
                Some(ends) => in_force.insert(cert.to_owned(), ends),
                None => in_force.remove(cert),
            };
        }
    }
}

/// The files of the backends.
pub(super) struct BackendFiles {
    trusted: Trusted,
    identity: Option<(PathBuf, PathBuf)>,
}

/// Whose word counts for a backend.
pub(super) enum Trusted {
    Anybody,
    System,
    Bundle(PathBuf),
}

impl ListenerFiles {
    /// `ends`: of what was in force so far, and from now on of what these make.
    pub(super) fn new(tls: config::ListenerTls, alpn: Alpn, resumption: Resumption, ends: Ends) -> Self {
        Self {
            tls,
            alpn,
            resumption,
            ends,
        }
    }

    /// Those that have to stay the same.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let certificates = self.tls.certificates.iter();
        certificates
            .flat_map(|one| [&one.cert, &one.key])
            .chain(&self.tls.client_ca)
            .map(PathBuf::as_path)
    }

    /// Reads all of them anew.
    pub(super) fn read(&self) -> Result<Arc<rustls::ServerConfig>, TlsFault> {
        let mut ends = Vec::new();
        let certificates = &self.tls.certificates;
        let alone = certificates.len() == 1;
        let mut identities = certificates.iter().enumerate().map(|(index, one)| {
            let identity = identity(&one.cert, &one.key)?;
            let identity = if one.names.is_empty() {
                identity
            } else {
                identity.with_names(&one.names)
            };
            let ended = self.ends.ended(&one.cert, identity.ends());
            ends.push((one.cert.as_path(), identity.ends()));
            if ended {
                let path = one.cert.clone();
                return Err(TlsFault::Ended { path });
            }
            // The default is shown to whoever asks for another name.
            if identity.names().is_empty() && index > 0 && !alone {
                let path = one.cert.clone();
                return Err(TlsFault::Nameless { path });
            }
            Ok(identity)
        });
        let Some(default) = identities.next() else {
            // There is at least one, by the settings.
            let path = PathBuf::new();
            return Err(TlsFault::Nameless { path });
        };
        let mut server = Server::new(default?)?;
        server.others = identities.by_ref().collect::<Result<_, _>>()?;
        drop(identities);
        server.alpn = self.alpn;
        server.min_version = match self.tls.min_version {
            config::TlsVersion::Tls12 => Version::Tls12,
            config::TlsVersion::Tls13 => Version::Tls13,
        };
        server.client_auth = match (self.tls.client_auth, &self.tls.client_ca) {
            (config::ClientAuth::Optional, Some(path)) => ClientAuth::Optional(trust(path)?),
            (config::ClientAuth::Required, Some(path)) => ClientAuth::Required(trust(path)?),
            _ => ClientAuth::Off,
        };
        // Whoever has shown a certificate shows it again once other authorities may count.
        if matches!(server.client_auth, ClientAuth::Off) {
            server.resumption = self.resumption.clone();
        }
        let built = server.build()?;
        self.ends.replace(ends.into_iter());
        Ok(built)
    }
}

impl BackendFiles {
    pub(super) fn new(trusted: Trusted, identity: Option<(PathBuf, PathBuf)>) -> Self {
        Self { trusted, identity }
    }

    /// Those that have to stay the same.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        let bundle = match &self.trusted {
            Trusted::Bundle(path) => Some(path),
            Trusted::Anybody | Trusted::System => None,
        };
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        bundle.into_iter().chain(identity).map(PathBuf::as_path)
    }

    /// Reads all of them anew.
    pub(super) fn read(&self) -> Result<Arc<rustls::ClientConfig>, TlsFault> {
        let trust = match &self.trusted {
            Trusted::Anybody => None,
            Trusted::System => Some(Trust::system()),
            Trusted::Bundle(path) => Some(trust(path)?),
        };
        let identity = match &self.identity {
            Some((cert, key)) => Some(identity(cert, key)?),
            None => None,
        };
        Ok(Client { trust, identity }.build()?)
    }
}

impl Subject for (ListenerFiles, proxy::Tls) {
    fn paths(&self) -> Vec<&Path> {
        self.0.paths().collect()
    }

    fn reload(&self) -> Result<(), Fault> {
        self.1.replace(self.0.read()?);
        Ok(())
    }
}

impl Subject for (ListenerFiles, api::Tls) {
    fn paths(&self) -> Vec<&Path> {
        self.0.paths().collect()
    }

    fn reload(&self) -> Result<(), Fault> {
        self.1.replace(self.0.read()?);
        Ok(())
    }
}

impl Subject for (BackendFiles, proxy::BackendTls) {
    fn paths(&self) -> Vec<&Path> {
        self.0.paths().collect()
    }

    fn reload(&self) -> Result<(), Fault> {
        self.1.replace(self.0.read()?);
        Ok(())
    }
}

pub(super) fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsFault> {
    Identity::from_pem(&bytes(cert)?, &bytes(key)?).map_err(|error| {
        let path = if error.is_of_key() { key } else { cert }.to_owned();
        TlsFault::Identity { path, error }
    })
}

fn trust(path: &Path) -> Result<Trust, TlsFault> {
    Trust::from_pem(&bytes(path)?).map_err(|error| {
        let path = path.to_owned();
        TlsFault::Trust { path, error }
    })
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsFault> {
    let mut bytes = Vec::new();
    // One more than is accepted, which tells a file that is too long from one that just fits.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    let path = path.to_owned();
    match read {
        Ok(_) if bytes.len() as u64 > MAX_BYTES => Err(TlsFault::TooLong { path }),
        Ok(_) => Ok(bytes),
        Err(source) => Err(TlsFault::Read { path, source }),
    }
}
