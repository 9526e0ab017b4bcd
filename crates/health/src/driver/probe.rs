use std::io;

use tokio::time::Instant;

use super::{Failure, Outcome, connect, exchange};
use crate::{HttpProbe, Kind, Target, Ticket};

/// A fault of this process or host, which says nothing about the backend.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct OwnFault(pub(super) io::Error);

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

/// Probes once. Dropping the future closes the connection.
pub(super) async fn run(target: &Target, ticket: Ticket, instance: u64) -> Result<Outcome, OwnFault> {
    let began = Instant::now();
    let result = match target.monitor.kind() {
        Kind::Tcp(probe) => connect::tcp(target.addr, probe.port(), probe.connect_timeout())
            .await
            .map(connect::leave),
        Kind::Http(probe) => http(probe, target, ticket, instance).await,
    };
    let took = began.elapsed();
    match result {
        Ok(()) => Ok(Outcome::Passed { took }),
        Err(Stop::Failed(reason)) => Ok(Outcome::Failed { reason, took }),
        Err(Stop::OwnFault(fault)) => Err(fault),
    }
}

async fn http(probe: &HttpProbe, target: &Target, ticket: Ticket, instance: u64) -> Result<(), Stop> {
    let stream = connect::tcp(target.addr, probe.port(), probe.connect_timeout()).await?;
    let address = connect::address(target.addr, probe.port());
    let id = probe.sends_id_header().then(|| {
        format!(
            "{instance:016x}/{}/{}/{}",
            target.id,
            target.incarnation,
            ticket.get()
        )
    });
    exchange::http1(stream, probe, address, id).await?;
    Ok(())
}
