//! `GET /api/v1/events`, row by row.

use std::time::Duration;

use edgeproxy_access::Role;
use edgeproxy_backend::BackendId;
use edgeproxy_registry::EventKind;

use super::granted::{access, entries, token};
use super::*;

/// Somebody who follows.
struct Reader {
    body: Body,
    text: String,
    /// The `retry` that came last.
    retry: String,
}

/// An event as a client gets it.
#[derive(Debug)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

impl Event {
    fn about(&self) -> (&str, &str) {
        (&self.name, self.data["backend"].as_str().unwrap_or_default())
    }
}

impl Reader {
    /// The next event, or `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let mut event = Event {
                    id: String::new(),
                    name: String::new(),
                    data: Value::Null,
                };
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => event.id = id.to_owned(),
                        Some(("event", name)) => event.name = name.to_owned(),
                        Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                        Some(("retry", retry)) => self.retry = retry.to_owned(),
                        _ => assert!(line.starts_with(':'), "{line:?}"),
                    }
                }
                if !event.name.is_empty() {
                    return Some(event);
                }
            }
            let frame = self.body.frame().await?.unwrap();
            let data = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    async fn expect(&mut self, name: &str) -> Event {
        let event = self.next().await.unwrap();
        assert_eq!(event.name, name, "{}", event.data);
        event
    }
}

impl Fixture {
    async fn open(&self, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Body) {
        let mut request = Request::builder().uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body)
    }

    /// Follows; the greeting has been read, so that what comes now will be told.
    async fn follow_with(&self, path: &str, headers: &[(&str, &str)]) -> Reader {
        let (status, headers, mut body) = self.open(path, headers).await;
        assert_eq!(
            (status, &headers["content-type"]),
            (StatusCode::OK, &"text/event-stream".parse().unwrap())
        );
        let greeting = body.frame().await.unwrap().unwrap().into_data().unwrap();
        Reader {
            body,
            text: String::from_utf8(greeting.to_vec()).unwrap(),
            retry: String::new(),
        }
    }

    async fn follow(&self, path: &str) -> Reader {
        self.follow_with(path, &[("accept", "text/event-stream")]).await
    }

    async fn json_page(&self, path: &str) -> Value {
        let reply = self
            .send("GET", path, &[("accept", "application/json")], "")
            .await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    async fn registered_in(&self, id: &str, app: &str) {
        let mut one = registration(id);
        one["app"] = json!(app);
        let reply = self.register(&one).await;
        assert_eq!(reply.status, 201, "{}", reply.body);
    }
}

