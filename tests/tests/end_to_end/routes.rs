//! Routes and what an app has differently, out of a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use edgeproxy_tests::{
    Api, Backend, Behaviour, Client, Edgeproxy, Load, PATIENCE, Registration, Reply, eventually,
};
use http::{Method, Request, Response};
use http_body_util::Full;

async fn registered(api: &mut Api, id: &str, app: &str) -> Backend {
    let backend = Backend::start(id).await;
    api.register_new(&Registration::new(id, app, backend.addr()))
        .await;
    backend
}

async fn get(client: &mut Client, host: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
    let mut request = Request::get(path).header("host", host);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::new())).expect("it is legal");
    client.send(request).await.expect("an answer")
}

#[tokio::test]
async fn routes_of_the_file_lead_by_host_path_and_field_rewrite_and_share() {
    let edgeproxy = Edgeproxy::setup()
        .toml(
            r#"
            [apps.api]
            add_prefix = "/base"
            [apps.idle]

            [[routes]]
            host = "shop.example"
            apps = { shop = 90, shop-next = 10 }

            [[routes]]
            host = "shop.example"
            path_prefix = "/api"
            replace_prefix = "/v1"
            max_body_bytes = 4
            app = "api"

            [[routes]]
            host = "shop.example"
            path_prefix = "/api"
            headers = { X-Canary = "yes" }
            app = "api-next"

            [[routes]]
            host = "*.shop.example"
            app = "idle"
            "#,
        )
        .start()
        .await;
    let mut api = edgeproxy.api();
    let shop = registered(&mut api, "s", "shop").await;
    let shop_next = registered(&mut api, "sn", "shop-next").await;
    let api_backend = registered(&mut api, "a", "api").await;
    let _api_next = registered(&mut api, "an", "api-next").await;
    let mut client = edgeproxy.client();
    // By path, rewritten by the route and then by the app.
    let reply = get(&mut client, "shop.example", "/api/x%2Fy?z=/api", &[])
        .await
        .expect(200);
    assert_eq!(reply.text(), "a");
    assert_eq!(api_backend.last_seen().target, "/base/v1/x%2Fy?z=/api");
    // By a field.
    let canary = [("x-canary", "yes")];
    let reply = get(&mut client, "shop.example", "/api/x", &canary)
        .await
        .expect(200);
    assert_eq!(reply.text(), "an");
    // By a route's own limit.
    let long = client
        .post("shop.example", "/api/x", "12345")
        .await
        .expect("an answer");
    assert_eq!(long.status, 413, "{long:?}");
    // By nothing, although an app is called so; and to one that nobody serves.
    for (host, path, status) in [
        ("shop", "/", 404),
        ("other.example", "/", 404),
        ("www.shop.example", "/", 503),
        ("shop.example", "/api/../x", 400),
    ] {
        let reply = get(&mut client, host, path, &[]).await;
        assert_eq!(reply.status, status, "{host}{path}: {reply:?}");
    }
    let load = Load::limited(edgeproxy.proxy(), Method::GET, "shop.example", 8, 2_000);
    let tally = load.done().await;
    assert_eq!((tally.ok, tally.failed), (2_000, 0), "{tally:?}");
    let (most, few) = (shop.requests(), shop_next.requests());
    assert_eq!(most + few, 2_000);
    // The standard deviation is 13.4: this is seven of them.
    assert!((106..=294).contains(&few), "{few} of about 200");
}

/// 503 for a share of the requests.
fn failing(percent: u64, seed: u64) -> Behaviour {
    let state = Arc::new(AtomicU64::new(seed));
    Behaviour::respond(move |_| {
        let mut random = fastrand::Rng::with_seed(state.fetch_add(1, Ordering::Relaxed));
        let status = if random.u64(..100) < percent { 503 } else { 200 };
        let response = Response::builder().status(status);
        response
            .body(Full::new(Bytes::from_static(b"told")))
            .expect("it is legal")
    })
}

async fn becomes(api: &mut Api, id: &str, wanted: &str) {
    eventually(PATIENCE, &format!("{id} becomes {wanted}"), async || {
        let found = api.state(id).await;
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
}

#[tokio::test]
async fn unhealthy_responses_eject_at_max_failures_and_no_client_sees_one() {
    let edgeproxy = Edgeproxy::setup()
        .toml("[apps.shop]\nunhealthy_responses = [500, \"502-504\"]\nmax_failures = 5\n")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let (bad, good) = (
        registered(&mut api, "bad", "shop").await,
        registered(&mut api, "good", "shop").await,
    );
    bad.behave(failing(100, 0));
    let mut client = edgeproxy.client();
    for _ in 0..40 {
        let reply = client.get("shop", "/").await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    assert_eq!((bad.requests(), good.requests()), (5, 40));
    becomes(&mut api, "bad", "ejected").await;
    // Of an app that doesn't say so they are answers like any other.
    let other = registered(&mut api, "other", "blog").await;
    other.behave(failing(100, 0));
    let reply = client.get("blog", "/").await.expect("an answer");
    assert_eq!(reply.status, 503, "{reply:?}");
    assert_eq!(api.state("other").await, "routable");
}

#[tokio::test]
async fn one_of_three_that_fails_half_of_its_requests_is_noticed_by_fewer_than_one_in_a_hundred() {
    const REQUESTS: u64 = 4_000;
    let seed = fastrand::u64(..);
    let edgeproxy = Edgeproxy::setup()
        .toml("[apps.shop]\nalgorithm = \"least_connections\"\nunhealthy_responses = [503]\n")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let mut backends = Vec::new();
    for id in ["a", "b", "c"] {
        backends.push(registered(&mut api, id, "shop").await);
    }
    backends[0].behave(failing(50, seed));
    let load = Load::limited(edgeproxy.proxy(), Method::GET, "shop", 16, REQUESTS);
    let tally = load.done().await;
    let sent: u64 = backends.iter().map(Backend::requests).sum();
    assert!(tally.failed * 100 < REQUESTS, "seed {seed}: {tally:?}");
    assert!(sent > REQUESTS, "seed {seed}: nothing was tried again");
    assert!(
        sent * 10 <= REQUESTS * 12,
        "seed {seed}: {sent} sent for {REQUESTS}"
    );
}

#[tokio::test]
async fn an_outage_of_all_is_multiplied_by_no_more_than_the_budget() {
    const REQUESTS: u64 = 2_000;
    // A response that counts as a failure, and none.
    for broken in [failing(100, 0), Behaviour::CloseUnanswered] {
        let edgeproxy = Edgeproxy::setup()
            .toml("retry_budget_per_sec = 0\nunhealthy_responses = [503]\n[apps.shop]\n")
            .start()
            .await;
        let mut api = edgeproxy.api();
        let mut backends = Vec::new();
        for id in ["a", "b", "c"] {
            let backend = registered(&mut api, id, "shop").await;
            backend.behave(broken.clone());
            backends.push(backend);
        }
        let tally = Load::limited(edgeproxy.proxy(), Method::GET, "shop", 16, REQUESTS)
            .done()
            .await;
        assert_eq!((tally.ok, tally.failed), (0, REQUESTS));
        let sent: u64 = backends.iter().map(Backend::requests).sum();
        // A fifth of the requests at most, and the one retry that is held at the beginning: as many requests at a time
        // as there are clients bring more than that one place has room for.
        assert!(
            (REQUESTS + 1..=REQUESTS * 12 / 10 + 1).contains(&sent),
            "{broken:?}: {sent} sent for {REQUESTS}"
        );
    }
}
