//! Certificates and keys: from the files that the settings name to what the data plane works with, at the start
//! and whenever the files change.

mod files;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use edgeproxy_api as api;
use edgeproxy_config as config;
use edgeproxy_config::{ListenerProtocol, Settings};
use edgeproxy_proxy as proxy;
use edgeproxy_tls::{Alpn, ClientError, IdentityError, Resumption, ServerError, TrustError};

use crate::watch::{self, Watched};
use files::{BackendFiles, Ends, ListenerFiles, Trusted};

/// The TLS of every listener and of the backends.
pub(crate) struct Tls {
    pub(crate) listeners: Vec<Option<proxy::Tls>>,
    /// The same for as long as the server runs: connections of clients that were there before a reload go by what is in
    /// force as well.
    pub(crate) backends: proxy::BackendTls,
    /// That of the API, the same for as long as the server runs.
    pub(crate) api: Option<api::Tls>,
    sessions: Vec<Sessions>,
    /// A reload refuses the ended certificate that the watch of the files has refused.
    ends: Ends,
}

/// What was made of settings, and is not in force yet.
pub(crate) struct Made {
    pub(crate) tls: Tls,
    /// What [`Tls::backends`] is to go by.
    pub(crate) backends: proxy::BackendTls,
    /// What [`Tls::api`] is to go by.
    pub(crate) api: Option<(api::Tls, Arc<rustls::ServerConfig>)>,
    /// Whose files are to be watched.
    pub(crate) watched: Vec<Watched>,
}

/// Reads every certificate that the settings name, checks that it can be used, and tells how long it is valid.
///
/// # Errors
/// The first file that can't be used.
pub fn certificates(settings: &Settings) -> Result<Vec<config::Certified>, TlsError> {
    Tls::load(settings, None)?;
    let listeners = settings.every_listener().into_iter().flat_map(|listener| {
        let pairs = listener.tls.map(|tls| tls.certificates).unwrap_or_default();
        pairs
            .into_iter()
            .map(move |pair| (listener.name.clone(), pair.cert, pair.key))
    });
    let own = settings
        .backend_tls_cert
        .clone()
        .zip(settings.backend_tls_key.clone());
    let own = own.map(|(cert, key)| ("backend_tls".to_owned(), cert, key));
    let of_api = api_tls(settings).into_iter().flat_map(|tls| tls.certificates);
    let of_api = of_api.map(|pair| (API.to_owned(), pair.cert, pair.key));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut known = Vec::new();
    for (of, file, key) in listeners.chain(own).chain(of_api) {
        let identity = files::identity(&file, &key).map_err(|fault| TlsError { of, fault })?;
        known.extend(identity.ends().map(|ends| config::Certified {
            file,
            remaining: ends.checked_sub(now),
        }));
    }
    Ok(known)
}

/// Sessions of a listener that clients can resume while it stays as it is.
struct Sessions {
    addr: SocketAddr,
    alpn: Alpn,
    tls: config::ListenerTls,
    resumption: Resumption,
}

/// Why a listener's TLS, or that of the backends, can't be.
#[derive(Debug, thiserror::Error)]
#[error("{of}: {fault}")]
pub struct TlsError {
    /// The listener's name, `backend_tls`, or `api_tls`.
    pub of: String,
    /// What is wrong.
    pub fault: TlsFault,
}

/// What is wrong with a file, or with all of them together.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// One can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One is longer than any certificate or key.
    #[error("{} is longer than 1 MiB; expected certificates or a key as PEM", path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// A certificate, a key, or both together.
    #[error("{} {error}", path.display())]
    Identity {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        error: IdentityError,
    },
    /// A certificate that has ended, in place of one that ends later.
    #[error("{} holds a certificate that has ended, earlier than the one before it does", path.display())]
    Ended {
        /// The file at fault.
        path: PathBuf,
    },
    /// A certificate without a name, that nobody would ever be shown.
    #[error(
        "{} holds a certificate for no DNS name, so no client would be shown it; expected names in it, or `names` \
         beside it",
        path.display()
    )]
    Nameless {
        /// The file at fault.
        path: PathBuf,
    },
    /// A bundle of authorities.
    #[error("{} {error}", path.display())]
    Trust {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        error: TrustError,
    },
    /// A listener's configuration.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The backends' configuration.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The name that backends' certificates have to be for.
    #[error("backend_tls_server_name is {found:?}; expected a DNS name or an IP address")]
    ServerName {
        /// The name found.
        found: String,
    },
}

