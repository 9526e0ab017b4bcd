//! What requests and answers look like. A test sends the requests and holds the answers to their schemas.

use serde_json::{Value, json};

/// By name, the way that OpenAPI has several.
fn named<const N: usize>(examples: [(&str, &str, Value); N]) -> Value {
    let examples = examples
        .into_iter()
        .map(|(name, summary, value)| (name.to_owned(), json!({"summary": summary, "value": value})));
    Value::Object(examples.collect())
}

pub(super) fn registrations() -> Value {
    let first = json!({
        "id": "backend-eu-1", "app": "myapp", "region": "eu", "ip": "10.50.1.1", "port": 8080,
        "weight": 2, "soft_limit": 100, "hard_limit": 150,
    });
    let mut with_country = first.clone();
    with_country["country"] = "DE".into();
    named([
        ("first", "The first example of the documentation", first),
        ("country", "With its country", with_country),
        (
            "least",
            "No more than it must have",
            json!({"id": "backend-eu-2", "app": "myapp", "region": "eu", "ip": "10.50.1.2", "port": 8080}),
        ),
        (
            "all",
            "Everything that there is",
            json!({
                "id": "backend-sa-1", "app": "myapp", "region": "sa", "country": "BR", "ip": "fd00::1", "port": 8443,
                "weight": 10, "soft_limit": 200, "hard_limit": 300, "fallback": true, "protocol": "h2c", "ttl_secs": 30,
                "metadata": {"rack": "a1"},
            }),
        ),
    ])
}

pub(super) fn registered() -> Value {
    json!({
        "id": "backend-eu-1", "registered": true, "message": "Backend registered successfully", "incarnation": 7,
        "ttl_secs": 60, "heartbeat_interval_secs": 20,
    })
}

pub(super) fn load_reports() -> Value {
    named([
        (
            "load",
            "How busy it is",
            json!({"in_flight": 12, "utilization": 0.7, "draining": false, "weight": 3}),
        ),
        ("leaving", "It wants no new requests", json!({"draining": true})),
    ])
}

pub(super) fn renewed() -> Value {
    json!({
        "id": "backend-eu-1", "renewed": true, "incarnation": 7, "ttl_secs": 60, "heartbeat_interval_secs": 20,
        "state": "routable",
    })
}

pub(super) fn deregistered() -> Value {
    json!({
        "id": "backend-eu-1", "deregistered": true, "message": "Backend deregistered successfully", "incarnation": 7,
        "draining": true, "in_flight": 3,
    })
}

pub(super) fn patches() -> Value {
    named([
        ("off", "No new requests", json!({"enabled": false})),
        ("less", "A smaller share", json!({"weight": 1})),
        (
            "back",
            "What the registration says again",
            json!({"enabled": null, "weight": null}),
        ),
    ])
}

pub(super) fn health() -> Value {
    json!({"status": "ok", "version": env!("CARGO_PKG_VERSION"), "backends": 5, "uptime_secs": 3_600})
}

pub(super) fn backend() -> Value {
    json!({
        "id": "backend-eu-1", "app": "myapp", "region": "eu", "country": "DE", "ip": "10.50.1.1", "port": 8080,
        "weight": 2, "soft_limit": 100, "hard_limit": 150, "fallback": false, "protocol": "http1", "ttl_secs": 60,
        "metadata": {}, "source": "registered", "state": "ejected",
        "reason": "3 consecutive requests failed; on trial in 30 s at the latest", "healthy": false, "in_flight": 0,
        "last_heartbeat_secs": 4, "registered_secs": 3_600, "expires_in_secs": 56, "incarnation": 7,
        "requests_total": 120_482, "failures_total": 3, "latency_ms": 3.2,
    })
}

pub(super) fn backend_page() -> Value {
    json!({"backends": [backend()], "total": 5, "next_cursor": "1"})
}

fn app() -> Value {
    json!({
        "app": "myapp",
        "policy": {
            "algorithm": "region_affinity", "spill": "hard", "max_failures": 3, "last_backend": "keep",
            "max_ejection_percent": 50, "probed": false, "fall": 3, "rise": 1, "initial": "routable", "ejection_base_secs": 30, "ejection_max_secs": 300,
        },
        "states": {"ejected": 1, "routable": 4},
        "totals": {"backends": 5, "routable": 4, "in_flight": 12, "requests_total": 602_410, "failures_total": 3},
    })
}

pub(super) fn app_page() -> Value {
    json!({"apps": [app()], "total": 1})
}

pub(super) fn app_detail() -> Value {
    let mut app = app();
    app["backends"] = json!([{
        "id": "backend-eu-1", "state": "routable", "reason": "it takes requests", "healthy": true, "region": "eu",
        "country": "DE", "weight": 2, "soft_limit": 100, "hard_limit": 150, "in_flight": 3, "fallback": false,
        "incarnation": 7,
    }]);
    app
}

pub(super) fn explanation() -> Value {
    json!({
        "app": "myapp", "algorithm": "region_affinity",
        "client": {"ip": "203.0.113.9", "country": "DE", "region": "eu"}, "bound": null, "ignores_health": false,
        "tiers": [{"tier": 0, "name": "country DE", "candidates": 1, "why": "has room"}],
        "candidates": [{
            "id": "backend-eu-1", "tier": 0, "state": "routable", "weight": 2, "effective_weight": 2.0, "in_flight": 3,
            "elsewhere": 0, "soft_limit": 100, "hard_limit": 150, "score": 1.5, "picked": true, "why": "the least loaded",
        }],
        "picked": "backend-eu-1", "error": null,
    })
}

fn event() -> Value {
    json!({
        "id": "644c1d2e3f4a5-17", "time": "2026-11-27T09:12:44.018Z", "type": "ejected", "backend": "backend-eu-1",
        "app": "myapp", "region": "eu", "state": "ejected",
        "reason": "3 consecutive requests failed; on trial in 30 s at the latest", "incarnation": 7,
    })
}

pub(super) fn event_page() -> Value {
    json!({"events": [event()], "last_event_id": "644c1d2e3f4a5-17", "reset": false})
}

pub(super) const EVENTS: &str = "retry: 2000\nid: 644c1d2e3f4a5-16\n\nid: 644c1d2e3f4a5-17\nevent: ejected\n\
    data: {\"id\":\"644c1d2e3f4a5-17\",\"time\":\"2026-11-27T09:12:44.018Z\",\"type\":\"ejected\",\"backend\":\"backend-eu-1\",\
    \"app\":\"myapp\",\"region\":\"eu\",\"state\":\"ejected\",\"reason\":\"3 consecutive requests failed; on trial in 30 s at \
    the latest\",\"incarnation\":7}\n\n";

pub(super) const METRICS: &str = "# HELP edgeproxy_registry_backends Backends that are listed, in any state.\n\
    # TYPE edgeproxy_registry_backends gauge\nedgeproxy_registry_backends 5\n";

pub(super) fn configuration() -> Value {
    json!({
        "version": 2, "unix_secs": 1_795_770_764, "file": "edgeproxy.toml",
        "settings": [{
            "key": "api_enabled", "value": true, "from": "file", "place": "edgeproxy.toml:1:1",
            "variable": "EDGEPROXY_API_ENABLED", "flag": "--api-enabled", "live": false,
        }],
        "listeners": [], "apps": [], "routes": [], "backends": [], "regions": {},
        "reloads": 1,
        "last_reload": {"unix_secs": 1_795_770_764, "by": "signal", "result": "applied", "changes": [], "problems": []},
    })
}
