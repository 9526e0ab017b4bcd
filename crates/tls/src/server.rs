use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::choice::Choice;
use crate::{Identity, Trust, provider};

/// What clients of a listener are shown and asked for. Make it with [`Server::new`] and change what is to be
/// different.
#[derive(Clone, Debug)]
pub struct Server {
    /// Shown to whoever asks for no name, or for one that nobody has.
    pub default: Identity,
    /// Shown to whoever asks for one of their names. Of two for one name the first is.
    pub others: Vec<Identity>,
    /// The oldest version that is spoken. TLS 1.2.
    pub min_version: Version,
    /// What is spoken inside. [`Alpn::None`].
    pub alpn: Alpn,
    /// Whether clients show certificates. Nobody is asked for one.
    pub client_auth: ClientAuth,
    /// Where sessions are remembered. Nowhere else than in this configuration, and nowhere at all unless
    /// [`client_auth`](Self::client_auth) is off.
    pub resumption: Resumption,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Version {
    /// RFC 5246, with forward secrecy and authenticated encryption only.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Which protocols are agreed on within the handshake (RFC 7301).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alpn {
    /// `h2`, or else `http/1.1`. A client that offers others only is refused.
    Http,
    /// `http/1.1`. A client that offers others only is refused.
    Http1,
    /// Whatever: nothing is agreed on.
    None,
}

/// Whether clients have to show certificates.
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// They are not asked.
    Off,
    /// One that is shown has to be issued by one of these; without one the connection goes on.
    Optional(Trust),
    /// Without one issued by one of these there is no connection.
    Required(Trust),
}

/// Sessions that clients may resume: the key of the tickets, and those of TLS 1.2 clients without tickets, at
/// most [`Resumption::MAX_SESSIONS`]. Cheap to clone; a clone is the same.
///
/// Handed on to the next configuration of the same listener it lets clients resume across a reload. What a
/// client proved is a part of its session, so it counts for nothing where clients are asked for certificates.
#[derive(Clone)]
pub struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

/// Why there is no configuration.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ServerError {
    /// The authorities for clients' certificates can't be used.
    #[error("the authorities for clients' certificates can't be used: {0}")]
    ClientAuth(String),
    /// The system has no random numbers.
    #[error("no key for session tickets can be made: {0}")]
    Tickets(String),
    /// The provider and the versions don't fit together.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

impl Resumption {
    /// Sessions that are kept for clients without tickets.
    pub const MAX_SESSIONS: usize = 4_096;

    /// A key of its own, good for twelve hours and changed every six, and no sessions.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, ServerError> {
        Ok(Self {
            tickets: Ticketer::new().map_err(|error| ServerError::Tickets(error.to_string()))?,
            sessions: ServerSessionMemoryCache::new(Self::MAX_SESSIONS),
        })
    }
}

impl fmt::Debug for Resumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resumption").finish_non_exhaustive()
    }
}

impl Server {
    /// One certificate for everybody, TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new(default: Identity) -> Result<Self, ServerError> {
        Ok(Self {
            default,
            others: Vec::new(),
            min_version: Version::Tls12,
            alpn: Alpn::None,
            client_auth: ClientAuth::Off,
            resumption: Resumption::new()?,
        })
    }

    /// Makes the configuration.
    ///
    /// # Errors
    /// When the authorities for clients' certificates can't be used.
    pub fn build(&self) -> Result<Arc<ServerConfig>, ServerError> {
        let both: &[&'static SupportedProtocolVersion] = &[&TLS13, &TLS12];
        let versions = match self.min_version {
            Version::Tls12 => both,
            Version::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| ServerError::Setup(error.to_string()))?;
        let verifier = |trust: &Trust| WebPkiClientVerifier::builder_with_provider(trust.roots(), provider());
        let verifier = match &self.client_auth {
            ClientAuth::Off => None,
            ClientAuth::Optional(trust) => Some(verifier(trust).allow_unauthenticated()),
            ClientAuth::Required(trust) => Some(verifier(trust)),
        };
        let builder = match verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(
                verifier
                    .build()
                    .map_err(|error| ServerError::ClientAuth(error.to_string()))?,
            ),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Choice::new(&self.default, &self.others)));
        config.alpn_protocols = match self.alpn {
            Alpn::Http => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Alpn::Http1 => vec![b"http/1.1".to_vec()],
            Alpn::None => Vec::new(),
        };
        match self.client_auth {
            ClientAuth::Off => {
                config.ticketer = Arc::clone(&self.resumption.tickets);
                config.session_storage = Arc::clone(&self.resumption.sessions);
            }
            // A client's certificate is verified in a full handshake alone: in a resumed session it would be good beyond
            // its end, and each resumption brings the next ticket. Without a ticketer there are none of TLS 1.2 either.
            ClientAuth::Optional(_) | ClientAuth::Required(_) => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConnection};

    use super::*;

    /// Somebody whose own word counts.
    fn somebody(name: &str) -> (Identity, Trust) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        (identity, Trust::from_pem(chain.as_bytes()).unwrap())
    }

    /// Connects them in memory, and ends when neither has anything more to say.
    fn connect(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
        let mut client = ClientConnection::new(Arc::clone(client), "app".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
        while client.wants_write() || server.wants_write() {
            let mut said = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut said).unwrap();
            }
            let mut said = said.as_slice();
            while !said.is_empty() {
                server.read_tls(&mut said).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut answered = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut answered).unwrap();
            }
            let mut answered = answered.as_slice();
            while !answered.is_empty() {
                client.read_tls(&mut answered).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        server.handshake_kind().unwrap()
    }

    #[test]
    fn whoever_may_show_a_certificate_is_verified_by_every_handshake_and_others_resume() {
        let (identity, trust) = somebody("app");
        let (agent, agents) = somebody("agent");
        let shown = rustls::sign::SingleCertAndKey::from(Arc::clone(&agent.certified));
        let shown = Arc::new(shown);
        for version in [&TLS12, &TLS13] {
            for (client_auth, second) in [
                (ClientAuth::Off, HandshakeKind::Resumed),
                (ClientAuth::Optional(agents.clone()), HandshakeKind::Full),
                (ClientAuth::Required(agents.clone()), HandshakeKind::Full),
            ] {
                let server = Server {
                    client_auth,
                    ..Server::new(identity.clone()).unwrap()
                };
                let config = server.build().unwrap();
                let client = ClientConfig::builder_with_provider(provider())
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(trust.roots())
                    .with_client_cert_resolver(Arc::clone(&shown) as _);
                let client = Arc::new(client);
                assert_eq!(connect(&client, &config), HandshakeKind::Full, "{server:?}");
                assert_eq!(connect(&client, &config), second, "{version:?} {server:?}");
            }
        }
    }
}