impl Tls {
    /// Reads every file. `before` is what was in force so far.
    ///
    /// # Errors
    /// The first that can't be used.
    pub(crate) fn load(settings: &Settings, before: Option<&Self>) -> Result<Made, TlsError> {
        let (mut watched, mut sessions) = (Vec::new(), Vec::new());
        // What is not put in force leaves no trace.
        let ends = before.map(|before| before.ends.copied()).unwrap_or_default();
        let listeners = settings.every_listener().into_iter().map(|listener| {
            let Some(tls) = listener.tls else {
                return Ok(None);
            };
            let alpn = match listener.protocol {
                ListenerProtocol::Http => Alpn::Http,
                ListenerProtocol::Tcp { .. } | ListenerProtocol::Sni { .. } => Alpn::None,
            };
            let known = before.and_then(|before| before.resumption(listener.addr, alpn, &tls));
            let listened = known
                .map_or_else(|| Resumption::new().map_err(TlsFault::from), Ok)
                .and_then(|resumption| {
                    sessions.push(Sessions {
                        addr: listener.addr,
                        alpn,
                        tls: tls.clone(),
                        resumption: resumption.clone(),
                    });
                    listen(&listener.name, tls, alpn, resumption, ends.clone())
                });
            let (tls, files) = listened.map_err(|fault| TlsError {
                of: listener.name,
                fault,
            })?;
            watched.push(files);
            Ok(Some(tls))
        });
        let listeners = listeners.collect::<Result<_, TlsError>>()?;
        let target = before.map(|before| &before.backends);
        let (backends, files) = connect(settings, target).map_err(|fault| TlsError {
            of: "backend_tls".to_owned(),
            fault,
        })?;
        watched.extend(files);
        let api = serve(
            settings,
            before.and_then(|before| before.api.as_ref()),
            ends.clone(),
        )
        .map_err(|fault| TlsError {
            of: API.to_owned(),
            fault,
        })?;
        let api = api.map(|(tls, config, files)| {
            watched.push(files);
            (tls, config)
        });
        let tls = Self {
            listeners,
            api: api.as_ref().map(|(tls, _)| tls.clone()),
            backends: target.unwrap_or(&backends).clone(),
            sessions,
            ends,
        };
        Ok(Made {
            tls,
            backends,
            api,
            watched,
        })
    }

    fn resumption(&self, addr: SocketAddr, alpn: Alpn, tls: &config::ListenerTls) -> Option<Resumption> {
        let mut sessions = self.sessions.iter();
        let known = sessions.find(|known| known.addr == addr && known.alpn == alpn && known.tls == *tls)?;
        Some(known.resumption.clone())
    }
}

fn listen(
    name: &str,
    tls: config::ListenerTls,
    alpn: Alpn,
    resumption: Resumption,
    ends: Ends,
) -> Result<(proxy::Tls, Watched), TlsFault> {
    let files = ListenerFiles::new(tls, alpn, resumption, ends);
    // Before they are read: what changes meanwhile is read again.
    let stamps = watch::stamps(files.paths());
    let tls = proxy::Tls::new(files.read()?);
    let watched = Watched::new(name.to_owned(), (files, tls.clone()), stamps);
    Ok((tls, watched))
}

/// Whose files those of the API are, for messages.
const API: &str = "api_tls";

/// The TLS of the API, if there is to be any.
fn api_tls(settings: &Settings) -> Option<config::ListenerTls> {
    let (cert, key) = (settings.api_tls_cert.clone()?, settings.api_tls_key.clone()?);
    settings.api_enabled.then(|| config::ListenerTls {
        client_auth: settings.api_tls_client_auth,
        client_ca: settings.api_tls_client_ca.clone(),
        ..config::ListenerTls::of(cert, key)
    })
}

/// What a collector of spans is connected to by. It is read once.
///
/// # Errors
/// When the file can't be used.
#[cfg(feature = "otlp")]
pub(crate) fn of_collector(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let trusted = settings
        .traces_ca
        .clone()
        .map_or(Trusted::System, Trusted::Bundle);
    BackendFiles::new(trusted, None).read().map_err(|fault| TlsError {
        of: "traces_ca".to_owned(),
        fault,
    })
}

/// What changed files make goes to `target`, if the API is served by that already.
fn serve(
    settings: &Settings,
    target: Option<&api::Tls>,
    ends: Ends,
) -> Result<Option<(api::Tls, Arc<rustls::ServerConfig>, Watched)>, TlsFault> {
    let Some(tls) = api_tls(settings) else {
        return Ok(None);
    };
    let files = ListenerFiles::new(tls, Alpn::Http1, Resumption::new()?, ends);
    let stamps = watch::stamps(files.paths());
    let config = files.read()?;
    let tls = target
        .cloned()
        .unwrap_or_else(|| api::Tls::new(Arc::clone(&config)));
    let watched = Watched::new(API.to_owned(), (files, tls.clone()), stamps);
    Ok(Some((tls, config, watched)))
}

/// What etcd is connected to by. It is read once.
///
/// # Errors
/// When one of the files can't be used.
#[cfg(feature = "etcd")]
pub(crate) fn of_etcd(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, TlsError> {
    let trusted = settings.etcd_ca.clone().map_or(Trusted::System, Trusted::Bundle);
    let identity = settings.etcd_cert.clone().zip(settings.etcd_key.clone());
    BackendFiles::new(trusted, identity)
        .read()
        .map_err(|fault| TlsError {
            of: "etcd".to_owned(),
            fault,
        })
}

/// What changed files make goes to `target`, if that is not the one that is made here.
fn connect(
    settings: &Settings,
    target: Option<&proxy::BackendTls>,
) -> Result<(proxy::BackendTls, Option<Watched>), TlsFault> {
    let trusted = match &settings.backend_tls_ca {
        _ if settings.backend_tls_insecure => Trusted::Anybody,
        None => Trusted::System,
        Some(path) => Trusted::Bundle(path.clone()),
    };
    let identity = settings
        .backend_tls_cert
        .clone()
        .zip(settings.backend_tls_key.clone());
    let files = BackendFiles::new(trusted, identity);
    let stamps = watch::stamps(files.paths());
    let tls = proxy::BackendTls::new(files.read()?);
    let tls = match &settings.backend_tls_server_name {
        None => tls,
        Some(name) => tls
            .with_server_name(name.as_str())
            .map_err(|_| TlsFault::ServerName {
                found: name.as_str().to_owned(),
            })?,
    };
    let target = target.unwrap_or(&tls).clone();
    let watched =
        (!stamps.is_empty()).then(|| Watched::new("backend_tls".to_owned(), (files, target), stamps));
    Ok((tls, watched))
}
