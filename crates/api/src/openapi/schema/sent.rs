//! What clients send.

use edgeproxy_backend::{Limits, Metadata, Protocol, Weight};
use edgeproxy_registry::Config;
use serde_json::{Value, json};

use super::{component, may, must, nullable, object, told};

pub(super) fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("Registration", registration()),
        ("LoadReport", load_report()),
        ("Patch", patch()),
    ]
}

/// That component or null, with what is in force where it is missing.
fn defaulted(of: &str, text: &str, default: Value) -> Value {
    let mut schema = told(nullable(component(of)), text);
    schema["default"] = default;
    schema
}

fn registration() -> Value {
    let config = Config::default();
    let (ttl_min, ttl_max) = (config.ttl_min.as_secs(), config.ttl_max.as_secs());
    object(
        "A backend, as it registers itself. A member that isn't known is accepted and named in `warnings`; `null` is as good as \
         missing.",
        [
            must("id", component("BackendId")),
            must("app", component("AppName")),
            must("region", component("Region")),
            may(
                "country",
                told(nullable(component("Country")), "Without it: the region's."),
            ),
            must("ip", component("Address")),
            must(
                "port",
                json!({"type": "integer", "minimum": 1, "maximum": u16::MAX}),
            ),
            may(
                "weight",
                defaulted(
                    "Weight",
                    "Its share of requests beside those of others; 0 takes no new ones.",
                    Weight::default().get().into(),
                ),
            ),
            may(
                "soft_limit",
                defaulted(
                    "Limit",
                    "Comfortable concurrency; 0 is no limit.",
                    Limits::DEFAULT.soft().into(),
                ),
            ),
            may(
                "hard_limit",
                defaulted(
                    "Limit",
                    "Never exceeded; 0 is no limit. Not below `soft_limit`, the default one included.",
                    Limits::DEFAULT.hard().into(),
                ),
            ),
            may(
                "fallback",
                json!({"type": ["boolean", "null"], "default": false,
                       "description": "Used only when every other backend of the app is out."}),
            ),
            may(
                "protocol",
                defaulted("Protocol", "What it speaks.", Protocol::default().as_str().into()),
            ),
            may(
                "ttl_secs",
                json!({"type": ["integer", "null"], "minimum": ttl_min, "maximum": ttl_max,
                       "description": "Its lease in seconds. Without it: `heartbeat_ttl_secs`, which is 60 by default."}),
            ),
            may(
                "metadata",
                json!({"type": ["object", "null"], "additionalProperties": {"type": "string"},
                       "maxProperties": Metadata::MAX_PAIRS,
                       "description": format!("Whatever it wants to say about itself: at most {} bytes, keys and values together. \
                                               Never logged.", Metadata::MAX_BYTES)}),
            ),
        ],
    )
}

fn load_report() -> Value {
    object(
        "What a backend says about its load. All of it is optional, and feeds the balancer.",
        [
            may(
                "in_flight",
                told(
                    nullable(component("Limit")),
                    "Requests under way, those of others included.",
                ),
            ),
            may(
                "utilization",
                json!({"type": ["number", "null"], "minimum": 0, "maximum": 1, "description": "How busy it is."}),
            ),
            may(
                "draining",
                json!({"type": ["boolean", "null"], "description": "`true`: it wants no new requests."}),
            ),
            may(
                "weight",
                told(nullable(component("Weight")), "In place of the registered one."),
            ),
        ],
    )
}

fn patch() -> Value {
    let mut patch = object(
        "An operator's changes (RFC 7396). They outlive renewals and restarts until they are cleared with `null`. A member that \
         isn't known is refused.",
        [
            may(
                "enabled",
                json!({"type": ["boolean", "null"], "description": "`false`: no new requests."}),
            ),
            may("weight", nullable(component("Weight"))),
            may("soft_limit", nullable(component("Limit"))),
            may("hard_limit", nullable(component("Limit"))),
        ],
    );
    patch["additionalProperties"] = false.into();
    patch
}
