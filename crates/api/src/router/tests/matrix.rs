//! Role × endpoint × app. An endpoint without a row fails, and so does a row that the documentation hasn't.

use std::collections::BTreeSet;

use edgeproxy_access::Role;

use super::granted::{entries, guarded};
use super::*;
use crate::endpoint::Endpoint;

/// What becomes of a request about an app that isn't the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Foreign {
    /// There is no app in it.
    Served,
    /// 403.
    Refused,
    /// Left out of what is listed.
    Filtered,
    /// Left out of what is told.
    Silent,
    /// 403 unless the caller is for all apps.
    Whole,
}

struct Row {
    method: &'static str,
    path: &'static str,
    /// The role from which on it is allowed; `None`: nobody needs one.
    least: Option<Role>,
    foreign: Foreign,
    /// What is sent, about an app of that name.
    request: fn(app: &str) -> (String, Value),
}

const fn row(
    method: &'static str,
    path: &'static str,
    least: Option<Role>,
    foreign: Foreign,
    request: fn(app: &str) -> (String, Value),
) -> Row {
    Row {
        method,
        path,
        least,
        foreign,
        request,
    }
}

use Foreign::{Filtered, Refused, Served, Silent, Whole};
use Role::{Operate, Read, Register};

const ROWS: &[Row] = &[
    row("GET", "/health", None, Served, |_| {
        ("/health".to_owned(), Value::Null)
    }),
    row("GET", "/ready", None, Served, |_| {
        ("/ready".to_owned(), Value::Null)
    }),
    row("POST", "/api/v1/register", Some(Register), Refused, |app| {
        ("/api/v1/register".to_owned(), of(app))
    }),
    row("POST", "/api/v1/heartbeat/{id}", Some(Register), Refused, |app| {
        (format!("/api/v1/heartbeat/{app}-1"), Value::Null)
    }),
    row("GET", "/api/v1/backends", Some(Read), Filtered, |_| {
        ("/api/v1/backends".to_owned(), Value::Null)
    }),
    row("GET", "/api/v1/backends/{id}", Some(Read), Refused, |app| {
        (format!("/api/v1/backends/{app}-1"), Value::Null)
    }),
    row(
        "DELETE",
        "/api/v1/backends/{id}",
        Some(Register),
        Refused,
        |app| (format!("/api/v1/backends/{app}-1?drain=1s"), Value::Null),
    ),
    row("PATCH", "/api/v1/backends/{id}", Some(Operate), Refused, |app| {
        (format!("/api/v1/backends/{app}-1"), json!({"weight": 3}))
    }),
    row("GET", "/api/v1/apps", Some(Read), Filtered, |_| {
        ("/api/v1/apps".to_owned(), Value::Null)
    }),
    row("GET", "/api/v1/apps/{app}", Some(Read), Refused, |app| {
        (format!("/api/v1/apps/{app}"), Value::Null)
    }),
    row("GET", "/api/v1/explain", Some(Operate), Refused, |app| {
        (format!("/api/v1/explain?app={app}"), Value::Null)
    }),
    row("GET", "/api/v1/events", Some(Read), Silent, |_| {
        ("/api/v1/events".to_owned(), Value::Null)
    }),
    row("GET", "/api/v1/config", Some(Operate), Whole, |_| {
        ("/api/v1/config".to_owned(), Value::Null)
    }),
    row("GET", "/metrics", Some(Read), Whole, |_| {
        ("/metrics".to_owned(), Value::Null)
    }),
    row("GET", "/openapi.json", None, Served, |_| {
        ("/openapi.json".to_owned(), Value::Null)
    }),
    row("GET", "/docs", None, Served, |_| {
        ("/docs".to_owned(), Value::Null)
    }),
    row("GET", "/", None, Served, |_| ("/".to_owned(), Value::Null)),
    row("GET", "/ui/{file}", None, Served, |_| {
        ("/ui/app.js".to_owned(), Value::Null)
    }),
];

