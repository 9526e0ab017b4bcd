//! Clients that are known again, and what is explained of them: `hash`, stickiness, the decision header, the panic.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgeproxy_tests::{Api, Backend, Edgeproxy, PATIENCE, PROBE_PATH, Registration, Setup, eventually};
use http::{Request, Response};
use http_body_util::Full;

/// One request with these fields on a connection of its own.
async fn ask(edgeproxy: &Edgeproxy, fields: &[(&str, &str)]) -> edgeproxy_tests::Reply {
    let mut request = Request::get("/").header("host", "shop");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::new())).expect("a request");
    edgeproxy.client().send(request).await.expect("an answer")
}

/// Whoever answers such a request.
async fn answers(edgeproxy: &Edgeproxy, fields: &[(&str, &str)]) -> String {
    ask(edgeproxy, fields).await.expect(200).text().to_owned()
}

async fn fleet(api: &mut Api, names: &[&str]) -> Vec<Backend> {
    let mut backends = Vec::new();
    for name in names {
        let backend = Backend::start(name).await;
        api.register_new(&Registration::new(name, "shop", backend.addr()))
            .await;
        backends.push(backend);
    }
    backends
}

async fn disable(api: &mut Api, id: &str) {
    let reply = api.patch(id, &serde_json::json!({ "enabled": false })).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

fn turns() -> Setup {
    Edgeproxy::setup().set("ALGORITHM", "round_robin")
}

#[tokio::test]
async fn hash_by_a_header_moves_nobody_but_those_of_the_backend_that_leaves() {
    let edgeproxy = Edgeproxy::setup()
        .set("ALGORITHM", "hash")
        .set("HASH_KEY", "header:X-User")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let _backends = fleet(&mut api, &["a", "b", "c", "d"]).await;
    let mut owners = BTreeMap::new();
    for user in 0..40 {
        let user = user.to_string();
        owners.insert(user.clone(), answers(&edgeproxy, &[("x-user", &user)]).await);
    }
    assert_eq!(api.delete("b", "").await.status, 200);
    for (user, owner) in &owners {
        let now = answers(&edgeproxy, &[("x-user", user)]).await;
        assert!(
            now == *owner || (owner == "b" && now != "b"),
            "{user}: {owner}, {now}"
        );
    }
    assert!(owners.values().any(|owner| owner == "b"), "{owners:?}");
    let explained = api
        .get("/api/v1/explain?app=shop&hash=7")
        .await
        .expect(200)
        .json();
    let expected = answers(&edgeproxy, &[("x-user", "7")]).await;
    assert_eq!(explained["picked"], expected.as_str(), "{explained}");
}

#[tokio::test]
async fn bindings_outlive_changes_of_the_app_and_are_explained() {
    let edgeproxy = turns().set("STICKY", "header:X-Session").start().await;
    let mut api = edgeproxy.api();
    let mut backends = fleet(&mut api, &["a", "b", "c"]).await;
    let bound = answers(&edgeproxy, &[("x-session", "s")]).await;
    backends.extend(fleet(&mut api, &["d", "e"]).await);
    for _ in 0..10 {
        assert_eq!(answers(&edgeproxy, &[("x-session", "s")]).await, bound);
    }
    let explained = api
        .get("/api/v1/explain?app=shop&sticky=s")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&explained["bound"], &explained["picked"]),
        (&bound.as_str().into(), &bound.as_str().into())
    );
    let candidates = explained["candidates"].as_array().expect("a list");
    for candidate in candidates {
        let is_it = candidate["id"] == bound.as_str();
        let why = if is_it {
            "picked: the client is bound to it"
        } else {
            "the client is bound to another"
        };
        assert_eq!(candidate["why"], why, "{candidate}");
    }
    // A drain wins, and whoever answers then has the client.
    assert_eq!(api.delete(&bound, "").await.status, 200);
    let next = answers(&edgeproxy, &[("x-session", "s")]).await;
    assert_ne!(next, bound);
    for _ in 0..10 {
        assert_eq!(answers(&edgeproxy, &[("x-session", "s")]).await, next);
    }
}

#[tokio::test]
async fn a_browser_keeps_its_backend_by_a_cookie_that_another_proxy_knows_as_well() {
    let setup = || {
        turns()
            .set("STICKY", "cookie")
            .set("STICKY_COOKIE", "route")
            .set("DECISION_HEADER_PERCENT", "100")
    };
    let (one, other) = (setup().start().await, setup().start().await);
    let backends = fleet(&mut one.api(), &["a", "b", "c"]).await;
    for backend in &backends {
        other
            .api()
            .register_new(&Registration::new(backend.name(), "shop", backend.addr()))
            .await;
    }
    for _ in 0..3 {
        let first = ask(&one, &[]).await.expect(200);
        let cookie = first.header("set-cookie").expect("a cookie");
        assert!(
            cookie.starts_with("route=") && cookie.contains("; Max-Age=600; "),
            "{cookie}"
        );
        let pair = cookie.split(';').next().expect("a pair");
        for edgeproxy in [&one, &other, &one, &other] {
            let again = ask(edgeproxy, &[("cookie", pair)]).await.expect(200);
            assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
            let decision = format!(
                "backend=\"{}\", attempt=1, algorithm=round_robin, why=bound",
                first.text()
            );
            assert_eq!(again.header("x-edgeproxy-decision"), Some(decision.as_str()));
        }
    }
}

#[tokio::test]
async fn below_the_panic_threshold_health_is_ignored_and_an_operators_word_is_not() {
    let edgeproxy = turns()
        .set("HEALTH_MONITOR", &format!("http:{PROBE_PATH}"))
        .set("HEALTH_INTERVAL_SECS", "1")
        .set("PANIC_THRESHOLD", "0.5")
        .start()
        .await;
    let mut api = edgeproxy.api();
    let backends = fleet(&mut api, &["a", "b", "c", "d"]).await;
    disable(&mut api, "d").await;
    // Well but for their probes.
    let name = |at: usize| backends[at].name().to_owned();
    for (at, name) in [(1, name(1)), (2, name(2))] {
        let answer = edgeproxy_tests::Behaviour::respond(move |seen| {
            let status = if seen.target.path() == PROBE_PATH {
                500
            } else {
                200
            };
            let body = Full::new(Bytes::from(name.clone()));
            Response::builder().status(status).body(body).expect("an answer")
        });
        backends[at].behave(answer);
    }
    for id in ["b", "c"] {
        eventually(PATIENCE, "its probes fail", async || {
            match api.state(id).await.as_str() {
                "unhealthy" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    }
    let explained = api.get("/api/v1/explain?app=shop").await.expect(200).json();
    assert_eq!(explained["ignores_health"], true, "{explained}");
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        *counts.entry(answers(&edgeproxy, &[]).await).or_insert(0) += 1;
    }
    let expected = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(counts, BTreeMap::from(expected));
    disable(&mut api, "b").await;
    // One of two is well, which is the share asked for.
    let explained = api.get("/api/v1/explain?app=shop").await.expect(200).json();
    assert_eq!(explained["ignores_health"], false, "{explained}");
    for _ in 0..10 {
        assert_eq!(answers(&edgeproxy, &[]).await, "a");
    }
}
