use std::collections::HashMap;

use bytes::Bytes;
use edgeproxy_backend::{BackendId, Incarnation};
use edgeproxy_registry::Overridden;

use crate::etcd::encoding::Stored;
use crate::{Finding, Loaded, ProxyName};

/// Findings of one load; what is wrong with thousands of keys is told by the first of them.
pub(super) const FINDINGS_MAX: usize = 20;

/// All that is kept, as the caller is to be told it. What this process writes until then is put into it.
#[derive(Debug, Default)]
pub(in crate::etcd) struct Picture {
    /// At which revision it was taken.
    pub(in crate::etcd) revision: i64,
    pub(in crate::etcd) next_incarnation: Option<Incarnation>,
    pub(super) backends: HashMap<BackendId, Stored>,
    pub(super) overrides: HashMap<BackendId, Overridden>,
    /// The other proxies.
    pub(super) members: Vec<ProxyName>,
    pub(super) findings: Vec<Finding>,
    pub(super) unread: usize,
}

/// What this process has written of one id.
#[derive(Clone, Debug)]
pub(super) enum Own {
    Backend(BackendId, Option<Stored>),
    Overrides(Overridden),
}

impl Picture {
    /// This is in there as well, although it was written after it was taken.
    pub(super) fn amend(&mut self, own: Own) {
        match own {
            Own::Backend(id, Some(stored)) => {
                self.backends.insert(id, stored);
            }
            Own::Backend(id, None) => {
                self.backends.remove(&id);
            }
            Own::Overrides(overridden) if !overridden.is_some() => {
                self.overrides.remove(&overridden.id);
            }
            Own::Overrides(overridden) => {
                self.overrides.insert(overridden.id.clone(), overridden);
            }
        }
    }

    pub(super) fn could_not_read(&mut self, key: &Bytes, problem: &str) {
        self.unread += 1;
        if self.unread <= FINDINGS_MAX {
            self.findings.push(unreadable(key, problem));
        }
    }

    /// The latest of all lives in it.
    pub(in crate::etcd) fn latest(&self) -> Option<Incarnation> {
        self.backends
            .values()
            .map(|stored| stored.record.incarnation)
            .max()
    }

    pub(in crate::etcd) fn into_loaded(self) -> Loaded {
        let Self {
            next_incarnation,
            backends,
            overrides,
            members,
            mut findings,
            unread,
            ..
        } = self;
        let more = unread.saturating_sub(FINDINGS_MAX);
        if more > 0 {
            findings.push(Finding {
                message: format!("etcd: {more} more keys can't be read and are left as they are"),
                is_loss: true,
            });
        }
        let mut stored: Vec<_> = backends.into_values().collect();
        stored.sort_unstable_by_key(|stored| stored.record.incarnation);
        Loaded {
            owned: stored.iter().map(Stored::owned).collect(),
            records: stored.into_iter().map(|stored| stored.record).collect(),
            overrides: overrides.into_values().collect(),
            next_incarnation,
            members,
            findings,
        }
    }
}

pub(super) fn unreadable(key: &Bytes, problem: &str) -> Finding {
    Finding {
        message: format!(
            "etcd: the value of {} {problem}; it is left as it is, and counts as missing until its backend registers again",
            String::from_utf8_lossy(key)
        ),
        is_loss: true,
    }
}
