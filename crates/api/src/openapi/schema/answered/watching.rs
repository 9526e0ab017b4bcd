use serde_json::{Value, json};

use super::super::{component, flag, list, must, nullable, object, text, told, whole};

pub(super) fn event() -> Value {
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

pub(super) fn event_page() -> Value {
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

pub(super) fn configuration() -> Value {
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
