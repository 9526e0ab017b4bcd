//! The API described for programs: OpenAPI 3.1, made of the list of endpoints that the router is made of, of the kinds of
//! refusals, and of the limits that the parsers use.
//!
//! It is the same whatever the configuration, so that it can be had without a server.

mod examples;
mod operation;
pub(crate) mod operations;
#[cfg(test)]
mod reference;
mod schema;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value, json};

use crate::endpoint::Endpoint;
use crate::endpoint::configuration::is_known;
use crate::endpoint::page::fnv1a;
use crate::problem::Kind;
use crate::serve::accept::JSON;
pub(crate) use operation::Operation;
use operation::{Refusals, Tag};

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

static TEXT: LazyLock<String> = LazyLock::new(|| {
    // Texts, numbers and flags alone: this can't fail.
    let mut text = serde_json::to_string_pretty(&*DOCUMENT).unwrap_or_default();
    text.push('\n');
    text
});

/// The description of the discovery API in OpenAPI 3.1, as JSON: what `GET /openapi.json` answers.
#[must_use]
pub fn openapi() -> &'static str {
    &TEXT
}

/// `GET /openapi.json`.
pub(crate) async fn get(headers: HeaderMap) -> Response {
    static TAG: LazyLock<String> = LazyLock::new(|| format!("\"{:016x}\"", fnv1a(openapi().as_bytes())));
    let tag = [(ETAG, TAG.as_str())];
    if is_known(&headers, &TAG) {
        return (StatusCode::NOT_MODIFIED, tag).into_response();
    }
    (tag, [(CONTENT_TYPE, JSON)], openapi()).into_response()
}

/// What holds for all of it.
const CONVENTIONS: &str = "\
Backends register themselves, keep a lease by heartbeats, and leave; operators list, change and drain them, and ask why a \
request would go where it goes.

**Errors** are `application/problem+json` (RFC 9457): `type` for programs, `error` for people, `id` where it is about one \
backend, and with 422 every field that breaks its rule in `fields`. A refusal changes nothing. What each `type` means, and \
what to do: `x-problems` below, and the page `/docs`.

**Entity tags.** A backend's is its incarnation. `If-Match` on a change names the one that is meant.

**Pages.** `limit` and `cursor`; `next_cursor` is missing on the last one.

**Times** are seconds, and say so in their names; points in time are RFC 3339 in UTC.

**Bodies** are JSON, at most 64 KiB. Heads end at 16 KiB and 100 fields, queries at 32 parameters, each of them once. An \
unknown parameter is refused.

**Methods.** `HEAD` is answered wherever `GET` is, without the body; `OPTIONS` with 204 and `Allow`; any other that a path \
doesn't have with 405, `Allow`, and the problem `method-not-allowed`.

**Who may.** Without a file of tokens: peers on loopback and private networks, for everything. With one: whoever shows a \
token or a certificate, by its role (`read`, `register`, `operate`, each with what those before it may) and its apps. \
The roles stand beside `security`. More: docs/access.md.";

fn document() -> Value {
    let mut paths = Map::new();
    let mut refusals = Refusals::default();
    for (order, endpoint) in Endpoint::ALL.iter().enumerate() {
        let mut written = (endpoint.described)().written(*endpoint, &mut refusals);
        // Members of an object have no order; whoever learns an API wants one.
        written["x-order"] = order.into();
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.to_ascii_lowercase()] = written;
    }
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "edgeproxy",
            "summary": "The discovery API of the load balancer that backends register themselves with",
            "version": env!("CARGO_PKG_VERSION"),
            "description": CONVENTIONS,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The API's listener, port 8081 by default."}],
        "tags": Tag::ALL.map(Tag::described),
        "paths": paths,
        "components": {
            "schemas": schema::components(),
            "responses": refusals.written(),
            "headers": headers(),
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token of `api_tokens_file`; `edgeproxy token new` makes one.",
                },
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A certificate that `api_tls_client_ca` has issued and `[[certificates]]` names.",
                },
            },
        },
        "x-problems": Kind::ALL.iter().map(|kind| json!({
            "type": kind.uri(), "name": kind.name(), "status": kind.status().as_u16(), "title": kind.title(),
            "advice": kind.advice(),
        })).collect::<Vec<_>>(),
    })
}

fn headers() -> Value {
    let header = |text: &str, is_always: bool, schema: Value| json!({"description": text, "required": is_always, "schema": schema});
    let string = || json!({"type": "string"});
    json!({
        "Cache-Control": header(
            "`no-store`; of what has an entity tag and is the same for everybody `no-cache`.", true, string(),
        ),
        "X-Content-Type-Options": header("", true, json!({"const": "nosniff"})),
        "X-Request-Id": header(
            "What the audit log calls the request.", true, json!({"type": "string", "pattern": "^[0-9a-f]{8}-[0-9]+$"}),
        ),
        "ETag": header("What `If-Match` and `If-None-Match` take.", true, json!({"type": "string", "pattern": "^\"[!#-~]+\"$"})),
        "Location": header("Where the backend is.", true, json!({"type": "string", "format": "uri-reference"})),
        "Retry-After": header("Seconds until another try is worth it.", true, json!({"type": "integer", "minimum": 0})),
        "WWW-Authenticate": header("RFC 6750, section 3.", true, string()),
        "Content-Security-Policy": header("Nothing but what is here.", true, string()),
    })
}
