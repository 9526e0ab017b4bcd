//! What each endpoint takes and answers.

use http::StatusCode;
use serde_json::{Value, json};

use super::examples as example;
use super::operation::{Answer, Operation, Tag};
use super::schema::{component, names};
use crate::endpoint::backends::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::endpoint::page;
use crate::events;
use crate::extract::MERGE_PATCH;
use crate::problem::Kind;
use crate::serve::accept::{EVENT_STREAM, JSON};

const BY_ID: &str = "The backend.";

pub(crate) fn health() -> Operation {
    Operation::new(
        "health",
        Tag::Server,
        "Whether the process answers",
        "For load balancers and orchestrators. To whoever shows no token where there are tokens it says `status` alone.",
    )
    .answer(Answer::json("It does.", "Health", example::health()))
}

pub(crate) fn ready() -> Operation {
    Operation::new(
        "ready",
        Tag::Server,
        "Whether to send traffic here",
        "503 until the listeners are bound and the registrations read, and again while what is in flight ends.",
    )
    .answer(Answer::json("Send it.", "Ready", json!({"status": "ready"})))
    .refuses(&[Kind::Starting, Kind::Draining])
}

pub(crate) fn register() -> Operation {
    let leads_to = ["heartbeat", "getBackend", "patchBackend", "deregister"];
    Operation::new(
        "register",
        Tag::Lifecycle,
        "Register a backend, or renew it",
        "It is answered once the backend is routed to. A live id of the same app, ip and port is renewed: the new values count, \
         statistics and failure counters stay. At another address it is a new incarnation, and the old one drains. What an \
         operator has set outlives it.",
    )
    .body(&[JSON], "Registration", example::registrations())
    .answer(
        Answer::new(StatusCode::CREATED, "It is new, or new at this address.")
            .with_json("Registered", example::registered())
            .with("Location")
            .leads_to(&leads_to),
    )
    .answer(Answer::json("It was renewed.", "Registered", example::registered()).leads_to(&leads_to))
    .refuses(&[
        Kind::OtherApp,
        Kind::AddressNotYours,
        Kind::AppTaken,
        Kind::InTheFile,
        Kind::RegistryFull,
        Kind::Stopping,
    ])
}

pub(crate) fn heartbeat() -> Operation {
    Operation::new(
        "heartbeat",
        Tag::Lifecycle,
        "Renew the lease",
        "404 says that the lease is over: register again. The body may be missing, or tell of the backend's load.",
    )
    .path("id", component("BackendId"), BY_ID)
    .fenced()
    .optional_body("LoadReport", example::load_reports())
    .answer(Answer::json("It was heard.", "Renewed", example::renewed()))
    .refuses(&[Kind::OtherApp, Kind::UnknownBackend, Kind::Stopping])
}

pub(crate) fn deregister() -> Operation {
    Operation::new(
        "deregister",
        Tag::Lifecycle,
        "Deregister a backend",
        "It gets no new requests from then on, and what it has in flight is not cut. With `drain` it stays listed until that has \
         ended, or the time is over.",
    )
    .path("id", component("BackendId"), BY_ID)
    .query(
        "drain",
        json!({"type": "string", "pattern": names::DRAIN, "examples": ["30s"]}),
        "How long what is in flight may take, with its unit: at most an hour. Several parts (`1m 30s`) and smaller units are \
         taken, too.",
    )
    .fenced()
    .answer(Answer::json("It is, or will be once it has drained.", "Deregistered", example::deregistered()))
    .refuses(&[Kind::OtherApp, Kind::UnknownBackend, Kind::InTheFile, Kind::Stopping])
}

fn limit(schema_default: usize, max: usize) -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": max, "default": schema_default})
}

pub(crate) fn list_backends() -> Operation {
    Operation::new(
        "listBackends",
        Tag::Backends,
        "List backends",
        "In the order of their registration, those of the caller's apps alone. A backend that stays is on exactly one page, \
         however many come and go meanwhile.",
    )
    .query("app", component("AppName"), "Of that app.")
    .query("region", component("Region"), "In that region.")
    .query("state", component("State"), "In that state.")
    .query("limit", limit(DEFAULT_LIMIT, MAX_LIMIT), "On one page at the most.")
    .query(
        "cursor",
        json!({"type": "string", "pattern": names::CURSOR}),
        "The `next_cursor` of the page before.",
    )
    .answer(Answer::json("A page of them.", "BackendPage", example::backend_page()))
}

pub(crate) fn get_backend() -> Operation {
    Operation::new(
        "getBackend",
        Tag::Backends,
        "Read a backend",
        "With its state, and why it is in that state.",
    )
    .path("id", component("BackendId"), BY_ID)
    .no_query()
    .answer(Answer::json("It.", "OneBackend", example::backend()).with("ETag"))
    .refuses(&[Kind::OtherApp, Kind::UnknownBackend])
}

pub(crate) fn patch_backend() -> Operation {
    Operation::new(
        "patchBackend",
        Tag::Backends,
        "Change a backend as an operator",
        "A JSON merge patch: what isn't named stays, and `null` gives the value of the registration back.",
    )
    .path("id", component("BackendId"), BY_ID)
    .fenced()
    .body(&[MERGE_PATCH, JSON], "Patch", example::patches())
    .answer(Answer::json("It, as it is now.", "OneBackend", example::backend()).with("ETag"))
    .refuses(&[Kind::OtherApp, Kind::UnknownBackend, Kind::Stopping])
}

pub(crate) fn list_apps() -> Operation {
    Operation::new("listApps", Tag::Apps, "List apps", "By name, the caller's alone.")
        .query(
            "limit",
            limit(DEFAULT_LIMIT, MAX_LIMIT),
            "On one page at the most.",
        )
        .query(
            "cursor",
            component("AppName"),
            "The `next_cursor` of the page before: its last name.",
        )
        .answer(Answer::json("A page of them.", "AppPage", example::app_page()))
}

