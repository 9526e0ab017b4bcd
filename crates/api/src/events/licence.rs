use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use edgeproxy_access::{Grants, UnixSecs};

use crate::Terms;
use crate::access::caller::{Caller, Peer};

/// What somebody was let in by, who stays. A token is looked at when a request comes; here no other one does.
pub(super) struct Licence {
    terms: Terms,
    peer: Option<SocketAddr>,
    grants: Option<Arc<Grants>>,
}

impl Licence {
    pub(super) fn new(terms: &Terms, Peer(peer): Peer) -> Self {
        Self {
            grants: grants(terms),
            terms: terms.clone(),
            peer,
        }
    }

    /// Whether it still holds. What grants are has changed: then whoever follows comes again and is asked anew, since
    /// that costs them nothing if it is still theirs.
    pub(super) fn holds(&self, caller: &Caller) -> bool {
        let is_unchanged = match (&self.grants, &grants(&self.terms)) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (None, None) => true,
            _ => false,
        };
        is_unchanged && self.terms.in_force().access.check_peer(self.peer).is_ok() && self.is_usable(caller)
    }

    fn is_usable(&self, caller: &Caller) -> bool {
        match (caller, self.peer) {
            (Caller::Granted(grant), Some(peer)) => {
                grant.check(UnixSecs::of(SystemTime::now()), peer.ip()).is_ok()
            }
            (Caller::Granted(_) | Caller::Stranger, _) => false,
            (Caller::Network, _) => true,
        }
    }
}

fn grants(terms: &Terms) -> Option<Arc<Grants>> {
    let terms = terms.in_force();
    terms.access.granted.as_ref().map(crate::Granted::in_force)
}
