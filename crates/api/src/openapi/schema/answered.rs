//! What the API answers. A test holds every answer that the router's tests get to it.

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
        ("App", object("An app.", app())),
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
        ("AppDetail", app_detail()),
        ("AppPolicy", app_policy()),
        ("Member", object("A backend of an app.", member())),
        ("Explanation", explanation()),
        ("Event", event()),
        ("EventPage", event_page()),
        ("Configuration", configuration()),
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

fn app() -> Vec<Member> {
    let totals = object(
        "",
        [
            must("backends", whole("")),
            must("routable", whole("Those that may get a request now.")),
            must("in_flight", whole("")),
            must("requests_total", whole("")),
            must("failures_total", whole("")),
        ],
    );
    vec![
        must("app", component("AppName")),
        must("policy", component("AppPolicy")),
        must(
            "states",
            json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1},
                   "description": "How many backends are in each state; states that none is in are left out."}),
        ),
        must("totals", totals),
    ]
}

fn app_detail() -> Value {
    let mut members = app();
    members.push(must("backends", list(component("Member"))));
    members.push(may(
        "truncated",
        flag("There are more than `limit`; `GET /api/v1/backends?app=` pages through all."),
    ));
    object("An app with its backends.", members)
}

fn app_policy() -> Value {
    object(
        "How an app is balanced, and when its backends are out.",
        [
            may("algorithm", text("Such as `region_affinity`.")),
            may("spill", json!({"enum": ["soft", "hard"]})),
            must(
                "max_failures",
                whole("Consecutive failed requests that eject; 0: none do."),
            ),
            must("last_backend", json!({"enum": ["keep", "eject"]})),
            must("probed", flag("Whether a health monitor probes its backends.")),
            must("fall", whole("Consecutive failed probes that take one out.")),
            must("rise", whole("Consecutive passed probes that let one back.")),
            must("initial", json!({"enum": ["routable", "probe_first"]})),
            must("ejection_base_secs", whole("")),
            must("ejection_max_secs", whole("")),
        ],
    )
}

fn member() -> Vec<Member> {
    let mut members = vec![
        must("id", component("BackendId")),
        must("state", component("State")),
        must("reason", text("")),
        must("healthy", flag("")),
        must("region", component("Region")),
        must("country", component("Country")),
        must("weight", component("Weight")),
        must("in_flight", whole("")),
        must("fallback", flag("")),
        must("incarnation", component("Incarnation")),
    ];
    members.extend(limits());
    members
}

fn explanation() -> Value {
    let client = object(
        "The client, as the balancer saw it.",
        [
            must("ip", nullable(text(""))),
            must("country", nullable(component("Country"))),
            must("region", nullable(component("Region"))),
        ],
    );
    let tier = object(
        "",
        [
            must("tier", whole("0, the nearest, to 3.")),
            must("name", text("What its backends share, such as `country DE`.")),
            must("candidates", whole("")),
            must("why", text("What became of it.")),
        ],
    );
    let mut candidate = vec![
        must("id", component("BackendId")),
        must("tier", nullable(whole("`null`: it is in none."))),
        must("state", text("")),
        must("weight", component("Weight")),
        must(
            "effective_weight",
            number("With what slow start and its own load reports make of it."),
        ),
        must("in_flight", whole("")),
        must(
            "elsewhere",
            whole("What it has under way for others, by what it reports."),
        ),
        must(
            "score",
            nullable(
                json!({"type": "number", "description": "What the algorithm compares, where it compares."}),
            ),
        ),
        must("picked", flag("")),
        must("why", text("Why it is the one, or is not.")),
    ];
    candidate.extend(limits());
    object(
        "Which backend the next request would go to and, for every other one, why not.",
        [
            must("app", component("AppName")),
            must("algorithm", text("")),
            must("client", client),
            must(
                "bound",
                nullable(told(
                    component("BackendId"),
                    "The backend that the client is bound to.",
                )),
            ),
            must(
                "ignores_health",
                flag("So many backends are out that their health is ignored."),
            ),
            must("tiers", list(tier)),
            must("candidates", list(object("", candidate))),
            must("picked", nullable(component("BackendId"))),
            must("error", nullable(text("Why none would be."))),
        ],
    )
}

fn event() -> Value {
    object(
        "Something that has happened to a backend.",
        [
            must("id", component("EventId")),
            must(
                "time",
                json!({"type": "string", "format": "date-time", "description": "UTC, to the millisecond."}),
            ),
            must("type", component("EventType")),
            must("backend", component("BackendId")),
            must("app", component("AppName")),
            must("region", component("Region")),
            must(
                "state",
                told(
                    nullable(component("State")),
                    "After it; `null` once the backend is gone.",
                ),
            ),
            must("reason", text("")),
            must("incarnation", component("Incarnation")),
        ],
    )
}

fn event_page() -> Value {
    object(
        "",
        [
            must("events", told(list(component("Event")), "The oldest first.")),
            must(
                "last_event_id",
                told(component("EventId"), "Where the next page, or a stream, goes on."),
            ),
            must(
                "reset",
                flag("Some between the one that was asked for and the first of these are missing."),
            ),
        ],
    )
}

fn configuration() -> Value {
    let setting = object(
        "",
        [
            must("key", text("Its key in the file.")),
            must(
                "value",
                json!({"description": "`null` is none; what is secret is `\"***\"`."}),
            ),
            must(
                "from",
                json!({"enum": ["default", "file", "environment", "flag"]}),
            ),
            must(
                "place",
                nullable(text("Where in the file, as `path:line:column`.")),
            ),
            must("variable", text("")),
            must("flag", text("")),
            must("live", flag("Whether a reload can change it.")),
        ],
    );
    let fault = object(
        "",
        [
            must("place", nullable(text(""))),
            must("message", text("")),
            must("help", nullable(text(""))),
        ],
    );
    let reload = object(
        "The last one.",
        [
            must("unix_secs", whole("")),
            must("by", json!({"enum": ["signal", "file"]})),
            must("result", json!({"enum": ["applied", "refused"]})),
            must("changes", list(text(""))),
            must("problems", list(fault)),
        ],
    );
    let table = || list(json!({"type": "object", "additionalProperties": true}));
    object(
        "What is in force, and where each value comes from.",
        [
            must(
                "version",
                whole("1 at the start, and one more with each reload that was applied."),
            ),
            must(
                "unix_secs",
                whole("When it came into force, in seconds since 1970."),
            ),
            must("file", nullable(text(""))),
            must("settings", list(setting)),
            must("listeners", table()),
            must("apps", table()),
            must("routes", table()),
            must("backends", table()),
            must("regions", json!({"type": "object", "additionalProperties": true})),
            must("reloads", whole("How many times one was asked for.")),
            must("last_reload", nullable(reload)),
        ],
    )
}
