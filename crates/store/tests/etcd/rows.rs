//! Registrations, and what stores tell of them.

use std::time::Duration;

use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Incarnation, Region, Weight};
use edgeproxy_registry::{Overridden, Overrides, Record, Write};
use edgeproxy_store::{Etcd, Loaded, Store as _, Update};
use tokio::time::timeout;

use crate::server::PATIENCE;

pub(crate) fn life(number: u64) -> Incarnation {
    Incarnation::new(number).unwrap()
}

pub(crate) fn id(name: &str) -> BackendId {
    BackendId::parse(name).unwrap()
}

pub(crate) fn record(name: &str, incarnation: u64) -> Record {
    let backend = Backend::new(
        id(name),
        AppName::parse("shop").unwrap(),
        Region::parse("eu").unwrap(),
        Country::parse("DE").unwrap(),
        BackendAddr::parse("10.0.0.1", 80).unwrap(),
    );
    Record {
        backend,
        incarnation: life(incarnation),
        ttl: Duration::from_secs(60),
    }
}

pub(crate) fn registered(name: &str, incarnation: u64) -> Write {
    Write::Registered(record(name, incarnation))
}

pub(crate) fn gone(name: &str, incarnation: u64) -> Write {
    Write::Gone {
        id: id(name),
        incarnation: life(incarnation),
    }
}

pub(crate) fn weight(name: &str, weight: Option<u64>) -> Write {
    Write::Overridden(overridden(name, weight))
}

pub(crate) fn overridden(name: &str, weight: Option<u64>) -> Overridden {
    Overridden {
        id: id(name),
        app: weight.map(|_| record(name, 1).backend.app),
        overrides: Overrides {
            weight: weight.map(|weight| Weight::new(weight).unwrap()),
            ..Overrides::default()
        },
    }
}

pub(crate) async fn load(store: &Etcd) -> Loaded {
    store.load().await.expect("etcd is there")
}

pub(crate) async fn commit(store: &Etcd, writes: &[Write]) {
    store.commit(writes).await.expect("etcd is there");
}

/// As [`commit`], again until it is done.
pub(crate) async fn commit_at_last(store: &Etcd, writes: &[Write]) {
    let done = async { while store.commit(writes).await.is_err() {} };
    timeout(PATIENCE, done).await.expect("it can be committed again");
}

/// Whatever is told next.
pub(crate) async fn told(store: &Etcd) -> Update {
    timeout(PATIENCE, store.update()).await.expect("an update comes")
}

/// What is told next that is not about leases and other proxies.
pub(crate) async fn update(store: &Etcd) -> Update {
    loop {
        match told(store).await {
            Update::Owned(_) | Update::Heard(_) | Update::Joined(_) | Update::Parted(_) => {}
            update => return update,
        }
    }
}

/// The next change, whatever else is told before it.
pub(crate) async fn change(store: &Etcd) -> Write {
    loop {
        if let Update::Changed(write) = update(store).await {
            return write;
        }
    }
}

pub(crate) async fn until(store: &Etcd, wanted: impl Fn(&Update) -> bool) -> Update {
    loop {
        let update = told(store).await;
        if wanted(&update) {
            return update;
        }
    }
}

/// That nothing is told before a change that another store makes.
pub(crate) async fn is_silent(store: &Etcd, other: &Etcd) {
    let mark = weight("mark", Some(7));
    commit(other, std::slice::from_ref(&mark)).await;
    assert_eq!(update(store).await, Update::Changed(mark));
    let clear = weight("mark", None);
    commit(other, std::slice::from_ref(&clear)).await;
    assert_eq!(update(store).await, Update::Changed(clear));
}
