//! With tokens: who is served, and what refusals say.

use std::fmt::Write;

use edgeproxy_access::{AppPattern, Entry, Grants, Role, Token};

use super::*;
use crate::Granted;
use crate::serve::tls::ClientNames;

/// A token whose text is known, so that tests can show it.
pub(crate) fn token(name: &str) -> Token {
    Token::parse(&format!("test-token-0123456789-abcdef-{name}")).unwrap()
}

/// Entries of a file, each a name, a role and a pattern.
pub(crate) fn entries(granted: &[(&str, Role, &str)]) -> String {
    let entry = |(name, role, apps): &(&str, Role, &str)| {
        let apps = AppPattern::parse(apps).unwrap();
        Entry::new(*name, *role, apps, token(name).digest()).to_string()
    };
    granted.iter().map(entry).collect()
}

pub(super) fn access(file: &str) -> Access {
    Access {
        granted: Some(Granted::new(Grants::parse(file).unwrap())),
        ..Access::default()
    }
}

pub(super) fn guarded(file: &str) -> Fixture {
    Fixture::with(Setup {
        access: access(file),
        ..Setup::default()
    })
}

impl Fixture {
    /// As [`Fixture::json`], with the token of that name.
    pub(super) async fn as_of(&self, name: &str, method: &str, path: &str, body: &Value) -> Reply {
        let authorization = format!("Bearer {}", token(name).reveal());
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, path, &headers, body).await
    }
}

