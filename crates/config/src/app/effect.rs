//! Settings of an app that would do nothing, or lock it up, beside its others.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{App, Picker, Picking};
use crate::draft::Draft;
use crate::policy::{Initial, Sticky};

/// A setting that counts only beside another one.
struct Needs {
    keys: &'static [&'static str],
    /// Whether it counts.
    met: fn(&App) -> bool,
    /// What it is for, as in `is for …`.
    purpose: &'static str,
    /// What the app has instead.
    found: fn(&App) -> String,
    /// What would let it count.
    remedy: &'static str,
    /// Settings of the proxy that `met` looks at: with a fault in one of them nothing is known.
    looks_at: &'static [&'static str],
}

const NEEDS: &[Needs] = &[
    Needs {
        keys: &["inner", "spill", "region_order"],
        met: |app| matches!(app.picking, Picking::NearestFirst(_)),
        purpose: "algorithm \"region_affinity\"",
        found: algorithm,
        remedy: "algorithm = \"region_affinity\"",
        looks_at: &["algorithm"],
    },
    Needs {
        keys: &["hash_key"],
        met: |app| matches!(app.picking.picker(), Picker::Hash(_)),
        purpose: "algorithm \"hash\"",
        found: algorithm,
        remedy: "algorithm = \"hash\"",
        looks_at: &["algorithm"],
    },
    Needs {
        keys: &["sticky_cookie"],
        met: |app| app.settings.sticky == Sticky::Cookie,
        purpose: "sticky \"cookie\"",
        found: |app| format!("its sticky is {}", app.settings.sticky),
        remedy: "sticky = \"cookie\"",
        looks_at: &["sticky"],
    },
    Needs {
        keys: &["binding_ttl_secs"],
        met: |app| app.settings.sticky != Sticky::Off,
        purpose: "an app whose clients stay with their backend",
        found: |app| format!("its sticky is {}", app.settings.sticky),
        remedy: "sticky = \"client_ip\"",
        looks_at: &["sticky"],
    },
    Needs {
        keys: &["slow_start_aggression"],
        met: |app| !app.settings.slow_start.is_zero(),
        purpose: "a slow start",
        found: |_| "its slow_start_secs is 0".to_owned(),
        remedy: "slow_start_secs = 30",
        looks_at: &["slow_start_secs"],
    },
    Needs {
        keys: &[
            "max_attempts",
            "replay_max_bytes",
            "retry_non_idempotent",
            "retry_budget_percent",
            "retry_budget_per_sec",
        ],
        met: |app| app.settings.retry_enabled,
        purpose: "retries",
        found: |_| "its retry_enabled is false".to_owned(),
        remedy: "retry_enabled = true",
        looks_at: &["retry_enabled"],
    },
    Needs {
        keys: &["queue_timeout_secs"],
        met: |app| app.settings.queue_max > 0,
        purpose: "a queue",
        found: |_| "its queue_max is 0".to_owned(),
        remedy: "queue_max = 1024",
        looks_at: &["queue_max"],
    },
];

fn algorithm(app: &App) -> String {
    format!("its algorithm is \"{}\"", app.picking.as_str())
}

/// Tells what the app itself says to no effect. What comes from the settings is for others.
pub(super) fn check(draft: &mut Draft<'_>, app: &App, spans: &BTreeMap<&'static str, Range<usize>>) {
    for needs in NEEDS {
        if (needs.met)(app) || !draft.all_valid(needs.looks_at) {
            continue;
        }
        for key in needs.keys {
            if let Some(span) = spans.get(key) {
                let message = format!(
                    "apps.{}.{key} is for {}; {}",
                    app.name,
                    needs.purpose,
                    (needs.found)(app)
                );
                let help = format!("remove it, or write `{}`", needs.remedy);
                draft.conflict_at(span, message, Some(help));
            }
        }
    }
    somebody_gets_in(draft, app, spans);
    regions_exist(draft, app, spans);
}

fn somebody_gets_in(draft: &mut Draft<'_>, app: &App, spans: &BTreeMap<&'static str, Range<usize>>) {
    let probed = app.health.is_some() || !draft.all_valid(&["health_monitor"]);
    if app.settings.initial != Initial::ProbeFirst || probed {
        return;
    }
    let message = format!(
        "apps.{}.initial is \"probe_first\" and nothing probes its backends; expected a health monitor, without \
         which none would ever get traffic",
        app.name
    );
    let help = format!(
        "add a table [apps.{}.health] with `tcp = {{}}`, or write `initial = \"routable\"`",
        app.name
    );
    match spans.get("initial") {
        Some(span) => draft.conflict_at(span, message, Some(help)),
        None => draft.conflict("initial", message, Some(help)),
    }
}

fn regions_exist(draft: &mut Draft<'_>, app: &App, spans: &BTreeMap<&'static str, Range<usize>>) {
    let Some(span) = spans.get("region_order") else {
        return;
    };
    let regions = &draft.settings.regions;
    let unknown = app
        .settings
        .region_order
        .iter()
        .find(|region| regions.country(**region).is_none());
    if let Some(region) = unknown
        && draft.all_valid(&["regions"])
    {
        let message = format!(
            "an item of apps.{}.region_order is \"{region}\", which is not a configured region; known are {}",
            app.name,
            regions.names()
        );
        let help = format!("add it with its country, as `[regions]` with `{region} = \"CC\"`");
        draft.conflict_at(span, message, Some(help));
    }
}
