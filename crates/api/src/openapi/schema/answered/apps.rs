use serde_json::{Value, json};

use super::super::{Member, component, flag, list, may, must, nullable, number, object, text, told, whole};
use super::limits;

pub(super) fn app() -> Vec<Member> {
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

pub(super) fn app_detail() -> Value {
    let mut members = app();
    members.push(must("backends", list(component("Member"))));
    members.push(may(
        "truncated",
        flag("There are more than `limit`; `GET /api/v1/backends?app=` pages through all."),
    ));
    object("An app with its backends.", members)
}

pub(super) fn app_policy() -> Value {
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
            must(
                "max_ejection_percent",
                whole("The greatest share of its backends that failed requests keep out at the same time."),
            ),
            must("probed", flag("Whether a health monitor probes its backends.")),
            must("fall", whole("Consecutive failed probes that take one out.")),
            must("rise", whole("Consecutive passed probes that let one back.")),
            must("initial", json!({"enum": ["routable", "probe_first"]})),
            must("ejection_base_secs", whole("")),
            must("ejection_max_secs", whole("")),
        ],
    )
}

pub(super) fn member() -> Vec<Member> {
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

pub(super) fn explanation() -> Value {
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