pub(crate) fn get_app() -> Operation {
    Operation::new(
        "getApp",
        Tag::Apps,
        "Read an app",
        "With its policy, its totals, and its backends.",
    )
    .path("app", component("AppName"), "The app.")
    .query("limit", limit(DEFAULT_LIMIT, MAX_LIMIT), "Backends at the most.")
    .answer(Answer::json("It.", "AppDetail", example::app_detail()))
    .refuses(&[Kind::OtherApp, Kind::UnknownApp])
}

pub(crate) fn explain() -> Operation {
    Operation::new(
        "explain",
        Tag::Apps,
        "Explain the next pick",
        "Which backend a request of that client would go to now and, for every other one, why not. Nothing is picked by it.",
    )
    .required_query("app", component("AppName"), "The app that is asked for.")
    .query(
        "client_ip",
        json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}], "examples": ["203.0.113.9"]}),
        "The client's address.",
    )
    .query("country", component("Country"), "Its country, in place of what the address says.")
    .query("region", component("Region"), "Its region, in place of what the address says.")
    .query("hash", json!({"type": "string"}), "The value that it brings of the header or cookie that the app hashes.")
    .query("sticky", json!({"type": "string"}), "The value that it brings of the cookie or header by which it is known again.")
    .answer(Answer::json("The pick, and why.", "Explanation", example::explanation()))
    .refuses(&[Kind::OtherApp, Kind::UnknownApp])
}

pub(crate) fn follow_events() -> Operation {
    Operation::new(
        "followEvents",
        Tag::Watching,
        "Follow what happens to backends",
        "Server-sent events as they happen; to `Accept: application/json` a page of those that are kept. Each event's `data` is an \
         `Event`. `Last-Event-ID` resumes; a `reset` tells of what can't be had any more. With `stats=true` there come `hello` \
         at first, and `stats` once a second: see docs/events.md. The stream ends when the server stops, or the token \
         doesn't hold any more.",
    )
    .query("app", component("AppName"), "Of that app.")
    .query("backend", component("BackendId"), "Of that backend.")
    .query_list("type", component("EventType"), "Of those types.")
    .query(
        "last_event_id",
        component("EventId"),
        "Goes on after that event. The header counts before it.",
    )
    .query("stats", json!({"type": "boolean"}), "Figures once a second, too. Of the stream alone.")
    .query(
        "limit",
        limit(events::PAGE, crate::Events::KEPT),
        "On the page at the most. Of `application/json` alone.",
    )
    .header(
        "Last-Event-ID",
        component("EventId"),
        "Goes on after that event. Browsers send it by themselves.",
    )
    .answer(
        Answer::json("Events, for as long as the connection lasts; or a page of them.", "EventPage", example::event_page())
            .text(EVENT_STREAM, example::EVENTS),
    )
    .refuses(&[Kind::OtherApp, Kind::TooManyReaders, Kind::Stopping])
}

pub(crate) fn read_metrics() -> Operation {
    Operation::new(
        "readMetrics",
        Tag::Watching,
        "Read everything that is counted",
        "For Prometheus, in its text format, or as OpenMetrics to `Accept: application/openmetrics-text`. One is written at a \
         time. See docs/metrics.md.",
    )
    .in_one_form()
    .answer(
        Answer::new(StatusCode::OK, "All of it.")
            .text("text/plain", example::METRICS)
            .text("application/openmetrics-text", ""),
    )
    .refuses(&[Kind::NothingToShow, Kind::Stopping])
}

pub(crate) fn read_configuration() -> Operation {
    Operation::new(
        "readConfiguration",
        Tag::Server,
        "Read what is in force",
        "Every setting with where it comes from, the tables of the file, and what became of the last reload. Secrets are left \
         out. The entity tag changes with each reload, refused ones included.",
    )
    .answer(Answer::json("It.", "Configuration", example::configuration()))
    .kept()
    .refuses(&[Kind::NothingToShow])
}

pub(crate) fn read_openapi() -> Operation {
    Operation::new(
        "readOpenApi",
        Tag::Server,
        "Read this document",
        "OpenAPI 3.1. `edgeproxy openapi` prints the same without a server.",
    )
    .answer(Answer::new(StatusCode::OK, "This document.").with_any_json())
    .kept()
}

pub(crate) fn docs() -> Operation {
    html("showReference", "Show this reference", "This document as a page.")
}

pub(crate) fn dashboard() -> Operation {
    html(
        "showDashboard",
        "Show the dashboard",
        "The page of docs/dashboard.md.",
    )
}

fn html(id: &'static str, summary: &'static str, text: &'static str) -> Operation {
    Operation::new(id, Tag::Pages, summary, text)
        .in_one_form()
        .answer(
            Answer::new(StatusCode::OK, "The page.")
                .text("text/html", "")
                .with("Content-Security-Policy"),
        )
        .kept()
}

pub(crate) fn page_part() -> Operation {
    let names: Vec<&str> = page::part_names().collect();
    Operation::new(
        "showPart",
        Tag::Pages,
        "Show a part of a page",
        "Scripts, styles, and the icon.",
    )
    .in_one_form()
    .path("file", json!({"type": "string", "enum": names}), "The part.")
    .answer(
        Answer::new(StatusCode::OK, "It.")
            .text("text/javascript", "")
            .text("text/css", "")
            .text("image/svg+xml", "")
            .with("Content-Security-Policy"),
    )
    .kept()
    .refuses(&[Kind::NoSuchPath])
}
