//! The reference of all metrics, made of what they say of themselves.

use std::fmt::Write as _;
use std::path::Path;

use edgeproxy_metrics::{BOUNDS_MICROS, Family, Kind};

use super::FAMILIES;

const TITLES: [&str; FAMILIES.len()] = [
    "Requests, by app and by backend",
    "Backends at this moment",
    "Clients and workers",
    "The registry, its store, probes, the API",
    "The process",
];

const BEGINNING: &str = "# Metrics

<!-- Made from crates/server/src/metrics by `UPDATE_EXPECTED=1 cargo nextest run --workspace --all-features -E 'test(the_reference_is_what_the_metrics_say)'`. -->

`GET /metrics` at the API tells what the process counts, in Prometheus' text format 0.0.4, or in OpenMetrics 1.0.0 to
whoever asks for it by `Accept`, as Prometheus does. With tokens it takes the role `read` for all apps, since it is about
all of them: see [access](access.md).

```yaml
scrape_configs:
  - job_name: edgeproxy
    authorization: { credentials_file: /etc/prometheus/edgeproxy.token }  # with tokens
    static_configs: [{ targets: [\"edgeproxy.internal:8081\"] }]
```

Counts begin at 0 with the process, and are complete: every worker counts in memory of its own, and nothing is sampled.
What is counted when an answer ends is there when the next request of the same client is. The series of a backend or app that is gone stay for
five minutes, so that a scrape every minute has all of it; of one that comes back in that time they go on.

Series are bounded: about 50 for each of `metrics_max_backends` backends, 50 for each app, and 10 for each listener of each
worker. Kinds and reasons appear once they have occurred. There are [alert rules](metrics/alerts.yml),
and a [dashboard](metrics/grafana.json) for Grafana.

";

/// For people, in seconds.
fn bounds() -> String {
    let seconds = BOUNDS_MICROS.map(|micros| format!("{}", Number(micros)));
    seconds.join(", ")
}

struct Number(u64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{rest:06}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

fn reference() -> String {
    let mut text = BEGINNING.to_owned();
    for (title, families) in TITLES.iter().zip(FAMILIES) {
        let _ = writeln!(
            text,
            "## {title}\n\n| name | type | labels | |\n|---|---|---|---|"
        );
        for family in families {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} |",
                family.sample_name(),
                family.kind.as_str(),
                if labels.is_empty() {
                    "–".to_owned()
                } else {
                    labels.join(", ")
                },
                family.help
            );
        }
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "The buckets of every histogram end at {} seconds, and one has no end.",
        bounds()
    );
    text
}

#[test]
fn the_reference_is_what_the_metrics_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let expected = reference();
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "docs/metrics.md is out of date: run this test with UPDATE_EXPECTED=1"
    );
}

#[test]
fn names_are_unique_and_say_what_they_are() {
    let all: Vec<&Family> = FAMILIES
        .iter()
        .flat_map(|families| families.iter().copied())
        .collect();
    let mut names: Vec<_> = all.iter().map(|family| family.name).collect();
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    for family in all {
        let name = family.name;
        assert!(
            name.starts_with("edgeproxy_") || name.starts_with("process_"),
            "{name}"
        );
        assert!(!name.ends_with("_total"), "{name}: the format adds that");
        if let Some(unit) = family.unit {
            assert!(name.ends_with(&format!("_{}", unit.as_str())), "{name}");
        }
        assert!(
            family.help.ends_with('.') && !family.help.contains("  "),
            "{name}: {}",
            family.help
        );
        assert!(
            family.kind != Kind::Histogram || name.ends_with("_seconds"),
            "{name}"
        );
    }
}

/// Every name of a metric in a text.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("edgeproxy_") || word.starts_with("process_"))
}

#[test]
fn the_alert_rules_and_the_dashboard_ask_for_what_there_is() {
    let mut known = std::collections::BTreeSet::new();
    for family in FAMILIES.iter().flat_map(|families| families.iter()) {
        let name = family.sample_name();
        if family.kind == Kind::Histogram {
            known.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")));
        }
        known.insert(name);
    }
    for text in [
        include_str!("../../../../docs/metrics/alerts.yml"),
        include_str!("../../../../docs/metrics/grafana.json"),
    ] {
        assert!(named(text).count() > 10);
        for name in named(text) {
            assert!(known.contains(name), "there is no {name}");
        }
    }
}