#[tokio::test(start_paused = true)]
async fn row_401_no_token() {
    let mut f = guarded(&entries(&[("all", Role::Operate, "*")]));
    // Loopback as well.
    for peer in ["127.0.0.1:1", "10.0.0.1:1", "[::1]:1", "203.0.113.9:1"] {
        f.peer = peer.parse().unwrap();
        for (method, path) in [
            ("GET", "/api/v1/backends"),
            ("POST", "/api/v1/register"),
            ("DELETE", "/api/v1/backends/a"),
            ("GET", "/nowhere"),
            ("OPTIONS", "/api/v1/backends"),
        ] {
            let reply = f.json(method, path, &registration("a")).await;
            assert_eq!(reply.status, 401, "{peer} {method} {path}");
            assert_eq!(reply.headers["www-authenticate"], "Bearer realm=\"edgeproxy\"");
            assert!(
                reply.error().contains("Authorization: Bearer TOKEN"),
                "{}",
                reply.error()
            );
        }
    }
    for authorization in ["Basic YTpi", "Bearer", "abc"] {
        let reply = f
            .send("GET", "/api/v1/apps", &[("authorization", authorization)], "")
            .await;
        assert_eq!(reply.status, 401, "{authorization}");
    }
    let twice = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(f.send("GET", "/api/v1/apps", &twice, "").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn row_401_a_wrong_token_is_never_repeated() {
    let f = guarded(&entries(&[("all", Role::Operate, "*")]));
    for wrong in [
        "test-token-0123456789-abcdef-al",
        "test-token-0123456789-abcdef-ALL",
        "x",
    ] {
        let authorization = format!("Bearer {wrong}");
        for path in ["/api/v1/backends", "/health"] {
            let reply = f
                .send("GET", path, &[("authorization", &authorization)], "")
                .await;
            assert_eq!(reply.status, 401, "{wrong}");
            let challenge = "Bearer realm=\"edgeproxy\", error=\"invalid_token\"";
            assert_eq!(reply.headers["www-authenticate"], challenge);
            assert!(!reply.body.to_string().contains(wrong) || wrong == "x");
        }
    }
    // A token in the query is none.
    let path = format!("/api/v1/backends?access_token={}", token("all").reveal());
    assert_eq!(f.get(&path).await.status, 401);
    assert_eq!(
        f.as_of("all", "GET", "/api/v1/backends", &Value::Null)
            .await
            .status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn row_403_a_token_that_may_not_touch_this_app() {
    let f = guarded(&entries(&[
        ("all", Role::Operate, "*"),
        ("shops", Role::Operate, "shop-*"),
        ("agent", Role::Register, "shop-*"),
    ]));
    assert_eq!(
        f.as_of("all", "POST", "/api/v1/register", &registration("a"))
            .await
            .status,
        201
    );
    let before = f.as_of("all", "GET", "/api/v1/backends/a", &Value::Null).await;
    // The app that somebody names is repeated; whose an id is is nobody else's affair.
    let sent = "the token \"shops\" is for app shop-*, not for \"myapp\"";
    let found = "the token \"shops\" is for app shop-*, and backend a belongs to another";
    for (method, path, body, error) in [
        ("POST", "/api/v1/register", registration("b"), sent),
        ("POST", "/api/v1/heartbeat/a", Value::Null, found),
        ("GET", "/api/v1/backends/a", Value::Null, found),
        ("DELETE", "/api/v1/backends/a", Value::Null, found),
        ("PATCH", "/api/v1/backends/a", json!({"enabled": false}), found),
        ("GET", "/api/v1/apps/myapp", Value::Null, sent),
        ("GET", "/api/v1/explain?app=myapp", Value::Null, sent),
    ] {
        let reply = f.as_of("shops", method, path, &body).await;
        assert_eq!(reply.status, 403, "{method} {path}: {}", reply.body);
        assert_eq!(reply.error(), error, "{method} {path}");
    }
    for (method, path) in [("POST", "/api/v1/heartbeat/a"), ("DELETE", "/api/v1/backends/a")] {
        let reply = f.as_of("agent", method, path, &Value::Null).await;
        assert_eq!(
            (reply.status, &reply.body["id"]),
            (StatusCode::FORBIDDEN, &json!("a"))
        );
    }
    assert_eq!(
        f.as_of("agent", "DELETE", "/api/v1/backends/b", &Value::Null)
            .await
            .status,
        404
    );
    // Not by taking the id over, either.
    let mut other = registration("a");
    other["app"] = json!("shop-eu");
    assert_eq!(
        f.as_of("agent", "POST", "/api/v1/register", &other).await.status,
        409
    );
    let after = f.as_of("all", "GET", "/api/v1/backends/a", &Value::Null).await;
    assert_eq!(before.body, after.body);
}

#[tokio::test(start_paused = true)]
async fn row_403_a_role_that_may_not_do_this() {
    let f = guarded(&entries(&[
        ("reader", Role::Read, "*"),
        ("shops", Role::Operate, "shop-*"),
    ]));
    let reply = f
        .as_of("reader", "DELETE", "/api/v1/backends/a", &Value::Null)
        .await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.error(),
        "DELETE /api/v1/backends/{id} takes the role register; the token \"reader\" has read"
    );
    let reply = f.as_of("shops", "GET", "/api/v1/config", &Value::Null).await;
    assert_eq!(reply.status, 403);
    assert_eq!(
        reply.error(),
        "GET /api/v1/config is about all apps; the token \"shops\" is for shop-*"
    );
    // What is in no role's power is told as ever.
    assert_eq!(
        f.as_of("reader", "PUT", "/api/v1/backends/a", &Value::Null)
            .await
            .status,
        405
    );
    assert_eq!(
        f.as_of("reader", "GET", "/nowhere", &Value::Null).await.status,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn lists_hold_the_caller_s_apps_alone() {
    let f = guarded(&entries(&[
        ("all", Role::Operate, "*"),
        ("one", Role::Read, "app1"),
    ]));
    for n in 0..6 {
        let mut one = registration(&format!("b{n}"));
        one["app"] = json!(format!("app{}", n % 3));
        assert_eq!(f.as_of("all", "POST", "/api/v1/register", &one).await.status, 201);
    }
    let list = async |name: &str, path: &str| f.as_of(name, "GET", path, &Value::Null).await.body;
    assert_eq!(list("all", "/api/v1/backends").await["total"], 6);
    let own = list("one", "/api/v1/backends").await;
    assert_eq!(own["total"], 2);
    assert!(
        own["backends"]
            .as_array()
            .unwrap()
            .iter()
            .all(|backend| backend["app"] == "app1")
    );
    assert_eq!(list("one", "/api/v1/backends?app=app2").await["total"], 0);
    let apps = list("one", "/api/v1/apps").await;
    assert_eq!(
        (&apps["total"], &apps["apps"][0]["app"]),
        (&json!(1), &json!("app1"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_stranger_learns_that_it_is_alive_and_ready_and_no_more() {
    let f = guarded(&entries(&[("one", Role::Read, "app1")]));
    f.readiness.ready();
    let reply = f.get("/health").await;
    assert_eq!(
        (reply.status, &reply.body),
        (StatusCode::OK, &json!({"status": "ok"}))
    );
    assert_eq!(f.get("/ready").await.status, 200);
    let reply = f.as_of("one", "GET", "/health", &Value::Null).await;
    assert_eq!(reply.members(), ["backends", "status", "uptime_secs", "version"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_token_is_401_and_one_from_elsewhere_403() {
    let mut file = entries(&[("old", Role::Read, "*")]);
    writeln!(file, "expires = 2020-01-01").unwrap();
    file += &entries(&[("near", Role::Read, "*")]);
    writeln!(file, "from = [\"10.0.0.0/8\"]").unwrap();
    let mut f = guarded(&file);
    let reply = f.as_of("old", "GET", "/api/v1/apps", &Value::Null).await;
    assert_eq!(reply.status, 401);
    assert!(
        reply.error().contains("has expired, at 2020-01-01T00:00:00Z"),
        "{}",
        reply.error()
    );
    let reply = f.as_of("near", "GET", "/api/v1/apps", &Value::Null).await;
    assert_eq!(reply.status, 403);
    assert_eq!(reply.error(), "the token \"near\" may not be used from 127.0.0.1");
    f.peer = ([10, 1, 1, 1], 1).into();
    assert_eq!(
        f.as_of("near", "GET", "/api/v1/apps", &Value::Null).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn row_429_a_peer_that_guesses_is_told_to_wait_and_right_tokens_from_there_are_served() {
    let bounds = Bounds {
        failures_per_min: 3.try_into().unwrap(),
        ..Bounds::default()
    };
    let mut file = entries(&[("all", Role::Operate, "*"), ("old", Role::Read, "*")]);
    writeln!(file, "expires = 2020-01-01").unwrap();
    let mut f = Fixture::with(Setup {
        access: access(&file),
        bounds,
        ..Setup::default()
    });
    let guess = [("authorization", "Bearer guess")];
    for _ in 0..3 {
        assert_eq!(f.send("GET", "/api/v1/apps", &guess, "").await.status, 401);
    }
    let reply = f.send("GET", "/api/v1/apps", &guess, "").await;
    assert_eq!(reply.status, 429);
    assert!(
        reply.error().contains("too many wrong tokens"),
        "{}",
        reply.error()
    );
    // Who shows a right one is served, who shows none is told as ever, and one that has ended is no guess.
    assert_eq!(
        f.as_of("all", "GET", "/api/v1/apps", &Value::Null).await.status,
        200
    );
    assert_eq!(f.get("/api/v1/apps").await.status, 401);
    f.peer = ([127, 0, 0, 2], 1).into();
    for _ in 0..5 {
        let reply = f.as_of("old", "GET", "/api/v1/apps", &Value::Null).await;
        assert_eq!(reply.status, 401);
    }
    assert_eq!(f.send("GET", "/api/v1/apps", &guess, "").await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn another_file_is_in_force_for_the_next_request() {
    let granted = Granted::new(Grants::parse(&entries(&[("old", Role::Read, "*")])).unwrap());
    let f = Fixture::with(Setup {
        access: Access {
            granted: Some(granted.clone()),
            ..Access::default()
        },
        ..Setup::default()
    });
    assert_eq!(
        f.as_of("old", "GET", "/api/v1/apps", &Value::Null).await.status,
        200
    );
    granted.replace(Grants::parse(&entries(&[("new", Role::Read, "*")])).unwrap());
    assert_eq!(
        f.as_of("old", "GET", "/api/v1/apps", &Value::Null).await.status,
        401
    );
    assert_eq!(
        f.as_of("new", "GET", "/api/v1/apps", &Value::Null).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_host_or_origin_is_403_with_a_token_as_well() {
    let f = guarded(&entries(&[("all", Role::Operate, "*")]));
    let authorization = format!("Bearer {}", token("all").reveal());
    for foreign in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let headers = [
            ("authorization", authorization.as_str()),
            foreign,
            ("content-type", "application/json"),
        ];
        let reply = f
            .send(
                "POST",
                "/api/v1/register",
                &headers,
                registration("a").to_string(),
            )
            .await;
        assert_eq!(reply.status, 403, "{foreign:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_who_its_names_say() {
    let f = guarded(
        "[[certificates]]\nname = \"agent\"\nsubject = \"spiffe://prod/agent\"\nrole = \"register\"\napp = \"myapp\"\n",
    );
    let send = async |names: &[&str], method: &str, path: &str, body: String| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        request.extensions_mut().insert(ClientNames(names.into()));
        f.request(request).await
    };
    let known = ["agent.internal", "spiffe://prod/agent"];
    let reply = send(&known, "POST", "/api/v1/register", registration("a").to_string()).await;
    assert_eq!(reply.status, 201);
    let mut other = registration("b");
    other["app"] = json!("other");
    let reply = send(&known, "POST", "/api/v1/register", other.to_string()).await;
    assert_eq!(
        reply.error(),
        "the certificate \"agent\" is for app myapp, not for \"other\""
    );
    let reply = send(&["evil.internal"], "GET", "/api/v1/apps", String::new()).await;
    assert_eq!(reply.status, 403);
    assert!(
        reply
            .error()
            .starts_with("the certificate is for evil.internal; none of that"),
        "{}",
        reply.error()
    );
    // As a stranger, where strangers are answered.
    let reply = send(&["evil.internal"], "GET", "/health", String::new()).await;
    assert_eq!(
        (reply.status, &reply.body),
        (StatusCode::OK, &json!({"status": "ok"}))
    );
}

#[tokio::test(start_paused = true)]
async fn same_address_takes_a_backend_at_the_address_that_it_registers_from() {
    let mut f = Fixture::with(Setup {
        admission: Admission {
            source: crate::Source::SameAddress,
            ..Admission::default()
        },
        ..Setup::default()
    });
    f.peer = "[::ffff:10.50.1.1]:1".parse().unwrap();
    f.registered("a").await;
    f.peer = ([10, 50, 1, 2], 1).into();
    let reply = f.register(&registration("b")).await;
    assert_eq!(
        (reply.status, &reply.body["id"]),
        (StatusCode::FORBIDDEN, &json!("b"))
    );
    assert!(
        reply
            .error()
            .starts_with("the ip is 10.50.1.1, and this registration comes from 10.50.1.2; "),
        "{}",
        reply.error()
    );
    // What is registered already is renewed from anywhere.
    assert_eq!(
        f.json("POST", "/api/v1/heartbeat/a", &json!({})).await.status,
        200
    );
}

#[tokio::test(start_paused = true)]
async fn changes_and_reads_are_counted_apart() {
    let one = std::num::NonZeroU32::MIN;
    let f = Fixture::with(Setup {
        bounds: Bounds {
            requests_per_sec: one,
            burst: one,
            ..Bounds::default()
        },
        ..Setup::default()
    });
    assert_eq!(f.get("/api/v1/apps").await.status, 200);
    assert_eq!(f.get("/api/v1/apps").await.status, 429);
    assert_eq!(f.register(&registration("a")).await.status, 201);
    assert_eq!(f.register(&registration("a")).await.status, 429);
}
