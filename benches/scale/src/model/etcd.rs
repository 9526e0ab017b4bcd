//! etcd as far as it matters: who owns what, how many transactions there were, and what every watcher was told.

use edgeproxy_store::ProxyName;

/// What the watch adds to key and value of an event: revisions, versions, lengths.
pub(crate) const EVENT_OVERHEAD: u64 = 30;
/// Operations in one transaction, of those that etcd takes by default.
pub(crate) const OPS_MAX: u64 = 120;

/// Counted since the last look.
#[derive(Clone, Copy, Default)]
pub(crate) struct Etcd {
    pub(crate) transactions: u64,
    /// Changes of keys; every watcher is told each.
    pub(crate) events: u64,
    /// Of those, key and value and what is around them.
    pub(crate) event_bytes: u64,
}

impl Etcd {
    /// A proxy has so many changes of registrations at once, each of so many bytes of key and value.
    pub(crate) fn commit(&mut self, changes: u64, each: u64, by: &ProxyName) {
        if changes == 0 {
            return;
        }
        let transactions = changes.div_ceil(OPS_MAX);
        self.transactions += transactions;
        // Each moves its proxy's guard as well.
        self.events += changes + transactions;
        self.event_bytes +=
            changes * (each + EVENT_OVERHEAD) + transactions * (guard_bytes(by) + EVENT_OVERHEAD);
    }

    /// A proxy tells whom it has heard.
    pub(crate) fn heard(&mut self, ids: u64, id_bytes: u64, by: &ProxyName) {
        if ids == 0 {
            return;
        }
        self.transactions += 1;
        self.events += 1;
        self.event_bytes += heard_key(by) + HEARD_FRAME + ids * (id_bytes + 3) + EVENT_OVERHEAD;
    }
}

/// `{"v":1,"ids":[]}`.
pub(crate) const HEARD_FRAME: u64 = 16;

pub(crate) fn heard_key(by: &ProxyName) -> u64 {
    "/edgeproxy/heard//0".len() as u64 + by.as_str().len() as u64
}

fn guard_bytes(by: &ProxyName) -> u64 {
    ("/edgeproxy/commits/".len() + by.as_str().len() + "123 123456".len()) as u64
}

/// The key and the value of a registration, as it is written.
pub(crate) fn registration_bytes(id: &str, owner: &str) -> u64 {
    let value = format!(
        r#"{{"v":1,"owner":"{owner}","start":123,"id":"{id}","incarnation":1234567,"ttl_ms":60000,"app":"app-123","region":"eu","country":"DE","ip":"10.123.123.123","port":8080,"weight":2,"soft_limit":100,"hard_limit":150,"protocol":"http1"}}"#
    );
    ("/edgeproxy/backends/".len() + id.len() + value.len()) as u64
}

/// The key of one that is gone.
pub(crate) fn gone_bytes(id: &str) -> u64 {
    ("/edgeproxy/backends/".len() + id.len()) as u64
}
