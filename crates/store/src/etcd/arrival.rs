//! The way to etcd: at once, or when it is there at last.

use std::sync::Weak;

use tokio::time::sleep;

use super::backoff::Backoff;
use super::client::Client;
use super::grpc::Fault;
use super::mirror::Picture;
use super::session::Session;
use super::{EtcdSettings, Inner, State};

/// Counts this start, and reads everything.
pub(super) async fn begin(settings: &EtcdSettings) -> Result<(Session, Picture), Fault> {
    let limit = settings.load_timeout;
    let client = Client::new(settings.clone());
    let session = Session::begin(client, &settings.proxy, limit).await?;
    let picture = session.load(limit).await?;
    session.take_guard(&picture).await;
    Ok((session, picture))
}

/// Looks for etcd until it is found, and has everything told then. Whoever drops the store ends it.
pub(super) async fn arrive(store: Weak<Inner>) {
    let Some(settings) = store.upgrade().map(|store| store.settings.clone()) else {
        return;
    };
    let mut backoff = Backoff::new(settings.seed ^ 0x6172_7269_7665);
    loop {
        sleep(backoff.next()).await;
        let arrived = begin(&settings).await;
        let Some(store) = store.upgrade() else { return };
        match arrived {
            Ok((session, picture)) => {
                store.arrived(session, picture);
                return;
            }
            Err(Fault::Unreachable(_)) => {}
            // It is there, and doesn't want this proxy: somebody has to see to that.
            Err(fault @ Fault::Refused { .. }) => store.refused(&fault),
        }
    }
}

impl Inner {
    fn arrived(&self, session: Session, picture: Picture) {
        let mut state = self.lock();
        let State::Away(away) = &*state else { return };
        let revision = picture.revision;
        {
            let mut mirror = session.mirror();
            if away.is_told {
                mirror.was_lost();
            } else {
                mirror.lose(away.reason.clone());
            }
            mirror.regain();
            mirror.resync(picture);
        }
        *state = State::Running(Self::share(session, revision));
        drop(state);
        self.changed.notify_waiters();
    }

    fn refused(&self, fault: &Fault) {
        let reason = format!(
            "etcd at {} refuses this proxy: {fault}",
            self.settings.address.members()
        );
        if let State::Away(away) = &mut *self.lock()
            && away.reason != reason
        {
            away.reason = reason;
            away.is_told = false;
        }
        self.changed.notify_waiters();
    }
}
