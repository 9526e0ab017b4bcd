//! What every store promises.

use std::sync::atomic::{AtomicUsize, Ordering};

use edgeproxy_store::testing::{self, Medium};
use edgeproxy_store::{Etcd, Store};

use crate::Test;
use crate::server::{Servers, run, settings};

pub(crate) const TESTS: &[Test] = &[
    (
        "contract::what_was_committed_is_loaded_oldest_incarnation_first",
        || {
            holds(async |medium| {
                testing::what_was_committed_is_loaded_oldest_incarnation_first(medium).await;
            });
        },
    ),
    ("contract::every_field_survives", || {
        holds(async |medium| testing::every_field_survives(medium).await);
    }),
    ("contract::the_latest_write_of_an_id_is_what_is_kept", || {
        holds(async |medium| testing::the_latest_write_of_an_id_is_what_is_kept(medium).await);
    }),
    ("contract::a_write_of_an_older_life_changes_nothing", || {
        holds(async |medium| testing::a_write_of_an_older_life_changes_nothing(medium).await);
    }),
    (
        "contract::overrides_live_apart_from_registrations_and_the_default_clears_them",
        || {
            holds(async |medium| {
                testing::overrides_live_apart_from_registrations_and_the_default_clears_them(medium).await;
            });
        },
    ),
    (
        "contract::an_incarnation_is_never_used_again_though_everything_is_gone",
        || {
            holds(async |medium| {
                testing::an_incarnation_is_never_used_again_though_everything_is_gone(medium).await;
            });
        },
    ),
    ("contract::a_batch_committed_twice_is_committed_once", || {
        holds(async |medium| testing::a_batch_committed_twice_is_committed_once(medium).await);
    }),
    ("contract::a_commit_that_nobody_waits_for_harms_nothing", || {
        holds(async |medium| testing::a_commit_that_nobody_waits_for_harms_nothing(medium).await);
    }),
    ("contract::a_storm_is_kept_whole", || {
        holds(async |medium| testing::a_storm_is_kept_whole(medium).await);
    }),
    (
        "contract::a_naive_model_agrees_over_any_history_with_restarts",
        || {
            let servers = Servers::one();
            run(async {
                testing::a_naive_model_agrees(&mut async || Prefix::of(&servers)).await;
            });
        },
    ),
];

fn holds(promise: impl AsyncFnOnce(&mut Prefix)) {
    let servers = Servers::one();
    run(async { promise(&mut Prefix::of(&servers)).await });
}

/// The keys below a prefix that nobody else has.
struct Prefix(String);

impl Prefix {
    fn of(servers: &Servers) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}{number}", servers.address()))
    }
}

impl Medium for Prefix {
    fn open(&mut self) -> Box<dyn Store> {
        Box::new(Etcd::new(settings(&self.0, "a")))
    }
}
