//! Puts tables in force: what the registry says, by the plan and the configuration of the moment.

use std::sync::Arc;

use edgeproxy_proxy as proxy;
use edgeproxy_proxy::{Prepared, SharedTable};
use edgeproxy_registry::Snapshot;

use crate::plan::Plan;
use crate::probes::Probes;
use crate::table::TableBuilder;

/// Where snapshots become tables, on the control thread. A table comes with everything that requests and connections
/// go by, in one store: none of them ever sees a half of one configuration and a half of another.
pub(crate) struct Publisher {
    builder: TableBuilder,
    probes: Probes,
    table: SharedTable,
    workers: Arc<proxy::Running>,
    /// What every table comes with once there was a reload.
    config: Option<Prepared>,
    /// What was published last, to be published again where only the plan changes.
    latest: Snapshot,
}

impl Publisher {
    pub(crate) fn new(
        builder: TableBuilder,
        probes: Probes,
        table: SharedTable,
        workers: Arc<proxy::Running>,
    ) -> Self {
        Self {
            builder,
            probes,
            table,
            workers,
            config: None,
            latest: Snapshot::default(),
        }
    }

    pub(crate) fn publish(&mut self, snapshot: &Snapshot) {
        let table = self.builder.build(snapshot);
        let table = match &self.config {
            Some(config) => table.with_config(config.clone()),
            None => table,
        };
        self.table.store(Arc::new(table));
        self.workers.table_changed();
        self.probes.update(snapshot);
        self.latest = snapshot.clone();
    }

    /// Goes over to another plan and configuration, and publishes what follows from it; `None`: the registry has
    /// nothing new.
    pub(crate) fn go_over(&mut self, plan: &Arc<Plan>, config: Prepared, snapshot: Option<&Snapshot>) {
        self.builder.go_over(Arc::clone(plan));
        self.probes.go_over(plan);
        self.config = Some(config);
        let snapshot = snapshot.unwrap_or(&self.latest).clone();
        self.publish(&snapshot);
    }
}