/// The backend `APP-1`.
fn of(app: &str) -> Value {
    let mut one = registration(&format!("{app}-1"));
    one["app"] = json!(app);
    one
}

#[test]
fn every_endpoint_of_the_router_has_a_row_and_every_row_an_endpoint() {
    let named = |(method, path): (&str, &str)| format!("{method} {path}");
    let rows: BTreeSet<String> = ROWS.iter().map(|row| named((row.method, row.path))).collect();
    let endpoints: BTreeSet<String> = Endpoint::ALL
        .iter()
        .map(|endpoint| named((endpoint.method, endpoint.path)))
        .collect();
    assert_eq!(rows, endpoints);
    assert_eq!((rows.len(), endpoints.len()), (ROWS.len(), Endpoint::ALL.len()));
}

#[test]
fn the_documentation_has_the_same_rows() {
    let documented = include_str!("../../../../../docs/access.md");
    for row in ROWS {
        let cell = |role: Role| match row.least {
            Some(least) if role < least => "–",
            None => "yes",
            Some(_) => match row.foreign {
                Served => "yes",
                Refused => "its apps",
                Filtered => "its apps are listed",
                Silent => "its apps' events",
                Whole => "with `app = \"*\"`",
            },
        };
        let nobody = if row.least.is_none() { "yes" } else { "401" };
        let line = format!(
            "| `{} {}` | {nobody} | {} | {} | {} |",
            row.method,
            row.path,
            cell(Read),
            cell(Register),
            cell(Operate)
        );
        assert!(documented.contains(&line), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_role_at_every_endpoint_for_every_app() {
    const PATTERNS: [(&str, &str); 4] = [
        ("exact", "mine"),
        ("prefix", "min*"),
        ("all", "*"),
        ("other", "theirs"),
    ];
    let names: Vec<(String, Role, &str)> = Role::ALL
        .into_iter()
        .flat_map(|role| PATTERNS.map(|(name, pattern)| (format!("{role}-{name}"), role, pattern)))
        .collect();
    let granted: Vec<(&str, Role, &str)> = names
        .iter()
        .map(|(name, role, apps)| (&**name, *role, *apps))
        .collect();
    let f = guarded(&entries(&granted));
    f.readiness.ready();
    let mut cases = 0;
    for row in ROWS {
        for app in ["mine", "theirs"] {
            let (path, body) = (row.request)(app);
            let without = f.json(row.method, &path, &body).await.status;
            assert_eq!(without == 401, row.least.is_some(), "{} {path}", row.method);
            for (name, role, pattern) in &names {
                for each in ["mine", "theirs"] {
                    let put = f
                        .as_of("operate-all", "POST", "/api/v1/register", &of(each))
                        .await;
                    assert!(put.status.is_success(), "{}", put.body);
                }
                let covered = match *pattern {
                    "*" => true,
                    "theirs" => app == "theirs",
                    _ => app == "mine",
                };
                let allowed = match (row.least, row.foreign) {
                    (None, _) => true,
                    (Some(least), _) if *role < least => false,
                    (_, Served | Filtered | Silent) => true,
                    (_, Refused) => covered,
                    (_, Whole) => *pattern == "*",
                };
                let reply = f.as_of(name, row.method, &path, &body).await;
                let what = format!("{name} {} {path}: {}", row.method, reply.body);
                if !allowed {
                    assert_eq!(reply.status, 403, "{what}");
                    assert!(reply.error().contains(&format!("{name:?}")), "{what}");
                } else if ["/api/v1/config", "/metrics"].contains(&row.path) {
                    // Behind the check: there is none to show.
                    assert_eq!(reply.status, 404, "{what}");
                } else {
                    assert!(reply.status.is_success(), "{what}");
                }
                if row.foreign == Filtered && allowed {
                    let expected = if *pattern == "*" { 2 } else { 1 };
                    assert_eq!(reply.body["total"], expected, "{what}");
                }
                cases += 1;
            }
        }
    }
    assert_eq!(cases, ROWS.len() * 2 * 12);
}
