use std::io;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, Scheme};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Failure, Outcome, TlsClients, connect, exchange, grpc, http2};
use crate::{Encryption, GrpcProbe, HttpProbe, Kind, Target, Ticket, Version};

/// A fault of this process or host, which says nothing about the backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum OwnFault {
    /// No descriptor, memory or buffer is left.
    #[error("{0}. Raise the limit on open files, or lower the load")]
    NothingLeft(io::Error),
    /// No local port is left.
    #[error("no local port is left: {0}. Widen the range of local ports, or lower the load")]
    NoPort(io::Error),
    /// There is no TLS for it to speak.
    #[error(
        "no TLS is set up for it, such as where the system trusts no authority. Install its certificates"
    )]
    NoTls,
}

/// What ends a probe early.
#[derive(Debug)]
pub(super) enum Stop {
    Failed(Failure),
    OwnFault(OwnFault),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What all probes of a driver share.
#[derive(Clone)]
pub(super) struct Prober {
    /// Begins the value of every id header.
    pub(super) instance: u64,
    pub(super) tls: Option<Arc<dyn TlsClients>>,
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

impl Prober {
    /// Probes once. Dropping the future closes the connection.
    pub(super) async fn run(&self, target: &Target, ticket: Ticket) -> Result<Outcome, OwnFault> {
        let began = Instant::now();
        let result = match target.monitor.kind() {
            Kind::Tcp(probe) => connect::tcp(target.addr, probe.port(), probe.connect_timeout())
                .await
                .map(connect::leave),
            Kind::Http(probe) => self.http(probe, target, ticket).await,
            Kind::Grpc(probe) => self.grpc(probe, target).await,
        };
        let took = began.elapsed();
        match result {
            Ok(()) => Ok(Outcome::Passed { took }),
            Err(Stop::Failed(reason)) => Ok(Outcome::Failed { reason, took }),
            Err(Stop::OwnFault(fault)) => Err(fault),
        }
    }

    async fn http(&self, probe: &HttpProbe, target: &Target, ticket: Ticket) -> Result<(), Stop> {
        let address = connect::address(target.addr, probe.port());
        let id = probe.sends_id_header().then(|| {
            format!(
                "{:016x}/{}/{}/{}",
                self.instance,
                target.id,
                target.incarnation,
                ticket.get()
            )
        });
        let named = address.to_string();
        if probe.encryption() == Encryption::Clear {
            let stream = connect::tcp(target.addr, probe.port(), probe.connect_timeout()).await?;
            match probe.version() {
                Version::Http1 => exchange::http1(stream, probe, address, id).await?,
                Version::Http2 => http2::exchange(stream, probe, (Scheme::HTTP, &named), id).await?,
            }
            return Ok(());
        }
        let whom = Whom {
            target,
            port: probe.port(),
            host: probe
                .host()
                .and_then(|host| Authority::try_from(host.as_bytes()).ok()),
        };
        let stream = self
            .encrypted(
                probe.encryption(),
                &whom,
                probe.connect_timeout(),
                &[HTTP2, HTTP1],
            )
            .await?;
        if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
            http2::exchange(stream, probe, (Scheme::HTTPS, &named), id).await?;
        } else {
            exchange::http1(stream, probe, address, id).await?;
        }
        Ok(())
    }

    async fn grpc(&self, probe: &GrpcProbe, target: &Target) -> Result<(), Stop> {
        let address = connect::address(target.addr, probe.port()).to_string();
        let limit = probe.connect_timeout();
        if probe.encryption() == Encryption::Clear {
            let stream = connect::tcp(target.addr, probe.port(), limit).await?;
            grpc::check(stream, probe, (Scheme::HTTP, &address)).await?;
            return Ok(());
        }
        let whom = Whom {
            target,
            port: probe.port(),
            host: None,
        };
        let stream = self.encrypted(probe.encryption(), &whom, limit, &[HTTP2]).await?;
        grpc::check(stream, probe, (Scheme::HTTPS, &address)).await?;
        Ok(())
    }

    async fn encrypted(
        &self,
        encryption: Encryption,
        whom: &Whom<'_>,
        limit: Duration,
        protocols: &[&[u8]],
    ) -> Result<TlsStream<TcpStream>, Stop> {
        let client = self.tls.as_ref().and_then(|tls| tls.client(encryption));
        let Some(client) = client else {
            return Err(Stop::OwnFault(OwnFault::NoTls));
        };
        let name = client.server_name.clone().unwrap_or_else(|| whom.name());
        connect::tls((whom.target.addr, whom.port), limit, client, name, protocols).await
    }
}

/// Whom a probe connects to.
struct Whom<'a> {
    target: &'a Target,
    port: Option<NonZeroU16>,
    host: Option<Authority>,
}

impl Whom<'_> {
    /// Whom a certificate has to be for, unless somebody else says.
    fn name(&self) -> ServerName<'static> {
        let named = self
            .host
            .as_ref()
            .and_then(|host| ServerName::try_from(host.host().trim_matches(['[', ']']).to_owned()).ok());
        let ip: IpAddr = self.target.addr.ip().to_canonical();
        named.unwrap_or_else(|| ServerName::from(ip))
    }
}
