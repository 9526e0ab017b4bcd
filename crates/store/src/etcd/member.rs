//! That this proxy lives: one key, bound to one lease, however many backends it has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::client::path;
use super::encoding;
use super::grpc::Fault;
use super::message::{
    Done, LeaseGrantRequest, LeaseGrantResponse, LeaseId, LeaseKeepAliveResponse, Op, TxnRequest, TxnResponse,
};
use super::sequence::revision_of;
use super::session::Session;

/// Keeps the key and its lease, for as long as it is polled and nobody else has the name.
pub(super) async fn keep(session: Arc<Session>) {
    let settings = session.client.settings();
    let mut backoff = Backoff::new(settings.seed ^ 0x6c65_6173_6500);
    while !session.is_displaced() {
        match join(&session).await {
            Ok(id) => {
                backoff.reset();
                stay(&session, id, &mut backoff).await;
            }
            Err(_) => sleep(backoff.next()).await,
        }
    }
}

async fn join(session: &Session) -> Result<i64, Fault> {
    let ttl = i64::try_from(session.client.settings().member_ttl.as_secs().max(2)).unwrap_or(i64::MAX);
    let lease: LeaseGrantResponse = session.ask(path::LEASE_GRANT, &LeaseGrantRequest { ttl }).await?;
    if !lease.error.is_empty() {
        return Err(Fault::Unreachable(lease.error));
    }
    // Before anything is bound to it: whoever leaves meanwhile revokes it.
    session.lease.store(lease.id, Ordering::Relaxed);
    let value = encoding::member(session.author.start).into();
    let put = TxnRequest {
        success: vec![Op::put(session.keys.proxy(&session.author.name), value, lease.id)],
        ..TxnRequest::default()
    };
    let answer = session.ask::<_, TxnResponse>(path::TXN, &put).await?;
    session.joined.fetch_max(revision_of(&answer), Ordering::Relaxed);
    Ok(lease.id)
}

/// Renews the lease until it has run out, as far as one can tell from here.
async fn stay(session: &Session, id: i64, backoff: &mut Backoff) {
    let ttl = session.client.settings().member_ttl;
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = sleep(ttl / 3) => {}
            () = session.rejoin.notified() => return,
        }
        loop {
            if session.is_displaced() {
                return;
            }
            let asked = Instant::now();
            // A stream in etcd's API; one question and its answer are as good.
            let answer: Result<LeaseKeepAliveResponse, _> =
                session.ask(path::LEASE_KEEP_ALIVE, &LeaseId { id }).await;
            match answer {
                Ok(answer) if answer.ttl > 0 => {
                    renewed = asked;
                    backoff.reset();
                    break;
                }
                Ok(_) => return,
                Err(_) if renewed.elapsed() > ttl => return,
                Err(_) => sleep(backoff.next()).await,
            }
        }
    }
}

/// Tells the others at once that this proxy ends.
pub(super) async fn leave(session: &Session) -> Result<(), Fault> {
    let id = session.lease.load(Ordering::Relaxed);
    if id != 0 {
        session
            .ask::<_, Done>(path::LEASE_REVOKE, &LeaseId { id })
            .await?;
    }
    session.drop_guard().await
}
