//! Backends that nobody can connect to, among others, whatever client and backend speak.

use edgeproxy_backend::Limits;
use edgeproxy_proxy::{AppRoute, AppSettings};

use crate::asking::{Answering, Ask, BACKS, FRONTS, GET, ask};
use crate::backend::Backend;
use crate::stage::{Stage, app, config, endpoint, h2c, settings};

const PUT: Ask<'static> = Ask {
    method: "PUT",
    body: b"body",
    ..GET
};

#[tokio::test]
async fn a_backend_that_refuses_is_passed_over_until_one_is_found_that_was_not_tried() {
    for (front, back) in FRONTS
        .into_iter()
        .flat_map(|front| BACKS.map(|back| (front, back)))
    {
        let good = Answering::start(back, |_, _| (200, "good".to_owned())).await;
        let refusing = [
            endpoint(1, Backend::refusing().await, Limits::NONE),
            h2c(2, Backend::refusing().await, Limits::NONE),
        ];
        let [first, second] = refusing.clone();
        let generous = AppSettings {
            retry_budget_per_sec: 100,
            ..settings()
        };
        let route = AppRoute {
            settings: generous,
            ..app("app", &[first, second, good.endpoint(3)])
        };
        let stage = Stage::start(config(), [route]);
        for _ in 0..6 {
            let told = ask(front, stage.addr, &PUT).await;
            assert_eq!(told.body, "good", "{front:?} to {back:?}: {told:?}");
        }
        assert_eq!(good.requests(), 6, "{front:?} to {back:?}");
        for endpoint in &refusing {
            let (requests, failures) = endpoint.meter.totals();
            assert!(requests <= 6, "{front:?} to {back:?}: none is tried twice");
            assert_eq!(requests, failures, "{front:?} to {back:?}");
        }
        let tried: u64 = refusing.iter().map(|endpoint| endpoint.meter.totals().0).sum();
        assert!(tried >= 6, "{front:?} to {back:?}: two in three begin at one");
    }
}
