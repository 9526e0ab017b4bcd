//! A fleet as the API tells of it, for tests.

use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};

use super::state::{Act, Message, State};
use super::wire::{Event, Listed};

pub(super) fn listed(id: &str, app: &str, region: &str, state: &str, reason: &str) -> Listed {
    let disabled = if state == "disabled" {
        json!({"enabled": false})
    } else {
        json!({})
    };
    read(json!({
        "id": id, "app": app, "region": region, "country": "DE", "ip": "10.0.0.1", "port": 8080, "protocol": "http",
        "weight": 2, "soft_limit": 12, "hard_limit": 20, "fallback": false, "source": "registered", "state": state,
        "reason": reason, "in_flight": 3, "ttl_secs": 30, "registered_secs": 4_000, "incarnation": 1,
        "requests_total": 12_345, "failures_total": 6, "latency_ms": 8.1, "overrides": disabled,
        "metadata": {"version": "2.4.1", "rack": "r7"},
    }))
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub(super) fn event(at: &str, kind: &str, backend: &str, state: Option<&str>, reason: &str) -> Event {
    read(json!({
        "time": format!("2026-11-27T{at}.018Z"), "type": kind, "backend": backend, "state": state, "reason": reason,
        "incarnation": 1,
    }))
}

/// Five backends of two apps in two regions, of which one is ejected and one drained, as an operator sees them.
pub(super) fn fleet(size: (u16, u16)) -> (State, Instant) {
    let now = Instant::now();
    let well = "takes traffic";
    let ejected = "3 consecutive requests failed; on trial in 30 s at the latest";
    let drained = "disabled by an operator";
    let backends = vec![
        listed("eu-1", "shop", "eu", "routable", well),
        listed("eu-2", "shop", "eu", "ejected", ejected),
        listed("eu-10", "shop", "eu", "routable", well),
        listed("us-1", "shop", "us", "disabled", drained),
        listed("search-1", "search", "eu", "routable", well),
    ];
    let events = vec![
        event("09:12:01", "registered", "search-1", Some("routable"), well),
        event("09:12:44", "ejected", "eu-2", Some("ejected"), ejected),
        event("09:13:07", "changed", "us-1", Some("disabled"), drained),
    ];
    let mut state = State::new("http://127.0.0.1:8081".to_owned(), backends, events, size, now);
    hear(
        &mut state,
        Message::Hello(read(
            json!({"version": "0.1.0", "role": "operate", "apps": "*", "name": null}),
        )),
        now,
    );
    hear(&mut state, stats(), now);
    (state, now)
}

pub(super) fn stats() -> Message {
    Message::Stats(read(json!({
        "server": {"uptime_secs": 200, "phase": "ready", "store": "file", "degraded": null},
        "totals": {"backends": 5, "requests_per_sec": 120.4, "failures_per_sec": 0.5, "in_flight": 24, "latency_ms": 3.2,
            "p50_ms": 2.9, "p99_ms": 14.1},
        "partial": false,
        "backends": {"eu-1": [60.2, 0.0, 3.1, 4], "eu-2": [0.0, 0.5, 40.0, 0], "eu-10": [50.1, 0.0, 2.9, 14],
            "us-1": [0.0, 0.0, null, 1], "search-1": [10.1, 0.0, 0.25, 20]},
    })))
}

/// As it is when it is drawn next.
pub(super) fn hear(state: &mut State, message: Message, now: Instant) -> Vec<Act> {
    let acts = state.handle(message, now);
    state.settle();
    acts
}

pub(super) fn press(state: &mut State, code: KeyCode) -> Vec<Act> {
    let now = state.now + Duration::from_millis(1);
    hear(state, Message::Key(KeyEvent::new(code, KeyModifiers::NONE)), now)
}

pub(super) fn write(state: &mut State, text: &str) {
    for c in text.chars() {
        press(state, KeyCode::Char(c));
    }
}
