//! Puts in force what the registry says, by the plan and the configuration of the moment: for requests and for probes.

use std::rc::Rc;
use std::sync::Arc;

use edgeproxy_proxy::{Prepared, RouteTable};
use edgeproxy_registry::Snapshot;

use crate::metrics::Published;
use crate::plan::Plan;
use crate::probes::Probes;
use crate::publication::Publication;

/// What puts a table in force.
pub(crate) type Put = Box<dyn Fn(RouteTable)>;

/// Where snapshots go, on the control thread.
pub(crate) struct Publisher {
    publication: Rc<Publication<Put>>,
    probes: Probes,
    published: Published,
}

impl Publisher {
    pub(crate) const fn new(publication: Rc<Publication<Put>>, probes: Probes, published: Published) -> Self {
        Self {
            publication,
            probes,
            published,
        }
    }

    pub(crate) fn publish(&mut self, snapshot: &Snapshot) {
        self.publication.publish(snapshot);
        self.published.store(Arc::new(snapshot.clone()));
        self.probes.update(snapshot);
    }

    /// Goes over to another plan and configuration, and publishes what follows from it; `None`: the registry has
    /// nothing new.
    pub(crate) fn go_over(&mut self, plan: &Arc<Plan>, config: Prepared, snapshot: Option<&Snapshot>) {
        let latest = self.publication.go_over(plan, config, snapshot);
        self.probes.go_over(plan);
        self.probes.update(&latest);
        self.published.store(Arc::new(latest));
    }
}
