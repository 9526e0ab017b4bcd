//! The reference of the API for people, made of its description.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::{DOCUMENT, Tag};
use crate::endpoint::{Endpoint, Need};
use crate::problem::Kind;

const BEGINNING: &str = "# The discovery API

<!-- Made from crates/api/src/openapi by `UPDATE_EXPECTED=1 cargo nextest run --workspace --all-features -E 'test(the_reference_is_what_the_description_says)'`. -->

Backends register themselves over HTTP, keep a lease by heartbeats, and leave. Operators list, change and drain them, and ask why a
request would go where it goes. What is registered is what is routed to, from the next request on.

It is described for programs, too: `GET /openapi.json` is OpenAPI 3.1, `edgeproxy openapi` prints the same without a
server, and `/docs` is the page to read it at, with every member, limit and example. The page needs nothing from elsewhere.

```sh
curl -X POST http://localhost:8081/api/v1/register -H 'Content-Type: application/json' \\
  -d '{\"id\":\"backend-eu-1\",\"app\":\"myapp\",\"region\":\"eu\",\"ip\":\"10.50.1.1\",\"port\":8080}'
curl -X POST http://localhost:8081/api/v1/heartbeat/backend-eu-1
curl http://localhost:8081/api/v1/backends
curl -X DELETE 'http://localhost:8081/api/v1/backends/backend-eu-1?drain=30s'
```

";

const CONVENTIONS: &str = "## Conventions

- **Bodies** are JSON, at most 64 KiB; `Content-Type: application/json` says so, and curl's default type is refused with a hint. A
  member that comes twice is refused. In a registration or a load report `null` is as good as missing, and an unknown member is
  accepted and named in `warnings`; in a patch `null` clears, and an unknown member is refused.
- **Queries** have at most 32 parameters, each once. An unknown one is refused: a misspelt filter would list everything.
  `/health`, `/ready`, `/metrics`, the pages, and what takes a body or a heartbeat look at none.
- **Entity tags.** A backend's is its incarnation: `ETag: \"7\"`. `If-Match: \"7\"` on a heartbeat, a patch or a deregistration
  refuses with 412 what was meant for another life of the id, so that a process that is stopping can't remove its successor. Lists of
  tags and `*` are taken; a weak tag never matches. `/api/v1/config`, `/openapi.json` and the pages have tags for `If-None-Match`.
- **Pages** have `limit`, 1,000 unless it says otherwise and 10,000 at the most, and `cursor`: the `next_cursor` of the page
  before, which is missing on the last one. `total` counts all pages.
- **Times** are seconds, and say so in their names (`ttl_secs`); points in time are RFC 3339 in UTC, or `unix_secs`. Averages are milliseconds.
- **Tokens** go into `Authorization: Bearer TOKEN` and nowhere else; see [access](access.md).
- **Every answer** has `X-Request-Id`, which the audit log has, too, and `Cache-Control`.
- **`HEAD`** is answered wherever `GET` is, `OPTIONS` with 204 and `Allow`.
- **Limits.** A head ends at 16 KiB and 100 fields. A head or a body may take 10 s, an answer 20 s. A peer may send `api_rate_per_peer`
  requests a second that change something and as many that don't. There are 1,024 connections.
- **New members** may come to answers at any time. What is there keeps its name and its meaning within `/api/v1`.

";

const ERRORS: &str = "## Errors

A refusal is `application/problem+json` (RFC 9457), and changes nothing:

```json
{\"type\":\"/docs#problem-invalid-fields\",\"title\":\"Fields break their rules\",\"status\":422,\"error\":\"port is 0; expected a whole number between 1 and 65535\",\"id\":\"backend-eu-1\",\"fields\":[{\"field\":\"port\",\"problem\":\"is 0; expected a whole number between 1 and 65535\"}]}
```

`type` is for programs: what follows `#problem-` never changes its meaning, and the address is that of the page that says what to
do. `error` is a sentence for people. `id` is there where it is about one backend, `fields` with 422: every field that breaks its
rule, at once. With 429 and 503 `Retry-After` says when another try is worth it. What is no HTTP at all is answered with a bare 400 or
431 and a closed connection.

";

fn who(need: Need) -> String {
    match need {
        Need::Nothing => "everybody".to_owned(),
        Need::Role(role) => format!("`{role}`"),
        Need::Everywhere(role) => format!("`{role}`, for all apps"),
    }
}

fn operation(endpoint: &Endpoint) -> &'static Value {
    &DOCUMENT["paths"][endpoint.path][endpoint.method.to_ascii_lowercase()]
}

fn endpoints() -> String {
    let mut text = "## Endpoints\n\n`role` is what it takes where there are tokens.\n\n\
                    | | | role | answers | refuses with |\n|---|---|---|---|---|\n"
        .to_owned();
    for tag in Tag::ALL {
        let tag = tag.described();
        for endpoint in Endpoint::ALL {
            let operation = operation(endpoint);
            if operation["tags"][0] != tag["name"] {
                continue;
            }
            let statuses = |is_refusal: bool| {
                let all = operation["responses"].as_object().unwrap().keys();
                let those = all.filter(|status| (status.as_str() >= "400") == is_refusal);
                those.cloned().collect::<Vec<_>>().join(", ")
            };
            let _ = writeln!(
                text,
                "| `{} {}` | {} | {} | {} | {} |",
                endpoint.method,
                endpoint.path,
                operation["summary"].as_str().unwrap(),
                who(endpoint.need),
                statuses(false),
                statuses(true)
            );
        }
    }
    text.push('\n');
    text
}

fn errors() -> String {
    let mut text = ERRORS.to_owned();
    text.push_str("| type | status | when | what to do |\n|---|---|---|---|\n");
    for kind in Kind::ALL {
        let _ = writeln!(
            text,
            "| <a id=\"problem-{0}\"></a>`{0}` | {1} | {2} | {3} |",
            kind.name(),
            kind.status().as_u16(),
            kind.title(),
            kind.advice()
        );
    }
    text
}

#[test]
fn the_reference_is_what_the_description_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let expected = format!("{BEGINNING}{}{CONVENTIONS}{}", endpoints(), errors());
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/api.md is out of date: run this test with UPDATE_EXPECTED=1"
    );
}

/// Which kinds of refusals there are is a list, and each of them is somebody's: one that no endpoint has is a row of the
/// reference that nobody ever meets.
#[test]
fn every_problem_is_documented_where_it_can_be_met() {
    // Before there is a path, a method, or a request at all.
    let elsewhere = [Kind::PlainHttp, Kind::MethodNotAllowed];
    let met = |kind: &Kind| {
        let mut refusals = Endpoint::ALL
            .iter()
            .flat_map(|endpoint| (endpoint.described)().refusals_at(*endpoint));
        refusals.any(|one| one == *kind)
    };
    for kind in Kind::ALL {
        assert_eq!(met(kind), !elsewhere.contains(kind), "{kind:?}");
    }
}

/// The example of an exposition is copied into queries: what it names is there.
#[test]
fn the_example_of_metrics_names_such_as_there_are() {
    let documented = include_str!("../../../../docs/metrics.md");
    let named = super::examples::METRICS
        .lines()
        .filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in named {
        let name = line.split([' ', '{']).next().unwrap_or_default();
        assert!(documented.contains(&format!("| `{name}` | ")), "{name}");
        count += 1;
    }
    assert!(count > 0);
}
