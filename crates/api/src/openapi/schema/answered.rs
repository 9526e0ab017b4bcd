//! What the API answers. A test holds every answer that the router's tests get to it.

mod apps;
mod watching;

use serde_json::{Value, json};

use super::{Member, component, flag, list, may, must, nullable, number, object, text, told, whole};

pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("Problem", problem(None)),
        (
            "ProblemOfFields",
            problem(Some(must("fields", list(component("FieldProblem"))))),
        ),
        (
            "FieldProblem",
            object(
                "A field that breaks its rule.",
                [
                    must(
                        "field",
                        text(
                            "The member, parameter, or path to it, such as `metadata.rack`; empty: the whole body.",
                        ),
                    ),
                    must(
                        "problem",
                        text("What was found and what is expected; reads on after the field's name."),
                    ),
                ],
            ),
        ),
        ("Health", health()),
        ("Ready", object("", [must("status", json!({"const": "ready"}))])),
        ("Backend", object("A backend as listed.", backend())),
        (
            "BackendPage",
            page(
                "backends",
                component("Backend"),
                text("Where the next page begins; missing on the last one."),
            ),
        ),
        (
            "OneBackend",
            object(
                "A backend, with what its reader should know besides.",
                backend().into_iter().chain([warnings()]),
            ),
        ),
        ("Registered", registered()),
        ("Renewed", renewed()),
        ("Deregistered", deregistered()),
        (
            "Overrides",
            object(
                "What an operator has set, in force until it is cleared.",
                settable(),
            ),
        ),
        (
            "Reported",
            object("What the backend last said about itself.", reported()),
        ),
        ("App", object("An app.", apps::app())),
        (
            "AppPage",
            page(
                "apps",
                component("App"),
                told(
                    component("AppName"),
                    "Where the next page begins; missing on the last one.",
                ),
            ),
        ),
        ("AppDetail", apps::app_detail()),
        ("AppPolicy", apps::app_policy()),
        ("Member", object("A backend of an app.", apps::member())),
        ("Explanation", apps::explanation()),
        ("Event", watching::event()),
        ("EventPage", watching::event_page()),
        ("Configuration", watching::configuration()),
    ]
}

fn warnings() -> Member {
    may(
        "warnings",
        told(
            list(json!({"type": "string"})),
            "What was found and isn't an error; missing where there is nothing.",
        ),
    )
}

fn problem(fields: Option<Member>) -> Value {
    let members = [
        must(
            "type",
            json!({"type": "string", "format": "uri-reference",
            "description": "What is wrong, for programs; a page of this server says what to do about it."}),
        ),
        must("title", text("The same in a few words.")),
        must(
            "status",
            json!({"type": "integer", "minimum": 400, "maximum": 599}),
        ),
        must(
            "error",
            text("What was found, what is expected, and what to do, in a sentence."),
        ),
        may(
            "id",
            told(component("BackendId"), "The backend that it is about."),
        ),
    ];
    object(
        "Why a request was refused (RFC 9457). Nothing was changed.",
        members.into_iter().chain(fields),
    )
}

fn page(of: &'static str, item: Value, next: Value) -> Value {
    object(
        "",
        [
            must(of, list(item)),
            must(
                "total",
                whole("How many there are, those of other pages included; those of other people's apps not."),
            ),
            may("next_cursor", next),
        ],
    )
}

fn health() -> Value {
    let degraded = object(
        "Why the store can't be written to, and since when.",
        [must("for_secs", whole("")), must("reason", text(""))],
    );
    object(
        "To whoever shows no token where there are tokens, `status` alone.",
        [
            must("status", json!({"const": "ok"})),
            may("version", text("")),
            may("backends", whole("")),
            may("uptime_secs", whole("")),
            may(
                "store",
                object(
                    "Only while something is wrong with it.",
                    [must("name", text("")), must("degraded", degraded)],
                ),
            ),
        ],
    )
}

fn limits() -> [Member; 2] {
    [
        must("soft_limit", component("Limit")),
        must("hard_limit", component("Limit")),
    ]
}

fn secs(text: &str) -> Value {
    nullable(whole(text))
}

fn backend() -> Vec<Member> {
    let mut members = vec![
        must("id", component("BackendId")),
        must("app", component("AppName")),
        must("region", component("Region")),
        must("country", component("Country")),
        must("ip", component("Address")),
        must(
            "port",
            json!({"type": "integer", "minimum": 1, "maximum": u16::MAX}),
        ),
        must("weight", component("Weight")),
        must(
            "fallback",
            flag("Used only when every other backend of the app is out."),
        ),
        must("protocol", component("Protocol")),
        must(
            "ttl_secs",
            secs("Its lease; `null` for one of the configuration file, which has none."),
        ),
        must(
            "metadata",
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
        ),
        must("source", json!({"enum": ["registered", "file"]})),
        must("state", component("State")),
        must("reason", text("Why it is in that state.")),
        must("healthy", flag("Whether it gets requests.")),
        must("in_flight", whole("Requests under way.")),
        must("last_heartbeat_secs", secs("How long ago.")),
        must("registered_secs", whole("How long ago.")),
        must("expires_in_secs", secs("What is left of its lease, rounded up.")),
        must("incarnation", component("Incarnation")),
        must("requests_total", whole("")),
        must("failures_total", whole("")),
        must(
            "latency_ms",
            nullable(number(
                "The average time to a response's head; `null` before the first.",
            )),
        ),
        may("overrides", component("Overrides")),
        may("reported", component("Reported")),
    ];
    members.extend(limits());
    members
}

fn settable() -> [Member; 4] {
    [
        may("enabled", flag("")),
        may("weight", component("Weight")),
        may("soft_limit", component("Limit")),
        may("hard_limit", component("Limit")),
    ]
}

fn reported() -> [Member; 4] {
    [
        may("in_flight", whole("")),
        may(
            "utilization",
            json!({"type": "number", "minimum": 0, "maximum": 1}),
        ),
        may("draining", flag("")),
        may("weight", component("Weight")),
    ]
}

fn registered() -> Value {
    object(
        "",
        [
            must("id", component("BackendId")),
            must("registered", json!({"const": true})),
            must("message", text("")),
            must("incarnation", component("Incarnation")),
            must("ttl_secs", whole("The lease.")),
            must(
                "heartbeat_interval_secs",
                whole("When to send the next heartbeat: a third of the lease."),
            ),
            warnings(),
        ],
    )
}

fn renewed() -> Value {
    object(
        "",
        [
            must("id", component("BackendId")),
            must(
                "renewed",
                flag("Whether there was a lease. One of the configuration file has none."),
            ),
            must("incarnation", component("Incarnation")),
            must("ttl_secs", secs("The lease.")),
            must("heartbeat_interval_secs", secs("When to send the next one.")),
            may("state", component("State")),
            warnings(),
        ],
    )
}

fn deregistered() -> Value {
    object(
        "",
        [
            must("id", component("BackendId")),
            must("deregistered", json!({"const": true})),
            must("message", text("")),
            must("incarnation", component("Incarnation")),
            must(
                "draining",
                flag("Whether it stays, for no new requests, until what is in flight has ended."),
            ),
            must("in_flight", whole("")),
            warnings(),
        ],
    )
}
