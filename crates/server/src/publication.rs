//! The table in force: built anew when the registry says so, when the configuration changes, and when somebody's slow
//! start comes to its next step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use edgeproxy_backend::MonoTime;
use edgeproxy_balance::RoundTrips;
use edgeproxy_control::Handle;
use edgeproxy_proxy::{Prepared, RouteTable};
use edgeproxy_registry::Snapshot;
use tokio::sync::Notify;

use crate::plan::Plan;
use crate::table::TableBuilder;

/// What was published last, and when that has to be looked at again. On the control thread alone.
///
/// A table comes with everything that requests and connections go by, in one store: none of them ever sees a half of
/// one configuration and a half of another.
pub(crate) struct Publication<P> {
    builder: RefCell<TableBuilder>,
    snapshot: RefCell<Snapshot>,
    /// What every table comes with once there was a reload.
    config: RefCell<Option<Prepared>>,
    /// When the table is due that differs from the one in force though nothing was registered.
    due: Cell<Option<MonoTime>>,
    changed: Notify,
    distances: RefCell<RoundTrips>,
    handle: Handle,
    put: P,
}

/// How often it is looked at how long connecting to backends took.
const MEASURED_EVERY: Duration = Duration::from_secs(10);

impl<P: Fn(RouteTable)> Publication<P> {
    /// `put` puts a table in force.
    pub(crate) fn new(builder: TableBuilder, handle: Handle, put: P) -> Self {
        let distances = RoundTrips::new(builder.plan().distances.iter().copied());
        Self {
            builder: RefCell::new(builder),
            snapshot: RefCell::default(),
            config: RefCell::default(),
            due: Cell::new(None),
            changed: Notify::new(),
            distances: RefCell::new(distances),
            handle,
            put,
        }
    }

    /// Puts what the registry says in force.
    pub(crate) fn publish(&self, snapshot: &Snapshot) {
        self.snapshot.replace(snapshot.clone());
        self.build();
        self.changed.notify_one();
    }

    /// Goes over to another plan and configuration, and puts in force what follows from them and from the latest
    /// snapshot, which it returns; `None`: the registry has nothing new.
    pub(crate) fn go_over(
        &self,
        plan: &Arc<Plan>,
        config: Prepared,
        snapshot: Option<&Snapshot>,
    ) -> Snapshot {
        let mut distances = self.distances.borrow_mut();
        distances.configure(plan.distances.iter().copied());
        let mut builder = self.builder.borrow_mut();
        builder.go_over(Arc::clone(plan));
        builder.measured(distances.nearest_first());
        drop((builder, distances));
        self.config.replace(Some(config));
        let latest = snapshot.map_or_else(|| self.snapshot.borrow().clone(), Snapshot::clone);
        self.publish(&latest);
        latest
    }

    /// Puts each step of a slow start in force as it comes. Never ends.
    pub(crate) async fn keep_up(&self) {
        loop {
            let changed = self.changed.notified();
            let Some(due) = self.due.get() else {
                changed.await;
                continue;
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(due.since(self.handle.now())) => self.build(),
            }
        }
    }

    /// Orders the other regions by how long connecting to their backends took, for apps whose configuration doesn't
    /// say which is nearer. Never ends.
    pub(crate) async fn measure(&self) {
        loop {
            tokio::time::sleep(MEASURED_EVERY).await;
            if self.builder.borrow().goes_by_distance() && self.measured() {
                self.builder
                    .borrow_mut()
                    .measured(self.distances.borrow().nearest_first());
                self.build();
                self.changed.notify_one();
            }
        }
    }

    /// Takes in what was measured since the last time. Whether another order has come of it.
    fn measured(&self) -> bool {
        let snapshot = self.snapshot.borrow();
        let mut nearest = BTreeMap::new();
        for endpoint in snapshot
            .apps
            .values()
            .flat_map(|app| &app.members)
            .map(|member| &member.endpoint)
        {
            if let Some(took) = endpoint.meter.take_connect_time() {
                // Whatever is in the way of a connection makes it longer, never shorter.
                let shortest = nearest.entry(endpoint.region).or_insert(took);
                *shortest = took.min(*shortest);
            }
        }
        let mut distances = self.distances.borrow_mut();
        let mut changed = false;
        for (region, took) in nearest {
            changed |= distances.measured(region, whole_millis(took));
        }
        changed
    }