#[tokio::test(start_paused = true)]
async fn each_event_says_what_happened_when_to_whom_and_why() {
    let f = Fixture::new();
    let mut reader = f.follow("/api/v1/events").await;
    f.registered("a").await;
    let event = reader.expect("registered").await;
    assert_eq!(reader.retry, "2000");
    assert_eq!(
        members(&event.data),
        [
            "app",
            "backend",
            "id",
            "incarnation",
            "reason",
            "region",
            "state",
            "time",
            "type"
        ]
    );
    assert_eq!(event.data["id"], event.id);
    assert_eq!(event.data["type"], "registered");
    assert_eq!(
        (&event.data["backend"], &event.data["app"]),
        (&json!("a"), &json!("myapp"))
    );
    assert_eq!(
        (&event.data["region"], &event.data["state"]),
        (&json!("eu"), &json!("routable"))
    );
    assert_eq!(event.data["incarnation"], 1);
    assert!(event.data["time"].as_str().unwrap().ends_with('Z'));

    f.json("PATCH", "/api/v1/backends/a", &json!({"enabled": false}))
        .await;
    let changed = reader.expect("changed").await;
    assert_eq!(
        (&changed.data["state"], &changed.data["reason"]),
        (&json!("disabled"), &json!("disabled by an operator"))
    );
    f.json("PATCH", "/api/v1/backends/a", &json!({"enabled": null}))
        .await;
    assert_eq!(reader.expect("changed").await.data["state"], "routable");
    f.send("DELETE", "/api/v1/backends/a", &[], "").await;
    let removed = reader.expect("removed").await;
    assert_eq!(removed.data["state"], Value::Null);

    f.registered("b").await;
    reader.expect("registered").await;
    // Its lease is 60 s, and the clock goes on by itself while everybody waits.
    let expired = reader.expect("expired").await;
    assert_eq!(
        (&expired.data["backend"], &expired.data["incarnation"]),
        (&json!("b"), &json!(2))
    );
    assert_eq!(expired.data["reason"], "its lease ran out without a heartbeat");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_told_where_it_changed_something() {
    let f = Fixture::new();
    f.registered("a").await;
    let mut reader = f.follow("/api/v1/events").await;
    f.register(&registration("a")).await;
    let mut heavier = registration("a");
    heavier["weight"] = json!(9);
    f.register(&heavier).await;
    f.registered("b").await;
    assert_eq!(reader.next().await.unwrap().about(), ("renewed", "a"));
    assert_eq!(reader.next().await.unwrap().about(), ("registered", "b"));
}

#[tokio::test(start_paused = true)]
async fn last_event_id_resumes_without_a_gap_by_header_and_by_query() {
    let f = Fixture::new();
    let mut reader = f.follow("/api/v1/events").await;
    f.registered("a").await;
    let seen = reader.expect("registered").await;
    drop(reader);
    for id in ["b", "c", "d"] {
        f.registered(id).await;
    }
    let query = format!("/api/v1/events?last_event_id={}", seen.id);
    let from_zero = [("last-event-id", seen.id.as_str())];
    for mut reader in [
        f.follow(&query).await,
        f.follow_with("/api/v1/events", &from_zero).await,
        // What a browser says when it comes back counts more than the address that it was given at first.
        f.follow_with("/api/v1/events?last_event_id=1-1", &from_zero)
            .await,
    ] {
        for id in ["b", "c", "d"] {
            assert_eq!(reader.next().await.unwrap().about(), ("registered", id));
        }
    }
    // Whoever lost the connection before the first event has a place, too.
    let (_, _, mut body) = f.open("/api/v1/events", &[]).await;
    let greeting = body.frame().await.unwrap().unwrap().into_data().unwrap();
    let greeting = String::from_utf8(greeting.to_vec()).unwrap();
    let id = greeting
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    f.registered("e").await;
    let mut reader = f.follow_with("/api/v1/events", &[("last-event-id", id)]).await;
    assert_eq!(reader.next().await.unwrap().about(), ("registered", "e"));
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_what_is_forgotten_or_of_another_process_gets_reset() {
    let f = Fixture::with(Setup {
        events: Events::new(4, 8),
        ..Setup::default()
    });
    let mut reader = f.follow("/api/v1/events").await;
    f.registered("a").await;
    let first = reader.expect("registered").await;
    for at in 0..6 {
        f.registered(&format!("b-{at}")).await;
    }
    // The one that follows hasn't read meanwhile: it is told, and goes on from here.
    let reset = reader.expect("reset").await;
    assert!(
        reset.data["reason"]
            .as_str()
            .unwrap()
            .contains("/api/v1/backends")
    );
    let run = first.id.split_once('-').unwrap().0;
    for gone in [first.id.clone(), "1-1".to_owned(), format!("{run}-999")] {
        let mut reader = f.follow_with("/api/v1/events", &[("last-event-id", &gone)]).await;
        let reset = reader.expect("reset").await;
        assert_eq!(reset.id, format!("{run}-7"), "{gone}");
        let page = f.json_page(&format!("/api/v1/events?last_event_id={gone}")).await;
        assert_eq!(
            (&page["reset"], page["events"].as_array().unwrap().len()),
            (&json!(true), 4)
        );
    }
    f.registered("c").await;
    assert_eq!(reader.next().await.unwrap().about(), ("registered", "c"));
}

#[tokio::test(start_paused = true)]
async fn filters_by_app_backend_and_type_and_names_a_wrong_one() {
    let f = Fixture::new();
    let mut of_app = f.follow("/api/v1/events?app=shop").await;
    let mut of_backend = f.follow("/api/v1/events?backend=b").await;
    let mut of_kinds = f.follow("/api/v1/events?type=removed,changed").await;
    f.registered_in("a", "shop").await;
    f.registered_in("b", "other").await;
    f.send("DELETE", "/api/v1/backends/a", &[], "").await;
    f.send("DELETE", "/api/v1/backends/b", &[], "").await;
    assert_eq!(of_app.next().await.unwrap().about(), ("registered", "a"));
    assert_eq!(of_app.next().await.unwrap().about(), ("removed", "a"));
    assert_eq!(of_backend.next().await.unwrap().about(), ("registered", "b"));
    assert_eq!(of_backend.next().await.unwrap().about(), ("removed", "b"));
    assert_eq!(of_kinds.next().await.unwrap().about(), ("removed", "a"));
    assert_eq!(of_kinds.next().await.unwrap().about(), ("removed", "b"));

    let reply = f
        .get("/api/v1/events?type=ejectd&app=&backend=a%20b&last_event_id=x&stats=1&typ=a")
        .await;
    assert_eq!(reply.status, 422);
    assert_eq!(
        reply.fields(),
        ["app", "backend", "type", "last_event_id", "stats", "typ"]
    );
    let reply = f
        .send("GET", "/api/v1/events", &[("last-event-id", "nonsense")], "")
        .await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        f.send("GET", "/api/v1/events", &[("accept", "text/html")], "")
            .await
            .status,
        406
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_for_one_app_sees_only_that_apps_events() {
    let file = entries(&[("all", Role::Operate, "*"), ("mine", Role::Read, "mine")]);
    let f = Fixture::with(Setup {
        access: access(&file),
        ..Setup::default()
    });
    let shown = format!("Bearer {}", token("mine").reveal());
    let headers = [("authorization", shown.as_str())];
    let mut reader = f.follow_with("/api/v1/events?stats=true", &headers).await;
    for app in ["theirs", "mine"] {
        let mut one = registration(&format!("{app}-1"));
        one["app"] = json!(app);
        f.as_of("all", "POST", "/api/v1/register", &one).await;
    }
    let hello = reader.expect("hello").await;
    assert_eq!(
        (&hello.data["role"], &hello.data["apps"], &hello.data["name"]),
        (&json!("read"), &json!("mine"), &json!("mine"))
    );
    let (mut events, mut figures) = (0, 0);
    while figures < 2 {
        let event = reader.next().await.unwrap();
        match event.name.as_str() {
            "stats" => {
                figures += 1;
                assert_eq!(event.data["backends"].get("theirs-1"), None);
                assert_eq!(event.data["totals"]["backends"], 1);
            }
            _ => {
                events += 1;
                assert_eq!(event.about(), ("registered", "mine-1"));
            }
        }
    }
    assert_eq!(events, 1);
    let page = f
        .send(
            "GET",
            "/api/v1/events",
            &[headers[0], ("accept", "application/json")],
            "",
        )
        .await;
    assert_eq!(page.body["events"].as_array().unwrap().len(), 1);
    let foreign = f.send("GET", "/api/v1/events?app=theirs", &headers, "").await;
    assert_eq!(foreign.status, 403);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_token_is_taken_away() {
    let granted =
        crate::Granted::new(edgeproxy_access::Grants::parse(&entries(&[("one", Role::Read, "*")])).unwrap());
    let f = Fixture::with(Setup {
        access: Access {
            granted: Some(granted.clone()),
            ..Access::default()
        },
        ..Setup::default()
    });
    let shown = format!("Bearer {}", token("one").reveal());
    let mut reader = f
        .follow_with("/api/v1/events", &[("authorization", shown.as_str())])
        .await;
    granted.replace(edgeproxy_access::Grants::parse(&entries(&[("two", Role::Read, "*")])).unwrap());
    assert!(reader.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn readers_are_bounded_and_one_too_many_is_told_when_to_come_back() {
    let f = Fixture::with(Setup {
        events: Events::new(16, 2),
        ..Setup::default()
    });
    let first = f.follow("/api/v1/events").await;
    let _second = f.follow("/api/v1/events").await;
    let reply = f.get("/api/v1/events").await;
    assert_eq!(
        (reply.status, &reply.headers["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    // A page takes no place.
    f.json_page("/api/v1/events").await;
    drop(first);
    f.follow("/api/v1/events").await;
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_every_fifteen_seconds() {
    let f = Fixture::new();
    let mut reader = f.follow("/api/v1/events").await;
    let began = tokio::time::Instant::now();
    for times in 1..=3 {
        let frame = reader.body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&*frame, b":\n\n");
        let waited = began.elapsed();
        let due = Duration::from_secs(15 * times);
        assert!(
            waited >= due && waited <= due + Duration::from_secs(2 * times),
            "{waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn json_gives_the_ring_page_by_page() {
    let f = Fixture::new();
    for id in ["a", "b", "c", "d"] {
        f.registered(id).await;
    }
    // The driver tells them when it has its turn.
    let mut reader = f.follow("/api/v1/events").await;
    f.registered("e").await;
    reader.expect("registered").await;
    let of = |page: &Value| -> Vec<String> {
        let events = page["events"].as_array().unwrap().iter();
        events
            .map(|event| event["backend"].as_str().unwrap().to_owned())
            .collect()
    };
    let whole = f.json_page("/api/v1/events").await;
    assert_eq!(members(&whole), ["events", "last_event_id", "reset"]);
    assert_eq!(
        (of(&whole), &whole["reset"]),
        (
            ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(),
            &json!(false)
        )
    );
    assert_eq!(of(&f.json_page("/api/v1/events?limit=2").await), ["d", "e"]);
    let first = whole["events"][0]["id"].as_str().unwrap();
    let page = f
        .json_page(&format!("/api/v1/events?limit=3&last_event_id={first}"))
        .await;
    assert_eq!(of(&page), ["b", "c", "d"]);
    let next = page["last_event_id"].as_str().unwrap();
    let page = f
        .json_page(&format!("/api/v1/events?limit=3&last_event_id={next}"))
        .await;
    assert_eq!(of(&page), ["e"]);
    assert_eq!(page["last_event_id"], whole["last_event_id"]);
}

#[tokio::test(start_paused = true)]
async fn stats_tell_rates_once_a_second_and_only_what_changed() {
    let f = Fixture::new();
    f.registered("busy").await;
    f.registered("idle").await;
    let mut reader = f.follow("/api/v1/events?stats=true").await;
    let hello = reader.expect("hello").await;
    assert_eq!(
        (&hello.data["role"], &hello.data["name"]),
        (&json!("operate"), &Value::Null)
    );
    let first = reader.expect("stats").await;
    assert!(first.id.is_empty(), "a figure is nothing to resume after");
    assert_eq!(members(&first.data["backends"]), ["busy", "idle"]);
    assert_eq!(first.data["server"]["store"], "memory");
    assert_eq!(first.data["server"]["degraded"], Value::Null);

    let busy = f.handle.get(&BackendId::parse("busy").unwrap()).unwrap().endpoint;
    let admit = || busy.admit(edgeproxy_backend::Admission::Regular).unwrap();
    for _ in 0..9 {
        let _ = admit().failed(1_000, edgeproxy_backend::MonoTime::ZERO);
    }
    let under_way = admit();
    let began = tokio::time::Instant::now();
    let second = reader.expect("stats").await;
    assert_eq!(began.elapsed().as_millis().div_ceil(100), 10);
    assert_eq!(members(&second.data["backends"]), ["busy"]);
    let figures = second.data["backends"]["busy"].as_array().unwrap();
    assert_eq!(
        (figures[0].as_f64(), figures[1].as_f64(), &figures[3]),
        (Some(10.0), Some(9.0), &json!(1))
    );
    let totals = &second.data["totals"];
    assert_eq!(
        (
            &totals["requests_per_sec"],
            &totals["failures_per_sec"],
            &totals["in_flight"]
        ),
        (&json!(10.0), &json!(9.0), &json!(1))
    );
    drop(under_way);
    let third = reader.expect("stats").await;
    assert_eq!(third.data["backends"]["busy"][0], 0.0);
    assert_eq!(members(&reader.expect("stats").await.data["backends"]), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn figures_come_once_a_second_however_much_happens() {
    let f = Fixture::new();
    let mut reader = f.follow("/api/v1/events?stats=true").await;
    reader.expect("hello").await;
    let began = tokio::time::Instant::now();
    let (mut figures, mut events) = (0, 0);
    for sequence in 1.. {
        // There always is one that waits.
        f.events
            .tell(&crate::events::tests::event(sequence, EventKind::Changed));
        match reader.next().await.unwrap().name.as_str() {
            "stats" => figures += 1,
            _ => events += 1,
        }
        if began.elapsed() >= Duration::from_secs(5) {
            break;
        }
    }
    assert!((5..=6).contains(&figures), "{figures}");
    assert!(events > 100, "{events}");
}