    fn build(&self) {
        let mut builder = self.builder.borrow_mut();
        let table = builder.build(&self.snapshot.borrow(), self.handle.now());
        self.due.set(builder.next_change());
        (self.put)(match &*self.config.borrow() {
            Some(config) => table.with_config(config.clone()),
            None => table,
        });
    }
}

/// Up to the next millisecond: what is nearer than that is here, and its noise is nothing to order regions by.
fn whole_millis(took: Duration) -> Duration {
    let millis = took.as_micros().div_ceil(1_000).max(1);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;
    use std::time::Duration;

    use edgeproxy_backend::{AppName, Backend, BackendAddr, BackendId, Country, Region};
    use edgeproxy_balance::Client;
    use edgeproxy_registry::{Config, Registration};
    use tokio::sync::watch;

    use super::*;
    use crate::plan::tests::plan;
    use crate::publisher::Put;

    /// A registry whose snapshots are published by the plan of a file.
    struct Stage {
        handle: Handle,
        publication: Rc<Publication<Put>>,
        tables: watch::Receiver<Arc<RouteTable>>,
        _reports: edgeproxy_control::ReportSender,
    }

    impl Stage {
        /// Runs its driver on the local set that it is called within.
        fn new(text: &str) -> Self {
            let (handle, driver) = edgeproxy_control::registry(Config::default());
            let (sender, reports) = edgeproxy_control::reports(8);
            let (put, tables) = watch::channel(Arc::new(RouteTable::default()));
            let put: Put = Box::new(move |table| drop(put.send(Arc::new(table))));
            let builder = TableBuilder::new(Arc::new(plan(text)));
            let publication = Rc::new(Publication::new(builder, handle.clone(), put));
            let published = Rc::clone(&publication);
            let publish = move |snapshot: &Snapshot| published.publish(snapshot);
            tokio::task::spawn_local(driver.run(reports, publish, |_| {}));
            Self {
                handle,
                publication,
                tables,
                _reports: sender,
            }
        }
    }

    async fn join(handle: &Handle, id: &str, port: u16) {
        join_in(handle, id, port, "eu").await;
    }

    async fn join_in(handle: &Handle, id: &str, port: u16, region: &str) {
        let backend = Backend::new(
            BackendId::parse(id).unwrap(),
            AppName::parse("app").unwrap(),
            Region::parse(region).unwrap(),
            Country::parse("DE").unwrap(),
            BackendAddr::parse("10.0.0.1", port).unwrap(),
        );
        let ttl = Some(Duration::from_secs(3_600));
        let registration = Registration { backend, ttl };
        handle.register(registration).await.unwrap();
    }

    /// The weights that count, in the order of registration.
    fn weights(table: &RouteTable) -> Vec<f64> {
        let app = table.app(&AppName::parse("app").unwrap()).unwrap();
        let explanation = app.explain(Client::default(), 1);
        let members = explanation.tiers.iter().flat_map(|tier| &tier.members);
        members.map(|member| member.effective_weight).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_that_joins_a_running_app_ramps_step_by_step_though_nothing_else_happens() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut stage = Stage::new("algorithm = \"weighted\"\nslow_start_secs = 100\n");
                let kept_up = Rc::clone(&stage.publication);
                tokio::task::spawn_local(async move { kept_up.keep_up().await });

                join(&stage.handle, "old", 1).await;
                assert_eq!(
                    weights(&stage.tables.borrow_and_update()),
                    [2.0],
                    "all are new, so none ramps"
                );
                tokio::time::sleep(Duration::from_secs(30)).await;
                join(&stage.handle, "new", 2).await;
                let joined = stage.handle.now();
                // The first is new as well, but has had all of it and doesn't step down.
                assert_eq!(weights(&stage.tables.borrow_and_update()), [2.0, 0.2]);
                for step in 2..=10_u32 {
                    stage.tables.changed().await.unwrap();
                    let expected = [2.0, f64::from(2 * step) / 10.0];
                    assert_eq!(weights(&stage.tables.borrow_and_update()), expected);
                    let since = stage.handle.now().since(joined);
                    let due = Duration::from_secs(10) * step;
                    assert!(
                        since >= due && since <= due + Duration::from_secs(11),
                        "{since:?}"
                    );
                }
                let quiet = tokio::time::timeout(Duration::from_secs(1_000), stage.tables.changed()).await;
                assert!(quiet.is_err(), "nothing is left to be done");
            })
            .await;
    }

    /// The scopes of the tiers, nearest first.
    fn tiers(table: &RouteTable, app: &str) -> Vec<String> {
        let app = table.app(&AppName::parse(app).unwrap()).unwrap();
        let explanation = app.explain(Client::default(), 1);
        explanation
            .tiers
            .iter()
            .map(|tier| tier.scope.to_string())
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn tier_3_is_ordered_by_measured_round_trip_time_where_none_is_configured() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut stage = Stage::new("");
                let measuring = Rc::clone(&stage.publication);
                tokio::task::spawn_local(async move { measuring.measure().await });

                for (port, region) in [(1, "us"), (2, "ap"), (3, "eu")] {
                    join_in(&stage.handle, region, port, region).await;
                }
                let table = Arc::clone(&stage.tables.borrow_and_update());
                assert_eq!(
                    tiers(&table, "app").len(),
                    1,
                    "nothing is known of how far they are"
                );
                let connected = |table: &RouteTable, region: &str, millis| {
                    let app = table.app(&AppName::parse("app").unwrap()).unwrap();
                    let mut endpoints = app.balancer.candidates();
                    let endpoint = endpoints
                        .find(|endpoint| endpoint.region.as_str() == region)
                        .unwrap();
                    endpoint.meter.connected(Duration::from_millis(millis));
                };
                connected(&table, "us", 120);
                connected(&table, "ap", 30);
                stage.tables.changed().await.unwrap();
                let table = Arc::clone(&stage.tables.borrow_and_update());
                assert_eq!(tiers(&table, "app"), ["region ap", "region us", "elsewhere"]);
                // Nearer by less than a tenth is no reason to change places.
                connected(&table, "us", 29);
                connected(&table, "eu", 400);
                stage.tables.changed().await.unwrap();
                let table = Arc::clone(&stage.tables.borrow_and_update());
                assert_eq!(tiers(&table, "app"), ["region ap", "region us", "region eu"]);
            })
            .await;
    }

    #[tokio::test]
    async fn tier_3_is_ordered_by_configured_round_trip_time() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let text = "region = \"us\"\n[regions.us]\nrtt_ms = { eu = 90, ap = 150 }\n";
                let mut stage = Stage::new(text);
                for (port, region) in [(1, "ap"), (2, "eu"), (3, "sa")] {
                    join_in(&stage.handle, region, port, region).await;
                }
                let table = Arc::clone(&stage.tables.borrow_and_update());
                assert_eq!(tiers(&table, "app"), ["region eu", "region ap", "elsewhere"]);
            })
            .await;
    }

    #[tokio::test]
    async fn tier_3_is_ordered_as_configured_whatever_is_measured() {
        let goes_by_distance = |text: &str| {
            let builder = TableBuilder::new(Arc::new(plan(text)));
            let (handle, _driver) = edgeproxy_control::registry(Config::default());
            let publication = Publication::new(builder, handle, |_| {});
            publication.publish(&Snapshot::default());
            publication.builder.borrow().goes_by_distance()
        };
        let affine = "[apps.shop]\nalgorithm = \"region_affinity\"\n";
        assert!(goes_by_distance(affine));
        assert!(!goes_by_distance(&format!("region_order = [\"us\"]\n{affine}")));
        assert!(!goes_by_distance(&format!("{affine}region_order = [\"us\"]\n")));
        assert!(!goes_by_distance("[apps.shop]\nalgorithm = \"weighted\"\n"));
    }
}
